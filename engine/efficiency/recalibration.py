"""Learning the levels of intervals from tasks left out.

Every left-out curve is asked about after each pilot of `PILOTS` that it holds. For each later score, the area and the
labels to 90% the least level is found whose central interval holds the truth; with u the share of draws below it that
is |2u - 1|. The level learned is the 0.8 (1 + 1/n) quantile over n curves, which for a next curve alike covers 0.8 or
more (split conformal prediction), shrunk to 0.8 as if 30 further curves had found the posterior right: the standard
error of a coverage on 69 curves, 0.05, is as large as what is corrected. 30 was chosen by looking at tasks left out;
with 10 the coverages in the benchmark move by up to 0.02.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from scipy.interpolate import make_interp_spline

from engine.efficiency.curve import LARGEST, SIZES, areas, arrivals, position
from engine.efficiency.levels import COVERAGE, Recalibration
from engine.efficiency.process import Seen
from engine.efficiency.scale import Floats, Kind
from engine.efficiency.tasks import task_area

PILOTS = ((0,), (0, 16, 32), (0, 50), (0, 50, 100, 200), (0, 50, 100, 200, 500), (0, 50, 100, 200, 500, 1000))
FRACTION = 0.9  # of the way, for the labels that the level is learned on
_PRIOR_CURVES = 30.0
_DRAWS = 256
_ALIKE = 1e-9

Draws = Callable[[Seen, int], tuple[tuple[int, ...], Floats, Floats]]
Least = dict[str, Floats]  # least levels that hold the truth: of "scores", "area" and "labels"
LeastLevels = Mapping[tuple[int, ...], Least]  # after each pilot


@dataclass(frozen=True)
class Whole:
    """A curve measured to its end, against which intervals are held.

    Attributes:
        kind: Kind of the scores.
        scores: Scores by number of labels.
        ceiling: The best score that can be hoped for, or None.
        test_size: Number of texts that each score was measured on, or None.
        area: The published area.
        arrival: Where 90% of the way is reached, as x = log2 n / log2 5000; 1 where it is not.
    """

    kind: Kind
    scores: dict[int, float]
    ceiling: float | None
    test_size: float | None
    area: float
    arrival: float

    @classmethod
    def of(cls, task: pd.DataFrame, kind: Kind) -> Self | None:
        """Return the curve of a task (n, score, ceiling, test_size), or None where it has no area."""
        area = task_area(task)
        if area is None:
            return None
        scores = {int(n): float(score) for n, score in zip(task["n"], task["score"], strict=True)}
        ceiling, size = (None if pd.isna(task[c].iloc[0]) else float(task[c].iloc[0]) for c in ("ceiling", "test_size"))
        known = [n for n in scores if n == 0 or SIZES[1] <= n <= LARGEST]
        x, _ = arrivals(known, np.array([[scores[n] for n in known]]), ceiling, FRACTION)
        return cls(kind, scores, ceiling, size, area, float(x[0]))

    def least_levels(self, draws: Draws) -> LeastLevels:
        """Return the least levels that hold the truth after each pilot, `draws` being those of a calibration."""
        return {pilot: self._after(pilot, draws) for pilot in PILOTS if set(pilot) <= set(self.scores)}

    def _after(self, pilot: tuple[int, ...], draws: Draws) -> Least:
        scores = {n: score for n, score in self.scores.items() if n in pilot}
        seen = Seen.of(self.kind, scores, ceiling=self.ceiling, test_size=self.test_size)
        sizes, curves, _ = draws(seen, _DRAWS)
        later = [n for n in self.scores if pilot[-1] < n <= LARGEST and n >= SIZES[1]]
        at = np.asarray(make_interp_spline(position(sizes), curves, k=1, axis=1)(position(later)), dtype=float)
        used = [n for n in sizes if n in SIZES or n in pilot]
        arrived, _ = arrivals(used, curves[:, np.searchsorted(sizes, used)], self.ceiling, FRACTION)
        return {
            "scores": _least(at, np.array([self.scores[n] for n in later])),
            "area": _least(areas(sizes, curves, self.ceiling)[:, None], np.array([self.area])),
            "labels": _least(arrived[:, None], np.array([self.arrival])),
        }


def together(checks: Sequence[LeastLevels]) -> LeastLevels:
    """Return the least levels of several checks of one curve as one."""
    return {
        pilot: {what: np.concatenate([check[pilot][what] for check in checks]) for what in found}
        for pilot, found in checks[0].items()
    }


def recalibrate(curves: Sequence[LeastLevels]) -> Recalibration:
    """Return the levels that covered 80% of curves left out, from their least levels after each pilot."""
    stages = {pilot: [curve[pilot] for curve in curves if pilot in curve] for pilot in PILOTS}
    known = {pilot: found for pilot, found in stages.items() if found}
    learned = [
        tuple(_level([least[what] for least in found]) for found in known.values())
        for what in ("scores", "area", "labels")
    ]
    return Recalibration(tuple(pilot[-1] for pilot in known), *learned)


def _level(least: Sequence[Floats]) -> float:
    """The level of the conformal choice, shrunk to 0.8."""
    n, values = len(least), np.concatenate(least)
    found = float(np.quantile(values, min(COVERAGE * (1 + 1 / n), 1.0))) if len(values) else COVERAGE
    return (n * found + _PRIOR_CURVES * COVERAGE) / (n + _PRIOR_CURVES)


def _least(draws: Floats, truth: Floats) -> Floats:
    """The least level whose central interval holds the truth, shape (m,), from draws of shape (k, m)."""
    below, up_to = (draws < truth - _ALIKE).mean(axis=0), (draws <= truth + _ALIKE).mean(axis=0)
    return np.asarray(np.maximum(np.maximum(2 * below - 1, 1 - 2 * up_to), 0.0))
