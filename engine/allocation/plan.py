"""The plan: the strategies side by side, the split of the labels, and which one to take.

The split follows Wang, Ye & Zhao (arXiv 2511.19486), whose objective (a s^-alpha + b) / (n - s) is the limit of an
infinite pool and lambda = 1; here the pool is finite, lambda is tuned, the labels that fitted the law are paid for, and
doing without fine-tuning is an answer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import stats

from engine.allocation.widths import Design, Floats
from engine.errors import ArgumentError
from engine.scaling import Law

# A wider interval by less than this is not worth any compute, nor a less familiar method.
_WORTHWHILE = 0.01
_FLAT = 0.02
_FEWEST_TO_RECTIFY = 10
_FEWEST_TO_FINETUNE = 8


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


@dataclass(frozen=True)
class Plan:
    """The strategies side by side. Made by `plan`.

    Attributes:
        law: The law that the widths rest on; None where no trial was made.
        design: Labels, pool, label variance, population, confidence.
        strategies: One record for each strategy.
        recommended: Name of the recommended strategy.
        why: The reason in a sentence.
        half_width: The user's target, or None.
    """

    law: Law
    design: Design
    costs: Costs
    folds: int
    finetune_minimum: int
    zero_shot_variance: float | None
    zero_shot_degrees_of_freedom: float | None
    half_width: float | None
    strategies: tuple[StrategyPlan, ...]
    recommended: str
    why: str

    @property
    def n(self) -> int:
        """Number of labels."""
        return self.design.n

    @property
    def m(self) -> int:
        """Number of texts in the pool."""
        return self.design.m

    def __getitem__(self, name: str) -> StrategyPlan:
        """Return the record of a strategy by its name."""
        for record in self.strategies:
            if record.name == name:
                return record
        raise ArgumentError(f"{name!r} is not in this plan; it has {', '.join(r.name for r in self.strategies)}.")

    def at(self, s: int) -> StrategyPlan:
        """Return the record of a split with s fine-tuning labels."""
        return _record(
            self.design, self.costs, "split", s, self.n - s, 1, self.design.rectified(s, _bands(self.law, s))
        )

    def replanned(
        self,
        *,
        n: int | None = None,
        folds: int | None = None,
        half_width: float | None = None,
        costs: Costs | None = None,
    ) -> Plan:
        """Return the plan with other wishes, or for another number of labels; the law stays.

        Args:
            n: Number of labels; further ones are taken from the pool where it is everything.
            folds: Number of folds K under cross-fit.
            half_width: The user's target; None for no target.
            costs: Prices and times.
        """
        design = self.design.with_labels(self.n if n is None else n)
        return plan(
            self.law,
            n=design.n,
            m=design.m,
            label_variance=design.label_variance,
            population=design.population,
            confidence=design.confidence,
            folds=folds or self.folds,
            finetune_minimum=self.finetune_minimum,
            zero_shot_variance=self.zero_shot_variance,
            zero_shot_degrees_of_freedom=self.zero_shot_degrees_of_freedom,
            half_width=half_width,
            costs=costs or self.costs,
        )

    @cached_property
    def splits(self) -> Floats:
        """The numbers of fine-tuning labels that can be chosen under `split`, at most about 400 of them."""
        low, high = _split_range(self.design, self.finetune_minimum)
        return np.unique(np.linspace(low, high, min(high - low + 1, 400)).round())

    def width(self, s: float | Floats) -> Any:
        """Return the predicted half-width when s labels fine-tune and n - s rectify (a number for a number)."""
        half = self.design.rectified(np.asarray(s, dtype=float), self.law.predict(s))
        return float(half) if np.ndim(s) == 0 else half

    def width_interval(self, s: float | Floats, level: float = 0.8) -> tuple[Any, Any]:
        """Return the interval of that half-width from the uncertainty of the law."""
        low, high = self.law.interval(s, level)
        ends = [self.design.rectified(np.asarray(s, dtype=float), end) for end in (low, high)]
        return (float(ends[0]), float(ends[1])) if np.ndim(s) == 0 else (ends[0], ends[1])

    def regret(self, s: float | Floats) -> Any:
        """Return how much wider the interval of a split at s is than that of the best split, as a share."""
        return self.width(s) / float(self.width(self["split"].finetune)) - 1

    @cached_property
    def flat_region(self) -> tuple[int, int]:
        """The range of s whose half-width is within 2% of the best split's."""
        near = self.splits[self.regret(self.splits) <= _FLAT]
        return int(near.min()), int(near.max())

    def labels_needed(self, half_width: float) -> int | None:
        """Return the fewest labels with which the best strategy reaches a half-width; None if none does.

        Raises:
            ArgumentError: The half-width is not above zero.
        """
        return _fewest(lambda n: _best(self, n), half_width, self.design)

    def labels_only_needed(self, half_width: float) -> int | None:
        """Return the fewest labels with which labels-only reaches a half-width; None if the pool ends before.

        Raises:
            ArgumentError: The half-width is not above zero.
        """
        return _fewest(lambda n: self.design.with_labels(n).labels_only(), half_width, self.design)

    def to_frame(self) -> pd.DataFrame:
        """Return the strategies as a table, one row each."""
        return pd.DataFrame([asdict(record) for record in self.strategies])

    def summary(self) -> str:
        """Return the recommendation and its reason."""
        return self.why

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary fit for JSON; `from_dict` rebuilds the plan."""
        return {
            "n": self.n,
            "m": self.m,
            "recommended": self.recommended,
            "why": self.why,
            "strategies": [asdict(record) for record in self.strategies],
            "flat_region": list(self.flat_region),
            "label_variance": self.design.label_variance,
            "population": self.design.population,
            "confidence": self.design.confidence,
            "law": self.law.to_dict(),
            "costs": asdict(self.costs),
            "folds": self.folds,
            "finetune_minimum": self.finetune_minimum,
            "zero_shot_variance": self.zero_shot_variance,
            "zero_shot_degrees_of_freedom": self.zero_shot_degrees_of_freedom,
            "half_width": self.half_width,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a plan from `to_dict`."""
        records = (StrategyPlan(**{**row, "interval": tuple(row["interval"])}) for row in values["strategies"])
        return cls(
            law=Law.from_dict(values["law"]),
            design=Design(*(values[key] for key in ("n", "m", "label_variance", "population", "confidence"))),
            costs=Costs(**values["costs"]),
            folds=values["folds"],
            finetune_minimum=values["finetune_minimum"],
            zero_shot_variance=values["zero_shot_variance"],
            zero_shot_degrees_of_freedom=values["zero_shot_degrees_of_freedom"],
            half_width=values["half_width"],
            strategies=tuple(records),
            recommended=values["recommended"],
            why=values["why"],
        )


