"""What is to be labelled: what may be answered, how the texts are drawn, and the run that chooses them."""

from dataclasses import replace
from typing import Any

import streamlit as st

import engine
from pages import parts

KINDS = {"rating": "A rating", "classes": "One of some classes"}
DRAWS = {"confidence": "Least sure", "random": "At random"}


def ask_answers(suffix: str) -> engine.Answers | None:
    """Ask what may be answered about a text; None as long as no class is named."""
    kind = st.segmented_control(
        "The answer about a text is", list(KINDS), default="rating", format_func=KINDS.get, key=f"kind_{suffix}",
        required=True, bind="query-params",
    )  # fmt: skip
    if kind == "classes":
        names = st.text_input(
            "Classes, separated by commas", key=f"classes_{suffix}", placeholder="praise, complaint, question",
            bind="query-params", max_chars=1000,
        )  # fmt: skip
        classes = tuple(name.strip() for name in names.split(",") if name.strip())
        return engine.Answers(classes) if classes else None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        low = st.number_input("From", value=1.0, key=f"low_{suffix}", bind="query-params", width=120, format="%g")
        high = st.number_input("To", value=5.0, key=f"high_{suffix}", bind="query-params", width=120, format="%g")
        fractions = st.checkbox("Fractions too, such as 2.5", key=f"fractions_{suffix}", bind="query-params")
    return engine.Answers(low=low, high=high, whole=not fractions)


def ask_scale(seen: engine.Answers, suffix: str) -> dict[str, float]:
    """Ask how far the scale of the numbers goes, from what was seen to begin with; nothing of classes."""
    if seen.classes:
        return {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        low = st.number_input("Lowest", value=float(seen.low), key=f"lowest_{suffix}", width=120, format="%g")
        high = st.number_input("Highest", value=float(seen.high), key=f"highest_{suffix}", width=120, format="%g")
        st.caption(f"The labels so far lie between {seen.low:g} and {seen.high:g}; say so if the scale goes further.")
    return {"low": low, "high": high}


def ask_draw(suffix: str, *, model: str | None) -> dict[str, Any]:
    """Ask how many texts and how they are drawn; the model too where none is named.

    The first labels are to tell how far labels carry, further ones serve the estimate.
    """
    asked: dict[str, Any] = {"model": model}
    if model is None:
        asked["model"] = st.text_input("Model", engine.DEFAULT_MODEL, key=f"model_{suffix}", max_chars=200).strip()
    left, right = st.columns([1, 2])
    asked["count"] = left.number_input("Texts", 10, 200, 32, key=f"count_{suffix}")
    first = "confidence" if model is None else "random"
    asked["draw"] = right.segmented_control(
        "Drawn", list(DRAWS), default=first, format_func=DRAWS.get, key=f"draw_{suffix}", required=True,
        help="Texts that the model is least sure of tell best how far labels carry, where CoS-Low is used; those drawn "
        "at random serve the estimate best.",
    )  # fmt: skip
    return asked


def begin(store: engine.Store, study: engine.Study, answers: engine.Answers, wishes: dict[str, Any]) -> None:
    """Begin a labelling, let its texts be chosen, and go to it."""
    begun = engine.begin_labelling(store, study, answers, **wishes)
    if begun.selection is None:
        engine.start_run(store, study, parts.SELECT, begun.settings)
    st.session_state["study"] = study.id
    st.switch_page("pages/predict.py", query_params={"study": study.id, "labelling": begun.id})


def current(store: engine.Store, study: engine.Study) -> engine.Labelling | None:
    """Return the labelling that the address names, else the study's newest."""
    known = engine.labellings(store, study.id)
    named = next((entry for entry in known if entry.id == st.query_params.get("labelling")), None)
    return named or next(iter(known), None)


def offer(store: engine.Store, study: engine.Study, model: str) -> None:
    """Offer to go on with a labelling, or to label more texts of the pool."""
    asked = current(store, study)
    if asked is not None and (asked.selection is None or asked.left):
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f"Labelling: **{len(asked.given)} of {asked.count}** texts answered")
            address = {"study": study.id, "labelling": asked.id}
            if st.button("Go on labelling", key="go_on", icon=":material/edit_note:"):
                st.switch_page("pages/predict.py", query_params=address)
        return
    with st.expander("Label more texts here", icon=":material/edit_note:"):
        try:
            data = parts.dataset(study)
        except engine.DataError as error:  # the curve needs no pool, so that this is no failure of the page
            st.info(parts.plain(str(error)))
            return
        seen = engine.Answers.of(data)
        wishes = ask_draw(study.id, model=model)
        scale = ask_scale(seen, study.id)
        st.caption(f"The texts come from the {data.m:,} of the pool; old and new labels become a study of their own.")
        if st.button(f"Label {wishes['count']} more", key=f"label_more_{study.id}", icon=":material/edit_note:"):
            with parts.explained():
                begin(store, study, replace(seen, **scale), wishes)


def await_texts(store: engine.Store, study: engine.Study, asked: engine.Labelling) -> None:
    """Follow the run that chooses the texts; start one where there is none."""
    run = engine.selecting_run(store, asked) or engine.start_run(store, study, parts.SELECT, asked.settings)
    if not run.is_finished:
        st.write("Choosing the texts. This takes seconds, with a large pool up to a minute.")
        parts.follow(store, run, key="follow_selection")
        st.skeleton(height=280)
        return
    if engine.open_labelling(store, asked.id).selection is not None:
        st.rerun()  # the run ended while the page was being drawn
    row = parts.ended_badly(store, run)
    row.button("Delete this labelling", key="delete_failed", on_click=delete, args=(store, asked.id))


def delete(store: engine.Store, labelling_id: str) -> None:
    """Delete a labelling with its answers."""
    with parts.explained():
        engine.delete_labelling(store, labelling_id)
        st.query_params.pop("labelling", None)
