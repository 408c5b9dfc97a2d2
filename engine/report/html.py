"""The report as one self-contained HTML file: plotly.js embedded once, nothing loaded from the network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from engine.errors import ArgumentError
from engine.report import figures as draw
from engine.report.content import Content, gather
from engine.report.plan_figures import law_figure, plan_figure
from engine.runs import Store

REPORT_FIGURES = {
    "answer": "The answer, three ways",
    "efficiency": "How far labels carry",
    "law": "What training gains",
    "plan": "The split of the labels",
    "labels": "The labels",
    "loss": "Loss while fine-tuning",
}
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Drawing:
    """A figure of the report: its key, title, what it shows in a sentence, and its JSON."""

    key: str
    title: str
    caption: str
    height: int
    json: str


def html_report(store: Store, run_id: str, *, headline: str | None = None, figures: Iterable[str] | None = None) -> str:
    """Return the report of a run as one HTML document.

    Args:
        store: The open store.
        run_id: The run; one without an estimate gives a report that says so and shows what there is.
        headline: The first line; by default the answer.
        figures: Names from `REPORT_FIGURES` to show; all that the run has by default.

    Raises:
        ArgumentError: A figure's name is unknown.
        RunError: The store holds no such run.
    """
    wanted = _wanted(figures)
    content = gather(store, run_id, headline)
    drawings = {key: _drawing(key, content) for key in wanted if _available(key, content)}
    template = _environment().get_template("report.html.j2")
    # get_plotlyjs is the library's own text, the only part that is not escaped.
    script = Markup(get_plotlyjs()) if drawings else ""
    return template.render(content=content, drawings=drawings, plotly=script)


def _wanted(figures: Iterable[str] | None) -> list[str]:
    wanted = list(REPORT_FIGURES) if figures is None else list(figures)
    unknown = [name for name in wanted if name not in REPORT_FIGURES]
    if unknown:
        raise ArgumentError(f"figures holds {unknown[0]!r}; it can hold {', '.join(REPORT_FIGURES)}.")
    return [key for key in REPORT_FIGURES if key in wanted]


@cache
def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _available(key: str, content: Content) -> bool:
    results = content.results
    there = {
        "answer": results.estimate,
        "efficiency": results.efficiency,
        "law": results.law,
        "plan": results.plan,
        "labels": content.dataset,
        "loss": None if results.losses.empty else results.losses,
    }
    return there[key] is not None


def _drawing(key: str, content: Content) -> Drawing:
    figure, caption = _DRAWN[key](content)
    figure.update_layout(
        template="plotly_white", font={"family": _FONT, "size": 13, "color": "#334155"}, title=None, autosize=True
    )
    height = int(figure.layout.height or 380)
    text = json.dumps(json.loads(figure.to_json()), ensure_ascii=False)
    # Inside a script element only "<" can end it; JSON allows every character to be written by its number.
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    title = content.answer_title if key == "answer" else REPORT_FIGURES[key]
    return Drawing(key, title, caption, height, Markup(safe))


def _answer(content: Content) -> tuple[go.Figure, str]:
    estimate: Any = content.results.estimate
    figure = draw.estimate_figure(estimate, share=content.unit == "share")
    caption = f"Bars are {100 * estimate.confidence:g}% intervals."
    caption += "" if estimate.model_only is None else " The model alone has none that can be trusted."
    if content.differences is not None:
        caption += " Intervals of differences hold together; a difference is certain where its interval leaves out 0."
    return figure, caption


def _efficiency(content: Content) -> tuple[go.Figure, str]:
    results: Any = content.results
    usual = results.efficiency.usual_words()
    caption = f"{results.efficiency.summary()} {usual}." if usual else results.efficiency.summary()
    return draw.data_efficiency_figure(results.efficiency, results.trials), caption


def _law(content: Content) -> tuple[go.Figure, str]:
    results: Any = content.results
    upto = results.plan.n if results.plan else None
    return law_figure(results.law, results.trials, upto=upto), results.law.summary()


def _plan(content: Content) -> tuple[go.Figure, str]:
    results: Any = content.results
    left, right = results.plan.flat_region
    figure = plan_figure(results.plan, content.run.settings.finetune, content.unit)
    return figure, f"Anywhere from {left:,} to {right:,} labels (shaded) the interval is within 2% of the best split's."


def _labels(content: Content) -> tuple[go.Figure, str]:
    dataset: Any = content.dataset
    beside = f" beside a pool of {dataset.m:,}" if dataset.m else ""
    return draw.label_histogram(dataset), f"{dataset.n:,} labelled texts{beside}."


def _loss(content: Content) -> tuple[go.Figure, str]:
    return draw.loss_figure(content.results.losses), "The latest fit in colour, earlier ones in grey."


_DRAWN: dict[str, Callable[[Content], tuple[go.Figure, str]]] = {
    "answer": _answer,
    "efficiency": _efficiency,
    "law": _law,
    "plan": _plan,
    "labels": _labels,
    "loss": _loss,
}
