"""An estimate in plain words."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from engine.rectification.estimate import Estimate, interval_width

LABELS_ALONE = "Labels only: no model has a part in this answer."
GAINED = 0.01  # an interval that is less narrower than that is about the same
_MOST_CLAUSES = 4  # groups that a sentence sets above others
_MOST_NAMES = 6  # names in one list


def summarise(estimate: Estimate, *, share: bool) -> str:
    """The answer, what it was worth, how far off the model alone would have been, and the notes."""
    sentences = _answers(estimate, share) + _worth(estimate) + _bias(estimate, share) + list(estimate.notes)
    return "\n".join(sentences)


def _answers(estimate: Estimate, share: bool) -> list[str]:
    level = f"{100 * estimate.confidence:g}% confidence interval"
    if estimate.names is None:
        value, interval = interval_words(estimate, 0, share=share)
        return [f"The answer is {value} ({level} {interval})."]
    groups = group_count(estimate)
    shown = estimate.names[: groups or None]
    lines = [f"  {name}: {value} ({interval})" for name, (value, interval) in _all_said(estimate, shown, share)]
    heading = f"The answers, each with its {level}:"
    if groups < 2:
        return [heading, *lines]
    order = group_order(estimate)
    top, bottom = (
        f"{shown[place]} ({interval_words(estimate, place, share=share)[0]})" for place in (order[0], order[-1])
    )
    return [f"Highest is {top}, lowest {bottom}.", heading, *lines, comparison_words(estimate)]


def _all_said(estimate: Estimate, names: Sequence[str], share: bool) -> Iterator[tuple[str, tuple[str, str]]]:
    return ((name, interval_words(estimate, place, share=share)) for place, name in enumerate(names))


def interval_words(estimate: Estimate, place: int, *, share: bool) -> tuple[str, str]:
    """Value and interval at a place, with two digits of the half-width; of shares in per cent."""
    value, low, high = _ends(estimate, place, share)
    ends = [end for end in (value, low, high) if np.isfinite(end)]
    digits = _digits(_entry(interval_width(value, low, high), 0) / 2, ends)
    said, lower, upper = (_with_unit(part, digits, share) for part in (value, low, high))
    if np.isinf(high):
        return said, f"{lower} or more"
    return said, f"{upper} or less" if np.isinf(low) else f"{lower} to {upper}"


def _ends(estimate: Estimate, place: int, share: bool) -> tuple[float, float, float]:
    """Value and ends of the interval at a place; of shares in per cent."""
    factor = 100 if share else 1
    value, low, high = (_entry(part, place) for part in (estimate.estimate, estimate.ci_low, estimate.ci_high))
    return factor * value, factor * low, factor * high


def _with_unit(value: float, digits: int | None, share: bool) -> str:
    return number(value, digits) + ("%" if share else "")


def _entry(values: object, place: int) -> float:
    return float(np.atleast_1d(np.asarray(values, dtype=float))[place])


# ------------------------------------------------------------------------- groups


def group_count(estimate: Estimate) -> int:
    """How many groups an estimate compares: its first entries; the others are their differences. 0 without groups."""
    if estimate.multiplicity is None or estimate.names is None:
        return 0
    return (math.isqrt(8 * len(estimate.names) + 1) - 1) // 2  # k groups have k (k + 1) / 2 entries


def group_order(estimate: Estimate) -> list[int]:
    """The places of the groups, the highest answer first."""
    values = np.asarray(estimate.estimate, dtype=float)[: group_count(estimate)]
    return [int(place) for place in np.argsort(-values, kind="stable")]


def group_pairs(estimate: Estimate) -> list[tuple[int, int]]:
    """The groups of each difference, in the order in which differences follow the groups."""
    return list(combinations(range(group_count(estimate)), 2))


def certain_differences(estimate: Estimate) -> NDArray[np.bool_]:
    """Which differences are certain, (pairs,): their intervals, which hold together, leave 0 out or end there.

    An interval ends at 0 where the step-down procedure rejects although the simultaneous interval would not.
    """
    count = group_count(estimate)
    low, high = (np.asarray(end, dtype=float)[count:] for end in (estimate.ci_low, estimate.ci_high))
    return np.asarray((low >= 0) | (high <= 0))


def clearest_differences(estimate: Estimate) -> NDArray[np.intp]:
    """Places among the differences: those that are certain first, then by their size in standard errors."""
    count = group_count(estimate)
    sizes = np.abs(np.asarray(estimate.estimate, dtype=float)[count:])
    errors = np.asarray(estimate.standard_error, dtype=float)[count:]
    clear = sizes / np.where(errors > 0, errors, 1)
    return np.lexsort((-clear, ~certain_differences(estimate)))


def comparison_words(estimate: Estimate) -> str:
    """How many differences are certain, which groups they set above which, and what labels alone would have shown."""
    found = certain_differences(estimate)
    certain, pairs = int(found.sum()), len(found)
    alone = None if estimate.labels_only is None else int(certain_differences(estimate.labels_only).sum())
    if pairs == 0:
        return "There is one group only, so there is nothing to compare."
    if pairs == 1:
        verdict = "is certain" if certain else "is not certain: its interval holds 0"
        words = f"The difference {verdict}"
    elif certain == 0:
        words = f"None of the {pairs} differences is certain: every interval holds 0"
    else:
        words = f"{'All' if certain == pairs else f'{certain} of'} {pairs} differences {_be(certain)} certain"
    words += f": {_above(estimate, found)}." if certain else "."
    return words + (_alone_words(alone, certain) if pairs > 1 else "")


def _alone_words(alone: int | None, certain: int) -> str:
    if alone is None or alone == certain == 0:
        return ""
    return f" Labels alone would have shown {'as many' if alone == certain else alone or 'none'}."


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _above(estimate: Estimate, found: NDArray[np.bool_]) -> str:
    """Which group lies above which others."""
    assert estimate.names is not None
    below: dict[int, list[int]] = {}
    points = np.asarray(estimate.estimate, dtype=float)[group_count(estimate) :]
    for (a, b), certain, point in zip(group_pairs(estimate), found, points, strict=True):
        if certain:
            high, low = (a, b) if point > 0 else (b, a)
            below.setdefault(high, []).append(low)
    order = group_order(estimate)
    higher = [place for place in order if place in below]
    clauses = []
    for place in higher[:_MOST_CLAUSES]:
        others = [estimate.names[low] for low in order if low in below[place]]
        clauses.append(f"{estimate.names[place]} is above {_listed(others)}")
    rest = len(higher) - len(clauses)
    return "; ".join(clauses) + (f"; and so on for {rest} more group{'s' if rest > 1 else ''}" if rest else "")


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMES:
        return f"{', '.join(names[: _MOST_NAMES - 1])} and {len(names) - _MOST_NAMES + 1} others"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# ------------------------------------------------------------------ worth and bias


def worth(estimate: Estimate) -> tuple[float, float, float]:
    """Labels used, how many labels alone give the same standard error, and how much narrower the interval is.

    Over groups labels are added up. Over several entries the narrowing is that of the median interval. Labels and
    width are ratios of their own: in a finite population no one follows from the other. Where the interval is hardly
    narrower, the labels did their own work: the standard error leaves out what learning lambda from few of them costs.
    """
    labels = estimate.labels_only or estimate
    count = group_count(estimate)
    used = np.atleast_1d(np.asarray(labels.n, dtype=float))[: count or None].sum()
    same = np.atleast_1d(np.asarray(estimate.n_effective, dtype=float))
    saved = np.atleast_1d(np.asarray(estimate.labels_saved, dtype=float))[: count or None]
    narrower = 1 - np.sqrt(1 - min(float(np.median(saved)), 1.0))
    same = same[:count].sum() if count else np.median(same)
    return float(used), float(same if narrower > GAINED else used), float(narrower)


def _worth(estimate: Estimate) -> list[str]:
    if estimate.is_labels_alone:
        return [LABELS_ALONE]
    if estimate.labels_only is None:
        return []
    used, same, narrower = worth(estimate)
    several = estimate.names is not None
    if narrower > GAINED:
        width = f"{'intervals are typically' if several else 'the interval is'} {narrower:.0%} narrower than"
        if same > used:
            did = f"the {used:,.0f} labels did the work of about {same:,.0f}"
            return [f"Rectifying was worth it: {did}, and {width} the labels alone would give."]
        return [f"Rectifying was worth it: {width} the labels alone would give."]
    if narrower < -GAINED:
        return ["Rectifying was not worth it: all the labels without predictions give a narrower interval."]
    return ["Rectifying made little difference: labels alone give about the same interval."]


def _bias(estimate: Estimate, share: bool) -> list[str]:
    if estimate.model_only is None:
        return []
    count = group_count(estimate) or None
    values, model, low, high = (
        np.atleast_1d(np.asarray(part, dtype=float))[:count]
        for part in (estimate.estimate, estimate.model_only, estimate.ci_low, estimate.ci_high)
    )
    off = (model < low) | (model > high)
    if estimate.names is None:
        gap, said = _gap_words(estimate, 0, share)
        verdict = "outside" if off[0] else "inside"
        return [f"The model alone would have said {said}, {gap} and {verdict} its interval."]
    place = int(np.argmax(np.abs(model - values)))
    gap, said = _gap_words(estimate, place, share)
    where = f"outside the interval for {int(off.sum())} of {len(values)}" if off.any() else "inside every interval"
    return [f"The model alone would have been {where}; furthest off for {estimate.names[place]}, {said}, {gap}."]


def _gap_words(estimate: Estimate, place: int, share: bool) -> tuple[str, str]:
    """How far the model's own answer is off, and the answer itself."""
    value, low, high = _ends(estimate, place, share)
    model = (100 if share else 1) * _entry(estimate.model_only, place)
    half = _entry(interval_width(value, low, high), 0) / 2
    said, gap = _with_unit(model, _digits(half, [model]), share), rounded(abs(model - value), half)
    if _is_zero(gap):
        digits = _digits(half, [model, value])
        alike = number(model, digits) == number(value, digits)
        return f"{'the same as' if alike else 'nearly the same as'} the answer", said
    gap = gap.removesuffix(".0") + (" points" if share else "")
    return f"{gap} {'above' if model > value else 'below'} the answer", said


