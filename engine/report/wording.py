"""Numbers and sentences of a report, in words that need no statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.allocation import Plan
from engine.rectification import Estimate
from engine.rectification.wording import (
    GAINED,
    LABELS_ALONE,
    certain_differences,
    comparison_words,
    group_count,
    group_order,
    rounded,
    worth,
)
from engine.runs import Question, Run, Study

_MOST_SHARES = 3
STRATEGY_WORDS = {
    "labels-only": "Labels only",
    "zero-shot": "Rectify as it came",
    "split": "Split the labels",
    "cross-fit": "Cross-fit",
}


@dataclass(frozen=True)
class Subject:
    """What a study asks for, in words.

    Attributes:
        estimand: As in the question.
        name: "mean rating", "median rating", "share of “yes”".
        share: Whether the answers are shares, written in per cent.
        group: The column of the groups, as a heading.
    """

    estimand: str
    name: str
    share: bool
    group: str


def subject_of(study: Study, classes: tuple[str, ...] | None) -> Subject:
    """Put in words what a study asks for; `classes` of its labels, None for numbers."""
    question, label = study.question, label_words(study)
    share = question.estimand == "shares" or (question.estimand == "groups" and bool(classes))
    quantile = "median" if question.q == 0.5 else f"{question.q:g} quantile"
    name = f"{quantile if question.estimand == 'quantile' else 'mean'} {label}"
    if share:
        name = f"share of “{classes[-1]}”" if classes else "share"
    group = " ".join((study.roles.group or "group").replace("_", " ").split())
    return Subject(question.estimand, name, share, group[:1].upper() + group[1:])


def width_words(value: float, scale: float, *, share: bool = False) -> str:
    """Write the half-width of an interval with two digits of `scale`; of shares in percentage points."""
    size = abs(scale) * (100 if share else 1)
    digits = 1 - int(np.floor(np.log10(size) + 1e-9)) if np.isfinite(size) and size > 0 else 2
    return f"{value * (100 if share else 1):,.{int(np.clip(digits, 0, 6))}f}{' points' if share else ''}"


def half_width(estimate: Estimate) -> float:
    """Half the width of the interval; for several quantities the root mean square, as in the plan."""
    widths = np.atleast_1d(np.asarray(estimate.width, dtype=float)) / 2
    return float(np.sqrt(np.mean(widths**2)))


def leading(estimate: Estimate) -> int:
    """The place of the largest share; 0 for a single number."""
    return int(np.argmax(np.atleast_1d(estimate.estimate)))


def entry(value: object, place: int) -> float:
    """The number at a place of a field that holds one number or an array."""
    values = np.atleast_1d(np.asarray(value, dtype=float))
    return float(values[min(place, values.size - 1)])


def range_words(
    estimate: Estimate, place: int, *, share: bool, scale: float | None = None, points: bool = False
) -> tuple[str, str]:
    """The value and its interval, such as ("2.98", "2.91 to 3.05"), as exact as `scale` or else as its half-width.

    `points`: write shares as percentage points, without the sign of per cent.
    """
    value, low, high = (entry(part, place) for part in (estimate.estimate, estimate.ci_low, estimate.ci_high))
    scale = (high - low) / 2 if scale is None else scale
    said = [rounded(part, scale, share=share) for part in (value, low, high)]
    if not share and all(part.endswith(".0") for part in said):  # whole numbers, as quantiles of ratings are
        said = [part.removesuffix(".0") for part in said]
    if share and points:
        said = [part.rstrip("%") for part in said]
        return f"{said[0]} points", f"{said[1]} to {said[2]}"
    return said[0], f"{said[1]} to {said[2]}"


def rectifies(run: Run) -> bool:
    """Whether a run answers the question of its study or plans to; others look at labels alone, or for texts."""
    return run.kind in ("plan", "run")


def whole_words(question: Question, rows: int) -> str:
    """What the answer speaks of."""
    return f"these {rows:,} texts" if question.population == "these" else f"all texts like these {rows:,}"


def label_words(study: Study) -> str:
    """The label's column name as words."""
    return " ".join(study.roles.label.replace("_", " ").split())


def answer_sentence(study: Study, subject: Subject, estimate: Estimate, rows: int) -> str:
    """The answer with its interval in one sentence or two."""
    whole, level = whole_words(study.question, rows), f"{100 * estimate.confidence:g}%"
    if subject.estimand == "groups":
        return f"{_extremes(subject, estimate, whole)} {comparison_words(estimate)}"
    if estimate.names is None:
        value, interval = range_words(estimate, 0, share=subject.share)
        return f"The {subject.name} of {whole} is {value}; it lies from {interval} with {level} confidence."
    order = np.argsort(-np.atleast_1d(estimate.estimate), kind="stable")
    parts = []
    for place in order[:_MOST_SHARES]:
        value, interval = range_words(estimate, int(place), share=True)
        parts.append(f"{value} are “{estimate.names[place]}” ({interval})")
    rest = len(order) - len(parts)
    more = f"; {rest} more {'class is' if rest == 1 else 'classes are'} in the table" if rest else ""
    return f"Of {whole}, {joined(parts)}{more}. Each range holds with {level} confidence."


