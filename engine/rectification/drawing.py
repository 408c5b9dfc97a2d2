"""The figure of an estimate: labels-only, model-only and rectified side by side."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.rectification.estimate import Estimate, Value
from engine.rectification.wording import number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

RECTIFIED, LABELS_ONLY, MODEL_ONLY = "#0F766E", "#64748B", "#D97706"
GRID = "rgba(128,128,128,0.25)"  # seen on white and on black


def draw(estimate: Estimate, title: str | None = None) -> "Figure":
    """A forest plot with one line per name, or one per way of answering where there is a single quantity."""
    # Plotly adds warnings filters of its own when it is first used; this leaves them as they were.
    with warnings.catch_warnings():
        return _draw(estimate, title)


def _draw(estimate: Estimate, title: str | None) -> "Figure":
    import plotly.graph_objects as go

    figure = go.Figure()
    single = estimate.names is None
    names = ("",) if estimate.names is None else estimate.names
    rows = [("Rectified", estimate, RECTIFIED)]
    if estimate.labels_only is not None:
        rows.append(("Labels only", estimate.labels_only, LABELS_ONLY))
    for place, (label, answer, colour) in enumerate(rows):
        height = _heights(len(names), place, single)
        figure.add_trace(go.Scatter(**_interval_trace(label, answer, colour, height, names)))
    if estimate.model_only is not None:
        height = _heights(len(names), 2, single)
        figure.add_trace(go.Scatter(**_point_trace("Model only", estimate.model_only, MODEL_ONLY, height, names)))
    ticks = ["Rectified", "Labels only", "Model only"] if single else list(names)
    where = [0.0, 1.0, 2.0] if single else [float(i) for i in range(len(names))]
    figure.update_layout(**_layout(title, ticks, where, single))
    return figure


def _heights(count: int, place: int, single: bool) -> np.ndarray:
    return np.array([float(place)]) if single else np.arange(count) + 0.24 * (place - 1)


def _interval_trace(
    label: str, answer: Estimate, colour: str, height: np.ndarray, names: tuple[str, ...]
) -> dict[str, Any]:
    point, low, high = (np.atleast_1d(v).astype(float) for v in (answer.estimate, answer.ci_low, answer.ci_high))
    span = np.nanmax(np.where(np.isfinite(high - low), high - low, np.nan)) if np.isfinite(high - low).any() else 0.0
    reach = span or float(np.max(np.abs(np.where(np.isfinite(high), high, low) - point))) * 2
    # An open side is drawn as far as the closed one reaches.
    upper = np.where(np.isfinite(high), high - point, reach)
    lower = np.where(np.isfinite(low), point - low, reach)
    text = [
        f"{name}{': ' if name else ''}{number(p)} ({number(a)} to {number(b)})"
        for name, p, a, b in zip(names, point, low, high, strict=True)
    ]
    bars = {"type": "data", "symmetric": False, "array": upper, "arrayminus": lower, "thickness": 3, "width": 6}
    return {
        "x": point,
        "y": height,
        "mode": "markers",
        "name": label,
        "marker": {"color": colour, "size": 11},
        "error_x": bars | {"color": colour},
        "hovertext": text,
        "hoverinfo": "text+name",
    }


def _point_trace(label: str, value: Value, colour: str, height: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
    points = np.broadcast_to(np.asarray(value, dtype=float), (len(names),))
    return {
        "x": points,
        "y": height,
        "mode": "markers",
        "name": label,
        "marker": {"color": colour, "size": 11, "symbol": "diamond"},
        "hovertext": [f"{name}{': ' if name else ''}{number(p)}" for name, p in zip(names, points, strict=True)],
        "hoverinfo": "text+name",
    }


def _layout(title: str | None, ticks: list[str], where: list[float], single: bool) -> dict[str, Any]:
    return {
        "title": {"text": title} if title else None,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "#7C8798"},
        "showlegend": not single,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": {"gridcolor": GRID, "zeroline": False, "automargin": True},
        "yaxis": {
            "tickvals": where,
            "ticktext": ticks,
            "range": [max(where) + 0.6, -0.6],
            "showgrid": False,
            "zeroline": False,
            "automargin": True,
        },
        "margin": {"l": 8, "r": 8, "t": 48 if title or not single else 8, "b": 8},
        "height": 190 if single else 110 + 54 * len(ticks),
    }
