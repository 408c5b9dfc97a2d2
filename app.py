"""The dashboard's frame: sign-in, the open study, the way through the six steps, and the run under way."""

import streamlit as st

import engine
from pages import files, parts

# An interval around its estimate, and the name. Drawn here: an icon by name would be fetched from another host.
MARK = """<g stroke="#1A9488" stroke-width="3" stroke-linecap="round"><path d="M3 8v16M37 8v16M3 16h34"/></g>
<circle cx="17" cy="16" r="5.5" fill="#1A9488"/>"""
ICON = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 -4 40 40">{MARK}</svg>"""
LOGO = f"""<svg xmlns="http://www.w3.org/2000/svg" width="164" height="32" viewBox="0 0 164 32">{MARK}
<text x="50" y="23" font-family="system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif" font-size="21"
font-weight="600" textLength="106" lengthAdjust="spacingAndGlyphs" fill="#1A9488">Labelwise</text></svg>"""
STEPS = {
    "data": ("Data", "Which labels, which texts, and the question about the whole."),
    "predict": ("Predict", "How far further labels would carry, before anything is trained."),
    "plan": ("Plan", "How to split the labels, with the width, money and time of each way."),
    "run": ("Run", "Fine-tune, predict the pool, and rectify."),
    "results": ("Results", "The answer with its interval."),
    "report": ("Report", "The answer for others: document, slides, table."),
}


def signed_in() -> bool:
    """Whether this visitor may go on: sign-in is asked for only where the operator has set it up."""
    if not st.secrets.load_if_toml_exists() or "auth" not in st.secrets or st.user.is_logged_in:
        return True
    st.title("Labelwise", anchor=False)
    st.write("Sign in to go on.")
    st.button("Sign in", icon=":material/login:", type="primary", on_click=st.login)
    return False


def step_icons(runs: tuple[engine.Run, ...]) -> dict[str, str]:
    """Return an icon for each step: done, under way, next, or still to come."""
    kinds = {run.kind for run in runs if run.state is engine.RunState.FINISHED}
    active = {run.kind for run in runs if not run.is_finished}
    done = {
        "data": True,
        "predict": parts.EFFICIENCY in kinds,
        "plan": bool(kinds & {parts.PLAN, parts.RUN}),
        "run": parts.RUN in kinds,
        "results": parts.RUN in kinds and bool(st.session_state.get("seen_results")),
        "report": False,
    }
    upcoming = next(step for step in STEPS if not done[step])
    icons = {step: ":material/check_circle:" if done[step] else ":material/circle:" for step in STEPS}
    icons[upcoming] = ":material/arrow_circle_right:"
    working = {parts.SELECT: "predict", parts.EFFICIENCY: "predict", parts.PLAN: "plan", parts.RUN: "run"}
    icons.update({working[kind]: "spinner" for kind in active})
    return icons


def show_active(store: engine.Store) -> None:
    """Show the runs under way, whatever page is open; ask again every two seconds while there are any."""
    engine.reconcile(store)
    active = [run for run in store.runs() if not run.is_finished]
    for run in active[::-1][:3]:
        study = store.study(run.study_id)
        with st.container(border=True):
            st.caption(f"**{parts.step_name(run)}** · {parts.plain(study.name)}")
            parts.progress(run)
    if not active and st.session_state.pop("had_active_runs", False):
        st.rerun(scope="app")
    st.session_state["had_active_runs"] = bool(active)


@st.fragment(run_every=2, key="active_runs")
def follow_active(store: engine.Store) -> None:
    """Follow the runs under way until the last has ended."""
    with parts.explained():
        show_active(store)


def sidebar(store: engine.Store, study: engine.Study) -> None:
    """Show which study is open, that uploads are none yet, and what is under way."""
    with st.sidebar:
        st.caption("Study")
        st.markdown(f"**{parts.plain(study.name)}**")
        if files.has_draft():
            st.caption("Your upload is not saved yet: that is done on the Data page. Until then this study stays open.")
        engine.reconcile(store)
        if any(not run.is_finished for run in store.runs()):
            st.session_state["had_active_runs"] = True
            follow_active(store)
        else:
            st.session_state["had_active_runs"] = False


def main() -> None:
    """Draw the frame and the page in it."""
    st.set_page_config(page_title="Labelwise", page_icon=ICON, layout="wide")
    st.logo(LOGO, size="large")
    if not signed_in():
        return
    store = parts.open_store()
    study = parts.open_study(store)
    icons = step_icons(store.runs(study.id))
    page = st.navigation(
        [
            st.Page(f"pages/{name}.py", title=title, icon=icons[name], help=help_, default=name == "data")
            for name, (title, help_) in STEPS.items()
        ]
    )
    sidebar(store, study)
    st.session_state["framed"] = True
    with st.container(width=1080):
        page.run()


with parts.explained():
    main()
