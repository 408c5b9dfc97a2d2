"""Predicted variance and half-width of each strategy, from the residual variance its predictor will leave.

With tuned lambda the estimate's variance is that of the best linear use of the predictions, and of shares what the
labels of a rare class are too few to show. For "these" texts (labels and pool are all M rows) labelled rows are a
simple random sample; for a "larger" population the pool is a sample too, and its size limits what predictions can
give.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from engine.rectification.tuning import unseen_part
from engine.scaling.errors import FEWEST_FREEDOM, HEAVY_TAILS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """What is at hand: n labels, a pool of m texts, and what the estimate is to speak of.

    Attributes:
        n: Number of labels.
        m: Number of unlabelled texts.
        label_variance: Var(Y) in squared units of the label; of weighted rows that in which each counts by its squared
            weight, and residual variances likewise.
        population: "these" (labels and pool are everything) or "larger".
        confidence: Confidence level of the interval.
        design_effect: How many times as large weights of the rows make the variance: n sum w^2 / (sum w)^2 (Kish).
        shares: Share of each class, none of them 0 or 1; None for numbers.
        unit_share: Share of the labels that vary independently where weights let some count more: a variance of
            weighted rows is known as well as that of so many, (sum w^2)^2 / (n sum w^4).
        label_degrees_of_freedom: Of the label variance, as `engine.scaling.effective_freedom` tells them; None counts
            no luck of the labels.
        opened: Number of labels that it was measured on, 0 where unknown.
    """

    n: int
    m: int
    label_variance: float
    population: str
    confidence: float
    design_effect: float = 1.0
    shares: tuple[float, ...] | None = None
    unit_share: float = 1.0
    label_degrees_of_freedom: float | None = None
    opened: int = 0

    def rectified(self, finetune: int | Floats, residual_variance: float | Floats) -> Floats:
        """Return the half-width when `finetune` labels train the predictor and the others rectify it."""
        residual = np.minimum(np.asarray(residual_variance, dtype=float), self.label_variance)
        return self._half_width(finetune, residual, self.label_variance)

    def rectified_interval(self, finetune: int | Floats, bands: ArrayLike, level: float = 0.8) -> tuple[Floats, Floats]:
        """Return the ends of the half-width's interval from the residual variance with its own, (value, low, high).

        A residual variance above the label variance as measured says that the labels vary more than was measured. For
        a larger population the label variance counts beside it, and what the labels' luck does to one it does to both.
        """
        value, low, high = np.asarray(bands, dtype=float)
        luck = self._luck(finetune, level)
        low = value * np.exp(-np.hypot(np.log(value / np.minimum(low, value)), luck))
        high = value * np.exp(np.hypot(np.log(np.maximum(high, value) / value), luck))
        least = most = self.label_variance
        if self.population == "larger":
            _, least, most = variance_bands(self.label_variance, self.label_degrees_of_freedom, level)
        most = np.maximum(most, high)
        return self._half_width(finetune, np.minimum(low, least), least), self._half_width(finetune, high, most)

    def _luck(self, finetune: int | Floats, level: float) -> Floats:
        """The error of the log of a residual variance that labels of a split will show: the trials had others."""
        s = np.asarray(finetune, dtype=float)
        if self.label_degrees_of_freedom is None:
            return np.zeros_like(s)
        worth = self.label_degrees_of_freedom / (self.opened - 1) if self.opened > 1 else 1.0
        freedom = np.maximum(worth * (self.n - s - 2), 1.0)
        return np.where(s > 0, special.ndtri((1 + level) / 2) * np.sqrt(2 * HEAVY_TAILS / freedom), 0.0)

    def _half_width(self, finetune: int | Floats, residual: Floats, label_variance: float | Floats) -> Floats:
        s = np.asarray(finetune, dtype=float)
        rectify = np.maximum(self.n - s, 3.0)
        residual = residual + np.maximum(label_variance - residual, 0.0) * self._unseen(rectify)
        if self.population == "these":
            rows = self.n + self.m
            variance = ((rows - s) / rows) ** 2 * (1 - rectify / (rows - s)) * residual / rectify
        else:
            explained = 1 - residual / label_variance
            variance = label_variance / rectify * (1 - explained * self.m / (rectify + self.m))
        freedom, rows = np.maximum(rectify * self.unit_share - 2, 1.0), rectify - 2
        # What the tuned lambda has learnt from few labels; the residual variance has it of labels that count alike.
        variance = variance * (1 + 1 / freedom) / (1 + 1 / rows)
        return np.asarray(self._quantile(freedom) * np.sqrt(self.design_effect * variance))

    def _unseen(self, rectify: Floats) -> Floats | float:
        """The part of what predictions explain that the estimate leaves in its variance, since the labels are few."""
        if self.shares is None:
            return 0.0
        p = np.array(self.shares)
        return np.asarray(unseen_part(rectify[..., None], p) @ (p * (1 - p)) / (p * (1 - p)).sum())

    def labels_only(self) -> float:
        """Return the half-width of the plain mean of the n labels."""
        share = self.n / (self.n + self.m) if self.population == "these" else 0.0
        variance = (1 - share) * self.label_variance / self.n
        freedom = np.asarray(self.n * self.unit_share - 1.0)
        return float(self._quantile(freedom) * np.sqrt(self.design_effect * variance))

    def labels_alone(self, half_width: float | Floats) -> Floats:
        """Return about how many labels labels-only would need for half-widths, at most all texts."""
        labels = np.full(np.shape(half_width), float(self.n))
        for _ in range(2):  # the second time with the quantile of the labels that they are
            reach = np.asarray(half_width) / self._quantile(labels * self.unit_share - 1)
            variance = reach**2 / self.label_variance / self.design_effect
            if self.population == "these":
                variance = variance + 1 / (self.n + self.m)
            labels = 1 / np.maximum(variance, 1e-300)
        return np.asarray(labels)

    def _quantile(self, degrees_of_freedom: Floats) -> Floats:
        return np.asarray(special.stdtrit(np.maximum(degrees_of_freedom, 1.0), (1 + self.confidence) / 2))

    def with_labels(self, n: int) -> Design:
        """Return the design with n labels; the further labels are taken from the pool where it is everything."""
        m = max(self.n + self.m - n, 1) if self.population == "these" else self.m
        return replace(self, n=n, m=m)


def variance_bands(variance: float, degrees_of_freedom: float | None, level: float = 0.8) -> Floats:
    """Return a variance with its interval, (value, low, high); without degrees of freedom it is taken to be known."""
    if degrees_of_freedom is None:
        return np.full(3, variance)
    normal = max(degrees_of_freedom, FEWEST_FREEDOM) / HEAVY_TAILS
    tails = stats.chi2.ppf([(1 + level) / 2, (1 - level) / 2], normal)
    return np.asarray(variance * np.concatenate([[1.0], normal / tails]))
