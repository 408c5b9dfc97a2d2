"""What a report says, gathered once for HTML and slides alike."""

from __future__ import annotations

from dataclasses import dataclass

from engine.allocation import Plan, StrategyPlan
from engine.data import Dataset
from engine.errors import LabelwiseError
from engine.rectification.wording import group_pairs
from engine.report import wording
from engine.report.answers import Grid, KeyFigure, answer_figures, comparison, differences
from engine.report.facts import NOTES, run_facts
from engine.report.method import Source, method
from engine.report.settings import TO_FINETUNE, command_line, settings_rows
from engine.runs import Results, Run, RunState, Store, Study, read_results, split_caution

_STATES = {
    RunState.QUEUED: "has not started yet",
    RunState.RUNNING: "is still under way",
    RunState.STOPPING: "is being stopped",
    RunState.STOPPED: "was stopped",
    RunState.FAILED: "failed",
    RunState.INTERRUPTED: "was interrupted",
}

_ASKED = {
    "plan": "a plan",
    "efficiency": "the data efficiency",
    "calibration": "a calibration",
    "select": "texts to label",
}

# What runs are about that do not answer the question of their study.
_QUESTIONS = {
    "efficiency": "How far do labels carry with this model?",
    "calibration": "What does CoS-Low tell of this model's curve?",
    "select": "Which texts are to be labelled?",
}


@dataclass(frozen=True)
class Content:
    """Everything a report says, as strings and grids. Made by `gather`.

    Attributes:
        dataset: The data, or None where the files cannot be read any more or nothing needs to be labelled yet.
        results: The numbers behind the strings, for the figures.
        key_figures: Three figures.
        subject: What is asked for, in words.
        comparison: Rectified, labels-only and model-only, those that there are; None without an estimate.
        differences: The clearest differences between groups; None without groups.
        strategies: The plan's strategies; None without a plan.
        classes: Number of classes; None for numbers, and where neither the data nor the plan can tell.
        plan_note: What the plan's widths speak of where that is not all that the question asks for; else empty.
        achieved: Predicted against achieved half-width; None without both, or where they are of different things.
        warnings: Sentences that the reader must not miss.
    """

    study: Study
    run: Run
    results: Results
    dataset: Dataset | None
    subject: wording.Subject
    headline: str
    question: str
    answer: str
    key_figures: tuple[KeyFigure, ...]
    comparison: Grid | None
    differences: Grid | None
    strategies: Grid | None
    classes: int | None
    plan_note: str
    achieved: Grid | None
    warnings: tuple[str, ...]
    method: tuple[str, ...]
    sources: tuple[Source, ...]
    settings: Grid
    command: str

    @property
    def unit(self) -> str:
        """What the half-width counts."""
        return "share" if self.subject.share else wording.label_words(self.study)

    @property
    def by_labels_alone(self) -> bool:
        """Whether there is an answer and no model has a part in it."""
        return self.results.estimate is not None and self.results.estimate.is_labels_alone

    @property
    def answer_title(self) -> str:
        """What stands above the answer's figure and table."""
        return "The answer, by labels only" if self.by_labels_alone else "The answer, three ways"

    @property
    def difference_count(self) -> int:
        """How many differences between groups there are."""
        return len(group_pairs(self.results.estimate)) if self.results.estimate is not None else 0


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
    dataset, faults = _dataset(study, run)
    estimate = results.estimate
    rows = _rows(results, dataset)
    subject = wording.subject_of(study, dataset.classes if dataset else None)
    paragraphs, sources = method(study, run, results)
    classes = _class_count(dataset, results)
    grouped = estimate if study.question.estimand == "groups" else None
    return Content(
        study=study,
        run=run,
        results=results,
        dataset=dataset,
        subject=subject,
        headline=(headline or "").strip() or wording.default_headline(study, subject, run, estimate),
        question=_QUESTIONS.get(run.kind) or study.question.sentence(study.roles, rows),
        answer=_answer(study, subject, run, results, rows),
        key_figures=_key_figures(subject, results),
        comparison=comparison(subject, estimate) if estimate else None,
        differences=differences(subject, grouped) if grouped else None,
        strategies=_strategies(results.plan, subject.share) if results.plan else None,
        classes=classes,
        plan_note=study.question.caution_of_widths(classes),
        achieved=None if subject.estimand in ("quantile", "groups") else _achieved(run, results, subject.share),
        warnings=tuple(dict.fromkeys([*_run_warnings(run), *faults, *_notes(results, dataset)])),
        method=tuple(paragraphs),
        sources=tuple(sources),
        settings=Grid(("Setting", "Value"), _settings(study, run, results)),
        command=command_line(study, run),
    )


def _settings(study: Study, run: Run, results: Results) -> tuple[tuple[str, str], ...]:
    """What was asked for, then how it was done; nothing twice."""
    asked = settings_rows(study, run)
    if results.plan and (caution := split_caution(results.plan.n, run.settings, results.plan.finetune_minimum)):
        asked = [(name, f"{value}. {caution}" if name == TO_FINETUNE else value) for name, value in asked]
    told = set(asked) | {("Strategy carried out", value) for name, value in asked if name == "Strategy"}
    return (*asked, *(fact for fact in run_facts(results) if fact not in told))


def _dataset(study: Study, run: Run) -> tuple[Dataset | None, list[str]]:
    try:
        if run.kind == "select" and not study.has_labels():
            return None, []
        needs_pool = wording.rectifies(run)
        return study.dataset(needs_pool=needs_pool, without_pool=run.settings.without_pool), []
    except LabelwiseError as fault:
        return None, [f"The data could not be read again for this report: {fault}"]


