"""What a report says, gathered once for HTML and slides alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.allocation import Plan
from engine.data import Dataset
from engine.errors import LabelwiseError
from engine.rectification import Estimate
from engine.report import wording
from engine.report.method import Source, method_paragraphs, sources
from engine.report.settings import command_line, settings_rows
from engine.runs import Results, Run, RunState, Store, Study, read_results

_STATES = {
    RunState.QUEUED: "has not started yet",
    RunState.RUNNING: "is still under way",
    RunState.STOPPING: "is being stopped",
    RunState.STOPPED: "was stopped",
    RunState.FAILED: "failed",
    RunState.INTERRUPTED: "was interrupted",
}


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


@dataclass(frozen=True)
class Content:
    """Everything a report says, as strings and grids. Made by `gather`.

    Attributes:
        dataset: The data, or None where the files cannot be read any more.
        results: The numbers behind the strings, for the figures.
        key_figures: Three figures.
        comparison: Rectified, labels-only and model-only; None without an estimate.
        strategies: The plan's strategies; None without a plan.
        achieved: Predicted against achieved half-width; None without both.
        warnings: Sentences that the reader must not miss.
    """

    study: Study
    run: Run
    results: Results
    dataset: Dataset | None
    headline: str
    question: str
    answer: str
    key_figures: tuple[KeyFigure, ...]
    comparison: Grid | None
    strategies: Grid | None
    achieved: Grid | None
    warnings: tuple[str, ...]
    method: tuple[str, ...]
    sources: tuple[Source, ...]
    settings: Grid
    command: str

    @property
    def unit(self) -> str:
        """What the half-width counts."""
        return "share" if self.study.question.estimand == "shares" else wording.label_words(self.study)


def gather(store: Store, run_id: str, headline: str | None = None) -> Content:
    """Read a run and put what it says in words.

    Args:
        store: The open store.
        run_id: The run.
        headline: The user's own headline; by default the answer.

    Raises:
        RunError: The store holds no such run.
    """
    run = store.run(run_id)
    study, results = store.study(run.study_id), read_results(store, run)
    dataset, faults = _dataset(study)
    estimate = results.estimate
    rows = _rows(results, dataset)
    return Content(
        study=study,
        run=run,
        results=results,
        dataset=dataset,
        headline=(headline or "").strip() or wording.default_headline(study, estimate),
        question=study.question.sentence(study.roles, rows),
        answer=_answer(study, run, results, rows),
        key_figures=_key_figures(study, results),
        comparison=_comparison(estimate) if estimate else None,
        strategies=_strategies(results.plan, _is_share(study)) if results.plan else None,
        achieved=_achieved(run, results, _is_share(study)),
        warnings=tuple(dict.fromkeys([*_run_warnings(run), *faults, *_notes(results, dataset)])),
        method=tuple(method_paragraphs(study, run.settings, results)),
        sources=tuple(sources(run.settings)),
        settings=Grid(("Setting", "Value"), (*settings_rows(study, run), *_detail_rows(results.details))),
        command=command_line(study, run),
    )


def _dataset(study: Study) -> tuple[Dataset | None, list[str]]:
    try:
        return study.dataset(), []
    except LabelwiseError as fault:
        return None, [f"The data could not be read again for this report: {fault}"]


def _rows(results: Results, dataset: Dataset | None) -> int:
    if dataset is not None:
        return dataset.n + dataset.m
    return results.plan.n + results.plan.m if results.plan else 0


def _is_share(study: Study) -> bool:
    return study.question.estimand == "shares"


def _answer(study: Study, run: Run, results: Results, rows: int) -> str:
    if results.estimate is not None:
        return wording.answer_sentence(study, results.estimate, rows)
    there = {"a plan": results.plan, "a pilot": results.law, "a data-efficiency curve": results.efficiency}
    found = [name for name, value in there.items() if value is not None]
    shown = f"It shows {wording.joined(found)}." if found else "Nothing has been computed yet."
    asked = "was asked for a plan only" if run.kind == "plan" else "was asked for the data efficiency only"
    why = "is not finished" if run.kind == "run" else asked
    return f"There is no estimate yet: this run {why}. {shown}"


def _key_figures(study: Study, results: Results) -> tuple[KeyFigure, ...]:
    if results.estimate is not None:
        return _answer_figures(study, results.estimate)
    figures = []
    if results.plan is not None:
        best, share = results.plan[results.plan.recommended], _is_share(study)
        name = wording.strategy_words(results.plan, best.name)
        band = " to ".join(wording.width_words(end, best.half_width, share=share) for end in best.interval)
        half = wording.width_words(best.half_width, best.half_width, share=share)
        figures = [
            KeyFigure("Recommended", name, f"{best.finetune:,} labels to fine-tune, {best.rectify:,} to rectify"),
            KeyFigure("Predicted half-width", f"±{half}", f"80% band {band}"),
            KeyFigure("Labels it would save", f"{best.labels_saved:.0%}", "at the width that labels alone would give"),
        ]
    elif results.efficiency is not None:
        to = results.efficiency.labels_to(0.9)
        note = f"80% between {to['low']:,.0f} and {to['high']:,.0f}"
        figures = [KeyFigure("Labels to 90% of what can be reached", f"{to['median']:,.0f}", note)]
    return tuple(figures)


def _answer_figures(study: Study, estimate: Estimate) -> tuple[KeyFigure, ...]:
    place, share = wording.leading(estimate), estimate.names is not None
    value, interval = wording.range_words(estimate, place, share=share)
    name = f"Share of “{estimate.names[place]}”" if estimate.names else f"Mean {wording.label_words(study)}"
    return (
        KeyFigure(name, value, f"{100 * estimate.confidence:g}% interval {interval}"),
        KeyFigure("Labels it was worth", *wording.worth_words(estimate)),
        KeyFigure("Bias of the model alone", *wording.bias_words(estimate)),
    )


def _comparison(estimate: Estimate) -> Grid:
    share = estimate.names is not None
    rows = []
    for place, name in enumerate(estimate.names or ("",)):
        scale = (wording.entry(estimate.ci_high, place) - wording.entry(estimate.ci_low, place)) / 2
        for words, answer in (("Rectified", estimate), ("Labels only", estimate.labels_only)):
            if answer is not None:
                rows.append((name, words, *_interval_cells(answer, place, share, scale)))
        if estimate.model_only is not None:
            said = wording.rounded(wording.entry(estimate.model_only, place), scale, share=share)
            rows.append((name, "Model only", said, "–", "–"))
    columns = ("Class", "Answer", "Value", f"{100 * estimate.confidence:g}% interval", "Half-width")
    if share:
        return Grid(columns, tuple(rows))
    return Grid(columns[1:], tuple(row[1:] for row in rows), strong=0)


def _interval_cells(answer: Estimate, place: int, share: bool, scale: float) -> tuple[str, str, str]:
    half = (wording.entry(answer.ci_high, place) - wording.entry(answer.ci_low, place)) / 2
    value, interval = wording.range_words(answer, place, share=share, scale=scale)
    return value, interval, f"±{wording.width_words(half, half, share=share)}"


def _strategies(plan: Plan, share: bool) -> Grid:
    costs = any(record.cost for record in plan.strategies)
    times = any(record.seconds for record in plan.strategies)
    rows = []
    for record in plan.strategies:
        half = [
            wording.width_words(part, record.half_width, share=share) for part in (record.half_width, *record.interval)
        ]
        band = f"±{half[0]} ({half[1]} to {half[2]})" if record.finetune else f"±{half[0]}"
        row = [wording.strategy_words(plan, record.name), f"{record.finetune:,}", f"{record.rectify:,}", band]
        row.append(f"{record.labels_saved:.0%}".replace("-", "−"))
        row += [f"{record.cost:,.2f}"] if costs else []
        row += [wording.seconds_words(record.seconds)] if times else []
        rows.append(tuple(row))
    columns = ["Strategy", "Fine-tune", "Rectify", "Predicted half-width (80% band)", "Labels saved"]
    columns += (["Cost"] if costs else []) + (["Compute"] if times else [])
    names = [record.name for record in plan.strategies]
    return Grid(tuple(columns), tuple(rows), strong=names.index(plan.recommended))


def _achieved(run: Run, results: Results, share: bool) -> Grid | None:
    plan, estimate = results.plan, results.estimate
    if plan is None or estimate is None:
        return None
    name = strategy_done(run, results)
    rows = [(wording.strategy_words(plan, name), _predicted(plan, name, run, results), wording.half_width(estimate))]
    if estimate.labels_only is not None and name != "labels-only":
        halves = plan["labels-only"].half_width
        labels = (halves, halves, halves)
        rows.append(("Labels only", labels, wording.half_width(estimate.labels_only)))
    cells = []
    for words, (half, low, high), achieved in rows:
        shown = [wording.width_words(part, half, share=share) for part in (half, low, high, achieved)]
        ratio = f"{achieved / half - 1:+.0%}".replace("-", "−")
        cells.append((words, f"±{shown[0]}", f"{shown[1]} to {shown[2]}" if high > low else "–", f"±{shown[3]}", ratio))
    return Grid(("Strategy", "Predicted", "80% band", "Achieved", "Difference"), tuple(cells))


def strategy_done(run: Run, results: Results) -> str:
    """Return the name of the strategy that a run carried out."""
    assert results.plan is not None
    names = [record.name for record in results.plan.strategies]
    method = results.estimate.method if results.estimate else None
    for name in (results.details.get("strategy"), method, run.settings.strategy):
        if name in names:
            return str(name)
    return results.plan.recommended


def _predicted(plan: Plan, name: str, run: Run, results: Results) -> tuple[float, float, float]:
    finetune = results.details.get("finetune", run.settings.finetune)
    if name == "split" and isinstance(finetune, int | float) and finetune > 0:
        return (plan.width(finetune), *plan.width_interval(finetune))
    record = plan[name]
    return record.half_width, *record.interval


def _run_warnings(run: Run) -> list[str]:
    if run.state is RunState.FINISHED:
        return []
    state = f"This run {_STATES[run.state]}: the report shows what it has found so far."
    return [f"{state} {run.error}" if run.error else state]


def _notes(results: Results, dataset: Dataset | None) -> list[str]:
    estimate = results.estimate
    notes = list(estimate.notes) if estimate else []
    for name in ("notes", "remarks", "warnings"):
        listed = results.details.get(name)
        notes += [str(note) for note in listed] if isinstance(listed, list | tuple) else []
    return notes + list(dataset.remarks if dataset else ())


def _detail_rows(details: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, value in details.items():
        if name in ("notes", "remarks", "warnings") or value is None:
            continue
        rows.append((name.replace("_", " ").capitalize(), _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')}: {_plain(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(part) for part in value[:20]) + (", …" if len(value) > 20 else "")
    if isinstance(value, float):
        return f"{value:,.4g}" if np.isfinite(value) else "unknown"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
