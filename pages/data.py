"""Data: which labels, which texts, and the question about the whole."""

from typing import Any

import streamlit as st

import engine
from pages import files, parts, unlabelled
from pages.question import ask_question

NONE = "(none)"
OPTIONAL = {
    "prediction": ("Model's prediction", "Predictions you already have, in both files; they are rectified untrained."),
    "weight": ("Weight", "Sampling weights of the rows, in both files."),
    "group": ("Group", "A grouping of the rows, in both files."),
    "id": ("Identifier", "Names the rows in the tables of a run, its column id."),
}


# ---------------------------------------------------------------- the files and columns


def files_at_hand(store: engine.Store, study: engine.Study) -> tuple[Any, Any]:
    """Return labels file and pool file: those just uploaded, else those of the open study."""
    if "labels" not in st.query_params:
        return study.labels_file, study.pool_file
    labels = store.file(st.query_params["labels"])
    pool = store.file(st.query_params["pool"]) if "pool" in st.query_params else None
    return labels, pool


def choose_roles(labels: Any, pool: Any, preset: engine.Roles, suffix: str) -> engine.Roles:
    """Ask which column plays which part, the guesses preselected."""
    columns = [str(name) for name in labels.frame.columns]
    chosen: dict[str, str | None] = {}
    left, right = st.columns(2)
    for place, part, title in ((left, "text", "Text"), (right, "label", "Label")):
        chosen[part] = files.role_box(place, title, part, columns, getattr(preset, part), suffix)
    in_use = [part for part in OPTIONAL if getattr(preset, part)]
    named = f" ({len(in_use)} in use)" if in_use else ""
    with st.expander(f"More columns{named}", icon=":material/view_column:"):
        places = [place for _ in range(2) for place in st.columns(2)]
        for place, (part, (title, help_)) in zip(places, OPTIONAL.items(), strict=True):
            chosen[part] = files.role_box(place, title, part, [NONE, *columns], getattr(preset, part), suffix, help_)
    return engine.Roles.from_dict({part: None if name == NONE else name for part, name in chosen.items()})


def preset_roles(labels: Any, pool: Any, study: engine.Study) -> engine.Roles:
    """Return the open study's roles for its own files, guesses for new ones."""
    return engine.guess_roles(labels, pool) if "labels" in st.query_params else study.roles


# ------------------------------------------------------------------- the other studies


@st.dialog("Rename study")
def rename(store: engine.Store, study: engine.Study) -> None:
    """Ask for a new name."""
    name = st.text_input("Name", value=study.name, max_chars=80, key=f"new_name_{study.id}")
    if st.button("Rename", type="primary", key="rename_confirm", disabled=not name.strip()):
        store.rename_study(study.id, name.strip())
        st.rerun()


@st.dialog("Delete study")
def delete(store: engine.Store, study: engine.Study) -> None:
    """Ask whether a study is really to go."""
    runs = len(store.runs(study.id))
    answers = sum(len(entry.given) for entry in engine.labellings(store, study.id))
    given = f", {parts.counted(answers, 'answer')} given here" if answers else ""
    kept = f"its {parts.counted(runs, 'run')}{given}"
    st.write(f"**{parts.plain(study.name)}**, {kept} and its files are deleted for good.")
    with st.container(horizontal=True):
        if st.button("Delete", type="primary", icon=":material/delete:", key="delete_confirm"):
            with parts.explained():
                store.delete_study(study.id)
                if st.session_state.get("study") == study.id:
                    st.session_state.pop("study")
                    st.query_params.clear()
                st.rerun()
        if st.button("Keep", key="delete_cancel"):
            st.rerun()


def list_studies(store: engine.Store, opened: engine.Study) -> None:
    """List all studies, to open, rename or delete."""
    st.subheader("Studies", anchor=False)
    for study in store.studies()[:30]:
        with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"study_{study.id}"):
            with st.container(gap=None):
                st.markdown(f"**{parts.plain(study.name)}**")
                names = study.labels_file.name + (f" and {study.pool_file.name}" if study.pool_file else "")
                st.caption(f"{parts.plain(names)} · {study.created:%d %b %Y} · {study.question.population} texts")
            if study.id == opened.id:
                st.badge("Open", color="green", icon=":material/check:")
            else:
                st.button("Open", key=f"open_{study.id}", on_click=files.open_other, args=(study.id,))
            if st.button("Rename", key=f"rename_{study.id}", icon=":material/edit:", type="tertiary"):
                rename(store, study)
            if st.button("Delete", key=f"delete_{study.id}", icon=":material/delete:", type="tertiary"):
                delete(store, study)


# --------------------------------------------------------------------------- the page


