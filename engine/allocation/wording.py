"""Why a strategy is recommended, in a sentence or two."""

from __future__ import annotations

from engine.allocation.needs import most_labels
from engine.allocation.strategies import Costs, StrategyPlan
from engine.allocation.widths import Design


def reason_for(chosen: StrategyPlan, records: tuple[StrategyPlan, ...]) -> str:
    """Say in a sentence why a strategy is recommended."""
    if chosen.name == "labels-only":
        better = [record for record in records if record.labels_saved > 0.02]
        if better:
            return "Do not fine-tune: the labels that a model would save cost less than its compute."
        return "Do not fine-tune: no use of the model is predicted to narrow the interval by more than 1%."
    gain = f"the interval is predicted {1 - (1 - chosen.labels_saved) ** 0.5:.0%} narrower than by labels alone"
    if may_gain_nothing(chosen, records):
        gain += ", though it may turn out no narrower"
    if chosen.name == "zero-shot":
        return f"Rectify the untrained predictions on all {chosen.rectify} labels: {gain}."
    if chosen.name == "split":
        return (
            f"Fine-tune on {chosen.finetune} labels and rectify on the other {chosen.rectify}: {gain}, "
            "and more folds would not be worth their compute."
        )
    split = next(record for record in records if record.name == "split")
    wider = split.half_width / chosen.half_width - 1
    return (
        f"Cross-fit with {chosen.folds} folds, so that all {chosen.rectify} labels both train and rectify: {gain}; "
        f"the interval of the best split would be {wider:.0%} wider than that of cross-fit."
    )


def may_gain_nothing(chosen: StrategyPlan, records: tuple[StrategyPlan, ...]) -> bool:
    """Return whether the 80% interval of a strategy's half-width reaches that of labels-only."""
    alone = next(record for record in records if record.name == "labels-only")
    return chosen.name != "labels-only" and chosen.interval[1] >= alone.half_width


def label_first(more: int | None, n: int, *, target: bool) -> str:
    """Say that labelling comes first; `more` is None where no number of labels reaches the target.

    The target is not repeated: its user gave it in a unit of their own, of shares perhaps in percentage points.
    """
    if not target:
        return f" Label more first: what the compute costs buys {more:,} labels, which narrow the interval more."
    if more is None:
        return " No number of labels reaches your target half-width with this pool."
    return f" Label {more:,} more first: your target half-width takes {n + more:,} labels."


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
    more = min(int((cheapest.cost - chosen.cost) / costs.per_label), most_labels(design) - design.n)
    return more if more > 0 and design.with_labels(design.n + more).labels_only() < cheapest.half_width else 0
