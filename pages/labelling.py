"""Labelling on the page: what may be answered, one text at a time, every answer stored at once."""

from html import escape
from typing import Any

import streamlit as st

import engine
from pages import parts

ENOUGH = 20  # so many labels show a curve before all chosen texts are labelled
FEWEST = 10  # with fewer there is no study
KINDS = {"rating": "A rating", "classes": "One of some classes"}
DIGITS = "0123456789"
LETTERS = "ABDEFGHIJKLMNOPQ"  # Streamlit keeps C and R for itself
# Short texts take as much room as longer ones and very long ones scroll, so that the answers stay where they are.
TEXT_STYLE = (
    "white-space:pre-wrap;overflow-wrap:anywhere;font-size:1.2rem;line-height:1.6;"
    "min-height:5.8rem;max-height:36vh;overflow:auto"
)
DRAWS = {"confidence": "Where the model is least sure", "random": "Anywhere, at random"}


# ------------------------------------------------------------------------ the wishes


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


def ask_draw(suffix: str, *, model: str | None) -> dict[str, Any]:
    """Ask how many texts and how they are drawn; the model too where none is named."""
    asked: dict[str, Any] = {"model": model}
    if model is None:
        asked["model"] = st.text_input("Model", engine.DEFAULT_MODEL, key=f"model_{suffix}", max_chars=200).strip()
    left, right = st.columns([1, 2])
    asked["count"] = left.number_input("Texts", 10, 200, 32, key=f"count_{suffix}")
    asked["draw"] = right.segmented_control(
        "Drawn", list(DRAWS), default="confidence", format_func=DRAWS.get, key=f"draw_{suffix}", required=True,
        help="Hard texts tell best how far labels carry. Labels drawn at random serve the estimate best.",
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


# ------------------------------------------------------------- beside a study's curve


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
        data = parts.dataset(study)
        wishes = ask_draw(study.id, model=model)
        st.caption(f"The texts come from the {data.m:,} of the pool; old and new labels become a study of their own.")
        if st.button(f"Label {wishes['count']} more", key="label_more", icon=":material/edit_note:"):
            begin(store, study, engine.Answers.of(data), wishes)


# --------------------------------------------------------------------- one labelling


def show(store: engine.Store, study: engine.Study, asked: engine.Labelling | None) -> None:
    """Show a labelling: how its texts are chosen, then one text after the other."""
    if asked is None:
        st.write("Nothing is labelled yet. Say what may be answered, and some texts are chosen for you to label.")
        answers = ask_answers(study.id)
        if st.button("Choose texts to label", type="primary", key="begin", disabled=answers is None) and answers:
            begin(store, study, answers, {"model": engine.DEFAULT_MODEL})
    elif asked.selection is None:
        await_texts(store, study, asked)
    else:
        label_texts(store, study, asked)


def await_texts(store: engine.Store, study: engine.Study, asked: engine.Labelling) -> None:
    """Follow the run that chooses the texts; start one where there is none."""
    run = engine.selecting_run(store, asked) or engine.start_run(store, study, parts.SELECT, asked.settings)
    if not run.is_finished:
        st.write("Choosing the texts. This takes seconds, with a large pool up to a minute.")
        parts.follow(store, run, key="follow_selection")
        st.skeleton(height=280)
        return
    row = parts.ended_badly(store, run, key="selection")
    row.button("Delete this labelling", key="delete_failed", on_click=delete, args=(store, asked.id))


def label_texts(store: engine.Store, study: engine.Study, asked: engine.Labelling) -> None:
    """Show the texts one at a time; only this part of the page is drawn anew by an answer."""
    st.subheader(f"Label {asked.count} texts", anchor=False)
    st.caption(parts.plain(f"{asked.selection.why} {meaning(study, asked.selection)}"))

    @st.fragment(key="labelling")
    def work() -> None:
        with parts.explained():
            now = engine.open_labelling(store, asked.id)
            show_progress(now)
            place = position(now)
            if place < now.count:
                show_text(study, now, place)
                ask(store, study, now, place)
            else:
                show_end(store, study, now)
            show_ways(store, study, now)

    work()


def meaning(study: engine.Study, chosen: engine.Selection) -> str:
    """Say what the draw means for an estimate."""
    if not chosen.by_confidence:
        return ""
    if study.skewed or not parts.has_labels(study):
        return "They are no random sample: for an estimate, label texts drawn at random too."
    return "In an estimate a weight lets their labels count for such texts alone."


def show_progress(asked: engine.Labelling) -> None:
    """Show how many texts are done and how long the others take at the pace so far."""
    done = len(asked.given)
    each = f"{max(round(asked.seconds_each), 1)} s each"
    if done == 0:
        words = f"{asked.count} texts, about {parts.duration(asked.count * asked.seconds_each)} at {each}"
    else:
        left = f", about {parts.duration(asked.left * asked.seconds_each)} left at {each}" if asked.left else ""
        words = f"{done} of {asked.count}{left}"
    st.progress(done / asked.count, text=words)


def position(asked: engine.Labelling) -> int:
    """Return which text is shown: the first without an answer, or one gone back to."""
    name, place = st.session_state.get("gone_back", (None, 0))
    return min(max(place, 0), asked.next) if name == asked.id else asked.next


def show_text(study: engine.Study, asked: engine.Labelling, place: int) -> None:
    """Show one text as it is, nothing in it taken for Markdown."""
    with st.container(border=True, key="text_to_label"):
        st.html(f'<div dir="auto" tabindex="0" style="{TEXT_STYLE}">{escape(asked.selection.texts[place])}</div>')


def ask(store: engine.Store, study: engine.Study, asked: engine.Labelling, place: int) -> None:
    """Ask for the answer: a button for each where they are few, else a number to type."""
    row = asked.selection.rows[place]
    given = asked.given.get(row)
    keys = shortcuts(asked.answers)
    said = ", ".join(f".st-key-answer_{row}_{choice} kbd" for choice, key in keys.items() if choice == key)
    if said:
        st.html(f"<style>{said} {{display: none}}</style>")  # such a button says its key already
    st.markdown(f"**{parts.plain(study.roles.label)}** :gray[of text {place + 1}]")
    with st.container(horizontal=True, key="answers"):
        for choice in asked.answers.choices:
            st.button(
                parts.plain(choice), key=f"answer_{row}_{choice}", shortcut=keys.get(choice), on_click=answer,
                args=(store, asked.id, row, choice), width=64 if len(choice) < 3 else "content",
                type="primary" if given and given.answer == choice else "secondary",
            )  # fmt: skip
    if asked.answers.others:
        type_number(store, asked, row)
    with st.container(horizontal=True):
        st.button("Back", key="back", shortcut="Left", type="tertiary", disabled=place == 0, on_click=go_to,
                  args=(asked.id, place - 1))  # fmt: skip
        if given is None:
            st.button("Skip", key=f"skip_{row}", shortcut="Right", type="tertiary", on_click=answer,
                      args=(store, asked.id, row, None))  # fmt: skip
        else:
            kept = "skipped" if given.answer is None else parts.plain(given.answer)
            st.button(f"Keep {kept}", key=f"keep_{row}", shortcut="Right", type="tertiary", on_click=go_to,
                      args=(asked.id, place + 1))  # fmt: skip


def shortcuts(answers: engine.Answers) -> dict[str, str]:
    """Return the key of each answer: of a number the digit that it is, else a letter; of a class its place."""
    if answers.classes:
        return dict(zip(answers.classes, DIGITS[1:] + DIGITS[0], strict=False))
    digits = set() if answers.low < 0 else set(DIGITS)  # -1 under the key 1 would mislead
    letters = iter(LETTERS)
    return {choice: choice if choice in digits else next(letters) for choice in answers.choices}


def type_number(store: engine.Store, asked: engine.Labelling, row: int) -> None:
    """Ask for a number that has no button."""
    low, high, whole = asked.answers.low, asked.answers.high, asked.answers.whole
    bounds = (int(low), int(high), 1) if whole else (float(low), float(high), 0.1)
    with (
        st.form("typed", clear_on_submit=True, border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        st.number_input(
            f"A number from {low:g} to {high:g}", min_value=bounds[0], max_value=bounds[1], step=bounds[2], value=None,
            key="typed_number", width=320,
        )  # fmt: skip
        st.form_submit_button("Save", key="save_typed", on_click=answer_typed, args=(store, asked.id, row))


def answer(store: engine.Store, labelling_id: str, row: int, given: str | float | None) -> None:
    """Store an answer at once and go on with the first text that has none."""
    with parts.explained():
        engine.record_answer(store, labelling_id, row, given)
        st.session_state.pop("gone_back", None)


def answer_typed(store: engine.Store, labelling_id: str, row: int) -> None:
    """Store a number that was typed, if one was."""
    number = st.session_state.get("typed_number")
    if number is not None:
        answer(store, labelling_id, row, number)


def go_to(labelling_id: str, place: int) -> None:
    """Show another text."""
    st.session_state["gone_back"] = (labelling_id, place)


# -------------------------------------------------------------------------- the ways on


def show_end(store: engine.Store, study: engine.Study, asked: engine.Labelling) -> None:
    """Say that every text has its answer."""
    skipped = asked.count - len(asked.labels)
    st.success(f"Done: {len(asked.labels)} labelled, {skipped} skipped.", icon=":material/check_circle:")
    last = (asked.id, asked.count - 1)
    st.button("Back", key="back", shortcut="Left", type="tertiary", on_click=go_to, args=last)


def show_ways(store: engine.Store, study: engine.Study, asked: engine.Labelling) -> None:
    """Offer the curve once there are labels enough, and the file, the next texts and the end of this labelling."""
    least = 1 if parts.has_labels(study) else FEWEST if not asked.left else ENOUGH
    total = sum(len(entry.labels) for entry in engine.labellings(store, study.id))
    st.space("small")
    with st.container(horizontal=True, vertical_alignment="center"):
        few = f" from {least} labels on" if total < least else ""
        if st.button(
            f"See the curve{few}", type="secondary" if few else "primary", icon=":material/show_chart:",
            key="see_curve", disabled=bool(few),
        ):  # fmt: skip
            see_curve(store, asked)
        st.download_button(
            "Download these texts", key="download_texts", icon=":material/download:", on_click="ignore",
            data=lambda: engine.selected_table(study, asked.selection, asked.labels).to_csv(index=False).encode(),
            file_name=f"{study.name} to label.csv", mime="text/csv",
            help="To be labelled elsewhere: fill the column of the label and give the file on the Data page.",
        )  # fmt: skip
        if not asked.left and st.button("Choose more texts", key="choose_more", icon=":material/add:"):
            wishes = {"model": asked.settings.model, "count": asked.settings.count, "draw": asked.settings.draw}
            begin(store, study, asked.answers, wishes)
        if st.button("Delete", key="delete_labelling", icon=":material/delete:", type="tertiary"):
            confirm_delete(store, asked)


def see_curve(store: engine.Store, asked: engine.Labelling) -> None:
    """Make a study of the answers and the rest of the pool, and go to its curve."""
    made = engine.labelled_study(store, asked)
    if parts.latest(store, made, parts.EFFICIENCY) is None:
        engine.start_run(store, made, parts.EFFICIENCY, engine.RunSettings(model=asked.settings.model))
    st.session_state["study"] = made.id
    st.switch_page("pages/predict.py", query_params={"study": made.id})


@st.dialog("Delete labelling")
def confirm_delete(store: engine.Store, asked: engine.Labelling) -> None:
    """Ask whether the answers are really to go."""
    st.write(f"{len(asked.given)} answers are deleted for good. Studies made of them stay.")
    with st.container(horizontal=True):
        if st.button("Delete", type="primary", icon=":material/delete:", key="delete_labelling_confirm"):
            delete(store, asked.id)
            st.rerun()
        if st.button("Keep", key="delete_labelling_cancel"):
            st.rerun()


def delete(store: engine.Store, labelling_id: str) -> None:
    """Delete a labelling with its answers."""
    with parts.explained():
        engine.delete_labelling(store, labelling_id)
        st.query_params.pop("labelling", None)
