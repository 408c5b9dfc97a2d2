"""The plan: the strategies side by side, the split of the labels, and which one to take.

The split follows Wang, Ye & Zhao (arXiv 2511.19486), whose objective (a s^-alpha + b) / (n - s) is the limit of an
infinite pool and lambda = 1; here the pool is finite, lambda is tuned, the labels that fitted the law are paid for, and
doing without fine-tuning is an answer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from engine.allocation.inputs import check_labels, check_numbers, check_options
from engine.allocation.needs import Way, cheapest_for, fewest_labels, labels_of, narrowest_for
from engine.allocation.strategies import (
    FOLDS,
    NAMES,
    Costs,
    StrategyPlan,
    best_folds,
    half_widths,
    law_bands,
    recommend,
    split_range,
    strategy_record,
    strategy_records,
    zero_shot_bands,
)
from engine.allocation.widths import Design, Floats
from engine.allocation.wording import for_compute, for_target, labels_for_compute, may_gain_nothing, reason_for
from engine.errors import ArgumentError
from engine.scaling import Law

_FLAT = 0.02


@dataclass(frozen=True)
class Plan:
    """The strategies side by side. Made by `plan`.

    Attributes:
        law: The law that the widths rest on.
        design: Labels, pool, label variance, population, confidence.
        strategies: One record for each strategy.
        recommended: Name of the recommended strategy.
        why: The reason in a sentence.
        half_width: The user's target, or None.
        costs: Prices and times.
        folds: Number of folds K under cross-fit.
        folds_chosen: Whether K was chosen by its gain and its compute, and not asked for.
        label_more: Labels to add before anything else, because the target takes them or because they are a better buy
            than compute; 0 where the labels at hand serve, None where no number of labels reaches the target.
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
    folds_chosen: bool = False
    label_more: int | None = 0

    @property
    def n(self) -> int:
        """Number of labels."""
        return self.design.n

    @property
    def may_gain_nothing(self) -> bool:
        """Whether the 80% interval of what is recommended reaches the half-width of labels-only."""
        return may_gain_nothing(self[self.recommended], self.strategies)

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

    def share_saved(self, record: StrategyPlan) -> float:
        """Return the share of labels that a strategy saves: labels-only would need `labels_alone` for its half-width.

        It is `labels_saved` where the texts go on for ever. Of a known number of texts the last labels narrow the
        interval most, and labels-only needs fewer of them than widths tell.
        """
        return record.labels_saved if record.labels_alone is None else 1 - self.n / record.labels_alone

    def wider(self, record: StrategyPlan) -> float:
        """Return how much wider a strategy's interval is than the narrowest of this plan, as a share."""
        return record.half_width / _narrowest(self.strategies) - 1

    def at(self, s: int) -> StrategyPlan:
        """Return the record of a split with s fine-tuning labels."""
        return strategy_record(
            self.design, self.costs, "split", s, self.n - s, 1, half_widths(self.design, s, law_bands(self.law, s))
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
            folds: Number of folds K under cross-fit; as before by default.
            half_width: The user's target; None for no target.
            costs: Prices and times.
        """
        if n is not None and self.design.population == "these":
            check_labels(n, self.n + self.m)
        design = self.design.with_labels(self.n if n is None else n)
        return plan(
            self.law,
            n=design.n,
            m=design.m,
            label_variance=design.label_variance,
            population=design.population,
            confidence=design.confidence,
            design_effect=design.design_effect,
            shares=design.shares,
            unit_share=design.unit_share,
            folds=folds or (None if self.folds_chosen else min(self.folds, design.n)),
            finetune_minimum=self.finetune_minimum,
            zero_shot_variance=self.zero_shot_variance,
            zero_shot_degrees_of_freedom=self.zero_shot_degrees_of_freedom,
            label_degrees_of_freedom=self.design.label_degrees_of_freedom,
            half_width=half_width,
            costs=costs or self.costs,
        )

    @cached_property
    def splits(self) -> Floats:
        """The numbers of fine-tuning labels that can be chosen under `split`, at most about 400 of them."""
        low, high = split_range(self.design, self.finetune_minimum)
        return np.unique(np.linspace(low, high, min(high - low + 1, 400)).round())

    def nearest_split(self, s: int) -> int:
        """Return the split nearest to s that the plan can have: the pilot's labels cannot rectify, and some must."""
        return min(max(int(s), int(self.splits[0])), int(self.splits[-1]))

    def width(self, s: float | Floats) -> Any:
        """Return the predicted half-width when s labels fine-tune and n - s rectify (a number for a number)."""
        half = self.design.rectified(np.asarray(s, dtype=float), self.law.expected(s))
        return float(half) if np.ndim(s) == 0 else half

    def width_interval(self, s: float | Floats, level: float = 0.8) -> tuple[Any, Any]:
        """Return the interval of that half-width, from the uncertainty of the law and the luck of the labels."""
        bands = np.array([self.law.expected(s), *self.law.interval(s, level)])
        ends = self.design.rectified_interval(np.asarray(s, dtype=float), bands, level)
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

        Where the texts are everything, all of them do.

        Raises:
            ArgumentError: The half-width is not above zero.
        """
        return fewest_labels(lambda n: _narrowest(self._records(n)), half_width, self.design)

    def labels_only_needed(self, half_width: float) -> int | None:
        """Return the fewest labels with which labels-only reaches a half-width; None if the pool ends before.

        Raises:
            ArgumentError: The half-width is not above zero.
        """
        return fewest_labels(lambda n: self.design.with_labels(n).labels_only(), half_width, self.design)

    def affordable(self, money: float) -> StrategyPlan:
        """Return the strategy with the narrowest interval that a sum of money buys, labels and compute together.

        Its labels are `finetune` + `rectify` under split, `rectify` elsewhere. Where it buys the labels of all texts
        there are, the half-width is zero: the answer is exact.

        Raises:
            ArgumentError: The plan has no price for a label, or the money buys too few of them.
        """
        # The folds that are worth most with so many labels may cost more than the sum.
        folds = range(FOLDS[0], FOLDS[1] + 1) if self.folds_chosen else [self.folds]
        ways = [*self._ways(NAMES[:-1]), *(way for count in folds for way in self._ways(NAMES[-1:], count))]
        return narrowest_for(money, ways, self.costs.per_label, self.design)

    def gain_of_labels(self, more: int = 100) -> float:
        """Return by what share `more` labels would narrow what is recommended; 0 where the pool has none left."""
        known = self.design.n + self.design.m - 1 if self.design.population == "these" else self.n + more
        records = self._records(max(min(self.n + more, known), self.n))
        later = next(record for record in records if record.name == self.recommended)
        return 1 - later.half_width / self[self.recommended].half_width

    def _records(self, n: int, names: tuple[str, ...] = NAMES, folds: int | None = None) -> tuple[StrategyPlan, ...]:
        """Every strategy, or those named, with n labels, of which the pilot opens no more than half."""
        design = self.design.with_labels(n)
        if folds is None:
            folds = best_folds(self.law, design, self.costs) if self.folds_chosen else self.folds
        return strategy_records(
            self.law,
            design,
            self.costs,
            min(folds, n),
            min(self.finetune_minimum, n // 2),
            zero_shot_bands(self.zero_shot_variance, self.zero_shot_degrees_of_freedom),
            names,
        )

    def _ways(self, names: tuple[str, ...] = NAMES, folds: int | None = None) -> list[Way]:
        """The record of each of these strategies as a function of the number of labels."""

        def way(name: str) -> Way:
            return lambda n: self._records(n, (name,), folds)[0]

        known = [name for name in names if name != "zero-shot" or self.zero_shot_variance is not None]
        return [way(name) for name in known]

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
            "design_effect": self.design.design_effect,
            "unit_share": self.design.unit_share,
            "shares": None if self.design.shares is None else list(self.design.shares),
            "law": self.law.to_dict(),
            "costs": asdict(self.costs),
            "folds": self.folds,
            "finetune_minimum": self.finetune_minimum,
            "zero_shot_variance": self.zero_shot_variance,
            "zero_shot_degrees_of_freedom": self.zero_shot_degrees_of_freedom,
            "half_width": self.half_width,
            "folds_chosen": self.folds_chosen,
            "label_degrees_of_freedom": self.design.label_degrees_of_freedom,
            "label_more": self.label_more,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a plan from `to_dict`."""
        records = (StrategyPlan(**{**row, "interval": tuple(row["interval"])}) for row in values["strategies"])
        return cls(
            law=Law.from_dict(values["law"]),
            design=Design(
                **{key: values[key] for key in ("n", "m", "label_variance", "population", "confidence")},
                design_effect=values.get("design_effect", 1.0),
                shares=tuple(values["shares"]) if values.get("shares") else None,
                unit_share=values.get("unit_share", 1.0),
                label_degrees_of_freedom=values.get("label_degrees_of_freedom"),
                opened=values["finetune_minimum"],
            ),
            costs=Costs(**values["costs"]),
            folds=values["folds"],
            finetune_minimum=values["finetune_minimum"],
            zero_shot_variance=values["zero_shot_variance"],
            zero_shot_degrees_of_freedom=values["zero_shot_degrees_of_freedom"],
            half_width=values["half_width"],
            strategies=tuple(records),
            recommended=values["recommended"],
            why=values["why"],
            folds_chosen=values.get("folds_chosen", False),
            label_more=values.get("label_more", 0),
        )


def plan(
    law: Law,
    *,
    n: int,
    m: int,
    label_variance: float,
    population: str = "larger",
    confidence: float = 0.95,
    design_effect: float = 1.0,
    shares: tuple[float, ...] | None = None,
    unit_share: float = 1.0,
    folds: int | None = None,
    finetune_minimum: int = 0,
    zero_shot_variance: float | None = None,
    zero_shot_degrees_of_freedom: float | None = None,
    label_degrees_of_freedom: float | None = None,
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
        design_effect: How many times as large weights make the variance of a mean; 1 without.
        shares: Share of each class, none of them 0 or 1; None for numbers.
        unit_share: Share of the labels that vary independently under weights; 1 without.
        folds: Number of folds K under cross-fit; by default that from 2 to 20 whose gain is worth its compute.
        finetune_minimum: Labels already spent on the pilot; they can fine-tune but not rectify.
        zero_shot_variance: Residual variance of predictions that came with the data, where there are any.
        zero_shot_degrees_of_freedom: Of that variance; gives its half-width an interval.
        label_degrees_of_freedom: Of the label variance; gives the half-width of labels-only an interval, and that of
            split the luck of its labels. Both degrees of freedom are taken to be of labels whose tails are as ratings
            usually have them (`engine.scaling.effective_freedom`).
        half_width: The user's target, if any.
        costs: Prices and times.

    Raises:
        ArgumentError: n, m or a variance is too small to plan with, or another value lies outside its range.
    """
    check_numbers(n, m, label_variance, population, folds)
    check_options(confidence, finetune_minimum, zero_shot_variance, half_width, design_effect, unit_share)
    design = Design(
        n, m, label_variance, population, confidence, design_effect, shares, unit_share,
        label_degrees_of_freedom=label_degrees_of_freedom, opened=finetune_minimum,
    )  # fmt: skip
    costs = costs or Costs()
    zero_shot = zero_shot_bands(zero_shot_variance, zero_shot_degrees_of_freedom)
    used = folds or best_folds(law, design, costs)
    records = strategy_records(law, design, costs, used, finetune_minimum, zero_shot)
    recommended = recommend(records, costs, design)
    made = Plan(
        law=law,
        design=design,
        costs=costs,
        folds=used,
        finetune_minimum=finetune_minimum,
        zero_shot_variance=zero_shot_variance,
        zero_shot_degrees_of_freedom=zero_shot_degrees_of_freedom,
        half_width=half_width,
        strategies=records,
        recommended=recommended.name,
        why=reason_for(recommended, records),
        folds_chosen=folds is None,
    )
    return _with_labelling(made)


def _with_labelling(made: Plan) -> Plan:
    """Say so where more labels are needed, or a better buy than compute; take what reaches a target at least cost."""
    now = made[made.recommended]
    if made.half_width is None:
        more = labels_for_compute(now, made.strategies, made.costs, made.design)
        return replace(made, label_more=more, why=f"{made.why} {for_compute(more, made.design)}") if more else made
    if now.half_width <= made.half_width:
        return made
    then = cheapest_for(made.half_width, made._ways(), made.costs, made.design)
    if then is not None and labels_of(then) == made.n:
        return replace(made, recommended=then.name, why=reason_for(then, made.strategies, for_target=True))
    why = for_target(made.why, now, then, made.costs, made.design)
    return replace(made, label_more=None if then is None else labels_of(then) - made.n, why=why)


def _narrowest(records: tuple[StrategyPlan, ...]) -> float:
    return min(record.half_width for record in records)
