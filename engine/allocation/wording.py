"""Why a strategy is recommended, in a sentence or two."""

from __future__ import annotations

from engine.allocation.needs import labels_of
from engine.allocation.strategies import Costs, StrategyPlan
from engine.allocation.widths import Design


def reason_for(chosen: StrategyPlan, records: tuple[StrategyPlan, ...], *, for_target: bool = False) -> str:
    """Say in a sentence why a strategy is recommended: it is worth most, or is the cheapest that reaches a target."""
    least = "nothing else that reaches your target half-width costs less" if chosen.cost else ""
    if for_target and chosen.name == "labels-only":
        return f"Do not fine-tune: the labels alone reach your target half-width{least and f', and {least}'}."
    if chosen.name == "labels-only":
        better = [record for record in records if record.labels_saved > 0.02]
        if better:
            return "Do not fine-tune: the labels that a model would save cost less than its compute."
        return "Do not fine-tune: no use of the model is predicted to narrow the interval by more than 1%."
    gain = f"the interval is predicted {1 - (1 - chosen.labels_saved) ** 0.5:.0%} narrower than by labels alone"
    if may_gain_nothing(chosen, records):
        gain += ", though it may turn out no narrower"
    if for_target:
        gain += f"; {least or 'it reaches your target half-width'}"
    if chosen.name == "zero-shot":
        return f"Rectify the untrained predictions on all {chosen.rectify} labels: {gain}."
    if chosen.name == "split":
        folds = "" if for_target else ", and more folds would not be worth their compute"
        return f"Fine-tune on {chosen.finetune} labels and rectify on the other {chosen.rectify}: {gain}{folds}."
    crossed = f"Cross-fit with {chosen.folds} folds, so that all {chosen.rectify} labels both train and rectify: {gain}"
    if for_target:
        return f"{crossed}."
    split = next(record for record in records if record.name == "split")
    wider = split.half_width / chosen.half_width - 1
    return f"{crossed}; the interval of the best split would be {wider:.0%} wider than that of cross-fit."


def strategy_words(record: StrategyPlan) -> str:
    """Name a strategy with what it does to the labels."""
    if record.name == "split":
        return f"split, {record.finetune:,} labels to fine-tune and {record.rectify:,} to rectify"
    if record.name == "cross-fit":
        return f"cross-fit with {record.folds} folds"
    return "labels only" if record.name == "labels-only" else record.name


def may_gain_nothing(chosen: StrategyPlan, records: tuple[StrategyPlan, ...]) -> bool:
    """Return whether the 80% interval of a strategy's half-width reaches that of labels-only."""
    alone = next(record for record in records if record.name == "labels-only")
    return chosen.name != "labels-only" and chosen.interval[1] >= alone.half_width


def for_compute(more: int, design: Design) -> str:
    """Say that labels are the better buy."""
    if design.population == "these" and more == design.m:
        return f"Label more first: what the compute costs buys all other {more:,} labels, and then the answer is exact."
    return f"Label more first: what the compute costs buys {more:,} labels, which narrow the interval more."


def for_target(reason: str, now: StrategyPlan, then: StrategyPlan | None, costs: Costs, design: Design) -> str:
    """Say why, and how many labels reach the target; it is not repeated, for its unit is the user's.

    Args:
        reason: Why the strategy is recommended that does not reach it.
        now: That strategy.
        then: What reaches it, with the labels that it takes; None where nothing does.
        costs: Prices.
        design: What is at hand.
    """
    if then is None:
        return f"{reason} No number of labels reaches your target half-width with this pool."
    labels = labels_of(then)
    first = f"Label {labels - design.n:,} more first:"
    if then.half_width == 0:
        exact = f"all {labels:,} texts reach your target half-width"
        if costs.prices_compute:
            return f"{first} {exact}, which costs least, and then the answer is exact."
        return f"{reason} {first} only {exact}, and then the answer is exact."
    if then.name == now.name:
        return f"{reason} {first} your target half-width takes {labels:,} labels."
    # Why the model is left out, or taken, with the labels at hand says nothing of the way to the target.
    how = "without a model" if then.name == "labels-only" else f"by {strategy_words(then)}"
    least = ", which costs least" if then.cost else ""
    return f"{first} {labels:,} labels reach your target half-width {how}{least}."


def labels_for_compute(chosen: StrategyPlan, records: tuple[StrategyPlan, ...], costs: Costs, design: Design) -> int:
    """Return how many labels the compute of the cheapest trained strategy buys, as far as there are texts.

    It is 0 where labels-only is not the better buy, nor gives the narrower interval with them.
    """
    if chosen.name != "labels-only" or not costs.prices_compute:
        return 0
    trained = [record for record in records if record.folds and record.labels_saved > 0.02]
    if not trained:
        return 0
    cheapest = min(trained, key=lambda record: record.cost)
    more = int((cheapest.cost - chosen.cost) / costs.per_label)
    if design.population == "these" and more >= design.m:
        return design.m
    return more if more > 0 and design.with_labels(design.n + more).labels_only() < cheapest.half_width else 0
