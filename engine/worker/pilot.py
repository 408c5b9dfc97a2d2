"""From the pilot's labels to the plan: trials, law, strategies. Nothing here looks at a sealed label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.allocation import Design, Plan, RampUpStep, best_folds, plan, weigh
from engine.data.sealing import Rows, Sealing
from engine.errors import RunError
from engine.learning.trials import (
    above_zero,
    class_shares,
    label_variance,
    outcomes,
    residual_variance,
    run_trial,
    weighed,
)
from engine.runs.pace import SEEDS, costs_of, strategy_seconds
from engine.scaling import Law, effective_freedom, fit_law
from engine.worker.asking import asked
from engine.worker.coslow import record_curve
from engine.worker.job import MODELS, PILOT, Job

_REPEATED = 0.1  # share of the labels with others of their text, from which on they count as one


def run_pilot(job: Job, coslow: float | None) -> tuple[Law, float]:
    """Open labels step by step while that is worth it; return the last law, and the seconds a label of a fit took."""
    job.report.stage(PILOT)
    steps, work = job.sealing.steps(), 0.0
    taken: list[dict[str, Any]] = []
    for number, opened in enumerate(steps):
        job.sealing = job.sealing.opened(opened)
        following = _following(job, steps[number + 1 : number + 2])
        if following is not None and np.ptp(_pilot_labels(job), 0).max() == 0:
            continue  # labels that are all the same teach a model nothing
        frame, work = _trials(job, coslow, work, first=not taken)
        zero_shot, pace = _zero_shot(job)[0], _pace(job, frame)
        law = _law(job, frame, zero_shot)
        job.record("law", law.to_dict())
        step = _weigh(job, law, following, pace, zero_shot)
        if following is not None and all(map(job.is_stored, _inputs(job, job.sealing.opened(following)))):
            step = replace(step, goes_on=True)  # an earlier pilot opened these labels: what its trials tell is free
        taken.append(step.to_dict())
        if not step.goes_on:
            break
    job.record("ramp-up", {"steps": taken, "rows": job.sealing.pilot.tolist()})
    print(f"         the pilot opened {job.sealing.pilot_size} of {job.dataset.n} labels")
    return law, pace


def _trials(job: Job, coslow: float | None, before: float, *, first: bool) -> tuple[pd.DataFrame, float]:
    """The trials inside the labels opened so far, one row each, and the work of this step and of the earlier ones.

    The pilot is expected to end with this step: most do where a fit takes long enough for anyone to wait. `before` is
    the work of the earlier ones; of the `first`, the law is told from the second size on.
    """
    data, name, costs = job.dataset, job.settings.learner, costs_of(job.settings)
    trials, opened, inputs = _planned(job, job.sealing), job.sealing.pilot_size, _inputs(job, job.sealing)
    # Named by the step too: a run that resumes in a later step finds the earlier ones' trials again.
    steps = [f"trial {name} {opened:05d} {len(train):05d} {seed}" for seed, train, _ in trials]
    own = job.store.step_results(job.run.id)
    # A trial that another run has made takes no time; one that this run made before it was stopped has taken its own.
    work = [
        costs.work(len(train)) if step in own or not job.is_stored(made_of) else 0.0
        for step, made_of, (_, train, _) in zip(steps, inputs, trials, strict=True)
    ]
    total, done = before + sum(work), before
    last_of_size = set({len(train): (len(train), seed) for seed, train, _ in trials}.values())
    rows: list[dict[str, Any]] = []
    for (seed, train, holdout), step, made_of, takes in zip(trials, steps, inputs, work, strict=True):

        def compute(seed: int = seed, train: Rows = train, holdout: Rows = holdout) -> dict[str, Any]:
            losses = job.loss_report(f"trial on {len(train)} of {opened} labels with seed {seed}")
            texts = list(data.texts)
            trial = run_trial(
                name, job.learner(), texts, data.y, job.classes, train, holdout, seed, progress, losses, _shares(job),
                data.weights, _by_text(job),
            )  # fmt: skip
            job.tracker.log({"trial/labels": trial.size, "trial/residual_variance": trial.variance})
            print(f"         {name} on {trial.size} labels, seed {seed}: residual variance {trial.variance:.4g}")
            return trial.to_dict()

        def progress(part: float, begun: float = done, takes: float = takes) -> None:
            job.report((begun + takes * part) / max(total, 1e-9))

        rows.append(job.step(step, made_of, compute))
        done += takes
        pace = _pace(job, pd.DataFrame(rows))
        following = {MODELS: strategy_seconds(job.settings, data, pace)} if job.run.kind == "run" else {}
        job.report.expect({PILOT: pace * total, **following})
        progress(0.0, done)
        if (len(train), seed) in last_of_size:
            record_curve(job, coslow, pd.DataFrame(rows))
            if first and len(train) > rows[0]["size"]:  # a later step's first sizes know less than the last law
                job.record("law", _law(job, pd.DataFrame(rows), None).to_dict())
    return pd.DataFrame(rows), total


def _planned(job: Job, sealing: Sealing) -> list[tuple[int, Rows, Rows]]:
    """The trials inside the labels that a pilot has opened."""
    return sealing.trials(SEEDS[job.settings.learner], job.dataset.y if job.classes else None)


def _inputs(job: Job, sealing: Sealing) -> list[list[Any]]:
    """What each of these trials is made of: another run's of the same is taken."""
    name = job.settings.learner
    # The probe has a closed form: no objective to choose.
    how = [name, "" if name == "probe" else job.settings.objective]
    how += ["weighed"] if job.dataset.weights is not None else []
    how += ["by text"] if _by_text(job) else []
    return [["trial", *how, sealing.pilot_size, len(train), seed] for seed, train, _ in _planned(job, sealing)]


