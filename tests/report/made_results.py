"""Results made by hand, and studies and runs that hold them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.allocation import plan
from engine.data import Roles
from engine.efficiency import efficiency
from engine.rectification import Estimate, rectified_groups, rectified_quantile
from engine.runs import Question, RunSettings, fingerprint, now
from engine.scaling import fit_law

HOSTILE = "<script>alert(1)</script>"
SIZES, VARIANCES = (25, 50, 100, 25, 50, 100), (0.82, 0.70, 0.61, 0.79, 0.72, 0.60)


def made_trials():
    """Six trials of two seeds."""
    return pd.DataFrame({"learner": "probe", "size": SIZES, "seed": [0, 0, 0, 1, 1, 1], "variance": VARIANCES}).assign(
        score=lambda t: 1 - t["variance"] / 1.3, degrees_of_freedom=80.0, seconds=1.0
    )


def made_law():
    return fit_law(SIZES, VARIANCES, degrees_of_freedom=80, label_variance=1.3)


def made_plan(**changed):
    values = {"n": 300, "m": 900, "label_variance": 1.3, "population": "these", "zero_shot_variance": 0.9, "folds": 10}
    return plan(made_law(), **(values | changed))


def made_efficiency():
    return efficiency(scores={25: 0.38, 50: 0.46, 100: 0.53}, test_size=80)


def made_mean():
    alone = Estimate(3.02, 2.88, 3.16, 0.071, 0.95, "labels-only", 0.0, 0.0, 300, 900, 300.0, 0.0, None, None)
    note = "Twelve texts were cut to 256 tokens."
    values = (2.98, 2.91, 3.05, 0.036, 0.95, "cross-fit", 0.93, 0.87, 300, 900, 1420.0, 0.72, alone, 3.41)
    return Estimate(*values, notes=(note,))


def made_shares(names=("praise", HOSTILE)):
    two = np.array
    alone = Estimate(
        two([0.4, 0.6]), two([0.35, 0.55]), two([0.45, 0.65]), two([0.025, 0.025]), 0.95, "labels-only",
        two([0.0, 0.0]), two([0.0, 0.0]), 300, 900, two([300.0, 300.0]), two([0.0, 0.0]), None, None, names=names,
    )  # fmt: skip
    return Estimate(
        two([0.42, 0.58]), two([0.39, 0.55]), two([0.45, 0.61]), two([0.015, 0.015]), 0.95, "split",
        two([0.9, 0.9]), two([0.8, 0.8]), 200, 900, two([800.0, 800.0]), two([0.64, 0.64]), alone,
        two([0.52, 0.48]), names=names,
    )  # fmt: skip


def made_groups(k=3, gap=1.0, *, share=False, names=None):
    """Groups whose answers rise by `gap`, or shares of ones that do."""
    chance = np.random.default_rng(3)
    codes, pool_codes = np.arange(300) % k, np.arange(900) % k
    names = np.array(names or [f"shop {i}" for i in range(k)], dtype=object)

    def labels(at):
        return chance.random(at.size) < 0.2 + gap * at if share else 1 + gap * at + chance.normal(0, 0.5, at.size)

    y, f = labels(codes).astype(float), labels(codes).astype(float)
    f = np.where(chance.random(300) < 0.8, y, f) if share else y + chance.normal(0.4, 0.2, 300)
    pool = labels(pool_codes).astype(float) + (0 if share else 0.4)
    return rectified_groups(y, f, pool, groups=names[codes], pool_groups=names[pool_codes], finite_population=True)


def made_quantile(q=0.5):
    chance = np.random.default_rng(4)
    y, pool = chance.normal(3, 1, 300), chance.normal(3, 1, 900)
    return rectified_quantile(y, y + chance.normal(0.5, 0.3, 300), pool + 0.5, q=q)


def made_study(store, *, label="star_rating", classes=None, group=None, **question):
    """A study with 300 labels and a pool of 900."""
    values = np.resize(classes or [1, 2, 3, 4, 5], 300)
    frame = pd.DataFrame({"review text": [f"a review, number {i}, in words" for i in range(300)], label: values})
    pool = pd.DataFrame({"review text": [f"another text of the pool, {i}" for i in range(900)], "row": range(900)})
    for table in (frame, pool) if group else ():
        table[group] = [f"shop {i % 3}" for i in range(len(table))]
    labels_file = store.save_file("labels.csv", frame.to_csv(index=False).encode())
    pool_file = store.save_file("the pool.csv", pool.to_csv(index=False).encode())
    return store.create_study(
        "Reviews", labels_file, pool_file, Roles("review text", label, group=group), Question(**question)
    )


def made_run(store, study, kind="run", *, state="finished", settings=None, **steps):
    """A run with the given step results."""
    run = store.create_run(study.id, kind, settings or RunSettings())
    for name, value in steps.items():
        store.save_step_result(run.id, name, fingerprint(run.id, name), value)
    store.update_run(run.id, state=state, finished=now())
    return store.run(run.id)
