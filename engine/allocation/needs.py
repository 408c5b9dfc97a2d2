"""The other direction: the fewest labels for a half-width, and the narrowest interval for a sum of money."""

from __future__ import annotations

from collections.abc import Callable

from engine.allocation.inputs import FEWEST, check_half_width
from engine.allocation.strategies import StrategyPlan
from engine.allocation.widths import Design
from engine.errors import ArgumentError

_ENDLESS = 10_000_000
_ROUNDING = 1e-9  # twenty labels at 0.07 are 1.4000000000000001


def fewest_labels(width: Callable[[int], float], target: float, design: Design) -> int | None:
    """Return the fewest labels whose half-width is at most the target; None if none is.

    All texts, where they are everything, reach any: then the answer is exact.
    """
    check_half_width(target)
    low, high = FEWEST, most_labels(design)
    if width(high) > target:
        return high + 1 if design.population == "these" else None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if width(middle) <= target else (middle + 1, high)
    return low


def most_labels(design: Design) -> int:
    """Return the most labels there can be that leave a text to predict."""
    texts = design.n + design.m - 1
    return texts if design.population == "these" else max(texts, _ENDLESS)


def narrowest_for(
    money: float, records_at: Callable[[int], tuple[StrategyPlan, ...]], per_label: float, design: Design
) -> StrategyPlan:
    """Return the record with the narrowest interval that the money buys, labels and compute together.

    Raises:
        ArgumentError: Labels have no price, or the money buys too few of them.
    """
    if not per_label > 0:
        raise ArgumentError("Labels have no price in this plan; give costs with per_label to plan for a sum of money.")
    money *= 1 + _ROUNDING
    most = min(int(money / per_label), most_labels(design)) if money > 0 else 0
    if most < FEWEST:
        raise ArgumentError(
            f"money is {money:g}; {FEWEST} labels, the fewest to plan with, cost {FEWEST * per_label:g}."
        )
    best = records_at(most)[0]
    for name in [record.name for record in records_at(most)[1:]]:
        bought = _affordable(name, money, records_at, most)
        best = bought if bought is not None and bought.half_width < best.half_width else best
    return best


def _affordable(
    name: str, money: float, records_at: Callable[[int], tuple[StrategyPlan, ...]], most: int
) -> StrategyPlan | None:
    """The record of a strategy with as many labels as the money buys beside its compute."""

    def record(n: int) -> StrategyPlan:
        return next(one for one in records_at(n) if one.name == name)

    low, high = FEWEST, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if record(middle).cost <= money else (low, middle - 1)
    found = record(low)
    return found if found.cost <= money else None
