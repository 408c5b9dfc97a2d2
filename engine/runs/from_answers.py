"""From answers to a study: labels old and new in one file, the rest of the pool in another."""

from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from engine.data import Dataset, Roles, prepare
from engine.data.matching import Parts, part
from engine.data.reading import Table
from engine.data.values import as_in_csv, as_numbers, as_text
from engine.runs.labelling import Labelling, Selection
from engine.runs.labelling_store import labellings
from engine.runs.states import Question, StoredFile, Study
from engine.runs.store import Store
from engine.runs.weighing import Old, weigh


def selected_table(study: Study, selection: Selection, labels: dict[int, str]) -> pd.DataFrame:
    """Return the chosen rows with all columns of the pool, a column of labels (blank until given), and confidence.

    Their words are such that a CSV file of the table can be read back.

    Args:
        study: The study whose pool the rows come from.
        selection: The chosen rows.
        labels: The labels so far, by row of the pool.
    """
    label = study.roles.label
    frame = _pool_frame(_parts(study)).iloc[list(selection.rows)].reset_index(drop=True)
    frame = frame.drop(columns=label, errors="ignore")
    frame[label] = [labels.get(row, "") for row in selection.rows]
    for name in frame.select_dtypes(exclude="number"):
        frame[name] = as_in_csv(frame[name].astype("str"))
    confidence = selection.confidence or ("",) * len(selection.rows)
    return frame.assign(**{_free("confidence", frame): confidence})


def labelled_study(store: Store, asked: Labelling) -> Study:
    """Store the study of all answers given about another study's pool: labels old and new, and the rest as pool.

    Raises:
        DataError: The answers are too few, or all the same.
    """
    study = store.study(asked.study_id)
    chosen = labellings(store, study.id)[::-1]
    draws = [(known.selection, len(known.labels)) for known in chosen if known.selection is not None]
    answers = dict(sorted((row, answer) for known in chosen for row, answer in known.labels.items()))
    parts = _parts(study)
    pool = _pool_frame(parts)
    rest = np.setdiff1d(np.arange(len(pool)), list(answers))
    new = pool.iloc[list(answers)].assign(**{study.roles.label: _typed(answers)})
    own = _stacked([parts.labels.frame.iloc[parts.labelled], new])
    other = pool.iloc[rest].drop(columns=study.roles.label, errors="ignore")
    roles, weights = study.roles, None
    skewed = study.skewed or any(selection.by_confidence and labelled for selection, labelled in draws)
    if skewed:
        before = [as_numbers(frame[roles.weight]) if roles.weight else np.ones(len(frame)) for frame in (own, other)]
        old: Old = "skewed" if study.skewed else "judged" if study.has_labels() else "random"
        weights = weigh(draws, (before[0], before[1]), np.array(list(answers), dtype=np.intp), rest, old=old)
    if weights is not None:
        name = roles.weight or _free("weight", own, other)
        roles = replace(roles, weight=name)
        own, other = (frame.assign(**{name: w}) for frame, w in zip((own, other), weights, strict=True))
    return _stored(store, study, roles, own, other, skewed=skewed and weights is None)


def _stored(store: Store, study: Study, roles: Roles, own: pd.DataFrame, other: pd.DataFrame, *, skewed: bool) -> Study:
    stem = re.sub(r", [\d,]+ labels$", "", study.name)
    names = [f"{stem}, labelled.parquet", f"{stem}, rest.parquet"]
    data = prepare(Table(own, names[0]), Table(other, names[1]), roles)
    labels, pool = (_file(store, name, frame) for name, frame in zip(names, (own, other), strict=True))
    question = _question(study.question, data)
    return store.create_study(f"{stem}, {data.n:,} labels", labels, pool, roles, question, skewed=skewed)


def _file(store: Store, name: str, frame: pd.DataFrame) -> StoredFile:
    buffer = BytesIO()
    frame.reset_index(drop=True).to_parquet(buffer, index=False)
    return store.save_file(name, buffer.getvalue())


def _question(asked: Question, data: Dataset) -> Question:
    """The question, or its like where the labels turned out to be classes instead of numbers, or the reverse."""
    if data.classes and asked.estimand in ("mean", "quantile"):
        return replace(asked, estimand="shares")
    if not data.classes and asked.estimand == "shares":
        return replace(asked, estimand="mean")
    return asked


# ------------------------------------------------------------------------- the rows


def _parts(study: Study) -> Parts:
    labels, pool = study.tables()
    return part(labels, pool, study.roles)


def _pool_frame(parts: Parts) -> pd.DataFrame:
    """The pool row by row, in the order of a data set's pool texts."""
    own = parts.labels.frame.iloc[parts.unlabelled]
    return own if parts.pool is None else _stacked([own, parts.pool.frame.iloc[parts.pool_rows]])


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Frames below each other, the empty ones left out; a column of numbers here and of words there holds words."""
    frames = [frame for frame in frames if len(frame)]
    columns = dict.fromkeys(name for frame in frames for name in frame)
    return pd.DataFrame({name: _column([frame.get(name, _blank(frame)) for frame in frames]) for name in columns})


def _blank(frame: pd.DataFrame) -> pd.Series[Any]:
    return pd.Series(np.nan, index=frame.index)


def _column(cells: list[pd.Series[Any]]) -> pd.Series[Any]:
    if all(is_numeric_dtype(column.dtype) or column.isna().all() for column in cells):
        return pd.concat([pd.to_numeric(column) for column in cells], ignore_index=True)
    words = [pd.Series(as_text(column), dtype=str) for column in cells]
    stacked = pd.concat(words, ignore_index=True)
    return stacked.mask(stacked == "")


def _typed(answers: dict[int, str]) -> list[float] | list[str]:
    """The answers as numbers where all are spelled as such are: of the classes 01 and 1.0 the spelling stays."""
    words = list(answers.values())
    numbers = as_numbers(pd.Series(words, dtype=str))
    as_spelled = np.isfinite(numbers).all() and words == [f"{number:.15g}" for number in numbers]
    return numbers.tolist() if as_spelled else words


def _free(name: str, *frames: pd.DataFrame) -> str:
    """The name, or one like it that no column has yet."""
    taken = {column for frame in frames for column in frame}
    return next(free for free in (name, *(f"{name} {number}" for number in range(2, 1000))) if free not in taken)