def _law(job: Job, trials: pd.DataFrame, zero_shot: float | None) -> Law:
    # Fine-tuning begins at the model's own answers; a probe, or predictions of another model, do not.
    begins = job.settings.learner != "probe" and job.dataset.predictions is None
    left = trials.groupby("size")["variance"].transform("mean") if _counted(job) else None
    return fit_law(
        trials["size"],
        trials["variance"],
        degrees_of_freedom=effective_freedom(trials["degrees_of_freedom"], _tails(job), left),
        holdouts=trials["seed"],
        label_variance=_label_variance(job),
        zero_shot_variance=zero_shot if begins else None,
    )


def _pilot_labels(job: Job) -> NDArray[np.float64]:
    """The pilot's labels as columns; the others are sealed."""
    return outcomes(job.dataset.y[job.sealing.pilot], job.classes)


def _by_text(job: Job) -> bool:
    """Whether the labels of a text count as one: where a tenth or more of the labels have another of their text.

    A few hardly vary anything, and classes would no longer count alike for them.
    """
    codes = job.dataset.clusters
    return codes is not None and bool((np.bincount(codes)[codes] > 1).mean() >= _REPEATED)


def _counted(job: Job) -> bool:
    """Whether the labels are classes that count alike.

    With weights, and where the labels of a text are one, they are what each adds to a share's error.
    """
    return job.classes is not None and job.dataset.weights is None and not _by_text(job)


