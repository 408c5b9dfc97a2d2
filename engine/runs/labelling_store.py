"""Labellings in the store: each answer is written at once, so that nothing given is ever lost."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError

from engine.errors import RunError
from engine.runs.answers import Answers
from engine.runs.labelling import Given, Labelling, Selection
from engine.runs.schema import AnswerRow, LabellingRow
from engine.runs.states import Run, RunSettings, Study
from engine.runs.store import Store, now


def begin_labelling(
    store: Store, study: Study, answers: Answers, *, model: str, count: int = 32, draw: str = "confidence"
) -> Labelling:
    """Store a labelling of texts that a run of kind "select" with its settings is to choose.

    One that was begun with the same wishes and holds no answer yet is returned instead, so that a double click begins
    one.

    Raises:
        ArgumentError: `count` or `draw` is not one of those there are.
    """
    before = labellings(store, study.id)
    seed = max((labelling.settings.seed + 1 for labelling in before), default=0)
    settings = RunSettings(model=model, count=count, draw=draw, answers=answers, seed=seed)
    for known in before:
        if not known.given and replace(known.settings, seed=seed) == settings:
            return known
    row = LabellingRow(
        id=secrets.token_hex(4),
        study_id=study.id,
        settings=settings.to_dict(),
        created=now(),
    )
    with store.session() as session, session.begin():
        session.add(row)
    return open_labelling(store, row.id)


def open_labelling(store: Store, labelling_id: str) -> Labelling:
    """Return a labelling with its answers so far.

    Raises:
        RunError: The store holds no such labelling.
    """
    with store.session() as session:
        row = session.get(LabellingRow, labelling_id)
        if row is None:
            raise RunError(f"There is no labelling {labelling_id}; begin one on the Predict page.")
        given = session.scalars(select(AnswerRow).where(AnswerRow.labelling_id == labelling_id)).all()
    return _labelling(row, given)


def labellings(store: Store, study_id: str) -> tuple[Labelling, ...]:
    """Return the labellings of a study, newest first."""
    query = select(LabellingRow).where(LabellingRow.study_id == study_id).order_by(LabellingRow.created.desc())
    with store.session() as session:
        rows = session.scalars(query).all()
        ids = [row.id for row in rows]
        given = session.scalars(select(AnswerRow).where(AnswerRow.labelling_id.in_(ids))).all()
    return tuple(_labelling(row, [answer for answer in given if answer.labelling_id == row.id]) for row in rows)


def _labelling(row: LabellingRow, given: Sequence[AnswerRow]) -> Labelling:
    return Labelling(
        id=row.id,
        study_id=row.study_id,
        settings=RunSettings.from_dict(row.settings),
        selection=Selection.from_dict(row.selection) if row.selection else None,
        given={answer.row: Given(answer.answer, answer.at) for answer in given},
        created=row.created,
    )


def selecting_run(store: Store, asked: Labelling) -> Run | None:
    """Return the run that selects, or selected, the texts of a labelling; None where none was started."""
    runs = store.runs(asked.study_id)
    return next((run for run in runs if (run.kind, run.settings) == ("select", asked.settings)), None)


def hand_over(store: Store, run: Run, selection: Selection) -> None:
    """Give what a run selected to the labelling that waits for it, if one does: the run may then be deleted."""
    for waiting in labellings(store, run.study_id):
        if waiting.selection is None and waiting.settings == run.settings:
            own = update(LabellingRow).where(LabellingRow.id == waiting.id)
            with store.session() as session, session.begin():
                session.execute(own.values(selection=selection.to_dict()))


def record_answer(store: Store, labelling_id: str, row: int, answer: str | float | None) -> None:
    """Store the answer about one text, in place of an earlier one; None skips the text.

    Raises:
        ArgumentError: The answer is not one of those that may be given.
        RunError: There is no such labelling, or the text is none of its own.
    """
    asked = open_labelling(store, labelling_id)
    if asked.selection is None or row not in asked.selection.rows:
        raise RunError(f"Row {row} is no text of this labelling; reload the page.")
    values = {"answer": None if answer is None else asked.answers.read(answer), "at": now()}
    try:
        with store.session() as session, session.begin():
            session.merge(AnswerRow(labelling_id=labelling_id, row=row, **values))
    except IntegrityError:  # another window gave its answer in the same moment
        this = (AnswerRow.labelling_id == labelling_id) & (AnswerRow.row == row)
        with store.session() as session, session.begin():
            session.execute(update(AnswerRow).where(this).values(**values))


def delete_labelling(store: Store, labelling_id: str) -> None:
    """Delete a labelling with its answers; studies made of them stay.

    Raises:
        RunError: Its texts are still being selected.
    """
    run = selecting_run(store, open_labelling(store, labelling_id))
    if run is not None and not run.is_finished:
        raise RunError("The texts are still being selected; stop that run before deleting the labelling.")
    if run is not None:
        store.delete_run(run.id)
    with store.session() as session, session.begin():
        session.execute(delete(AnswerRow).where(AnswerRow.labelling_id == labelling_id))
        session.execute(delete(LabellingRow).where(LabellingRow.id == labelling_id))
