"""Whether the pilot should open more labels: what knowing more would gain, against what opening them costs.

Every label that the pilot opens can still fine-tune or be cross-fitted, but can no longer rectify a split. So going on
gains a better choice and forecloses the splits with fewer fine-tuning labels; the draws of the law weigh both.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from engine.allocation.strategies import FEWEST_TO_RECTIFY, Costs, fold_size
from engine.allocation.widths import Design, Floats
from engine.scaling import Law

_WORTH = 0.005  # a gain in width below this is not worth more trials
_VAGUE = 0.25  # an 80% band of the width as wide as this share of it does not tell the user much
_QUICK = 60.0  # seconds of trials that may tell no more than how wide the interval will be
_SPLITS, _DRAWS = 24, 500


@dataclass(frozen=True)
class RampUpStep:
    """One step of the pilot.

    Attributes:
        opened: Labels that the pilot has opened.
        following: Labels that it would have opened after the next step; None where there is none.
        gain: Share of the interval's width (or of the labels' price, where compute has one) that knowing the law would
            gain at most, less what the foreclosed splits lose.
        band: Width of the 80% band of the best interval's width, as a share of it.
        goes_on: Whether the next step is taken.
    """

    opened: int
    following: int | None
    gain: float
    band: float
    goes_on: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary fit for JSON."""
        return asdict(self)


def weigh(
    law: Law,
    design: Design,
    *,
    opened: int,
    following: int | None,
    folds: int,
    costs: Costs,
    seconds: float,
    strategy: str = "auto",
    zero_shot_variance: float | None = None,
) -> RampUpStep:
    """Weigh another step of the pilot against stopping.

    Args:
        law: Fitted to the trials so far.
        design: Labels, pool, label variance.
        opened: Labels opened so far.
        following: Labels opened after another step, or None where there is none.
        folds: Number of folds K under cross-fit.
        costs: Prices and times.
        seconds: Compute time of the next step's trials.
        strategy: "split" or "cross-fit" where the user asks for it; with any other all are weighed.
        zero_shot_variance: Residual variance of predictions that came with the data, if any.
    """
    splits = _candidates(opened, following, design.n)
    losses, minimum = _losses(law, design, costs, folds, splits, strategy, zero_shot_variance)
    now = int(np.argmin(losses.mean(0)))
    later = losses[:, minimum >= (following or opened)]
    best = float(losses[:, now].mean())
    gain = (best - float(later.min(1).mean())) / abs(best) if later.size else -1.0
    low, middle, high = np.quantile(losses[:, now], [0.1, 0.5, 0.9])
    band = float((high - low) / abs(middle))
    price = max(_WORTH, costs.per_gpu_hour * seconds / 3600 / abs(best)) if costs.prices_compute else _WORTH
    vague = band > _VAGUE and gain >= -_WORTH / 10 and seconds <= _QUICK
    return RampUpStep(opened, following, gain, band, following is not None and (gain > price or vague))


def _candidates(opened: int, following: int | None, n: int) -> Floats:
    high = n - FEWEST_TO_RECTIFY
    grid = np.geomspace(max(min(opened, high), 1), max(high, 1), _SPLITS)
    return np.unique(np.append(grid, [min(following or opened, high), min(opened, high)]).round())


def _losses(
    law: Law,
    design: Design,
    costs: Costs,
    folds: int,
    splits: Floats,
    strategy: str,
    zero_shot_variance: float | None,
) -> tuple[Floats, Floats]:
    """What each choice loses under each draw, shape (draws, choices), and the labels that it lets the pilot open.

    The loss is the half-width; where compute has a price, compute less the labels saved, in money per plan.
    """
    size = fold_size(design.n, folds)
    step = max(len(law.draws) // _DRAWS, 1)
    curves = law.curves(np.append(splits, size))[::step]
    columns, fits, sizes, texts, minimum = [], [], [], [], []
    if strategy != "cross-fit":
        columns.append(design.rectified(splits, curves[:, :-1]))
        fits += [1] * len(splits)
        sizes += splits.tolist()
        texts += (design.n - splits + design.m).tolist()
        minimum += splits.tolist()
    if strategy != "split":
        columns.append(design.rectified(0, curves[:, -1:]))
        fits.append(folds)
        sizes.append(size)
        texts.append(design.n + design.m)
        minimum.append(np.inf)
    if strategy not in ("split", "cross-fit"):
        known = [design.labels_only()]
        if zero_shot_variance is not None:
            known.append(float(design.rectified(0, zero_shot_variance)))
        columns.append(np.tile(known, (len(curves), 1)))
        fits += [0] * len(known)
        sizes += [0] * len(known)
        texts += [0, costs.asked(design)][: len(known)]
        minimum += [np.inf] * len(known)
    half = np.hstack(columns)
    if costs.prices_compute:
        compute = [costs.compute(k, int(s), t) for k, s, t in zip(fits, sizes, texts, strict=True)]
        return np.array(compute) - costs.per_label * design.labels_alone(half), np.array(minimum)
    return half, np.array(minimum)