def _rows(results: Results, dataset: Dataset | None) -> int:
    if dataset is not None:
        return dataset.n + dataset.m
    return results.plan.n + results.plan.m if results.plan else 0


def _class_count(dataset: Dataset | None, results: Results) -> int | None:
    if dataset is not None:
        return len(dataset.classes or ()) or None
    shares = results.plan.design.shares if results.plan else None
    return len(shares or ()) or None


def _answer(study: Study, subject: wording.Subject, run: Run, results: Results, rows: int) -> str:
    if results.estimate is not None:
        return wording.answer_sentence(study, subject, results.estimate, rows)
    if results.selection is not None:
        return results.selection.why
    there = {"a plan": results.plan, "a pilot": results.law, "a data-efficiency curve": results.efficiency}
    found = [name for name, value in there.items() if value is not None]
    shown = f"It shows {wording.joined(found)}." if found else "Nothing has been computed yet."
    why = "is not finished" if run.kind == "run" else f"was asked for {_ASKED[run.kind]} only"
    return f"There is no estimate yet: this run {why}. {shown}"


def _key_figures(subject: wording.Subject, results: Results) -> tuple[KeyFigure, ...]:
    if results.estimate is not None:
        return answer_figures(subject, results.estimate)
    figures = []
    if results.plan is not None:
        best, share = results.plan[results.plan.recommended], subject.share
        saved = f"{results.plan.share_saved(best):.0%}"
        name = wording.strategy_words(results.plan, best.name)
        band = " to ".join(wording.width_words(end, best.half_width, share=share) for end in best.interval)
        half = wording.width_words(best.half_width, best.half_width, share=share)
        title, worth = wording.saving_words(results.plan)
        figures = [
            KeyFigure("Recommended", name, f"{best.finetune:,} labels to fine-tune, {best.rectify:,} to rectify"),
            KeyFigure("Predicted half-width", f"±{half}", f"80% band {band}" if _has_band(best) else "no band"),
            KeyFigure(title, saved, worth),
        ]
    elif results.efficiency is not None:
        middle, low, high = results.efficiency.words_to(0.9)
        usual = results.efficiency.usual_words()
        note = f"80% between {low} and {high}" + (f". {usual}" if usual else "")
        figures = [KeyFigure("Labels to 90% of what can be reached", middle, note)]
    return tuple(figures)


def _has_band(record: StrategyPlan) -> bool:
    return record.interval[1] > record.interval[0]


def _strategies(plan: Plan, share: bool) -> Grid:
    costs = any(record.cost for record in plan.strategies)
    times = any(record.seconds for record in plan.strategies)
    rows = []
    for record in plan.strategies:
        half = [
            wording.width_words(part, record.half_width, share=share) for part in (record.half_width, *record.interval)
        ]
        band = f"±{half[0]} ({half[1]} to {half[2]})" if _has_band(record) else f"±{half[0]}"
        row = [wording.strategy_words(plan, record.name), f"{record.finetune:,}", f"{record.rectify:,}", band]
        row.append(f"{plan.share_saved(record):.0%}".replace("-", "−"))
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
    name, predicted = promised(run, results)
    rows = [(wording.strategy_words(plan, name), predicted, wording.half_width(estimate))]
    if estimate.labels_only is not None and name != "labels-only":
        alone = plan["labels-only"]
        rows.append(("Labels only", (alone.half_width, *alone.interval), wording.half_width(estimate.labels_only)))
    cells = []
    for words, (half, low, high), achieved in rows:
        shown = [wording.width_words(part, half, share=share) for part in (half, low, high, achieved)]
        ratio = f"{achieved / half - 1:+.0%}".replace("-", "−")
        cells.append((words, f"±{shown[0]}", f"{shown[1]} to {shown[2]}" if high > low else "–", f"±{shown[3]}", ratio))
    return Grid(("Strategy", "Predicted", "80% band", "Achieved", "Difference"), tuple(cells))


def _strategy_done(run: Run, results: Results) -> str:
    """Return the name of the strategy that a run carried out."""
    assert results.plan is not None
    names = [record.name for record in results.plan.strategies]
    method = results.estimate.method if results.estimate else None
    for name in (results.details.get("strategy"), method, run.settings.strategy):
        if name in names:
            return str(name)
    return results.plan.recommended


def promised(run: Run, results: Results) -> tuple[str, tuple[float, float, float]]:
    """Return the strategy that a run carried out, and the half-width that the plan predicted for it with its band."""
    plan, name = results.plan, _strategy_done(run, results)
    assert plan is not None
    finetune = results.details.get("finetune", run.settings.finetune)
    if name == "split" and isinstance(finetune, int | float) and finetune > 0:
        return name, (plan.width(finetune), *plan.width_interval(finetune))
    record = plan[name]
    return name, (record.half_width, *record.interval)


def _run_warnings(run: Run) -> list[str]:
    if run.state is RunState.FINISHED:
        return []
    state = f"This run {_STATES[run.state]}: the report shows what it has found so far."
    return [f"{state} {run.error}" if run.error else state]


def _notes(results: Results, dataset: Dataset | None) -> list[str]:
    estimate = results.estimate
    notes = list(estimate.notes) if estimate else []
    for name in NOTES:
        listed = results.details.get(name)
        notes += [str(note) for note in listed] if isinstance(listed, list | tuple) else []
    return notes + list(dataset.remarks if dataset else ())
