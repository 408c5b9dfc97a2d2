"""Plan: how to split the labels, with the width, money and time of each way."""

from dataclasses import replace
from typing import Any

import streamlit as st

import engine
from pages import advice, laws, parts, wishes

TAKES = {"probe": "seconds", "lora": "minutes", "full": "longer", "auto": "longer"}


# ------------------------------------------------------------------------- the pilots


def first_pilot(store: engine.Store, study: engine.Study) -> None:
    """Show the study's first pilot, started here if there never was one, until it leads to a plan."""
    pilot = parts.latest(store, study, parts.PLAN)
    if pilot is None:
        engine.start_run(store, study, parts.PLAN, engine.RunSettings())
        st.rerun()
    elif pilot.is_finished:
        parts.ended_badly(store, pilot)
    else:
        st.write(
            "Trials at growing numbers of labels show how the model learns here. With the probe this takes seconds."
        )
        laws.follow(store, study, pilot)


def chosen_pilot(store: engine.Store, study: engine.Study, known: tuple[engine.Run, ...]) -> engine.Run:
    """Return the pilot that the address names, else the newest; where there are several, offer the choice."""
    options = {run.id: run for run in known}
    newest = known[0].id
    asked = st.query_params.get("pilot")
    named = next((run for run in store.runs(study.id) if run.id == asked), None)
    if named is not None and laws.has_plan(store, named):
        options[named.id] = named
    elif asked:
        st.warning("The pilot that this address names is not here any more; this is the newest.")
    start = st.query_params.get("pilot")
    key = f"pilot_of_{newest}"  # a pilot that has just ended is shown at once

    def keep() -> None:
        st.query_params["pilot"] = st.session_state[key]

    def words(run_id: str) -> str:
        run = options[run_id]
        plan = parts.results_of(store, run).plan
        width = advice.half_width(plan[plan.recommended].half_width, parts.is_share(study))
        return f"{laws.name(run, options.values())}: {width}"

    if len(options) > 1:
        start = st.segmented_control(
            "Plan from the pilot of", list(options), default=start if start in options else newest,
            format_func=words, key=key, required=True, on_change=keep,
        )  # fmt: skip
    return options.get(start or newest, options[newest])


def other_pilots(store: engine.Store, study: engine.Study, run: engine.Run) -> None:
    """Follow the pilot of another learner, or offer one."""
    active = parts.latest(store, study, parts.PLAN)
    if active and not active.is_finished:
        with st.container(border=True):
            st.markdown(f"**Pilot of {parts.LEARNERS[active.settings.learner]}**: its trials land on the law.")
            laws.follow(store, study, active)
        return
    with st.expander("The law behind the plan", icon=":material/show_chart:"):
        laws.show_law(run, parts.results_of(store, run), laws.beside(store, study, run))
    if active and active.state is not engine.RunState.FINISHED:
        parts.ended_badly(store, active)
    with st.expander("Pilot another learner", icon=":material/science:"):
        st.write(
            f"This plan rests on trials of **{parts.LEARNERS[run.settings.learner]}**. Another learner may do better."
        )
        with st.container(horizontal=True, vertical_alignment="bottom"):
            others = [name for name in TAKES if name != run.settings.learner]
            learner = st.selectbox(
                "Learner", others, format_func=lambda name: f"{parts.LEARNERS[name]}: {TAKES[name]}",
                key="pilot_learner", width=280,
            )  # fmt: skip
            if st.button("Start the pilot", key=f"start_pilot_{run.id}", icon=":material/play_arrow:"):
                # The model and what may be answered stay; how the labels were used in a run is no matter of a pilot.
                settings = replace(run.settings, learner=learner, strategy="auto", finetune=None)
                engine.start_run(store, study, parts.PLAN, settings)
                st.query_params.pop("pilot", None)
                st.rerun()


# --------------------------------------------------------------------------- the page