def plan(
    law: Law,
    *,
    n: int,
    m: int,
    label_variance: float,
    population: str = "larger",
    confidence: float = 0.95,
    folds: int = 10,
    finetune_minimum: int = 0,
    zero_shot_variance: float | None = None,
    zero_shot_degrees_of_freedom: float | None = None,
    half_width: float | None = None,
    costs: Costs | None = None,
) -> Plan:
    """Predict the interval of every strategy and recommend one.

    Args:
        law: Residual variance against fine-tuning labels.
        n: Number of labels.
        m: Number of texts in the pool.
        label_variance: Var(Y), in squared units of the label.
        population: "these" or "larger" (see `Design`).
        confidence: Confidence level.
        folds: Number of folds K under cross-fit.
        finetune_minimum: Labels already spent on the pilot; they can fine-tune but not rectify.
        zero_shot_variance: Residual variance of predictions that came with the data, where there are any.
        zero_shot_degrees_of_freedom: Of that variance; gives its half-width an interval.
        half_width: The user's target, if any.
        costs: Prices and times.

    Raises:
        ArgumentError: n, m or a variance is too small to plan with, or another value lies outside its range.
    """
    _check(n, m, label_variance, population, folds)
    _check_options(confidence, finetune_minimum, zero_shot_variance, half_width)
    design, costs = Design(n, m, label_variance, population, confidence), costs or Costs()
    zero_shot = _zero_shot_bands(zero_shot_variance, zero_shot_degrees_of_freedom)
    records = _records(law, design, costs, folds, finetune_minimum, zero_shot)
    recommended = _recommend(records)
    return Plan(
        law=law,
        design=design,
        costs=costs,
        folds=folds,
        finetune_minimum=finetune_minimum,
        zero_shot_variance=zero_shot_variance,
        zero_shot_degrees_of_freedom=zero_shot_degrees_of_freedom,
        half_width=half_width,
        strategies=records,
        recommended=recommended.name,
        why=_reason(recommended, records),
    )


def _check(n: int, m: int, label_variance: float, population: str, folds: int) -> None:
    if n < 2 * _FEWEST_TO_RECTIFY:
        raise ArgumentError(f"n is {n}; a plan needs at least {2 * _FEWEST_TO_RECTIFY} labels.")
    if m < 1:
        raise ArgumentError(f"m is {m}; a plan needs a pool of at least one text.")
    if not (np.isfinite(label_variance) and label_variance > 0):
        raise ArgumentError(f"label_variance is {label_variance}; it must be finite and above zero.")
    if population not in ("these", "larger"):
        raise ArgumentError(f"population is {population!r}; it must be 'these' or 'larger'.")
    if not 2 <= folds <= n:
        raise ArgumentError(f"folds is {folds}; it must lie from 2 to the number of labels, {n}.")


