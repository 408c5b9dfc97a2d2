"""Tables of measured curves and of CoS-Low, checked once and taken apart by task."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.efficiency.curve import LARGEST, SIZES, area
from engine.efficiency.process import Seen
from engine.efficiency.scale import ACCURACY, Kind
from engine.errors import DataError

_NUMBERS = ["n", "score", "ceiling", "test_size"]


def read_tasks(curves: pd.DataFrame, kind: Kind) -> dict[str, pd.DataFrame]:
    """Return the table of each task, sorted by n: n, score, ceiling, test_size.

    Args:
        curves: One row a measured score: task, n, score and, where known, ceiling and test_size.
        kind: Kind of the scores. An explained variance is 0 at n = 0 where that is missing.

    Raises:
        DataError: A column is missing or a value lies outside its range.
    """
    _require("curves", curves, ["task", "n", "score"])
    table = curves.reindex(columns=["task", *_NUMBERS]).reset_index(drop=True)
    if table.empty:
        raise DataError("curves holds no row; a calibration needs the curves of several tasks.")
    table[_NUMBERS] = table[_NUMBERS].apply(pd.to_numeric, errors="coerce").astype(float)
    _check_values(curves, table, 0.0 if kind == ACCURACY else -np.inf)
    parts = {str(task): part.sort_values("n").reset_index(drop=True) for task, part in table.groupby("task")}
    return parts if kind == ACCURACY else {task: _from_zero(part) for task, part in parts.items()}


def read_coslow(coslow: pd.DataFrame) -> dict[str, float]:
    """Return CoS-Low by task, from the columns task and coslow.

    Raises:
        DataError: A column is missing or a value is no cosine.
    """
    _require("coslow", coslow, ["task", "coslow"])
    for task, value in zip(coslow["task"], coslow["coslow"], strict=True):
        if not -1 <= value <= 1:
            raise DataError(f"coslow holds {value} for {task}, but a cosine lies between -1 and 1.")
    return {str(task): float(value) for task, value in zip(coslow["task"], coslow["coslow"], strict=True)}


def task_area(task: pd.DataFrame) -> float | None:
    """Return the published area of a task's curve; None without a zero-shot score or where it never rises.

    Sizes below the first published one do not count, and a size that was not tried keeps the score before it.
    """
    score = task[task["n"].eq(0) | task["n"].between(SIZES[1], LARGEST)].set_index("n")["score"]
    if len(score) < 2 or score.index[0] != 0:
        return None
    zero, top = float(score.iloc[0]), float(np.nanmax([task["ceiling"].iloc[0], score.max()]))
    if not top > zero:
        return None
    every = score.reindex(np.union1d(score.index, SIZES)).ffill()
    return area(every.index, every, zero_shot=zero, ceiling=top)


def task_group(task: str) -> str:
    """Return what names the tasks that share texts: the name up to the first dash."""
    return task.partition("-")[0]


def see_task(task: pd.DataFrame, kind: Kind, area: float | None = None) -> Seen:
    """Return a task's curve, with AUC' where there is one, as a process sees it."""
    ceiling, size = (None if pd.isna(task[name].iloc[0]) else float(task[name].iloc[0]) for name in _NUMBERS[2:])
    scores = {int(n): float(score) for n, score in zip(task["n"], task["score"], strict=True)}
    return Seen.of(kind, scores, ceiling=ceiling, test_size=size, area=area)


def _check_values(given: pd.DataFrame, table: pd.DataFrame, least: float) -> None:
    """Refuse the first row with a value outside its range, by the words of its rule."""
    bounds = "at most 1" if np.isinf(least) else "between 0 and 1"
    rules = {
        "task": ("there only once with the same n", table["task"].notna() & ~table.duplicated(["task", "n"])),
        "n": ("a whole number from 0", table["n"].ge(0) & table["n"].mod(1).eq(0)),
        "score": (bounds, table["score"].le(1) & table["score"].ge(least) & table["score"].gt(-np.inf)),
        "ceiling": (bounds, table["ceiling"].isna() | (table["ceiling"].le(1) & table["ceiling"].gt(-np.inf))),
        "test_size": ("above 0", table["test_size"].isna() | table["test_size"].gt(0)),
    }
    for column, (rule, holds) in rules.items():
        if not holds.all():
            row = int(np.argmin(holds.to_numpy()))
            raise DataError(f"Row {row + 1} of curves has {given[column].iloc[row]!s} as {column}; it must be {rule}.")


def _from_zero(task: pd.DataFrame) -> pd.DataFrame:
    """The task with the score of no training, which is 0 by construction, in front."""
    if task["n"].iloc[0] == 0:
        return task
    return pd.concat([task.head(1).assign(n=0.0, score=0.0), task], ignore_index=True)


def _require(name: str, table: pd.DataFrame, columns: list[str]) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise DataError(f"{name} has no column {missing[0]!r}; it needs {', '.join(columns)}.")
