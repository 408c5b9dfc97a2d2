"""From answers to a study: labels old and new in one file, the rest of the pool in another.

Texts chosen because the model was least sure of them are no random sample. Each label then counts for as many texts
as it stands for: those of the tenth with the lowest confidence (old and new together) for that tenth, the others for
the rest. This is post-stratification; the weights enter the estimate as sampling weights do.
"""

from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from engine.data import Dataset, Roles, prepare
from engine.data.matching import Parts, part, with_label_column
from engine.data.reading import Table
from engine.data.values import as_in_csv, as_numbers, as_text
from engine.runs.labelling import Labelling, Selection
from engine.runs.labelling_store import labellings
from engine.runs.states import Question, StoredFile, Study
from engine.runs.store import Store

_FEWEST_REST = 10  # so many labels must speak for the texts that the model is surer of
Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


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
    chosen = [known for known in labellings(store, study.id) if known.selection is not None]
    answers = dict(sorted((row, answer) for known in chosen for row, answer in known.labels.items()))
    parts = _parts(study)
    pool = _pool_frame(parts)
    rest = np.setdiff1d(np.arange(len(pool)), list(answers))
    new = pool.iloc[list(answers)].assign(**{study.roles.label: _typed(answers)})
    own = _stacked([parts.labels.frame.iloc[parts.labelled], new])
    other = pool.iloc[rest].drop(columns=study.roles.label, errors="ignore")
    drawn = [known.selection for known in chosen if known.selection and known.selection.by_confidence and known.labels]
    weights = _weights(study, drawn, list(answers), len(parts.labelled), rest)
    roles = study.roles
    if weights is not None:
        roles, own, other = _weighted(roles, own, other, weights)
    return _stored(store, study, roles, own, other, skewed=weights is None and (study.skewed or bool(drawn)))


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
    return part(with_label_column(labels, study.roles.label), pool, study.roles)


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
    numbers = as_numbers(pd.Series(list(answers.values()), dtype=str))
    return numbers.tolist() if np.isfinite(numbers).all() else list(answers.values())


def _free(name: str, *frames: pd.DataFrame) -> str:
    """The name, or one like it that no column has yet."""
    taken = {column for frame in frames for column in frame}
    return next(free for free in (name, *(f"{name} {number}" for number in range(2, 1000))) if free not in taken)


# ----------------------------------------------------------------------- the weights


def _weights(
    study: Study, drawn: list[Selection], answered: list[int], n: int, rest: Rows
) -> tuple[Floats, Floats] | None:
    """Weights of labels and pool that make up for the draw; None where it was at random or cannot be made up for.

    Old labels of a skewed study stand for texts that nobody knows any more: they count nothing.
    """
    if not drawn and not study.skewed:
        return None
    k, m = len(answered), len(answered) + len(rest)
    known = np.repeat([not study.skewed, True], [n, k])
    lowest = np.unique(np.concatenate([np.empty(0, np.intp), *(selection.lowest for selection in drawn)])).astype(int)
    hard = np.concatenate([np.zeros(n, bool), np.isin(answered, lowest)])
    hard[[row for selection in drawn for row in selection.hard_labels]] = True
    if (known & ~hard).sum() < _FEWEST_REST:
        return None
    share = len(lowest) / max((selection.read for selection in drawn), default=m)
    texts = known[:n].sum() + m
    hard_texts = (known & hard)[:n].sum() + m * share
    each = np.where(hard, hard_texts / max((known & hard).sum(), 1), (texts - hard_texts) / (known & ~hard).sum())
    weights = each * known
    return weights / weights.mean(), _pool_weights(drawn, np.isin(rest, lowest), m, share)


def _pool_weights(drawn: list[Selection], hard: NDArray[np.bool_], m: int, share: float) -> Floats:
    """Where all of the pool was read it is known how many more of the hard texts than of the others became labels."""
    if not hard.any() or hard.all() or any(selection.read < m for selection in drawn):
        return np.ones(len(hard))
    weights = np.where(hard, m * share / hard.sum(), m * (1 - share) / (~hard).sum())
    return np.asarray(weights / weights.mean())


def _weighted(
    roles: Roles, own: pd.DataFrame, other: pd.DataFrame, weights: tuple[Floats, Floats]
) -> tuple[Roles, pd.DataFrame, pd.DataFrame]:
    """The frames with these weights, times those that they had."""
    name = roles.weight or _free("weight", own, other)
    before = [as_numbers(frame[name]) if roles.weight else np.ones(len(frame)) for frame in (own, other)]
    own, other = (
        frame.assign(**{name: old * factor}) for frame, old, factor in zip((own, other), before, weights, strict=True)
    )
    return replace(roles, weight=name), own, other
