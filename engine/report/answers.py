"""The answer as key figures and tables, for every kind of question."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.rectification import Estimate
from engine.rectification.wording import (
    certain_differences,
    clearest_differences,
    group_count,
    group_order,
    group_pairs,
    rounded,
)
from engine.report import wording
from engine.report.wording import Subject

MOST_DIFFERENCES = 30  # more rows than that nobody reads; the CSV has them all


@dataclass(frozen=True)
class KeyFigure:
    """One figure of the strip at the top."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Grid:
    """A table of strings; `strong` is the row to stand out, if any."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: int | None = None


def answer_figures(subject: Subject, estimate: Estimate) -> tuple[KeyFigure, ...]:
    """What the answer is, what the predictions were worth, how far off the model alone would have been."""
    if estimate.is_labels_alone:
        return _first_figure(subject, estimate), KeyFigure("Labels", *wording.alone_words(estimate))
    return (
        _first_figure(subject, estimate),
        KeyFigure("Labels it was worth", *wording.worth_words(estimate)),
        KeyFigure("Bias of the model alone", *wording.bias_words(subject, estimate)),
    )


def _first_figure(subject: Subject, estimate: Estimate) -> KeyFigure:
    if subject.estimand == "groups":
        return KeyFigure("Differences that are certain", *wording.certainty_words(estimate))
    place = wording.leading(estimate)
    value, interval = wording.range_words(estimate, place, share=subject.share)
    name = f"Share of “{estimate.names[place]}”" if estimate.names else subject.name[0].upper() + subject.name[1:]
    return KeyFigure(name, value, f"{100 * estimate.confidence:g}% interval {interval}")


def comparison(subject: Subject, estimate: Estimate) -> Grid:
    """Rectified, labels-only and model-only, those that there are: below each other, for groups beside each other."""
    if subject.estimand == "groups":
        return _groups(subject, estimate)
    rows = []
    for place, name in enumerate(estimate.names or ("",)):
        scale = _half(estimate, place)
        for words, answer in ((wording.answer_words(estimate), estimate), ("Labels only", estimate.labels_only)):
            if answer is not None:
                rows.append((name, words, *_interval_cells(answer, place, subject.share, scale)))
        if estimate.model_only is not None:
            said = rounded(wording.entry(estimate.model_only, place), scale, share=subject.share)
            rows.append((name, "Model only", said, "–", "–"))
    columns = ("Class", "Answer", "Value", f"{100 * estimate.confidence:g}% interval", "Half-width")
    if estimate.names is not None:
        return Grid(columns, tuple(rows))
    return Grid(columns[1:], tuple(row[1:] for row in rows), strong=0)


def _half(answer: Estimate, place: int) -> float:
    return (wording.entry(answer.ci_high, place) - wording.entry(answer.ci_low, place)) / 2


def _interval_cells(answer: Estimate, place: int, share: bool, scale: float) -> tuple[str, str, str]:
    half = _half(answer, place)
    value, interval = wording.range_words(answer, place, share=share, scale=scale)
    return value, interval, f"±{wording.width_words(half, half, share=share)}"


def _groups(subject: Subject, estimate: Estimate) -> Grid:
    """One row a group, the highest first."""
    assert estimate.names is not None
    alone, rows = estimate.labels_only, []
    for place in group_order(estimate):
        scale = _half(estimate, place)
        cells = [*wording.range_words(estimate, place, share=subject.share)]
        if alone is not None:
            value, interval = wording.range_words(alone, place, share=subject.share, scale=scale)
            cells.append(f"{value} ({interval})")
        if estimate.model_only is not None:
            cells.append(rounded(wording.entry(estimate.model_only, place), scale, share=subject.share))
        used = wording.entry(estimate.n if alone is None else alone.n, place)
        rows.append((estimate.names[place], *cells, f"{used:,.0f}"))
    columns = [subject.group, wording.answer_words(estimate), f"{100 * estimate.confidence:g}% interval"]
    columns += ["Labels only"] if alone is not None else []
    columns += ["Model only"] if estimate.model_only is not None else []
    return Grid((*columns, "Labels"), tuple(rows))


def differences(subject: Subject, estimate: Estimate) -> Grid | None:
    """The clearest differences between groups, those that are certain first; None where there are none."""
    count, certain = group_count(estimate), certain_differences(estimate) if estimate.names else np.zeros(0, bool)
    if count < 2:
        return None
    assert estimate.names is not None
    rows = []
    for place in clearest_differences(estimate)[:MOST_DIFFERENCES]:
        first, second = group_pairs(estimate)[place]
        # One digit more than elsewhere, lest an interval that just holds 0 seem to end there.
        scale = 0.29 * _half(estimate, int(place) + count)
        value, interval = wording.range_words(
            estimate, int(place) + count, share=subject.share, scale=scale, points=True
        )
        names = f"{estimate.names[first]} − {estimate.names[second]}"
        rows.append((names, value, interval, "yes" if certain[place] else "no"))
    return Grid(("Difference", "Value", f"{100 * estimate.confidence:g}% interval", "Certain"), tuple(rows))
