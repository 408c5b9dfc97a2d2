"""The data-efficiency curve: its published area, and the curve with its uncertainty.

Ground: Je & Raffel, arXiv 2512.24991. The normalised score g(n) lies between the zero-shot score (0) and the ceiling
(1): the best score up to 5,000 labels or human agreement, whichever is higher. With x = log2 max(n, 1) / log2 5000 the
area under g over x is the AUC. Their closed form of the curve is g = x^p with p = (1 - AUC) / AUC.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from engine.efficiency.levels import Levels, tails
from engine.efficiency.scale import Kind
from engine.errors import ArgumentError

Floats = NDArray[np.float64]

LARGEST = 5000
SIZES = (0, 50, 100, 200, 500, 1000, 2500, 5000)


@dataclass(frozen=True)
class Efficiency:
    """A data-efficiency curve with its uncertainty.

    Attributes:
        auc: Median area under the normalised curve, between 0 and 1.
        interval: 80% interval of the area.
        coslow: CoS-Low, or None where it was not measured.
        calibrated: Whether what was learned on this model, not on others, turned CoS-Low into an area.
        scores: Pilot scores by number of labels; empty for a pure prediction.
        family: Name of the calibration that the curve rests on.
        kind: Kind of the scores: "accuracy" or "explained variance".
        ceiling: The best score that can be hoped for, or None for the best of each draw up to 5,000 labels; 1 for a
            pure prediction, whose scores are normalised from untrained (0) to best (1).
        sizes: Numbers of labels at which the draws are given, rising from 0: the learned sizes and the pilot's.
        draws: Posterior draws of the score at `sizes`, shape (1024, len(sizes)); each is one training run's way up,
            with its dips.
        levels: Levels of the central intervals of the draws that are reported as 80% intervals.
        rests_on_data: Whether anything of the user's texts and labels is behind the curve: a score, or CoS-Low where
            that is used.
        tasks: Number of the model's tasks on which CoS-Low was tried; 0 where it was not tried, or this is unknown.
    """

    auc: float
    interval: tuple[float, float]
    coslow: float | None
    calibrated: bool
    scores: dict[int, float]
    family: str
    kind: Kind
    ceiling: float | None
    sizes: tuple[int, ...]
    draws: Floats
    levels: Levels = field(default_factory=Levels)
    rests_on_data: bool = True
    tasks: int = 0

    @property
    def measured(self) -> bool:
        """Whether something was trained: scores other than that of no training are behind the curve."""
        return any(n > 0 for n in self.scores)

    def curve(self, sizes: ArrayLike = SIZES) -> pd.DataFrame:
        """Return the score at each number of labels: n, median, low and high (80%).

        The median never falls: whoever has more labels may use fewer. The band is that of a single training run on n
        labels, widened where the median would leave it. Between the sizes of the draws all three run straight over
        log n, and beyond the last one they go on flat.
        """
        n = np.atleast_1d(np.asarray(sizes, dtype=float))
        low, median, high = np.quantile(self.draws, tails(self.levels.scores), axis=0)
        median = np.maximum.accumulate(median)
        bands = {"median": median, "low": low, "high": np.maximum(high, median)}
        x, known = position(n), position(self.sizes)
        return pd.DataFrame({"n": n.astype(int), **{name: np.interp(x, known, band) for name, band in bands.items()}})

    def labels_to(self, fraction: float) -> dict[str, float]:
        """Return the labels that reach a fraction of the way from zero-shot to ceiling: median, low, high (80%).

        They are read off the running maximum of each draw at the published sizes and the pilot's, up to 5,000, where
        what is known ends: a value of 5,000 means 5,000 or more. `reached` is the probability that 5,000 labels do it.

        Raises:
            ArgumentError: The fraction does not lie above 0 and up to 1.
        """
        if not 0 < fraction <= 1:
            raise ArgumentError(f"fraction is {fraction}, but it must lie above 0 and up to 1, such as 0.9.")
        sizes = [n for n in self.sizes if n <= LARGEST and (n in SIZES or n in self.scores)]
        x, reached = arrivals(sizes, self.draws[:, np.searchsorted(self.sizes, sizes)], self.ceiling, fraction)
        low, median, high = (float(n) for n in np.quantile(LARGEST**x, tails(self.levels.labels)))
        return {"median": median, "low": low, "high": high, "reached": float(reached.mean())}

    def words_to(self, fraction: float) -> tuple[str, str, str]:
        """Return `labels_to` as words: median, low and high, of which two digits mean something.

        Raises:
            ArgumentError: As for `labels_to`.
        """
        to = self.labels_to(fraction)
        return _words(to["median"]), _words(to["low"]), _words(to["high"])

    def summary(self) -> str:
        """Say in a sentence how far labels will carry."""
        source = "Measured on the pilot" if self.measured else "Predicted, nothing trained yet"
        median, low, high = self.words_to(0.9)
        band = low if low == high else f"{low} to {high}"
        about = "" if median.startswith("over") else "about "
        return f"{source}: {about}{median} labels to 90% of what this model can reach (80% interval {band})."

    def usual_words(self) -> str:
        """Say where nothing of the user's data is behind the curve, without the full stop; else empty."""
        if self.rests_on_data:
            return ""
        tasks = f"{self.tasks:,} other tasks" if self.tasks else "other tasks"
        of = f"{tasks} with this model" if self.calibrated else f"{tasks} and other models"
        return f"This is the usual course of {of}, into which your texts and labels do not enter"

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary fit for JSON."""
        return {
            "auc": self.auc,
            "interval": list(self.interval),
            "coslow": self.coslow,
            "calibrated": self.calibrated,
            "measured": self.measured,
            "scores": {str(n): score for n, score in self.scores.items()},
            "family": self.family,
            "kind": self.kind,
            "ceiling": self.ceiling,
            "curve": self.curve().to_dict("records"),
            "labels_to": {"0.9": self.labels_to(0.9)},
            "sizes": list(self.sizes),
            "draws": self.draws.round(5).tolist(),
            "levels": asdict(self.levels),
            "rests_on_data": self.rests_on_data,
            "tasks": self.tasks,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild an efficiency from `to_dict`."""
        scores = {int(n): score for n, score in values["scores"].items()}
        kept = {name: values[name] for name in ("auc", "coslow", "calibrated", "family", "kind", "ceiling")}
        return cls(
            **kept,
            interval=tuple(values["interval"]),
            scores=scores,
            sizes=tuple(values["sizes"]),
            draws=np.asarray(values["draws"], dtype=float),
            levels=Levels(**values.get("levels", {})),
            rests_on_data=values.get("rests_on_data", True),  # a curve stored earlier does not tell
            tasks=values.get("tasks", 0),
        )


