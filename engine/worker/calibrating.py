"""Calibrating: the measured curve of a task, from which a model's own link of CoS-Low to the area is learned."""

from __future__ import annotations

from typing import Any

from engine.data import Dataset
from engine.data.sealing import Rows, Sealing, generator
from engine.efficiency import SIZES
from engine.errors import DataError
from engine.learning.trials import run_trial
from engine.worker.job import CURVE, Job

COSLOW_LABELS = 320  # the tenth with the lowest confidence is then the 32 examples that CoS-Low takes
_MOST_HELD_OUT = 2000
_FEWEST_LABELS = 250
_SMALL, _SEEDS_SMALL, _SEEDS_LARGE = 500, 5, 2  # small fits differ more between seeds, and cost less


def calibration_trials(data: Dataset, sealing: Sealing) -> list[tuple[int, Rows, Rows]]:
    """Return the trials as (seed, training rows, hold-out rows); one hold-out for all, of a fifth of the labels.

    Raises:
        DataError: The labels are too few for a curve.
    """
    order = sealing.order
    if len(order) < _FEWEST_LABELS:
        raise DataError(f"{data.name} has {len(order):,} labels; a curve to learn from needs {_FEWEST_LABELS} or more.")
    held_out = min(len(order) // 5, _MOST_HELD_OUT)
    holdout, rest = order[:held_out], order[held_out:]
    trials = []
    for size in SIZES[1:]:
        for seed in range(_SEEDS_SMALL if size <= _SMALL else _SEEDS_LARGE):
            shuffled = generator(data.key, seed + 1).permutation(rest)
            trials += [(seed, shuffled[:size], holdout)] if size <= len(rest) else []
    return trials


def measure_curve(job: Job) -> None:
    """Measure the learner's score at the published numbers of labels."""
    job.report.stage(CURVE)
    data, name = job.dataset, job.settings.learner
    trials = calibration_trials(data, job.sealing)
    work, done = sum(len(train) for _, train, _ in trials), 0
    for seed, train, holdout in trials:

        def compute(seed: int = seed, train: Rows = train, holdout: Rows = holdout) -> dict[str, Any]:
            return run_trial(name, job.learner(), list(data.texts), data.y, job.classes, train, holdout, seed).to_dict()

        inputs = ["calibration trial", name, job.settings.objective, len(train), seed]
        trial = job.step(f"trial {name} {len(train):05d} {seed}", inputs, compute)
        done += len(train)
        job.report(done / work)
        print(f"         {name} on {len(train)} labels, seed {seed}: score {trial['score']:.3f}")
