"""The other direction: the fewest labels for a half-width, and the narrowest interval for a sum of money."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.allocation.inputs import FEWEST, check_half_width
from engine.allocation.strategies import Costs, StrategyPlan
from engine.allocation.widths import Design
from engine.errors import ArgumentError

Way = Callable[[int], StrategyPlan]  # a strategy with so many labels

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


def narrowest_for(money: float, ways: Sequence[Way], per_label: float, design: Design) -> StrategyPlan:
    """Return the record with the narrowest interval that the money buys, labels and compute together.

    The first of the ways is labels-only. Where it buys the labels of all texts there are, the half-width is zero.

    Raises:
        ArgumentError: Labels have no price, or the money buys too few of them.
    """
    if not per_label > 0:
        raise ArgumentError("Labels have no price in this plan; give costs with per_label to plan for a sum of money.")
    money *= 1 + _ROUNDING
    if design.population == "these" and per_label * (design.n + design.m) <= money:
        return all_texts(design, per_label)
    most = min(int(money / per_label), most_labels(design)) if money > 0 else 0
    if most < FEWEST:
        raise ArgumentError(
            f"money is {money:g}; {FEWEST} labels, the fewest to plan with, cost {FEWEST * per_label:g}."
        )
    best = ways[0](most)
    for way in ways[1:]:
        bought = _affordable(way, money, most)
        best = bought if bought is not None and bought.half_width < best.half_width else best
    return best


def _affordable(way: Way, money: float, most: int) -> StrategyPlan | None:
    """The record of a strategy with as many labels as the money buys beside its compute."""
    low, high = FEWEST, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if way(middle).cost <= money else (low, middle - 1)
    found = way(low)
    return found if found.cost <= money else None


def cheapest_for(target: float, ways: Sequence[Way], costs: Costs, design: Design) -> StrategyPlan | None:
    """Return the record that reaches a half-width at least cost, or where compute has no price with the fewest labels.

    No fewer labels are taken than there are. None where no number of labels reaches it.
    """
    found: list[StrategyPlan] = []
    for way in ways:
        labels = fewest_labels(lambda n, way=way: way(n).half_width, target, design)  # type: ignore[misc]
        if labels is not None and labels <= most_labels(design):
            found.append(way(max(labels, design.n)))
    if design.population == "these":
        found.append(all_texts(design, costs.per_label))
    if costs.prices_compute:
        return min(found, key=lambda record: (record.cost, labels_of(record)), default=None)
    return min(found, key=lambda record: (labels_of(record), record.cost, record.half_width), default=None)


def all_texts(design: Design, per_label: float) -> StrategyPlan:
    """Return the record of labelling every text there is: the answer is exact."""
    texts = design.n + design.m
    return StrategyPlan("labels-only", 0, texts, 0, 0.0, (0.0, 0.0), 1.0, per_label * texts, 0.0, texts)


def labels_of(record: StrategyPlan) -> int:
    """Return the labels that a strategy takes; all but a split's rectify."""
    return record.rectify + (record.finetune if record.name == "split" else 0)
