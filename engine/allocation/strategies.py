"""The strategies with what each is predicted to give and to cost, and which of them to take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from engine.allocation.widths import Design, Floats
from engine.scaling import Law

# A wider interval by less than this is not worth any compute, nor a less familiar method.
_WORTHWHILE = 0.01
FEWEST_TO_RECTIFY = 10
_FEWEST_TO_FINETUNE = 8
_TRIED = 5000  # splits tried at once


@dataclass(frozen=True)
class StrategyPlan:
    """One strategy with what it is predicted to give and to cost.

    Attributes:
        name: "labels-only", "zero-shot", "split" or "cross-fit".
        finetune: Labels that train a model (under cross-fit: each fold's model).
        rectify: Labels that rectify it.
        folds: Number of models, 0 where none is trained.
        half_width: Predicted half-width of the interval, in units of the label.
        interval: 80% interval of the half-width, from the uncertainty of the law.
        labels_saved: 1 - (half_width / labels-only half-width)^2.
        cost: Labels and compute, in the user's currency.
        seconds: Compute time.
    """

    name: str
    finetune: int
    rectify: int
    folds: int
    half_width: float
    interval: tuple[float, float]
    labels_saved: float
    cost: float
    seconds: float


@dataclass(frozen=True)
class Costs:
    """Prices and times. Money in the user's currency, time in seconds.

    Attributes:
        per_label: Price of a label.
        per_gpu_hour: Price of an hour of compute.
        seconds_per_label: Training time for each label in a fit.
        seconds_per_thousand: Prediction time for a thousand texts.
    """

    per_label: float = 0.0
    per_gpu_hour: float = 0.0
    seconds_per_label: float = 0.0
    seconds_per_thousand: float = 0.0


def split_range(design: Design, finetune_minimum: int) -> tuple[int, int]:
    """Return the fewest and the most labels that may fine-tune under `split`."""
    high = design.n - FEWEST_TO_RECTIFY
    return min(max(finetune_minimum, _FEWEST_TO_FINETUNE), high), high


def best_split(law: Law, design: Design, finetune_minimum: int = 0) -> int:
    """Return the whole number s of fine-tuning labels with the smallest predicted half-width."""
    low, high = split_range(design, finetune_minimum)
    while True:
        candidates = np.unique(np.linspace(low, high, min(high - low + 1, _TRIED)).round())
        best = int(np.argmin(design.rectified(candidates, np.asarray(law.predict(candidates)))))
        if candidates.size == high - low + 1:
            return int(candidates[best])
        low, high = int(candidates[max(best - 1, 0)]), int(candidates[min(best + 1, candidates.size - 1)])


def strategy_records(
    law: Law, design: Design, costs: Costs, folds: int, finetune_minimum: int, zero_shot: Floats | None
) -> tuple[StrategyPlan, ...]:
    """Return the record of every strategy; `zero_shot` is (variance, low, high) or None."""
    s = best_split(law, design, finetune_minimum)
    fold_size = round(design.n * (folds - 1) / folds)
    fits: list[tuple[str, int, int, int, Floats]] = [
        ("labels-only", 0, design.n, 0, np.full(3, design.labels_only())),
        ("split", s, design.n - s, 1, design.rectified(s, law_bands(law, s))),
        ("cross-fit", fold_size, design.n, folds, design.rectified(0, law_bands(law, fold_size))),
    ]
    if zero_shot is not None:
        fits.insert(1, ("zero-shot", 0, design.n, 0, design.rectified(0, zero_shot)))
    return tuple(strategy_record(design, costs, *fit) for fit in fits)


def zero_shot_bands(variance: float | None, degrees_of_freedom: float | None) -> Floats | None:
    """The variance with its 80% interval, as (value, low, high)."""
    if variance is None or degrees_of_freedom is None:
        return None if variance is None else np.full(3, variance)
    ends = stats.chi2.ppf([0.9, 0.1], degrees_of_freedom)
    return variance * np.concatenate([[1.0], degrees_of_freedom / ends])


def law_bands(law: Law, s: int) -> Floats:
    """Return the law's residual variance at s with its 80% interval, as (value, low, high)."""
    low, high = law.interval(s)
    return np.array([law.predict(s), low, high], dtype=float)


def strategy_record(
    design: Design, costs: Costs, name: str, finetune: int, rectify: int, folds: int, half: Floats
) -> StrategyPlan:
    """Return a record from half-widths (value, low, high)."""
    seconds = folds * (costs.seconds_per_label * finetune + costs.seconds_per_thousand * design.m / 1000)
    return StrategyPlan(
        name=name,
        finetune=finetune,
        rectify=rectify,
        folds=folds,
        half_width=float(half[0]),
        interval=(float(half[1]), float(half[2])),
        labels_saved=float(1 - (half[0] / design.labels_only()) ** 2),
        cost=costs.per_label * design.n + costs.per_gpu_hour * seconds / 3600,
        seconds=float(seconds),
    )


def recommend(records: tuple[StrategyPlan, ...]) -> StrategyPlan:
    """Take the narrowest interval, but the simplest strategy among those that are as good as that."""
    best = min(record.half_width for record in records)
    simple_first = sorted(records, key=lambda r: ("labels-only", "zero-shot", "split", "cross-fit").index(r.name))
    return next(record for record in simple_first if record.half_width <= best * (1 + _WORTHWHILE))


def reason_for(chosen: StrategyPlan, records: tuple[StrategyPlan, ...]) -> str:
    """Say in a sentence why a strategy is recommended."""
    saved = f"{chosen.labels_saved:.0%}"
    if chosen.name == "labels-only":
        return "Do not fine-tune: no use of the model is predicted to narrow the interval by more than 1%."
    gain = f"it is predicted to save {saved} of the labels at the same interval width"
    if chosen.name == "zero-shot":
        return f"Rectify the predictions that came with the data on all {chosen.rectify} labels: {gain}, untrained."
    if chosen.name == "split":
        return (
            f"Fine-tune on {chosen.finetune} labels and rectify on the other {chosen.rectify}: {gain}, "
            "and more folds would not narrow it by 1%."
        )
    split = next(record for record in records if record.name == "split")
    wider = split.half_width / chosen.half_width - 1
    return (
        f"Cross-fit with {chosen.folds} folds, so that all {chosen.rectify} labels both train and rectify: {gain}; "
        f"the best split's would be {wider:.0%} wider."
    )
