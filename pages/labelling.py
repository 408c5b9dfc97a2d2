"""Labelling on the page: one text at a time, every answer stored at once."""

from html import escape

import streamlit as st

import engine
from pages import parts, selecting

ENOUGH = 20  # so many labels show a curve before all chosen texts are labelled
FEWEST = 10  # with fewer there is no study
DIGITS = "0123456789"
LETTERS = "ABDEFGHIJKLMNOPQ"  # Streamlit keeps C and R for itself
# Short texts take as much room as longer ones and very long ones scroll, so that the answers stay where they are.
TEXT_STYLE = (
    "white-space:pre-wrap;overflow-wrap:anywhere;font-size:1.2rem;line-height:1.6;"
    "min-height:5.8rem;max-height:36vh;overflow:auto"
)


def show(store: engine.Store, study: engine.Study, asked: engine.Labelling | None) -> None:
    """Show a labelling: how its texts are chosen, then one text after the other."""
    if asked is None:
        st.write("Nothing is labelled yet. Say what may be answered, and some texts are chosen for you to label.")
        answers = selecting.ask_answers(study.id)
        key = f"begin_{study.id}"
        if st.button("Choose texts to label", type="primary", key=key, disabled=answers is None) and answers:
            selecting.begin(store, study, answers, {"model": engine.DEFAULT_MODEL})
    elif asked.selection is None:
        selecting.await_texts(store, study, asked)
    else:
        label_texts(store, study, asked)


def label_texts(store: engine.Store, study: engine.Study, asked: engine.Labelling) -> None:
    """Show the texts one at a time; only this part of the page is drawn anew by an answer."""
    st.subheader(f"Label {asked.count} texts", anchor=False)

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
    st.caption(parts.plain(f"{asked.selection.why} {meaning(study, asked.selection)}"))


def meaning(study: engine.Study, chosen: engine.Selection) -> str:
    """Say what the draw means for an estimate."""
    if not chosen.by_confidence:
        return ""
    if lack_others(study):
        return "They are no random sample: for an estimate, label texts drawn at random too."
    return "In an estimate a weight lets their labels count for such texts alone."


def lack_others(study: engine.Study) -> bool:
    """Whether there are no labels but those of texts that the model is least sure of."""
    return study.skewed or not parts.has_labels(study)


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
    refused, fault = st.session_state.get("refused", (None, ""))
    if refused == row:
        st.error(parts.plain(fault), icon=":material/error:")
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
    may = asked.answers
    words = f"A number from {may.low:g} to {may.high:g}"
    if may.open:
        words = "Another number" if may.choices else "A number"
    # The browser would keep a number out of bounds to itself, so none are set here; each text has a box of its own.
    with st.form(f"typed_{row}", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        st.number_input(
            words, step=1.0 if may.whole else 0.1, format="%g", value=None, key=f"typed_number_{row}", width=320
        )
        st.form_submit_button("Save", key="save_typed", on_click=answer_typed, args=(store, asked, row))


def answer(store: engine.Store, labelling_id: str, row: int, given: str | float | None) -> None:
    """Store an answer at once and go on with the first text that has none; one that is refused is told beside it."""
    st.session_state.pop("refused", None)
    try:
        engine.record_answer(store, labelling_id, row, given)
    except engine.LabelwiseError as fault:
        st.session_state["refused"] = row, str(fault)
    else:
        st.session_state.pop("gone_back", None)


def answer_typed(store: engine.Store, asked: engine.Labelling, row: int) -> None:
    """Store a number that was typed, if one was; one beyond the scale is stored too, and said to be beyond it."""
    number = st.session_state.get(f"typed_number_{row}")
    if number is not None:
        answer(store, asked.id, row, number)
        low, high = asked.answers.low, asked.answers.high
        if "refused" not in st.session_state and not low <= number <= high:
            st.toast(f"{number:g} is saved, though it does not lie between {low:g} and {high:g}; Back changes it.")


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
        few = f" from {parts.counted(least, 'label')} on" if total < least else ""
        if st.button(
            f"See the curve{few}", type="secondary" if few else "primary", icon=":material/show_chart:",
            key=f"see_curve_{asked.id}", disabled=bool(few),
        ):  # fmt: skip
            see_curve(store, asked)
        st.download_button(
            "Download these texts", key="download_texts", icon=":material/download:", on_click="ignore",
            data=lambda: engine.selected_table(study, asked.selection, asked.labels).to_csv(index=False).encode(),
            file_name=f"{study.name} to label.csv", mime="text/csv",
            help="To be labelled elsewhere: fill the column of the label and give the file on the Data page.",
        )  # fmt: skip
        if not asked.left:
            choose_more(store, study, asked)
        if parts.has_labels(study) and st.button("Back to the curve", key="to_curve", type="tertiary"):
            st.switch_page("pages/predict.py", query_params={"study": study.id})
        if st.button("Delete", key=f"delete_labelling_{asked.id}", icon=":material/delete:", type="tertiary"):
            confirm_delete(store, asked)


def choose_more(store: engine.Store, study: engine.Study, asked: engine.Labelling) -> None:
    """Offer more texts; at random where an estimate would lack such."""
    at_random = asked.selection.by_confidence and lack_others(study)
    words = "Choose more texts at random" if at_random else "Choose more texts"
    if st.button(words, key=f"choose_more_{asked.id}", icon=":material/add:"):
        wishes = {"model": asked.settings.model, "count": asked.settings.count, "draw": asked.settings.draw}
        selecting.begin(store, study, asked.answers, wishes | ({"draw": "random"} if at_random else {}))


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
    st.write(f"The answers given here, {len(asked.given)} in all, are deleted for good. Studies made of them stay.")
    with st.container(horizontal=True):
        if st.button("Delete", type="primary", icon=":material/delete:", key="delete_labelling_confirm"):
            selecting.delete(store, asked.id)
            st.rerun()
        if st.button("Keep", key="delete_labelling_cancel"):
            st.rerun()
