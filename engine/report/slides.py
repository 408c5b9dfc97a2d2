"""The report as five editable slides with native charts, made with python-pptx (`pip install labelwise[report]`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from engine.errors import RunError
from engine.rectification import Estimate
from engine.rectification.wording import comparison_words, group_order
from engine.report import wording
from engine.report.answers import Grid
from engine.report.content import Content, gather
from engine.report.look import LABELS, MODEL, PRIMARY
from engine.runs import Store

_INK, _SOFT = "#0F172A", "#475569"
_LEFT, _WIDTH = 0.75, 11.83  # inches, on a slide of 13.33 by 7.5
_MOST_CLASSES = 8
_MOST_GROUPS = 24
_MOST_SETTINGS = 13


def slides_report(store: Store, run_id: str, *, headline: str | None = None) -> bytes:
    """Return the report of a run as a .pptx file: answer, comparison and plan where it has them, method, settings.

    Args:
        store: The open store.
        run_id: The run.
        headline: Title of the first slide; by default the answer.

    Raises:
        RunError: The package python-pptx is missing, or the store holds no such run.
    """
    deck = _pptx("api").Presentation()
    content = gather(store, run_id, headline)
    deck.slide_width, deck.slide_height = _inches(13.333), _inches(7.5)
    _answer(_slide(deck, content.headline, size=36), content)
    if wording.rectifies(content.run):
        _comparison(_slide(deck, content.answer_title), content)
        _plan(_slide(deck, "The plan"), content)
    _method(_slide(deck, "Method"), content)
    _settings(_slide(deck, "Settings to do it again"), content)
    buffer = io.BytesIO()
    deck.save(buffer)
    return buffer.getvalue()


def _pptx(part: str) -> ModuleType:
    """Import a part of the optional python-pptx."""
    try:
        return import_module(f"pptx.{part}")
    except ImportError:
        raise RunError("Slides need python-pptx: install it with `pip install labelwise[report]`.") from None


def _inches(length: float) -> Any:
    return _pptx("util").Inches(length)


def _colour(code: str) -> Any:
    return _pptx("dml.color").RGBColor.from_string(code[1:])


def _series(categories: Sequence[str], number_format: str, **series: Sequence[float | None]) -> Any:
    data = _pptx("chart.data").CategoryChartData(number_format=number_format)
    data.categories = categories
    for name, values in series.items():
        data.add_series(name, values)
    return data


def _slide(deck: Any, title: str, size: int = 28) -> Any:
    slide = deck.slides.add_slide(deck.slide_layouts[5])  # "Title Only": the title shows in the outline
    box = slide.shapes.title
    box.left, box.top, box.width, box.height = _inches(_LEFT), _inches(0.5), _inches(_WIDTH), _inches(1.1)
    box.text_frame.word_wrap = True
    _set_text(box.text_frame.paragraphs[0], _clean(title), size, _INK, bold=True)
    return slide


def _set_text(paragraph: Any, text: str, size: float, colour: str, *, bold: bool = False) -> None:
    run = paragraph.add_run()
    run.text = text
    run.font.size, run.font.bold = _pptx("util").Pt(size), bold
    run.font.color.rgb = _colour(colour)
    paragraph.alignment = _pptx("enum.text").PP_ALIGN.LEFT


def _clean(text: str) -> str:
    """Drop control characters, which XML cannot hold."""
    return "".join(character for character in text if character.isprintable() or character == "\n")


def _write(
    slide: Any, top: float, lines: Sequence[tuple[str, float, str, bool]], left: float = _LEFT, width: float = _WIDTH
) -> None:
    frame = slide.shapes.add_textbox(_inches(left), _inches(top), _inches(width), _inches(0.6)).text_frame
    frame.word_wrap = True
    for place, (text, size, colour, bold) in enumerate(lines):
        paragraph = frame.paragraphs[0] if place == 0 else frame.add_paragraph()
        paragraph.space_after = _pptx("util").Pt(6)
        _set_text(paragraph, _clean(text), size, colour, bold=bold)


def _answer(slide: Any, content: Content) -> None:
    _write(slide, 1.75, [(content.question, 16, _SOFT, False), (content.answer, 20, _INK, False)])
    width = _WIDTH / 3
    for place, figure in enumerate(content.key_figures):
        size = 40 if len(figure.value) <= 11 else 24
        lines = [(figure.label, 14, _SOFT, False), (figure.value, size, PRIMARY, True), (figure.note, 13, _SOFT, False)]
        _write(slide, 3.9, lines, left=_LEFT + place * width, width=width - 0.3)
    if content.warnings:
        shown = [(f"Worth knowing: {warning}", 12, MODEL, False) for warning in content.warnings[:3]]
        _write(slide, 6.1, shown)


def _comparison(slide: Any, content: Content) -> None:
    estimate = content.results.estimate
    if estimate is None or content.comparison is None:
        _write(slide, 1.75, [(content.answer, 18, _INK, False)])
    elif estimate.names is None:
        _answers_chart(slide, content)
        _table(slide, content.comparison, 5.3)
    elif content.subject.estimand == "groups":
        _groups_chart(slide, content)
        _write(slide, 6.15, [(comparison_words(estimate), 14, _INK, False)])
    else:
        _share_chart(slide, content)
        _write(slide, 6.75, [("Every number stands in the table of the web report.", 12, _SOFT, False)])


def _answers_chart(slide: Any, content: Content) -> None:
    estimate: Any = content.results.estimate
    answers = [(*_own(estimate), estimate), ("Labels only", LABELS, estimate.labels_only)]
    rows = [(name, a.ci_low, a.estimate, a.ci_high, colour) for name, colour, a in answers if a is not None]
    if estimate.model_only is not None:
        rows.append(("Model only", *[estimate.model_only] * 3, MODEL))
    _interval_chart(slide, rows, 3.5, "General")


def _own(estimate: Estimate) -> tuple[str, str]:
    """What kind of answer it is, and the colour of that."""
    return wording.answer_words(estimate), LABELS if estimate.is_labels_alone else PRIMARY


def _groups_chart(slide: Any, content: Content) -> None:
    """The answer of each group, the highest first."""
    estimate: Any = content.results.estimate
    order = group_order(estimate)
    kind, colour = _own(estimate)
    rows = [
        (_clean(estimate.names[i])[:30], estimate.ci_low[i], estimate.estimate[i], estimate.ci_high[i], colour)
        for i in order[:_MOST_GROUPS]
    ]
    name, group = content.subject.name, content.subject.group.lower()
    title = f"{name} by {group}, {kind.lower()}, with {100 * estimate.confidence:g}%"
    cut = f"; the {len(rows)} highest of {len(order)}" if len(rows) < len(order) else ""
    _write(slide, 1.45, [(f"{title} intervals{cut}", 13, _SOFT, False)])
    _interval_chart(slide, rows, 4.2, "0%" if content.subject.share else "General", top=1.9)


def _interval_chart(slide: Any, rows: Sequence[tuple[Any, ...]], height: float, shown: str, top: float = 1.6) -> None:
    """Lower end, value and upper end as a line chart without lines; the ends are tied by high-low lines.

    Rows hold name, lower end, value, upper end and colour.
    """
    names = {"Lower end": 1, "Value": 2, "Upper end": 3}
    ends = {name: [float(row[at]) if np.isfinite(row[at]) else None for row in rows] for name, at in names.items()}
    chart = _chart(slide, "LINE_MARKERS", _series([row[0] for row in rows], shown, **ends), height, top)
    plot, style = chart.plots[0], _pptx("enum.chart").XL_MARKER_STYLE
    for series, marker in zip(plot.series, (style.DASH, style.CIRCLE, style.DASH), strict=True):
        series.format.line.fill.background()
        series.smooth = False
        series.marker.style, series.marker.size = marker, 12
        for place, row in enumerate(rows):
            _paint(series.points[place].marker.format.fill, row[4])
            series.points[place].marker.format.line.fill.background()
    ties = plot._element.makeelement("{http://schemas.openxmlformats.org/drawingml/2006/chart}hiLowLines", {})
    plot._element.find("{*}marker").addprevious(ties)
    low, high = min(row[1] for row in rows), max(row[3] for row in rows)
    if np.isfinite(high - low) and high > low:
        step = 10 ** np.floor(np.log10(high - low))
        chart.value_axis.minimum_scale = float(np.floor(low / step) * step)
        chart.value_axis.maximum_scale = float(np.ceil(high / step) * step)


def _share_chart(slide: Any, content: Content) -> None:
    estimate: Any = content.results.estimate
    order = np.argsort(-np.atleast_1d(estimate.estimate), kind="stable")[:_MOST_CLASSES]
    answers = {"Model only": estimate.model_only}
    if estimate.labels_only is not None:
        answers = {"Labels only": estimate.labels_only.estimate, **answers}
    answers = {wording.answer_words(estimate): estimate.estimate, **answers}
    shown = {
        name: [wording.entry(values, int(place)) for place in order]
        for name, values in answers.items()
        if values is not None
    }
    data = _series([_clean(estimate.names[place])[:40] for place in order], "0%", **shown)
    chart = _chart(slide, "COLUMN_CLUSTERED", data, 5.0)
    colours = {"Rectified": PRIMARY, "Labels only": LABELS, "Model only": MODEL}
    for series in chart.plots[0].series:
        _paint(series.format.fill, colours[series.name])
    chart.has_legend, chart.legend.position = True, _pptx("enum.chart").XL_LEGEND_POSITION.TOP
    chart.legend.include_in_layout = False
    chart.plots[0].gap_width, chart.plots[0].overlap = 60, -5


def _plan(slide: Any, content: Content) -> None:
    plan = content.results.plan
    if plan is None or content.strategies is None:
        _write(slide, 1.75, [("This run has no plan yet.", 18, _INK, False)])
        return
    _write(slide, 1.5, [(f"{plan.why} {content.plan_note}".strip(), 16, _INK, False)])
    names = [wording.strategy_words(plan, record.name) for record in plan.strategies]
    halves = {f"Predicted half-width ({content.unit})": [record.half_width for record in plan.strategies]}
    data = _series(names, "0.0%" if content.unit == "share" else "0.000", **halves)
    chart = _chart(slide, "COLUMN_CLUSTERED", data, 2.7, top=2.35)
    chart.plots[0].has_data_labels, chart.plots[0].gap_width = True, 80
    chart.value_axis.minimum_scale = 0
    for place, record in enumerate(plan.strategies):
        colour = PRIMARY if record.name == plan.recommended else LABELS
        _paint(chart.plots[0].series[0].points[place].format.fill, colour)
    _table(slide, content.strategies, 5.2)


def _method(slide: Any, content: Content) -> None:
    lines = [(paragraph, 13.0, _INK, False) for paragraph in content.method]
    cited = [(f"[{place}] {source.text}", 10.5, _SOFT, False) for place, source in enumerate(content.sources, 1)]
    _write(slide, 1.5, lines + cited)


def _settings(slide: Any, content: Content) -> None:
    _write(slide, 1.4, [(content.command, 12, PRIMARY, False)])
    rows = content.settings.rows[:_MOST_SETTINGS]
    _table(slide, Grid(content.settings.columns, rows), 2.1, size=10, widths=(2.2, _WIDTH - 2.2))


def _chart(slide: Any, kind: str, data: Any, height: float, top: float = 1.6) -> Any:
    kinds = _pptx("enum.chart").XL_CHART_TYPE
    frame = slide.shapes.add_chart(kinds[kind], _inches(_LEFT), _inches(top), _inches(_WIDTH), _inches(height), data)
    chart = frame.chart
    chart.has_legend = chart.has_title = False
    chart.font.size = _pptx("util").Pt(13)
    _paint(chart.value_axis.major_gridlines.format.line.fill, "#E2E8F0")
    chart.value_axis.format.line.fill.background()
    return chart


def _paint(fill: Any, colour: str) -> None:
    fill.solid()
    fill.fore_color.rgb = _colour(colour)


def _table(slide: Any, grid: Grid, top: float, size: float = 12, widths: tuple[float, ...] | None = None) -> None:
    rows, columns = len(grid.rows) + 1, len(grid.columns)
    place = (_inches(_LEFT), _inches(top), _inches(_WIDTH), _inches(0.3 * rows))
    table = slide.shapes.add_table(rows, columns, *place).table
    table.first_row, table.horz_banding = False, False
    for column, width in enumerate(widths or (_WIDTH / columns,) * columns):
        table.columns[column].width = _inches(width)
    for row, cells in enumerate((grid.columns, *grid.rows)):
        strong = grid.strong is not None and row == grid.strong + 1
        colour = _SOFT if row == 0 else PRIMARY if strong else _INK
        for column, text in enumerate(cells):
            cell = table.cell(row, column)
            cell.fill.background()
            cell.margin_top = cell.margin_bottom = _inches(0.03)
            _set_text(cell.text_frame.paragraphs[0], _clean(text), size, colour, bold=strong)
