"""From the pilot's labels to the plan: trials, law, strategies. Nothing here looks at a sealed label."""

from __future__ import annotations

from typing import Any

import pandas as pd

from engine.allocation import Costs, Plan, plan
from engine.data.sealing import Rows
from engine.learning.trials import outcomes, residual_variance, run_trial
from engine.scaling import Law, fit_law
from engine.worker.asking import asked
from engine.worker.coslow import record_curve
from engine.worker.job import PILOT, SECONDS_TO_PREDICT, Job

SEEDS = {"probe": 5, "lora": 3, "full": 3}


def run_pilot(job: Job, coslow: float | None) -> tuple[Law, float]:
    """Trials at growing sizes, the law fitted to them, and the seconds that a label of a fit took."""
    job.report.stage(PILOT)
    data, name = job.dataset, job.settings.learner
    trials = job.sealing.trials(SEEDS[name])
    work = sum(len(train) for _, train, _ in trials)
    last_of_size = set({len(train): (len(train), seed) for seed, train, _ in trials}.values())
    done, rows = 0, []
    for seed, train, holdout in trials:
        share, before = len(train) / work, done / work

        def compute(seed: int = seed, train: Rows = train, holdout: Rows = holdout) -> dict[str, Any]:
            learner = job.bench.learner(name, job.settings.objective, job.dataset.classes)
            trial = run_trial(name, learner, list(data.texts), data.y, job.classes, train, holdout, seed, progress)
            print(f"         {name} on {trial.size} labels, seed {seed}: residual variance {trial.variance:.4g}")
            return trial.to_dict()

        def progress(part: float, share: float = share, before: float = before) -> None:
            job.report(before + share * part)

        # The probe has a closed form: no objective to choose.
        objective = "" if name == "probe" else job.settings.objective
        inputs = ["trial", name, objective, len(train), seed]
        rows.append(job.step(f"trial {name} {len(train):05d} {seed}", inputs, compute))
        done += len(train)
        if (len(train), seed) in last_of_size:
            record_curve(job, coslow, pd.DataFrame(rows))
    frame = pd.DataFrame(rows)
    freedom = frame["degrees_of_freedom"].to_numpy()
    law = fit_law(frame["size"], frame["variance"], degrees_of_freedom=freedom, label_variance=_label_variance(job))
    job.record("law", law.to_dict())
    return law, float(frame["seconds"].sum() / frame["size"].sum())


def _label_variance(job: Job) -> float:
    # Of the pilot's labels only: the others are sealed.
    columns = outcomes(job.dataset.y[job.sealing.pilot], job.classes)
    return max(float(columns.var(0, ddof=1).mean()), 1e-12)


def make_plan(job: Job, law: Law, seconds_per_label: float) -> Plan:
    """The strategies side by side, from what the pilot's labels tell."""
    data, settings, question = job.dataset, job.settings, job.study.question
    trained = settings.learner != "probe"
    zero_shot, freedom = _zero_shot(job)
    made = plan(
        law,
        n=data.n,
        m=data.m,
        label_variance=_label_variance(job),
        population=question.population,
        confidence=question.confidence,
        folds=min(settings.folds, data.n),
        finetune_minimum=job.sealing.pilot_size,
        zero_shot_variance=zero_shot,
        zero_shot_degrees_of_freedom=freedom,
        half_width=settings.half_width,
        costs=Costs(
            per_label=settings.cost_per_label,
            seconds_per_label=seconds_per_label,
            seconds_per_thousand=1000 * SECONDS_TO_PREDICT if trained else 0.01,
        ),
    )
    job.record("plan", made.to_dict())
    print(f"         {made.why}")
    return made


def _zero_shot(job: Job) -> tuple[float | None, float | None]:
    """Residual variance of untrained predictions, given with the data or asked for, and its degrees of freedom."""
    rows, given = job.sealing.pilot, job.dataset.predictions
    known = asked(job, [job.dataset.texts[i] for i in rows], job.report) if given is None else given[rows]
    if known is None:
        return None, None
    columns = known if known.ndim == 2 else known[:, None]
    variance, _, freedom = residual_variance(outcomes(job.dataset.y[rows], job.classes), columns)
    return variance, freedom
