"""The command calibrate: measure a model's curves on several tasks, and learn what CoS-Low says about them."""

from __future__ import annotations

import json
from argparse import Namespace as Arguments
from pathlib import Path

import pandas as pd

from engine.cli.following import follow
from engine.data import Roles, guess_roles, prepare, read_table
from engine.efficiency import Calibration, learn
from engine.errors import ArgumentError
from engine.runs import Question, RunSettings, Store, Study, open_store, read_results, start_run
from engine.runs.calibrations import calibration_path

FEWEST_TASKS = 5


def calibrate(options: Arguments) -> None:
    """Measure every task and store what was learned for this model under this learner."""
    tasks: list[Path] = options.tasks
    names = [path.stem for path in tasks]
    if len(set(names)) < FEWEST_TASKS or len(set(names)) < len(names):
        raise ArgumentError(
            f"{len(set(names))} task{'s' * (len(set(names)) != 1)} of different names were given; a calibration is "
            f"learned from {FEWEST_TASKS} or more, each a file of labels with a name of its own."
        )
    store = open_store()
    settings = RunSettings(model=options.model, keep=options.keep, learner=options.learner, seed=options.seed)
    studies = [_study(options, store, path) for path in tasks]
    curves, coslow = [], {}
    for study in studies:
        run = follow(store, start_run(store, study, "calibration", settings))
        found = read_results(store, run)
        assert found.efficiency is not None
        scores = found.trials.groupby("size", as_index=False).agg(
            score=("score", "mean"), freedom=("degrees_of_freedom", "first")
        )
        test_size = scores["freedom"].astype(int) + 2
        curves.append(
            pd.DataFrame({"task": study.name, "n": scores["size"], "score": scores["score"], "test_size": test_size})
        )
        if found.efficiency.coslow is not None:
            coslow[study.name] = found.efficiency.coslow
        if not options.json:
            last = scores.iloc[-1]
            sure = f"{coslow[study.name]:.3f}" if study.name in coslow else "none"
            print(f"{study.name:28} CoS-Low {sure:>6}, score {last['score']:.3f} at {int(last['size']):,} labels")
    calibration = learn(
        pd.concat(curves),
        pd.DataFrame({"task": list(coslow), "coslow": list(coslow.values())}),
        name=settings.model,
        source=f"labelwise calibrate, {len(tasks)} tasks, learner {options.learner}",
    )
    _keep(options, calibration, settings)


def _study(options: Arguments, store: Store, path: Path) -> Study:
    """Store a task as a study; nothing of it is to be estimated, so that it needs no pool."""
    table = read_table(path)
    guess = guess_roles(table) if options.text is None or options.label is None else None
    text, label = options.text or (guess and guess.text), options.label or (guess and guess.label)
    roles = Roles(str(text), str(label))
    data = prepare(table, None, roles, needs_pool=False)
    question = Question("shares" if data.classes else "mean")
    return store.create_study(path.stem, store.save_file(path.name, path), None, roles, question)


def _keep(options: Arguments, calibration: Calibration, settings: RunSettings) -> None:
    path = options.output or calibration_path(settings.model, settings.learner)
    try:
        calibration.save(path)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be written ({error.strerror}); name another file with -o.") from None
    if options.json:
        print(json.dumps({"calibration": calibration.to_dict(), "output": str(path)}))
        return
    link = calibration.link
    print(calibration.summary())
    for c, intercept in link.coefficients:
        print(f"AUC' = {c:.3f} CoS-Low + {intercept:.3f}")
    used = "" if options.output else "; from now on the curves of this model rest on it"
    print(f"The calibration is in {path}{used}.")
