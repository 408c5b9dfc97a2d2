"""The law and the plan as figures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from engine.allocation import Plan
from engine.report.look import LABELS, MODEL, PRIMARY, SPLIT, add_band, add_dots, add_level, faded, framed
from engine.scaling import Law

_POINTS = 160
_PLOT_PIXELS = 250  # height of the plan's plotting area, near enough to place a name


def law_figure(
    law: Law,
    trials: pd.DataFrame | None = None,
    *,
    upto: float | None = None,
    name: str = "",
    others: Mapping[str, Law] | None = None,
) -> go.Figure:
    """Residual variance against fine-tuning labels with its 80% band; dashed beyond the largest trial.

    Args:
        law: The fitted law.
        trials: Pilot trials with the columns size and variance; the law's own by default.
        upto: Largest number of labels shown; twice the largest trial by default.
        name: What the law is of, such as "LoRA", written at its end.
        others: Laws of other learners by their names, drawn beside it with their own trials.
    """
    beside = dict(others or {})
    sizes, variances = (law.sizes, law.variances) if trials is None else (trials["size"], trials["variance"])
    x = _sizes_shown([sizes, law.sizes, *(one.sizes for one in beside.values())], upto)
    low, high = law.interval(x)
    ends = {other: float(one.predict(x[-1])) for other, one in beside.items()}
    own = float(law.predict(x[-1]))
    figure = go.Figure()
    for other, one in beside.items():
        _add_trials(figure, one.sizes, one.variances, LABELS, f"trial of {other}")
        _add_law(figure, one, x, LABELS, other, above=ends[other] >= own)
    add_band(figure, x, low, high, PRIMARY)
    _add_law(figure, law, x, PRIMARY, name, above=own > max(ends.values(), default=0.0))
    _add_trials(figure, sizes, variances, PRIMARY, "one trial")
    top = max(float(np.max(high)), float(np.max(variances)), *(float(one.predict(x[0])) for one in beside.values()))
    if law.label_variance is not None:
        add_level(figure, law.label_variance, "variance of the labels", LABELS, "dot")
    _frame(figure, x, max(top, law.label_variance or 0.0))
    return figure


def trials_figure(trials: pd.DataFrame) -> go.Figure:
    """Residual variance of the first trials, which no law can be drawn through yet.

    Args:
        trials: Pilot trials with the columns size and variance, one or more.
    """
    figure = go.Figure()
    _add_trials(figure, trials["size"], trials["variance"], PRIMARY, "one trial")
    _frame(figure, _sizes_shown([trials["size"]], None), float(trials["variance"].max()))
    return figure


def _frame(figure: go.Figure, x: NDArray[np.float64], top: float) -> None:
    """Set the axes of a figure over the numbers of labels x whose values reach up to `top`."""
    framed(figure, "Fine-tuning labels (logarithmic scale)", "Residual variance (label units squared)")
    ticks = _log_ticks(x[0], x[-1])
    ends = [float(np.log10(x[0])), float(np.log10(x[-1]))]
    figure.update_xaxes(type="log", range=ends, tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    figure.update_yaxes(range=[0, 1.12 * top])


def _sizes_shown(sizes: list[ArrayLike], upto: float | None) -> NDArray[np.float64]:
    """From two thirds of the smallest trial to `upto`, or to twice the largest trial."""
    seen = float(max(np.max(some) for some in sizes))
    start = max(float(min(np.min(some) for some in sizes)) / 1.5, 1.0)
    return np.geomspace(start, max(float(upto or 2 * seen), 1.05 * seen), _POINTS)


def _add_trials(figure: go.Figure, sizes: ArrayLike, variances: ArrayLike, colour: str, said: str) -> None:
    add_dots(figure, sizes, variances, f"%{{x:,}} labels: %{{y:.3g}}<extra>{said}</extra>", colour)


def _add_law(figure: go.Figure, law: Law, x: NDArray[np.float64], colour: str, name: str, *, above: bool) -> None:
    """Add the curve of a law, dashed beyond its largest trial, with its name above or below its end."""
    seen = float(law.sizes.max())
    hover = f"%{{x:,.0f}} labels: %{{y:.3g}}<extra>law{f' of {name}' if name else ''}</extra>"
    for part, dash in ((np.append(x[x < seen], seen), "solid"), (np.insert(x[x > seen], 0, seen), "dash")):
        line = {"color": colour, "width": 3 if colour == PRIMARY else 2, "dash": dash}
        figure.add_scatter(x=part, y=law.predict(part), mode="lines", line=line, hovertemplate=hover, name="law")
    if name:
        figure.add_annotation(
            text=name, x=float(np.log10(x[-1])), y=float(law.predict(x[-1])), xanchor="right",
            yanchor="bottom" if above else "top", showarrow=False, font={"color": colour},
        )  # fmt: skip


def _log_ticks(start: float, end: float) -> list[int]:
    ticks = [step * 10**power for power in range(7) for step in (1, 2, 5)]
    return [tick for tick in ticks if start <= tick <= end]


def plan_figure(plan: Plan, s: float | None = None, unit: str = "") -> go.Figure:
    """Predicted half-width of the interval over the split, with its 80% band, the optimum and the flat region.

    Args:
        plan: The plan.
        s: The user's number of fine-tuning labels, marked on the curve.
        unit: What a label counts, such as "stars", for axis and hover texts; "share" writes percentage points.
    """
    low, high = plan.splits[0], plan.splits[-1]
    x = np.unique(np.linspace(low, high, _POINTS).round())
    half = np.asarray(plan.width(x))
    figure = go.Figure()
    _add_regions(figure, plan)
    add_band(figure, x, *plan.width_interval(x), SPLIT)
    share = unit == "share"
    shown = "±%{y:.1%}" if share else f"±%{{y:.3g}}{' ' + unit if unit else ''}"
    hover = f"%{{x:,.0f}} to fine-tune, %{{customdata:,.0f}} to rectify: {shown}<extra>split</extra>"
    line = {"color": SPLIT, "width": 3}
    figure.add_scatter(x=x, y=half, customdata=plan.n - x, mode="lines", line=line, hovertemplate=hover, name="split")
    top = _plan_top(plan, half)
    _add_levels(figure, plan, top)
    _add_optimum(figure, plan, shown, top)
    if s is not None:
        _add_choice(figure, shown)
        move_split(figure, plan, s)
    said = "percentage points" if share else unit
    framed(figure, f"Labels used to fine-tune, of {plan.n:,}", "Half-width of the interval" + (said and f" ({said})"))
    # Margins that follow the tick labels are laid out twice; the slider needs the figure at once.
    figure.update_yaxes(range=[0, top], tickformat=".1%" if share else None, automargin=False)
    figure.update_xaxes(range=[_plan_start(plan), plan.n], automargin=False)
    figure.update_layout(margin_l=76)
    return figure


def move_split(figure: go.Figure, plan: Plan, s: float) -> None:
    """Move the mark of the user's split in a plan's figure to s fine-tuning labels; nothing else is drawn anew."""
    at = float(np.clip(s, plan.splits[0], plan.splits[-1]))
    figure.data[-1].update(x=[at], y=[float(plan.width(at))], customdata=[float(plan.regret(at))])


def _plan_start(plan: Plan) -> float:
    """Left end of the axis: none of the labels, or shortly before the first split that the pilot leaves."""
    low = float(plan.splits[0])
    return max(low - 0.15 * (plan.n - low), 0.0) if plan.finetune_minimum > 0 else 0.0


def _add_regions(figure: go.Figure, plan: Plan) -> None:
    """Shade the flat region and the labels that the pilot has opened, each with its name."""
    (left, right), start = plan.flat_region, _plan_start(plan)
    figure.add_vrect(x0=left, x1=right, fillcolor=faded(SPLIT, 0.1), line_width=0, layer="below")
    late = left - start > 0.7 * (plan.n - start)
    figure.add_annotation(
        text="within 2% of the best", x=right if late else left, y=1, yref="paper", yanchor="top",
        xanchor="right" if late else "left", showarrow=False, font={"color": SPLIT, "size": 11},
    )  # fmt: skip
    if start < plan.finetune_minimum:
        figure.add_vrect(x0=0, x1=plan.finetune_minimum, fillcolor=faded(LABELS, 0.1), line_width=0, layer="below")
        figure.add_annotation(
            text="opened by the pilot", x=(start + plan.finetune_minimum) / 2, y=0.99, yref="paper", textangle=-90,
            yanchor="top", showarrow=False, font={"color": LABELS, "size": 11},
        )  # fmt: skip


def _plan_top(plan: Plan, half: NDArray[np.float64]) -> float:
    """Top of the axis: everything but the steep ends of the curve, which would flatten the rest."""
    levels = [record.half_width for record in plan.strategies]
    return 1.25 * max(*levels, float(np.quantile(half, 0.8)), plan.half_width or 0.0)


def _add_levels(figure: go.Figure, plan: Plan, top: float) -> None:
    levels = [(record.half_width, record.name) for record in plan.strategies if record.name != "split"]
    colours = {"labels-only": LABELS, "zero-shot": MODEL, "cross-fit": PRIMARY}
    lines = [
        (y, f"cross-fit, {plan.folds} folds" if name == "cross-fit" else name, colours[name]) for y, name in levels
    ]
    if plan.half_width is not None:
        lines.append((plan.half_width, "your target", LABELS))
    lines.sort()
    for place, (y, text, colour) in enumerate(lines):
        near = [abs(other - y) < 0.07 * top for other, _, _ in lines[place + 1 : place + 2] + lines[:place][-1:]]
        # The lowest and the lower of two near ones are named below themselves; at its left one between two others, and
        # the lowest where another is near and there is no room below it.
        under = (place == 0 or (place + 1 < len(lines) and near[0])) and y > 0.07 * top
        dash = "dot" if text == "your target" else "dash"
        add_level(figure, y, text, colour, dash, under=under, at_left=near[-1] and under == (place > 0))


def _add_optimum(figure: go.Figure, plan: Plan, shown: str, top: float) -> None:
    record = plan["split"]
    marker = {"color": SPLIT, "size": 12, "line": {"color": "white", "width": 2}}
    figure.add_scatter(
        x=[record.finetune], y=[record.half_width], mode="markers", marker=marker, name="best split",
        hovertemplate=f"%{{x:,.0f}} to fine-tune: {shown}<extra>best split</extra>",
    )  # fmt: skip
    gaps = [other.half_width - record.half_width for other in plan.strategies if other.name != "split"]
    above, below = (min((gap for gap in side if gap > 0), default=top) for side in (gaps, [-gap for gap in gaps]))
    # The name keeps clear of the lines of the other strategies: below, above, or over the line next above.
    pixels = _PLOT_PIXELS / top
    shift = -20.0 if below * pixels > 36 else 20.0 if above * pixels > 36 else above * pixels + 14
    figure.add_annotation(
        x=record.finetune, y=record.half_width, text=f"best split: {record.finetune:,}", showarrow=False,
        yshift=shift, font={"color": SPLIT}, xanchor="center" if record.finetune > 0.25 * plan.n else "left",
    )  # fmt: skip


def _add_choice(figure: go.Figure, shown: str) -> None:
    marker = {"color": "white", "size": 13, "symbol": "diamond", "line": {"color": SPLIT, "width": 3}}
    said = "%{customdata:.0%} wider than the best split<extra>yours</extra>"
    figure.add_scatter(
        mode="markers", marker=marker, name="your split", hovertemplate=f"%{{x:,.0f}} to fine-tune: {shown}, {said}"
    )