def _check_options(
    confidence: float, finetune_minimum: int, zero_shot_variance: float | None, half_width: float | None
) -> None:
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence is {confidence}; it must lie between 0 and 1, such as 0.95.")
    if finetune_minimum < 0:
        raise ArgumentError(f"finetune_minimum is {finetune_minimum}; it cannot be negative.")
    if zero_shot_variance is not None and not (np.isfinite(zero_shot_variance) and zero_shot_variance >= 0):
        raise ArgumentError(f"zero_shot_variance is {zero_shot_variance}; it must be finite and not negative.")
    if half_width is not None:
        _check_half_width(half_width)


def _check_half_width(half_width: float) -> None:
    if not half_width > 0:
        raise ArgumentError(f"half_width is {half_width}; it must be above zero, in units of the label.")


def _split_range(design: Design, finetune_minimum: int) -> tuple[int, int]:
    high = design.n - _FEWEST_TO_RECTIFY
    return min(max(finetune_minimum, _FEWEST_TO_FINETUNE), high), high


def best_split(law: Law, design: Design, finetune_minimum: int = 0) -> int:
    """Return the whole number s of fine-tuning labels with the smallest predicted half-width."""
    low, high = _split_range(design, finetune_minimum)
    while True:
        candidates = np.unique(np.linspace(low, high, min(high - low + 1, 400)).round())
        best = int(np.argmin(design.rectified(candidates, np.asarray(law.predict(candidates)))))
        if candidates.size == high - low + 1:
            return int(candidates[best])
        low, high = int(candidates[max(best - 1, 0)]), int(candidates[min(best + 1, candidates.size - 1)])


def _records(
    law: Law, design: Design, costs: Costs, folds: int, finetune_minimum: int, zero_shot: Floats | None
) -> tuple[StrategyPlan, ...]:
    s = best_split(law, design, finetune_minimum)
    fold_size = round(design.n * (folds - 1) / folds)
    fits: list[tuple[str, int, int, int, Floats]] = [
        ("labels-only", 0, design.n, 0, np.full(3, design.labels_only())),
        ("split", s, design.n - s, 1, design.rectified(s, _bands(law, s))),
        ("cross-fit", fold_size, design.n, folds, design.rectified(0, _bands(law, fold_size))),
    ]
    if zero_shot is not None:
        fits.insert(1, ("zero-shot", 0, design.n, 0, design.rectified(0, zero_shot)))
    return tuple(_record(design, costs, *fit) for fit in fits)


def _zero_shot_bands(variance: float | None, degrees_of_freedom: float | None) -> Floats | None:
    """The variance with its 80% interval, as (value, low, high)."""
    if variance is None or degrees_of_freedom is None:
        return None if variance is None else np.full(3, variance)
    ends = stats.chi2.ppf([0.9, 0.1], degrees_of_freedom)
    return variance * np.concatenate([[1.0], degrees_of_freedom / ends])


def _bands(law: Law, s: int) -> Floats:
    low, high = law.interval(s)
    return np.array([law.predict(s), low, high], dtype=float)


def _record(
    design: Design, costs: Costs, name: str, finetune: int, rectify: int, folds: int, half: Floats
) -> StrategyPlan:
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


def _recommend(records: tuple[StrategyPlan, ...]) -> StrategyPlan:
    """Take the narrowest interval, but the simplest strategy among those that are as good as that."""
    best = min(record.half_width for record in records)
    simple_first = sorted(records, key=lambda r: ("labels-only", "zero-shot", "split", "cross-fit").index(r.name))
    return next(record for record in simple_first if record.half_width <= best * (1 + _WORTHWHILE))


def _reason(chosen: StrategyPlan, records: tuple[StrategyPlan, ...]) -> str:
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


def _best(plan_: Plan, n: int) -> float:
    design = plan_.design.with_labels(n)
    records = _records(
        plan_.law,
        design,
        plan_.costs,
        min(plan_.folds, n),
        min(plan_.finetune_minimum, n // 2),
        _zero_shot_bands(plan_.zero_shot_variance, None),
    )
    return min(record.half_width for record in records)


def _fewest(width: Any, target: float, design: Design) -> int | None:
    _check_half_width(target)
    low, high = 2 * _FEWEST_TO_RECTIFY, design.n + design.m - 1
    high = high if design.population == "these" else max(high, 10_000_000)
    if width(high) > target:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if width(middle) <= target else (middle + 1, high)
    return low
