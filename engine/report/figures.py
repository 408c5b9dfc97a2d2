"""The figures that pages and report share. Fonts and backgrounds are left to the theme around them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from engine.data import Dataset
from engine.efficiency import Efficiency
from engine.efficiency.curve import LARGEST
from engine.rectification import Estimate
from engine.rectification.drawing import Part, draw
from engine.report.look import LABELS, MODEL, PRIMARY, add_band, add_dots, faded, framed

_MOST_POINTS = 2000
_MOST_VALUES = 12  # up to so many different whole numbers each get a bar of their own
_MOST_CLASSES = 20
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
        add_dots(figure, trials["size"], trials["score"], "%{customdata:,} labels: %{y:.0%}<extra>one trial</extra>")
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
        losses: Columns fit, step, loss, rate.
    """
    figure = go.Figure()
    every = max(-(-len(losses) // _MOST_POINTS), 1)
    fits = list(losses.groupby("fit", sort=False)) if len(losses) else []
    told = "step %{x:,}: loss %{y:.3g}"
    if losses["rate"].notna().all():  # an older run kept no rates
        told += ", learning rate %{customdata:.2g}"
    for position, (fit, rows) in enumerate(fits):
        latest = position == len(fits) - 1
        # Counted from the end, so that the newest point always shows.
        thin = rows.iloc[::-1].iloc[::every].iloc[::-1]
        line = {"color": PRIMARY if latest else faded(LABELS, 0.45), "width": 2.5 if latest else 1.2}
        figure.add_scatter(
            x=thin["step"], y=thin["loss"], mode="lines", line=line, name=str(fit), customdata=thin["rate"],
            hovertemplate=f"{told}<extra>{fit}</extra>",
        )  # fmt: skip
    framed(figure, "Training step", "Loss")
    return figure
