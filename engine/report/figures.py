"""The figures that pages and report share. Fonts and backgrounds are left to the theme around them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from engine.allocation import Plan
from engine.data import Dataset
from engine.efficiency import Efficiency
from engine.efficiency.curve import LARGEST
from engine.rectification import Estimate
from engine.rectification.drawing import Part, draw
from engine.report.look import LABELS, MODEL, PRIMARY, SPLIT, add_band, add_level, faded, framed
from engine.scaling import Law

_MOST_POINTS = 2000
_MOST_VALUES = 12  # up to so many different whole numbers each get a bar of their own
_MOST_CLASSES = 20
_PLAN_POINTS = 160
_TICKS = (1, 10, 50, 200, 1000, 5000)


def data_efficiency_figure(efficiency: Efficiency, trials: pd.DataFrame | None = None) -> go.Figure:
    """Score against labels with its 80% band; trials as light dots, the mean at each size as a strong one.

    Args:
        efficiency: The curve.
        trials: Pilot trials with the columns size and score.
    """
    x = np.geomspace(1, LARGEST, 160)
    curve = efficiency.curve(x)
    figure = go.Figure()
    add_band(figure, x, curve["low"], curve["high"], PRIMARY)
    hover = "%{x:,.0f} labels: %{y:.0%}<extra>predicted score</extra>"
    dash = "solid" if efficiency.measured else "dash"
    line = {"color": PRIMARY, "width": 3, "dash": dash}
    figure.add_scatter(x=x, y=curve["median"], mode="lines", line=line, hovertemplate=hover, name="curve")
    if trials is not None and len(trials):
        _add_dots(figure, trials["size"], trials["score"], "%{customdata:,} labels: %{y:.0%}<extra>one trial</extra>")
    _add_scores(figure, efficiency.scores)
    kinds = {"accuracy": "Score (accuracy)", "explained variance": "Score (share of variance explained)"}
    score = kinds[efficiency.kind] if efficiency.scores else "Score, from untrained to best"
    framed(figure, "Labels (logarithmic scale)", score)
    figure.update_xaxes(type="log", tickvals=_TICKS, ticktext=[f"{tick:,}" for tick in _TICKS])
    figure.update_yaxes(tickformat=".0%", range=_score_range(curve, efficiency, trials))
    _add_badge(figure, "measured" if efficiency.measured else "prediction, nothing trained yet", efficiency.measured)
    return figure


def _add_scores(figure: go.Figure, scores: dict[int, float]) -> None:
    if not scores:
        return
    sizes = list(scores)
    figure.add_scatter(
        x=np.maximum(sizes, 1),  # a logarithmic axis has no 0; the curve starts from the zero-shot score at 1
        y=list(scores.values()),
        customdata=sizes,
        mode="markers",
        marker={"color": PRIMARY, "size": 10, "line": {"color": "white", "width": 1.5}},
        hovertemplate="%{customdata:,} labels: %{y:.0%}<extra>mean of the trials</extra>",
        name="mean of the trials",
    )


def _add_dots(figure: go.Figure, x: ArrayLike, y: ArrayLike, hover: str, colour: str = PRIMARY) -> None:
    marker = {"color": faded(colour, 0.45), "size": 7}
    figure.add_scatter(
        x=np.maximum(x, 1), y=y, customdata=x, mode="markers", marker=marker, hovertemplate=hover, name="trials"
    )


def _score_range(curve: pd.DataFrame, efficiency: Efficiency, trials: pd.DataFrame | None) -> list[float]:
    low = [0.0, float(curve["low"].min()), *efficiency.scores.values()]
    if trials is not None and len(trials):
        low.append(float(trials["score"].quantile(0.02)))
    return [max(min(low), -1.0) - 0.03, 1.05]


def _add_badge(figure: go.Figure, text: str, measured: bool) -> None:
    colour = PRIMARY if measured else MODEL
    figure.add_annotation(
        text=text, x=0, y=1, xref="paper", yref="paper", xanchor="left", yanchor="bottom", yshift=6, showarrow=False,
        font={"color": colour, "size": 12}, bordercolor=faded(colour, 0.6), borderwidth=1, borderpad=4,
        bgcolor=faded(colour, 0.1),
    )  # fmt: skip
    figure.update_layout(margin_t=48)


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
    seen = float(max([np.max(sizes), *(one.sizes.max() for one in (law, *beside.values()))]))
    end = max(float(upto or 2 * seen), 1.05 * seen)
    start = max(float(min([np.min(sizes), *(one.sizes.min() for one in (law, *beside.values()))])) / 1.5, 1.0)
    figure = go.Figure()
    x = np.geomspace(start, end, 160)
    for other, one in beside.items():
        _add_dots(
            figure, one.sizes, one.variances, f"%{{x:,}} labels: %{{y:.3g}}<extra>trial of {other}</extra>", LABELS
        )
        above = float(one.predict(x[-1])) >= float(law.predict(x[-1]))
        _add_law(figure, one, x, LABELS, other, above=above)
    low, high = law.interval(x)
    add_band(figure, x, low, high, PRIMARY)
    highest = all(float(law.predict(x[-1])) > float(one.predict(x[-1])) for one in beside.values())
    _add_law(figure, law, x, PRIMARY, name, above=highest)
    _add_dots(figure, sizes, variances, "%{x:,} labels: %{y:.3g}<extra>one trial</extra>")
    framed(figure, "Fine-tuning labels (logarithmic scale)", "Residual variance (label units squared)")
    top = [float(np.max(high)), float(np.max(variances)), *(float(one.predict(x[0])) for one in beside.values())]
    if law.label_variance is not None:
        add_level(figure, law.label_variance, "variance of the labels", LABELS, "dot")
        top.append(law.label_variance)
    ticks = _log_ticks(start, end)
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    figure.update_yaxes(range=[0, 1.12 * max(top)])
    return figure


def _add_law(figure: go.Figure, law: Law, x: np.ndarray, colour: str, name: str, *, above: bool) -> None:
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
    x = np.unique(np.linspace(low, high, _PLAN_POINTS).round())
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


def _plan_top(plan: Plan, half: np.ndarray) -> float:
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
        # The lowest and the lower of two near ones are named below themselves, one between two others at its left.
        under = (place == 0 or (place + 1 < len(lines) and near[0])) and y > 0.07 * top
        dash = "dot" if text == "your target" else "dash"
        add_level(figure, y, text, colour, dash, under=under, at_left=under and near[-1] and place > 0)


_PLOT_PIXELS = 250  # height of the plan's plotting area, near enough to place a name


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


def estimate_figure(estimate: Estimate, *, share: bool = False, part: Part = "all") -> go.Figure:
    """Labels-only, model-only and rectified side by side with their intervals.

    Args:
        estimate: The answer.
        share: Write the axis in per cent.
        part: Of groups, "groups", "differences", or "all": one below the other.
    """
    return draw(estimate, part=part, share=share)


def label_histogram(dataset: Dataset) -> go.Figure:
    """How the labels are distributed: a bar for each class or whole number, or a histogram."""
    if dataset.classes is not None:
        return _class_bars(np.asarray(dataset.y, dtype=int), dataset.classes)
    figure = go.Figure()
    values, counts = np.unique(dataset.y, return_counts=True)
    if values.size <= _MOST_VALUES and np.allclose(values, np.round(values)):
        hover = "%{x}: %{y:,} labels<extra></extra>"
        figure.add_bar(x=values, y=counts, marker_color=PRIMARY, hovertemplate=hover)
        figure.update_xaxes(tickvals=values if np.ptp(values) <= 2 * _MOST_VALUES else None)
    else:
        hover = "%{x}: %{y:,} labels<extra></extra>"
        figure.add_histogram(x=dataset.y, nbinsx=30, marker_color=PRIMARY, hovertemplate=hover)
    framed(figure, "Label", "Labelled texts")
    figure.update_layout(bargap=0.08)
    return figure


def _class_bars(codes: np.ndarray, classes: tuple[str, ...]) -> go.Figure:
    counts = np.bincount(codes, minlength=len(classes))
    order = np.argsort(-counts, kind="stable")
    shown = order[:_MOST_CLASSES]
    names = [classes[i] if len(classes[i]) <= 40 else f"{classes[i][:39]}…" for i in shown]
    figure = go.Figure()
    figure.add_bar(
        y=list(range(len(shown))), x=counts[shown], orientation="h", marker_color=PRIMARY,
        text=[f"{count:,} ({count / len(codes):.0%})" for count in counts[shown]], textposition="auto",
        customdata=names, hovertemplate="%{customdata}: %{x:,} labels<extra></extra>", cliponaxis=False,
    )  # fmt: skip
    rest = f", the {_MOST_CLASSES} most frequent of {len(classes)} classes" if len(classes) > _MOST_CLASSES else ""
    framed(figure, f"Labelled texts{rest}", "")
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=names, autorange="reversed", showgrid=False)
    figure.update_layout(bargap=0.25, height=max(220, 34 * len(shown) + 120))
    return figure


def loss_figure(losses: pd.DataFrame) -> go.Figure:
    """Fine-tuning loss over steps, one line a fit, thinned to 2,000 points in all.

    Args:
        losses: Columns fit, step, loss.
    """
    figure = go.Figure()
    every = max(-(-len(losses) // _MOST_POINTS), 1)
    fits = list(losses.groupby("fit", sort=False)) if len(losses) else []
    for position, (fit, rows) in enumerate(fits):
        latest = position == len(fits) - 1
        # Counted from the end, so that the newest point always shows.
        thin = rows.iloc[::-1].iloc[::every].iloc[::-1]
        line = {"color": PRIMARY if latest else faded(LABELS, 0.45), "width": 2.5 if latest else 1.2}
        figure.add_scatter(
            x=thin["step"], y=thin["loss"], mode="lines", line=line, name=str(fit), customdata=[str(fit)] * len(thin),
            hovertemplate="step %{x:,}: loss %{y:.3g}<extra>%{customdata}</extra>",
        )  # fmt: skip
    framed(figure, "Training step", "Loss")
    return figure