def _extremes(subject: Subject, estimate: Estimate, whole: str) -> str:
    """The highest and the lowest group with their intervals."""
    assert estimate.names is not None
    order = group_order(estimate)
    said = {place: range_words(estimate, place, share=subject.share) for place in (order[0], order[-1])}
    top, *rest = (f"{estimate.names[place]} ({value}, {interval})" for place, (value, interval) in said.items())
    lowest = f" and lowest for {rest[0]}" if rest else ""
    return f"Of {whole}, the {subject.name} is highest for {top}{lowest}."


def default_headline(study: Study, subject: Subject, run: Run, estimate: Estimate | None) -> str:
    """A headline for the user to edit."""
    if estimate is None:
        return f"{study.name}: what to {'label' if run.kind == 'select' else 'expect'}"
    if subject.estimand == "groups":
        return _groups_headline(subject, estimate)
    place = leading(estimate)
    margin = (entry(estimate.ci_high, place) - entry(estimate.ci_low, place)) / 2
    value, interval = range_words(estimate, place, share=subject.share)
    if estimate.names is not None:
        points = rounded(margin, margin, share=True).rstrip("%")
        return f"{value} are “{estimate.names[place]}”, give or take {points} points"
    if subject.estimand == "quantile":  # its interval need not lie evenly around it
        return f"The {subject.name} is {value} ({interval})"
    return f"The {subject.name} is {value}, give or take {rounded(margin, margin)}"


def _groups_headline(subject: Subject, estimate: Estimate) -> str:
    assert estimate.names is not None
    order = group_order(estimate)
    if len(order) < 2:
        return f"The {subject.name} of {estimate.names[0]} is {range_words(estimate, 0, share=subject.share)[0]}"
    values = [range_words(estimate, place, share=subject.share)[0] for place in (order[0], order[-1])]
    top, bottom = estimate.names[order[0]], estimate.names[order[-1]]
    said = f"The {subject.name} runs from {values[1]} for {bottom} to {values[0]} for {top}"
    return said if certain_differences(estimate).any() else f"{said}, but no difference is certain"


def certainty_words(estimate: Estimate) -> tuple[str, str]:
    """How many of the differences between groups are certain, and what that means."""
    certain = certain_differences(estimate)
    if not len(certain):
        return "–", "There is one group only"
    level = f"{100 * estimate.confidence:g}% confidence for all of them together"
    alone = estimate.labels_only
    shown = f"; labels alone would have shown {certain_differences(alone).sum() or 'none'}" if alone else ""
    return f"{certain.sum()} of {len(certain)}", f"With {level}{shown}"


def answer_words(estimate: Estimate) -> str:
    """What kind of answer it is."""
    return "Labels only" if estimate.is_labels_alone else "Rectified"


def alone_words(estimate: Estimate) -> tuple[str, str]:
    """The figure and the note of an answer by labels only."""
    return f"{worth(estimate)[0]:,.0f}", LABELS_ALONE


def worth_words(estimate: Estimate) -> tuple[str, str]:
    """The figure and the note that say what the predictions were worth."""
    used, same, narrower = worth(estimate)
    several = estimate.names is not None
    if narrower > GAINED:
        # Told as a width: labels and width are ratios of their own.
        width = f"{'intervals are typically' if several else 'the interval is'} {narrower:.0%} narrower"
        return f"{same:,.0f}", f"{used:,.0f} labels did the work of {same:,.0f}; {width} than by labels alone"
    if narrower < -GAINED:
        return f"{used:,.0f}", "The predictions did not help: labels alone give a narrower interval"
    return f"{used:,.0f}", "The predictions made little difference to the width of the interval"


def bias_words(subject: Subject, estimate: Estimate) -> tuple[str, str]:
    """The figure and the note that say how far off the model alone would have been."""
    if estimate.model_only is None:
        return "–", "No model was used"
    count = group_count(estimate) or None
    model, values = (np.atleast_1d(np.asarray(part))[:count] for part in (estimate.model_only, estimate.estimate))
    place = int(np.argmax(np.abs(model - values)))
    low, high = entry(estimate.ci_low, place), entry(estimate.ci_high, place)
    scale = (high - low) / 2
    verdict = "inside" if low <= model[place] <= high else "outside"
    said = rounded(float(model[place]), scale, share=subject.share)
    figure = estimate.bias(place, share=subject.share)
    if subject.share:
        figure = f"{figure.rstrip('%')} points"
    if estimate.names is None:
        return figure, f"It would have said {said}, {verdict} the interval"
    most = "Most for" if count else "For"
    return figure, f"{most} “{estimate.names[place]}” it would have said {said}, {verdict} the interval"


def joined(parts: Sequence[str]) -> str:
    """Join the parts of a list as one says them."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def seconds_words(seconds: float) -> str:
    """A length of time, such as "3 min"."""
    if seconds <= 0:
        return "none"
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def strategy_words(plan: Plan, name: str) -> str:
    """A strategy's name for readers."""
    words = STRATEGY_WORDS.get(name, name)
    return f"{words}, {plan.folds} folds" if name == "cross-fit" else words


def saving_words(plan: Plan) -> tuple[str, str]:
    """The heading and the note of the share of labels that the recommended strategy would save."""
    alone = plan[plan.recommended].labels_alone
    needed = "those" if alone is None else f"the {alone:,}"
    if plan.may_gain_nothing:
        return "Labels it would probably save", f"of {needed} that labels alone would probably need; this is not sure"
    return "Labels it would save", f"of {needed} that labels alone would need"