def bias_words(estimate: Estimate, place: int, *, share: bool) -> str:
    """How far off the model alone would have been at a place, with its sign: as exact as the interval lets it be known.

    What that rounds to nothing is told with two digits of its own.
    """
    value, low, high = (_entry(part, place) for part in (estimate.estimate, estimate.ci_low, estimate.ci_high))
    gap = _entry(estimate.model_only, place) - value
    half = _entry(interval_width(value, low, high), 0) / 2
    said = rounded(gap, half, share=share, sign=True)
    if not _is_zero(said):
        return said
    unit = "%" if share else ""
    amount = gap * (100 if share else 1)
    if abs(gap) < 1e-6 * half or abs(amount) < 1e-9:
        return f"0{unit}"
    digits = int(np.clip(1 - np.floor(np.log10(abs(amount))), 0, 9))
    return f"{amount:+,.{digits}f}{unit}".replace("-", "−")


def _is_zero(said: str) -> bool:
    return not any(digit in said for digit in "123456789")


# ------------------------------------------------------------------------ numbers


def rounded(value: float, scale: float, *, share: bool = False, sign: bool = False) -> str:
    """Write a number as exactly as its uncertainty `scale` lets it be known; a share becomes a percentage."""
    factor = 100.0 if share else 1.0
    size = float(f"{abs(scale) * factor:.2g}")
    digits = 1
    if np.isfinite(size) and size > 0:
        power = int(np.floor(np.log10(size) + 1e-9))
        # A leading 1 or 2 needs a second digit, lest rounding shift the interval by a quarter of itself.
        digits = int(np.clip((1 if size / 10.0**power < 3 else 0) - power, 0, 6))
    digits = min(digits, 1) if share and not 0 < size < 0.1 else digits
    amount = round(value * factor, digits) + 0.0  # no minus before a zero
    text = f"{amount:{'+' if sign else ''},.{digits}f}".replace("-", "−")
    return f"{text}%" if share else text


def _digits(half: float, values: Sequence[float]) -> int | None:
    """Decimals that show two digits of a half-width, fewer where that many say nothing more of the values."""
    if not np.isfinite(half) or half <= 0 or half < 1e-8:
        return None
    digits = int(np.clip(1 - np.floor(np.log10(half) + 1e-9), 0, 9))
    while digits and all(round(value, digits - 1) == round(value, digits) for value in values):
        digits -= 1
    return digits


def number(value: object, digits: int | None = None) -> str:
    """Write a number with so many decimals; by default with four significant digits."""
    amount = float(np.asarray(value, dtype=float))
    if digits is not None and abs(amount) < 1e12:
        return f"{round(amount, digits) + 0.0:,.{digits}f}"
    if amount != 0 and (abs(amount) < 1e-4 or abs(amount) >= 1e7):
        return f"{amount:.3g}"
    if abs(amount) >= 1000:
        return f"{amount:,.1f}"
    return f"{amount:.4g}"