def _weighed(job: Job, columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pilot's labels, or predictions of them, as weights, and several labels of a text, let them count."""
    data, rows = job.dataset, job.sealing.pilot
    texts = [data.texts[i] for i in rows] if _by_text(job) else None
    return weighed(columns, None if data.weights is None else data.weights[rows], texts)


def _tails(job: Job) -> NDArray[np.float64]:
    """The pilot's labels, and one more of each class: a class that they lack says as little as a rare one."""
    labels = _weighed(job, _pilot_labels(job))
    return np.concatenate([labels, np.eye(labels.shape[1])]) if _counted(job) else labels


def _shares(job: Job) -> NDArray[np.float64] | None:
    """What the pilot's labels say of each class's share; None for numbers, and for classes that do not count alike."""
    return class_shares(_pilot_labels(job)) if _counted(job) else None


def _estimated_shares(job: Job) -> tuple[float, ...] | None:
    """Each class's share as the estimate will weigh it; None for numbers."""
    if not job.classes:
        return None
    labels, weights = _pilot_labels(job), job.dataset.weights
    part = np.ones(len(labels)) if weights is None else weights[job.sealing.pilot]
    labels = labels * (part / part.mean())[:, None] if part.any() else labels
    return tuple(class_shares(labels).tolist())


def _label_variance(job: Job) -> float:
    """The variance of the pilot's labels.

    Raises:
        RunError: They are numbers and all the same.
    """
    labels = _pilot_labels(job)
    variance = label_variance(_weighed(job, labels), classes=_counted(job))
    if variance > 0:
        return variance
    if not job.classes:
        raise RunError(
            f"All {len(labels):,} labels that the pilot opened are {labels[0, 0]:g}: nothing can be planned from them. "
            "Label more, or choose the strategy labels-only."
        )
    return label_variance(labels, classes=True)


def _following(job: Job, further: list[int]) -> int | None:
    """How many labels the next step opens; None where there is none."""
    # A split that the user has chosen is not to be overtaken by the pilot.
    most = job.settings.finetune if job.settings.strategy == "split" else None
    return next((size for size in further if most is None or size <= most), None)


def _weigh(job: Job, law: Law, following: int | None, pace: float, zero_shot: float | None) -> RampUpStep:
    """Weigh the next step's gain against its trials and the splits that it forecloses."""
    data, settings, question = job.dataset, job.settings, job.study.question
    further = job.sealing.opened(following).trials(SEEDS[settings.learner]) if following else []
    design = Design(
        data.n, data.m, _label_variance(job), question.population, question.confidence, data.design_effect,
        _estimated_shares(job), data.unit_share,
    )  # fmt: skip
    costs = costs_of(settings, pace, asks=data.predictions is None)
    return weigh(
        law,
        design,
        opened=job.sealing.pilot_size,
        following=following,
        folds=_folds(job) or best_folds(law, design, costs),
        costs=costs,
        seconds=sum(costs.seconds(1, len(train), 0) for _, train, _ in further),
        strategy=settings.strategy,
        zero_shot_variance=zero_shot,
    )


def _folds(job: Job) -> int | None:
    """The user's number of folds; None where the plan is to choose it."""
    settings = job.settings
    return min(settings.folds, job.dataset.n) if settings.strategy == "cross-fit" else None


def _pace(job: Job, trials: pd.DataFrame) -> float:
    """The seconds that these trials took for each label of a fit."""
    return float(trials["seconds"].sum() / sum(map(costs_of(job.settings).work, trials["size"])))


def make_plan(job: Job, law: Law, seconds_per_label: float) -> Plan:
    """The strategies side by side, from what the pilot's labels tell."""
    data, settings, question = job.dataset, job.settings, job.study.question
    zero_shot, freedom = _zero_shot(job)
    made = plan(
        law,
        n=data.n,
        m=data.m,
        label_variance=_label_variance(job),
        population=question.population,
        confidence=question.confidence,
        design_effect=data.design_effect,
        unit_share=data.unit_share,
        shares=_estimated_shares(job),
        folds=_folds(job),
        # Neither what this pilot opened nor what an earlier one did can rectify a split.
        finetune_minimum=max(job.sealing.pilot_size, job.store.opened_labels(job.study, settings.seed)),
        zero_shot_variance=zero_shot,
        zero_shot_degrees_of_freedom=freedom,
        label_degrees_of_freedom=float(effective_freedom(len(_weighed(job, _pilot_labels(job))) - 1, _tails(job))),
        half_width=settings.half_width,
        costs=costs_of(settings, seconds_per_label, asks=data.predictions is None),
    )
    job.record("plan", made.to_dict())
    labels = _pilot_labels(job)
    if data.classes and np.ptp(labels, 0).max() == 0:
        every = f"All {len(labels):,} labels that the pilot opened are “{data.classes[labels[0].argmax()]}”"
        job.record("details pilot", {"warnings": [f"{every}: it could not see what a model learns."]})
    print(f"         {made.why}")
    return made


def _zero_shot(job: Job) -> tuple[float | None, float | None]:
    """Residual variance of untrained predictions, given with the data or asked for, and its degrees of freedom."""
    rows, given = job.sealing.pilot, job.dataset.predictions
    known = asked(job, [job.dataset.texts[i] for i in rows], job.report) if given is None else given[rows]
    if known is None:
        return None, None
    columns = known if known.ndim == 2 else known[:, None]
    labels, counted = _weighed(job, _pilot_labels(job)), _counted(job)
    variance, _, freedom = residual_variance(labels, _weighed(job, columns), _shares(job))
    least = above_zero(variance, _label_variance(job), len(labels), classes=counted)
    if least > variance:  # of errors of which none was seen hardly anything is known
        return least, 1.0
    return variance, float(effective_freedom(freedom, _tails(job), variance if counted else None))
