"""Numbers and sentences of a report, in words that need no statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.allocation import Plan
from engine.rectification import Estimate
from engine.runs import Question, Study

_MOST_SHARES = 3
STRATEGY_WORDS = {
    "labels-only": "Labels only",
    "zero-shot": "Rectify as it came",
    "split": "Split the labels",
    "cross-fit": "Cross-fit",
}


def rounded(value: float, scale: float, *, share: bool = False, sign: bool = False) -> str:
    """Write a number as exactly as its uncertainty `scale` lets it be known; a share becomes a percentage."""
    factor = 100.0 if share else 1.0
    size = float(f"{abs(scale) * factor:.2g}")
    digits = 1
    if np.isfinite(size) and size > 0:
        power = int(np.floor(np.log10(size) + 1e-9))
        # A leading 1 or 2 needs a second digit, lest rounding shift the interval by a quarter of itself.
        digits = int(np.clip((1 if size / 10.0**power < 3 else 0) - power, 0, 6))
    digits = min(digits, 1) if share else digits
    text = f"{value * factor:{'+' if sign else ''},.{digits}f}".replace("-", "−")
    return f"{text}%" if share else text


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


def range_words(estimate: Estimate, place: int, *, share: bool, scale: float | None = None) -> tuple[str, str]:
    """The value and its interval, such as ("2.98", "2.91 to 3.05"), as exact as `scale` or else as its half-width."""
    value, low, high = (entry(part, place) for part in (estimate.estimate, estimate.ci_low, estimate.ci_high))
    scale = (high - low) / 2 if scale is None else scale
    value_text, low_text, high_text = (rounded(part, scale, share=share) for part in (value, low, high))
    return value_text, f"{low_text} to {high_text}"


def whole_words(question: Question, rows: int) -> str:
    """What the answer speaks of."""
    return f"these {rows:,} texts" if question.population == "these" else f"all texts like these {rows:,}"


def label_words(study: Study) -> str:
    """The label's column name as words."""
    return " ".join(study.roles.label.replace("_", " ").split())


def answer_sentence(study: Study, estimate: Estimate, rows: int) -> str:
    """The answer with its interval in one sentence."""
    whole, level = whole_words(study.question, rows), f"{100 * estimate.confidence:g}%"
    if estimate.names is None:
        value, interval = range_words(estimate, 0, share=False)
        return f"The mean {label_words(study)} of {whole} is {value}; it lies from {interval} with {level} confidence."
    order = np.argsort(-np.atleast_1d(estimate.estimate), kind="stable")
    parts = []
    for place in order[:_MOST_SHARES]:
        value, interval = range_words(estimate, int(place), share=True)
        parts.append(f"{value} are “{estimate.names[place]}” ({interval})")
    rest = len(order) - len(parts)
    more = f"; {rest} more {'class is' if rest == 1 else 'classes are'} in the table" if rest else ""
    return f"Of {whole}, {joined(parts)}{more}. Each range holds with {level} confidence."


def default_headline(study: Study, estimate: Estimate | None) -> str:
    """A headline for the user to edit."""
    if estimate is None:
        return f"{study.name}: what to expect"
    place = leading(estimate)
    share = estimate.names is not None
    margin = (entry(estimate.ci_high, place) - entry(estimate.ci_low, place)) / 2
    value, _ = range_words(estimate, place, share=share)
    if estimate.names is not None:
        points = rounded(margin, margin, share=True).rstrip("%")
        return f"{value} are “{estimate.names[place]}”, give or take {points} points"
    return f"The mean {label_words(study)} is {value}, give or take {rounded(margin, margin)}"


def worth_words(estimate: Estimate) -> tuple[str, str]:
    """The figure and the note that say what the predictions were worth."""
    saved = float(np.median(np.asarray(estimate.labels_saved, dtype=float)))
    used = float(np.sum((estimate.labels_only or estimate).n))
    worth = float(np.median(np.asarray(estimate.n_effective, dtype=float)))
    typical = "typically " if estimate.names is not None else ""
    if saved > 0.02:
        # Told as a width: the share of labels saved is a ratio of widths too, and no ratio of these two counts.
        narrower = 1 - np.sqrt(1 - saved)
        did = f"{used:,.0f} labels did the work of {worth:,.0f}"
        return f"{worth:,.0f}", f"{did}; the interval is {typical}{narrower:.0%} narrower than by labels alone"
    if saved < -0.02:
        return f"{used:,.0f}", "The predictions did not help: labels alone give a narrower interval"
    return f"{used:,.0f}", "The predictions made little difference to the width of the interval"


def bias_words(estimate: Estimate) -> tuple[str, str]:
    """The figure and the note that say how far off the model alone would have been."""
    if estimate.model_only is None:
        return "–", "No model was used"
    model, values = np.atleast_1d(np.asarray(estimate.model_only)), np.atleast_1d(np.asarray(estimate.estimate))
    place = int(np.argmax(np.abs(model - values)))
    low, high = entry(estimate.ci_low, place), entry(estimate.ci_high, place)
    gap, scale = float(model[place] - values[place]), (high - low) / 2
    verdict = "inside" if low <= model[place] <= high else "outside"
    if estimate.names is None:
        said = rounded(float(model[place]), scale)
        return rounded(gap, scale, sign=True), f"It would have said {said}, {verdict} the interval"
    points = rounded(gap, scale, share=True, sign=True).rstrip("%")
    said = rounded(float(model[place]), scale, share=True)
    return f"{points} points", f"For “{estimate.names[place]}” it would have said {said}, {verdict} the interval"


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