def keep_study(
    store: engine.Store, labels: Any, pool: Any, roles: engine.Roles, question: engine.Question
) -> engine.Study:
    """Store the study and open it."""
    stem = labels.name.rsplit(".", 1)[0]
    name = stem if "labels" in st.query_params else study_name(store, stem)  # a variant keeps its name
    study = store.create_study(name, labels, pool, roles, question)
    files.drop_files()
    st.session_state["study"] = study.id
    return study


def rectify_own(store: engine.Store, study: engine.Study) -> None:
    """Rectify the predictions that came with the data, and go to the results; what was done is not done again."""
    run = parts.own_run(store, study) or engine.start_run(store, study, parts.RUN, parts.OWN_PREDICTIONS)
    st.switch_page("pages/results.py", query_params={"study": study.id, "run": run.id})


def study_name(store: engine.Store, stem: str) -> str:
    """Return the open study's name for a variant of it."""
    study_id = st.session_state.get("study")
    return next((study.name for study in store.studies() if study.id == study_id), stem)


def define(store: engine.Store, study: engine.Study) -> None:
    """Go from the files to the question, and on."""
    labels_file, pool_file = files_at_hand(store, study)
    labels = files.read_stored(labels_file.hash + labels_file.name, labels_file)
    if unlabelled.waits_for_labels(store, study, labels):
        files.show_files(None, labels_file, study)
        unlabelled.show_waiting(store, study, labels)
        return
    files.show_files(labels_file, pool_file, study)
    if labels.frame.shape[1] < 2:
        st.error(f"{parts.plain(labels.name)} has one column only, so it holds no labels.", icon=":material/error:")
        unlabelled.offer_labelling(labels_file)
        return
    pool = files.read_stored(pool_file.hash + pool_file.name, pool_file) if pool_file else None
    suffix = f"{labels_file.short}{pool_file.short if pool_file else ''}"
    # Where another study has taken the place of this one, a click on what was shown of it does nothing.
    asked_of = f"{study.id[:6]}{suffix}"
    st.subheader("Columns", anchor=False)
    roles = choose_roles(labels, pool, preset_roles(labels, pool, study), suffix)
    files.show_tables(labels, pool, roles)
    checks = engine.check_data(labels, pool, roles)
    st.subheader("Checks", anchor=False)
    if any(check.level == "error" for check in checks):
        files.show_checks(checks)
        if pool is None:
            unlabelled.offer_labelling(labels_file)
        with st.container(horizontal=True, horizontal_alignment="right"):
            st.button("Continue", type="primary", disabled=True, key="continue", help="Mend what is marked red first.")
        return
    data = prepared(f"{suffix} {roles}", labels, pool, roles)
    left, right = st.columns([1, 1], gap="medium")
    with left:
        files.show_checks(checks)
    with right:
        parts.chart(engine.label_histogram(data), "labels", f"Distribution of {data.n} labels", height=280)
    st.subheader("Question", anchor=False)
    asked = st.container()
    question = ask_question(data, study.question, asked_of)
    asked.markdown(f"#### {parts.plain(question.sentence(roles, data.n + data.m))}")
    own = bool(roles.prediction)
    if own:
        st.info(
            f"Your file brings predictions, {parts.plain(roles.prediction)}: they can be rectified without training.",
            icon=":material/lightbulb:",
        )
    with st.container(horizontal=True, horizontal_alignment="right"):
        ways = {"type": "secondary"} if own else {"type": "primary"}
        go_on = st.button(
            "Continue", icon=":material/arrow_forward:", icon_position="right", key=f"continue_{asked_of}", **ways
        )
        key = f"rectify_own_{asked_of}"
        at_once = own and st.button("Rectify them", type="primary", icon=":material/bolt:", key=key)
    if go_on:
        kept = keep_study(store, labels_file, pool_file, roles, question)
        st.switch_page("pages/predict.py", query_params={"study": kept.id})
    if at_once:
        rectify_own(store, keep_study(store, labels_file, pool_file, roles, question))


@st.cache_resource(max_entries=8, show_spinner="Preparing the data")
def prepared(key: str, _labels: Any, _pool: Any, _roles: engine.Roles) -> Any:
    """Prepare the data, once for each pair of files and roles."""
    return engine.prepare(_labels, _pool, _roles)


parts.heading(
    "Data", "Which texts people have labelled, which they have not, and what you want to know about all of them."
)
the_store = parts.open_store()
the_study = parts.open_study(the_store)
files.recall_draft()
if files.UNLABELLED in st.query_params:
    files.choose_pool(the_store)
    with parts.explained():
        unlabelled.define_pool(the_store, the_study)
else:
    files.choose_files(the_store)
    with parts.explained():
        define(the_store, the_study)
list_studies(the_store, the_study)
