"""The figure of an estimate: labels-only, model-only and rectified side by side."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.rectification.estimate import Estimate
from engine.rectification.inputs import Floats, Value
from engine.rectification.wording import (
    certain_differences,
    clearest_differences,
    group_count,
    group_order,
    group_pairs,
    number,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

RECTIFIED, LABELS_ONLY, MODEL_ONLY = "#0F766E", "#64748B", "#D97706"
GRID = "rgba(128,128,128,0.25)"  # seen on white and on black
DIFFERENCES = "Differences"
MOST_DIFFERENCES = 30  # more would be a wall; the table has them all
_ROW, _MANY, _LOW_ROW = 54, 12, 40  # pixels for a line; lower ones where there are many

Part = Literal["all", "groups", "differences"]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Panel:
    """Names of the lines, their heights (k,); `single`: one nameless quantity; `hollow`: show what is not certain."""

    names: tuple[str, ...]
    rows: Floats
    single: bool
    share: bool
    hollow: bool = False

    def write(self, value: float) -> str:
        """A value in hover texts."""
        return f"{value:.1%}" if self.share else number(value)

    def title(self, name: str) -> str:
        """The beginning of a hover text."""
        return "" if self.single else f"{name}: "


def draw(estimate: Estimate, title: str | None = None, *, part: Part = "all", share: bool = False) -> "Figure":
    """A forest plot with one line per name, or one per way of answering where there is a single quantity.

    Of groups, `part` is "groups", "differences", or "all": one panel below the other. `share` writes per cent.
    """
    # Plotly adds warnings filters of its own when it is first used; this leaves them as they were.
    with warnings.catch_warnings():
        if group_count(estimate) > 1:
            return _draw_comparison(estimate, title, part, share)
        return _draw(estimate, title, share)


def _draw(estimate: Estimate, title: str | None, share: bool) -> "Figure":
    import plotly.graph_objects as go

    figure = go.Figure()
    single = estimate.names is None
    names = ("",) if estimate.names is None else estimate.names
    panel = Panel(names, np.arange(len(names), dtype=float), single, share)
    traces = _traces(estimate, np.arange(len(names)), panel)
    ticks = [trace["name"] for trace in traces] if single else [_short(name) for name in names]
    for trace in traces:
        figure.add_trace(go.Scatter(**trace))
    height = 40 + 50 * len(ticks) if single else 110 + _row(len(ticks)) * len(ticks)
    figure.update_layout(**_layout(title, not single, height))
    figure.update_xaxes(**_x_axis(share))
    figure.update_yaxes(**_y_axis(ticks))
    return figure


def _row(count: int) -> int:
    return _ROW if count <= _MANY else _LOW_ROW


# ------------------------------------------------------------------------- groups


def _draw_comparison(estimate: Estimate, title: str | None, part: Part, share: bool) -> "Figure":
    """Groups with the highest first, then their differences with those that are certain first."""
    from plotly.subplots import make_subplots

    panels = {"groups": _group_panel(estimate, share), "differences": _difference_panel(estimate, share)}
    shown = [panels[name] for name in panels if part in (name, "all")]
    heights = [_row(len(panel.names)) * len(panel.names) + 40 for _, panel, _ in shown]
    height = sum(heights) + 110 + 70 * (len(shown) - 1)
    figure = make_subplots(
        len(shown), 1, row_heights=heights, vertical_spacing=100 / height if len(shown) > 1 else 0,
        subplot_titles=[heading for _, _, heading in shown] if len(shown) > 1 else None,
    )  # fmt: skip
    figure.update_annotations(x=0, xanchor="left", font_size=14)
    figure.update_layout(**_layout(title, True, height))
    if len(shown) > 1:
        figure.update_layout(legend_y=1 + 34 / height, margin_t=(48 if title else 0) + 78)
    for row, (places, panel, heading) in enumerate(shown, 1):
        for trace in _traces(estimate, places, panel):
            figure.add_trace(_scatter(trace | {"showlegend": row == 1, "legendgroup": trace["name"]}), row, 1)
        figure.update_xaxes(**_x_axis(share), row=row, col=1)
        figure.update_yaxes(**_y_axis([_short(name) for name in panel.names]), row=row, col=1)
        if heading.startswith(DIFFERENCES):
            figure.add_vline(x=0, line={"color": LABELS_ONLY, "width": 1.2, "dash": "dot"}, row=row, col=1)
            if part == "differences":
                figure.update_xaxes(title=heading, row=row, col=1)
    return figure


def _scatter(trace: dict[str, Any]) -> Any:
    """A scatter trace."""
    import plotly.graph_objects as go

    return go.Scatter(**trace)


def _group_panel(estimate: Estimate, share: bool) -> tuple[Ints, "Panel", str]:
    assert estimate.names is not None
    places = np.array(group_order(estimate))
    names = tuple(estimate.names[place] for place in places)
    return places, Panel(names, np.arange(len(places), dtype=float), False, share), "Groups, the highest first"


def _difference_panel(estimate: Estimate, share: bool) -> tuple[Ints, "Panel", str]:
    assert estimate.names is not None
    count, certain = group_count(estimate), certain_differences(estimate)
    places = clearest_differences(estimate)[:MOST_DIFFERENCES]
    names = tuple(_difference_name(estimate, int(place)) for place in places)
    panel = Panel(names, np.arange(len(places), dtype=float), False, share, hollow=True)
    total = len(certain)
    cut = f", the {len(places)} clearest of {total}" if len(places) < total else ""
    return places + count, panel, f"{DIFFERENCES}{cut}; hollow where not certain"


def _difference_name(estimate: Estimate, place: int) -> str:
    assert estimate.names is not None
    first, second = group_pairs(estimate)[place]
    return f"{_short(estimate.names[first], 18)} − {_short(estimate.names[second], 18)}"


def _short(name: str, most: int = 38) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


# ------------------------------------------------------------------------- traces


def _traces(estimate: Estimate, places: Ints, panel: Panel) -> list[dict[str, Any]]:
    """Rectified, labels-only and model-only, for the entries at these places; those that there are."""
    if estimate.is_labels_alone:
        height = panel.rows[:1] if panel.single else panel.rows
        return [_interval_trace("Labels only", estimate, LABELS_ONLY, places, panel, height)]
    rows = [("Rectified", estimate, RECTIFIED)]
    if estimate.labels_only is not None:
        rows.append(("Labels only", estimate.labels_only, LABELS_ONLY))
    traces = [
        _interval_trace(label, answer, colour, places, panel, _heights(panel, turn))
        for turn, (label, answer, colour) in enumerate(rows)
    ]
    if estimate.model_only is not None:
        height = _heights(panel, len(rows))
        traces.append(_point_trace("Model only", estimate.model_only, MODEL_ONLY, places, panel, height))
    return traces


def _heights(panel: Panel, turn: int) -> Floats:
    return np.array([float(turn)]) if panel.single else panel.rows + 0.24 * (turn - 1)


def _interval_trace(
    label: str, answer: Estimate, colour: str, places: Ints, panel: Panel, height: Floats
) -> dict[str, Any]:
    point, low, high = (
        np.atleast_1d(v).astype(float)[places] for v in (answer.estimate, answer.ci_low, answer.ci_high)
    )
    span = np.nanmax(np.where(np.isfinite(high - low), high - low, np.nan)) if np.isfinite(high - low).any() else 0.0
    reach = span or float(np.max(np.abs(np.where(np.isfinite(high), high, low) - point))) * 2
    # An open side is drawn as far as the closed one reaches.
    upper = np.where(np.isfinite(high), high - point, reach)
    lower = np.where(np.isfinite(low), point - low, reach)
    text = [
        f"{panel.title(name)}{panel.write(p)} ({panel.write(a)} to {panel.write(b)})"
        for name, p, a, b in zip(panel.names, point, low, high, strict=True)
    ]
    bars = {"type": "data", "symmetric": False, "array": upper, "arrayminus": lower, "thickness": 3, "width": 6}
    marker: dict[str, Any] = {"color": colour, "size": 11}
    if panel.hollow:
        certain = certain_differences(answer)[places - group_count(answer)]
        marker |= {
            "symbol": ["circle" if sure else "circle-open" for sure in certain],
            "line": {"width": 2, "color": colour},
        }
    return {
        "x": point,
        "y": height,
        "mode": "markers",
        "name": label,
        "marker": marker,
        "error_x": bars | {"color": colour},
        "hovertext": text,
        "hoverinfo": "text+name",
    }


def _point_trace(label: str, value: Value, colour: str, places: Ints, panel: Panel, height: Floats) -> dict[str, Any]:
    points = np.atleast_1d(np.asarray(value, dtype=float))
    points = points[places] if points.size > 1 else np.repeat(points, len(places))
    return {
        "x": points,
        "y": height,
        "mode": "markers",
        "name": label,
        "marker": {"color": colour, "size": 11, "symbol": "diamond"},
        "hovertext": [f"{panel.title(name)}{panel.write(p)}" for name, p in zip(panel.names, points, strict=True)],
        "hoverinfo": "text+name",
    }


# ------------------------------------------------------------------------ layout


def _layout(title: str | None, legend: bool, height: int) -> dict[str, Any]:
    return {
        "title": {"text": title} if title else None,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "#7C8798"},
        "showlegend": legend,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "margin": {"l": 8, "r": 8, "t": 48 if title or legend else 8, "b": 8},
        "height": height,
    }


def _x_axis(share: bool) -> dict[str, Any]:
    return {"gridcolor": GRID, "zeroline": False, "automargin": True, "tickformat": ".0%" if share else None}


def _y_axis(ticks: Sequence[str]) -> dict[str, Any]:
    return {
        "tickvals": np.arange(len(ticks), dtype=float),
        "ticktext": list(ticks),
        "range": [len(ticks) - 0.4, -0.6],
        "showgrid": False,
        "zeroline": False,
        "automargin": True,
    }