@st.fragment(key="planner")
def planner(run: engine.Run, study: engine.Study, stored: engine.Plan, details: dict[str, Any]) -> None:
    """The wishes and what the plan says under them; only this part is drawn anew."""
    with parts.explained():
        share, unit = parts.is_share(study), parts.plain(study.roles.label)
        recommendation = st.container()
        with st.container(border=True):
            wished, plan = wishes.ask(stored, f"{engine.home()} {run.id} {run.finished}", share)
            splitter(run, study, plan, wished)
        with recommendation:
            advice.show_recommendation(plan, unit, share)
            for warning in details.get("warnings", ()):
                st.caption(parts.plain(warning))
            classes = parts.dataset(study).classes
            if caution := study.question.caution_of_widths(len(classes) if classes else None):
                st.caption(caution)
        advice.show_strategies(plan, share)
        advice.show_directions(plan, wished, share)
        with st.container(horizontal=True, horizontal_alignment="right"):
            if st.button("Continue to the run", type="primary", icon=":material/arrow_forward:", icon_position="right"):
                # Under "auto" the run would choose the folds anew.
                kept = not plan.folds_chosen and plan.recommended == "cross-fit"
                go_on(run, study, plan, {"strategy": "cross-fit"} if kept else {})


def go_on(run: engine.Run, study: engine.Study, plan: engine.Plan, strategy: dict[str, str]) -> None:
    """Take what was wished for to the Run page."""
    costs, s = plan.costs, plan.nearest_split(st.session_state.get("s", plan["split"].finetune))
    prices = {"price": costs.per_label, "hour": costs.per_gpu_hour, "thousand": costs.per_thousand}
    chosen = {"folds": plan.folds, "target": plan.half_width, "s": s, **prices, **strategy}
    st.session_state["wishes"] = {"study": study.id, **laws.made_with(run), **chosen}
    st.switch_page("pages/run.py", query_params={"study": study.id})


@st.fragment(key="splitter")
def splitter(run: engine.Run, study: engine.Study, plan: engine.Plan, wished: wishes.Wishes) -> None:
    """The slider with the curve and the cards; a move of it draws nothing else."""
    with parts.explained():
        share, label = parts.is_share(study), study.roles.label
        s = wishes.ask_split(plan)
        alt = f"Half-width over the split: best at {plan['split'].finetune} fine-tuning labels, yours at {s}."
        parts.chart(drawn(plan, s, "share" if share else label), "plan", alt, height=400)
        advice.show_cards(plan, s, parts.plain(label), share)
        with st.container(horizontal=True, horizontal_alignment="right"):
            wishes.share(study, run, wished, s)
            if st.button("Run this split", help="The run fine-tunes on these labels, whatever is recommended."):
                st.session_state["new_run"] = study.id
                go_on(run, study, plan, {"strategy": "split"})


def drawn(plan: engine.Plan, s: int, unit: str) -> Any:
    """Return the plan's figure, drawn once for this visitor; a move of the slider moves only its mark."""
    theme = st.context.theme.type
    known = st.session_state.get("drawn_plan")
    if known is None or known[0] is not plan or known[1] != theme:
        known = st.session_state["drawn_plan"] = plan, theme, parts.for_theme(engine.plan_figure(plan, s, unit))
    figure = known[2]
    engine.move_split(figure, plan, s)
    return figure


def main() -> None:
    """Show the pilot while it runs, then the plan."""
    store = parts.open_store()
    study = parts.open_study(store)
    if parts.lacks_labels(study):
        return
    known = laws.pilots(store, study)
    if not known:
        first_pilot(store, study)
        return
    run = chosen_pilot(store, study, known)
    results = parts.results_of(store, run)
    planner(run, study, results.plan, results.details)
    other_pilots(store, study, run)


parts.heading(
    "Plan", "How wide the interval will be for every way of using your labels, before you spend any time or money."
)
with parts.explained():
    main()