def area(sizes: ArrayLike, scores: ArrayLike, *, zero_shot: float, ceiling: float) -> float:
    """Return the published area under a learning curve.

    The trapezoid of the normalised score over x = log2 max(n, 1) / log2 5000, after a running maximum; a curve that
    ends before 5000 goes on flat. The published ceiling is the best score up to 5000 or human agreement, whichever
    is higher.

    Raises:
        ArgumentError: The ceiling is not above the zero-shot score.
    """
    if not ceiling > zero_shot:
        raise ArgumentError(f"ceiling is {ceiling}, but it must be above the zero-shot score, {zero_shot}.")
    n, score = np.asarray(sizes, dtype=float), np.asarray(scores, dtype=float)
    g = np.maximum.accumulate((score[np.argsort(n)] - zero_shot) / (ceiling - zero_shot))
    x = position(np.sort(n))
    return float(np.trapezoid(g, x) + g[-1] * max(1 - x[-1], 0.0))


def areas(sizes: ArrayLike, draws: Floats, ceiling: Floats | float | None = None) -> Floats:
    """Return the published area of each draw, shape (draws,), from its scores at the published sizes."""
    columns = np.searchsorted(np.asarray(sizes), SIZES)
    g = normalised(draws[:, columns], ceiling)
    return np.asarray(np.trapezoid(g, position(SIZES), axis=1))


def normalised(draws: Floats, ceiling: Floats | float | None = None) -> Floats:
    """Return the running maximum of each draw between its first score (0) and its ceiling (1), shape of the draws.

    The ceiling of a draw is its best score or the given one, whichever is higher; a draw that never rises stays at 0.
    """
    zero, best = draws[:, 0], draws.max(axis=1)
    top = best if ceiling is None else np.maximum(best, ceiling)
    way = np.where(top > zero, top - zero, 1.0)
    return np.maximum.accumulate((draws - zero[:, None]) / way[:, None], axis=1)


def arrivals(
    sizes: ArrayLike, draws: Floats, ceiling: Floats | float | None, fraction: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return where each draw first reaches the fraction, as x, and whether it does; both of shape (draws,)."""
    g = normalised(draws, ceiling)
    return crossing(position(sizes), g, fraction), g[:, -1] >= fraction


def crossing(x: Floats, g: Floats, fraction: float) -> Floats:
    """Return where each rising row of g first reaches the fraction, straight between the points of x; 1 if never."""
    after = np.argmax(g >= fraction, axis=1)
    before, rows = np.maximum(after - 1, 0), np.arange(len(g))
    rise = g[rows, after] - g[rows, before]
    part = np.divide(fraction - g[rows, before], rise, out=np.ones(len(g)), where=rise > 0)
    found = x[before] + part * (x[after] - x[before])
    return np.asarray(np.where(g[:, -1] >= fraction, np.minimum(found, 1.0), 1.0))


def closed_form(auc: float, sizes: ArrayLike = SIZES) -> Floats:
    """Return the published closed form of the normalised curve, x^p with p = (1 - AUC) / AUC."""
    return np.asarray(np.minimum(position(sizes), 1.0) ** ((1 - auc) / auc))


def position(n: ArrayLike) -> Floats:
    """Return x = log2 max(n, 1) / log2 5000."""
    return np.asarray(np.log2(np.maximum(np.asarray(n, dtype=float), 1)) / np.log2(LARGEST))


def _words(labels: float) -> str:
    if labels >= LARGEST:
        return f"over {LARGEST:,}"
    step = 10 ** max(int(np.log10(max(labels, 1))) - 1, 0)
    return f"{max(round(labels / step) * step, 1):,}"
