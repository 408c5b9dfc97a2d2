"""One look for all figures: colours, frames, bands and labelled lines."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

PRIMARY = "#0F766E"  # rectified
LABELS = "#64748B"  # labels-only
MODEL = "#D97706"  # model-only
SPLIT = "#2563EB"  # the split
_GRID = "rgba(128,128,128,0.18)"
_CLEAR = "rgba(0,0,0,0)"


def faded(colour: str, opacity: float) -> str:
    """Return a colour such as "#0F766E" at an opacity between 0 and 1."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def framed(figure: go.Figure, x: str, y: str) -> None:
    """Give a figure its axis titles, margins and a transparent ground; colours of text are left to the theme."""
    figure.update_layout(
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        showlegend=False,
        margin={"l": 64, "r": 24, "t": 20, "b": 56},
        hovermode="closest",
        height=figure.layout.height or 380,
    )
    figure.update_xaxes(title={"text": x, "font": {"size": 13}}, gridcolor=_GRID, zeroline=False, automargin=True)
    figure.update_yaxes(title={"text": y, "font": {"size": 13}}, gridcolor=_GRID, zeroline=False, automargin=True)


def add_band(figure: go.Figure, x: ArrayLike, low: Any, high: Any, colour: str) -> None:
    """Add a band between two curves over x."""
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    figure.add_scatter(x=x, y=high, name="80% band, upper end", **edge)
    figure.add_scatter(x=x, y=low, name="80% band, lower end", fill="tonexty", fillcolor=faded(colour, 0.16), **edge)


def add_dots(figure: go.Figure, x: ArrayLike, y: ArrayLike, hover: str, colour: str = PRIMARY) -> None:
    """Add trials as light dots; those of no labels stand at 1, since a logarithmic axis has no 0."""
    marker = {"color": faded(colour, 0.45), "size": 7}
    figure.add_scatter(
        x=np.maximum(x, 1), y=y, customdata=x, mode="markers", marker=marker, hovertemplate=hover, name="trials"
    )


def add_level(
    figure: go.Figure, y: float, text: str, colour: str, dash: str, *, under: bool = False, at_left: bool = False
) -> None:
    """Add a horizontal line across the figure, its name written above or under it at one end."""
    figure.add_hline(y=y, line={"color": colour, "width": 1.8, "dash": dash})
    figure.add_annotation(
        text=text,
        x=0.01 if at_left else 0.99,
        xref="paper",
        xanchor="left" if at_left else "right",
        y=y,
        yanchor="top" if under else "bottom",
        showarrow=False,
        font={"color": colour},
    )
