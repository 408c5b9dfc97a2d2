"""A store with the sample study and the results of runs that no worker had to compute."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import engine

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "sample_data"
OWN = engine.RunSettings(strategy="zero-shot")
SIZES = (25, 50, 100, 200)


def sample(store: engine.Store, question: engine.Question | None = None) -> engine.Study:
    """Put the sample data into the store."""
    labels = store.save_file("labels.csv", SAMPLE / "labels.csv")
    pool = store.save_file("pool.csv", SAMPLE / "pool.csv")
    roles = engine.guess_roles(labels.read(), pool.read())
    return store.create_study("Product reviews", labels, pool, roles, question or engine.Question())


def own(store: engine.Store, **question: object) -> engine.Study:
    """Put the sample data into the store with its predictions and groups."""
    first = sample(store)
    roles = engine.Roles(text="review", label="rating", prediction="model_rating", group="product")
    asked = engine.Question(**question)
    return store.create_study("With predictions", first.labels_file, first.pool_file, roles, asked)


def add_own_run(store: engine.Store, study: engine.Study) -> engine.Run:
    """Add a finished run that rectified the predictions of the data."""
    run, data, asked = store.create_run(study.id, "run", OWN), study.dataset(), study.question
    options = {"finite_population": True}
    if asked.estimand == "groups":
        options |= {"groups": data.groups, "pool_groups": data.pool_groups}
        estimate = engine.rectified_groups(data.y, data.predictions, data.pool_predictions, **options)
    else:
        estimate = engine.rectified_quantile(data.y, data.predictions, data.pool_predictions, q=asked.q, **options)
    save(store, run, {"estimate": estimate.to_dict(), "details": {"strategy": "zero-shot"}})
    return finish(store, run)


def finish(store: engine.Store, run: engine.Run) -> engine.Run:
    """Mark a run as finished a minute after it started."""
    states = {"state": "finished", "stage": "Finished", "progress": 1.0}
    store.update_run(run.id, started=run.created, finished=run.created + pd.Timedelta(minutes=1), **states)
    return store.run(run.id)


def save(store: engine.Store, run: engine.Run, results: dict[str, dict]) -> None:
    """Store step results under their names."""
    for name, value in results.items():
        store.save_step_result(run.id, name, f"{run.id} {name}", value)


def trial_rows(variance: float, learner: str = "probe", share: float = 1.0) -> list[dict]:
    """Return trials whose residual variance falls with their size; `share` of it is left."""
    rng = np.random.default_rng(1)
    rows = []
    for size in SIZES:
        for seed in range(3):
            residual = share * min(0.15 + 3.2 * size**-0.5, variance) * float(np.exp(rng.normal(0, 0.05)))
            score = 1 - residual / variance
            rows.append(
                {
                    "learner": learner,
                    "size": size,
                    "seed": seed,
                    "variance": residual,
                    "score": score,
                    "degrees_of_freedom": 100,
                    "seconds": 0.2,
                }
            )
    return rows


def add_efficiency(store: engine.Store, study: engine.Study, **options: Any) -> engine.Run:
    """Add a finished prediction."""
    run = store.create_run(study.id, "efficiency", engine.RunSettings())
    save(store, run, {"efficiency": engine.efficiency(0.21, **options).to_dict()})
    return finish(store, run)


def planned(study: engine.Study, learner: str = "probe", share: float = 1.0) -> dict[str, dict]:
    """Return trials, law and plan as a pilot stores them."""
    data = study.dataset()
    variance = float(np.var(data.y, ddof=1))
    rows = trial_rows(variance, learner, share)
    law = engine.fit_law([r["size"] for r in rows], [r["variance"] for r in rows], label_variance=variance)
    plan = engine.plan(
        law, n=data.n, m=data.m, label_variance=variance, population=study.question.population,
        costs=engine.Costs(per_label=0.8, seconds_per_label=0.05, seconds_per_thousand=4.0),
    )  # fmt: skip
    trials = {f"trial {i:02d}": row for i, row in enumerate(rows)}
    return {**trials, "law": law.to_dict(), "plan": plan.to_dict()}


def add_plan(
    store: engine.Store, study: engine.Study, learner: str = "probe", share: float = 1.0, **settings: object
) -> engine.Run:
    """Add a finished pilot of a learner that leaves this share of the probe's residual variance."""
    run = store.create_run(study.id, "plan", engine.RunSettings(learner=learner, **settings))
    save(store, run, planned(study, learner, share))
    return finish(store, run)


def add_run(store: engine.Store, study: engine.Study) -> engine.Run:
    """Add a finished run with its estimate."""
    run = store.create_run(study.id, "run", engine.RunSettings())
    data = study.dataset()
    estimate = engine.rectified_mean(data.y, data.predictions, data.pool_predictions, finite_population=True)
    details = {"device": "cpu", "strategy": "cross-fit", "seconds": {"pilot": 3.1, "predict": 2.0}}
    save(store, run, {**planned(study), "estimate": estimate.to_dict(), "details": details})
    losses = {"fit": "model 1", "step": range(40), "loss": np.exp(-np.arange(40) / 20), "rate": 1e-3}
    pd.DataFrame(losses).to_csv(run.folder / "losses.csv", index=False)
    run.log.write_text("Reading the data\nFitting 12 trials\nDone\n", encoding="utf-8")
    return finish(store, run)


def add_alone(store: engine.Store, study: engine.Study) -> engine.Run:
    """Add a finished run by labels only."""
    run, y = store.create_run(study.id, "run", engine.RunSettings(strategy="labels-only")), study.dataset().y
    estimate = engine.rectified_mean(y, y, [3.0, 4.0, 5.0]).labels_only
    save(store, run, {"estimate": estimate.to_dict(), "details strategy": {"strategy": "labels-only", "finetune": 0}})
    return finish(store, run)


def add_shares(store: engine.Store, classes: tuple[str, ...] = ("good", "bad")) -> tuple[engine.Study, engine.Run]:
    """Add a study of classes with a finished run."""
    rng, k = np.random.default_rng(5), len(classes)
    names = np.array(classes)
    frames = []
    for rows in (120, 400):
        truth = rng.integers(0, k, rows)
        guess = np.where(rng.random(rows) < 0.85, truth, k - 1 - truth)
        texts = [f"Answer {i} of {rows}: {names[t]}" for i, t in enumerate(truth)]
        frames.append(pd.DataFrame({"text": texts, "verdict": names[truth], "model": names[guess]}))
    labels = store.save_file("verdicts.csv", frames[0].to_csv(index=False).encode())
    pool = store.save_file("rest.csv", frames[1].drop(columns="verdict").to_csv(index=False).encode())
    roles = engine.Roles(text="text", label="verdict", prediction="model")
    study = store.create_study("Verdicts", labels, pool, roles, engine.Question(estimand="shares"))
    data, run = study.dataset(), store.create_run(study.id, "run", engine.RunSettings())
    y = np.asarray(data.classes)[data.y]
    estimate = engine.rectified_shares(y, data.predictions, data.pool_predictions)
    save(store, run, {**planned(study), "estimate": estimate.to_dict()})
    return study, finish(store, run)
