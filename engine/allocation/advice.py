"""What a plan answers, in the sentences that page and command line share."""

from __future__ import annotations

from collections.abc import Callable

from engine.allocation.needs import labels_of, most_labels
from engine.allocation.plan import Plan
from engine.allocation.wording import strategy_words
from engine.errors import ArgumentError

_MORE = 100
Written = Callable[[float], str]  # a half-width in words: units are the user's


def saved_words(made: Plan) -> str:
    """Say how many labels the recommended strategy saves; empty where that is none."""
    record = made[made.recommended]
    saved = (record.labels_alone or 0) - made.n
    if record.name == "labels-only" or saved <= 0:
        return ""
    probably = "probably " if made.may_gain_nothing else ""
    needed = f"abels-only would {probably}need {record.labels_alone:,} labels"
    if made.half_width is not None and record.half_width > made.half_width:
        # "For that" would be taken for the target.
        needed = f"For the width that these {made.n:,} labels give by {record.name}, l{needed}"
    else:
        needed = f"L{needed} for that"
    if made.may_gain_nothing:
        return f"{needed}, but this is not sure."
    worth = f", worth {made.costs.per_label * saved:,.2f}" if made.costs.per_label else ""
    return f"{needed}: you save {saved:,}{worth}."


def split_words(made: Plan, s: int) -> str:
    """Say what s labels to fine-tune leave to rectify, and how far that is from the best split."""
    record, regret, best = made.at(s), float(made.regret(s)), made["split"].finetune
    where = f"{regret:.0%} wider than at the best split"
    if regret < 0.005:
        where = "at the best split" if s == best else f"about as narrow as at the best split, {best:,}"
    return f"{record.finetune:,} fine-tune, {record.rectify:,} rectify; {where}"


def plan_directions(made: Plan, written: Written, money: float | None = None) -> dict[str, str]:
    """Say how flat the optimum is, what further labels give, what the target takes and what the money buys.

    Args:
        made: The plan.
        written: Writes a half-width.
        money: For labels and compute in all, if a sum is named.

    Returns:
        A sentence or two under each heading; empty under one that nothing is known of without a target, or without
        money and the price of a label.
    """
    low, high = made.flat_region
    near = f"Any split from {low:,} to {high:,}" if low < high else f"No split but that at {low:,}"
    return {
        "Flat region": f"{near} fine-tuning labels is within 2% of the best.",
        **_next_labels(made, written),
        "Target": _target_words(made),
        "Money": _money_words(made, written, money),
    }


def further_labels(made: Plan) -> int:
    """Return how many further labels a plan tells the gain of: 100, or as many as the pool has."""
    return min(_MORE, made.m - 1) if made.design.population == "these" else _MORE


def _next_labels(made: Plan, written: Written) -> dict[str, str]:
    more = further_labels(made)
    if more < 1:
        return {}
    now, gain = made[made.recommended].half_width, made.gain_of_labels(more)
    price = f", for {made.costs.per_label * more:,.2f}" if made.costs.per_label else ""
    words = f"They would narrow the interval from {written(now)} to {written(now * (1 - gain))}"
    return {f"The next {more:,} labels": f"{words} ({gain:.0%}){price}."}


def _target_words(made: Plan) -> str:
    """How many labels the target takes, with a model and without. It is not repeated: rounded it would be another."""
    target = made.half_width
    if target is None:
        return ""
    needed, without = made.labels_needed(target), made.labels_only_needed(target)
    if needed is None:
        return "No number of labels reaches it with this pool."
    if needed > most_labels(made.design):
        return f"Only labelling all {needed:,} texts reaches it: then the answer is exact."
    words = f"About {needed:,} labels reach it"
    words += f", without a model {without:,}." if without is not None else "; labels alone never do."
    if needed > made.n:
        return f"{words} That is {needed - made.n:,} more than you have."
    enough = "You have enough for that with a model, but labelling more costs less."
    return f"{words} {enough if made.label_more else 'You have enough.'}"


def _money_words(made: Plan, written: Written, money: float | None) -> str:
    if money is None or not made.costs.per_label:
        return ""
    try:
        record = made.affordable(money)
    except ArgumentError as fault:
        return str(fault)
    if record.half_width == 0:
        all_of_them = f"all {record.rectify:,} texts, for {record.cost:,.2f}"
        return f"{money:,.2f} buys the labels of {all_of_them}: then the answer is exact."
    way = f"{strategy_words(record)}: {written(record.half_width)}"
    return f"{money:,.2f} buys {labels_of(record):,} labels in all, {way}, for {record.cost:,.2f}."
