"""A pool of which nothing is labelled: from the file to its labelling, instead of to the question."""

from typing import Any

import streamlit as st

import engine
from pages import files, labelling, parts, selecting

NEW_LABEL = "label"


def waits_for_labels(store: engine.Store, study: engine.Study, labels: Any) -> bool:
    """Whether the open study is a pool of which nothing, or too little, is labelled."""
    if "labels" in st.query_params:
        return False
    label = study.roles.label
    suspect = label not in labels.frame or bool(engine.labellings(store, study.id))
    return suspect and not parts.has_labels(study)


def show_waiting(store: engine.Store, study: engine.Study, pool: Any) -> None:
    """Show a study that waits to be labelled, and the way to its labelling."""
    files.show_tables(None, pool, study.roles)
    answered = sum(len(entry.given) for entry in engine.labellings(store, study.id))
    here = f" {answered} {'texts are' if answered != 1 else 'text is'} answered here so far." if answered else ""
    st.markdown(f"The file holds no labels, or too few.{here}")
    with st.container(horizontal=True, horizontal_alignment="right"):
        words = "Go on labelling" if answered else "Label texts"
        if st.button(words, type="primary", icon=":material/arrow_forward:", icon_position="right", key="label"):
            st.switch_page("pages/predict.py", query_params={"study": study.id})


def offer_labelling(file: Any) -> None:
    """Offer to label texts of a file that lacks labels."""
    st.button(
        "Label texts of this file here", icon=":material/edit_note:", key="label_file", on_click=files.without_labels,
        args=(file.hash,),
    )  # fmt: skip


def define_pool(store: engine.Store, opened: engine.Study) -> None:
    """Go from a pool of which nothing is labelled to its labelling; until then another study is open."""
    if "pool" not in st.query_params:
        st.markdown("Give all your texts. Say what may be answered about them, and label 32 on the next page.")
        return
    file = store.file(st.query_params["pool"])
    files.show_files(None, file, opened)
    pool = files.read_stored(file.hash + file.name, file)
    suffix, columns = file.short, [str(name) for name in pool.frame.columns]
    guess = engine.guess_roles(pool) if len(columns) > 1 else engine.Roles(columns[0], NEW_LABEL)
    text = files.role_box(st.columns(2)[0], "Text", "text", columns, guess.text, suffix)
    files.show_tables(None, pool, engine.Roles(text, NEW_LABEL))
    st.subheader("Answers", anchor=False)
    roles = engine.Roles(text, ask_name(pool, guess.label, suffix))
    with parts.explained():
        start(
            store, file, roles, selecting.ask_answers(suffix), engine.check_data(pool, None, roles, needs_labels=False)
        )


def ask_name(pool: Any, guess: str, suffix: str) -> str:
    """Ask what the label is to be called; a column that holds a few labels already is filled up."""
    begun = guess in pool.frame and 0 < int(pool.frame[guess].notna().sum()) < labelling.FEWEST
    name: str = st.columns(2)[0].text_input(
        "Name of the label", guess if begun else NEW_LABEL, key=f"named_{suffix}", max_chars=80, bind="query-params",
        help="What you say about a text, such as rating. A column of that name is filled up.",
    )  # fmt: skip
    return name.strip() or NEW_LABEL


def start(
    store: engine.Store, file: Any, roles: engine.Roles, answers: engine.Answers | None, checks: list[Any]
) -> None:
    """Show what was found in the file, and begin the labelling."""
    suffix = file.short
    with st.expander("Model and number of texts", icon=":material/tune:"):
        wishes = selecting.ask_draw(suffix, model=None)
    files.show_checks(checks)
    with st.container(horizontal=True, horizontal_alignment="right"):
        begin = st.button(
            f"Label {wishes['count']} texts", type="primary", icon=":material/arrow_forward:", icon_position="right",
            key="start_labelling", disabled=answers is None or any(check.level == "error" for check in checks),
        )  # fmt: skip
    if begin and answers:
        question = engine.Question("shares" if answers.classes else "mean")
        study = store.create_study(file.name.rsplit(".", 1)[0], file, None, roles, question)
        files.drop_files()
        selecting.begin(store, study, answers, wishes)
