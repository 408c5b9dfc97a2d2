"""What the recommendation gives, everything learned inside the n labels: coverage, width, labels saved, regret.

python benchmarks/allocation_regret.py [--draws 100] [--labels 200,500,1000] [--tasks valence,films] [--learner probe]

Each draw takes n random labels, the other texts being the pool: all rows are the population, whose mean is known. As
in a run the pilot opens labels step by step, the law is fitted, the plan recommends, and the recommendation is carried
out. Beside it, on the same draw: labels-only, splits that fine-tune on a quarter or half of the labels, cross-fit of
five and ten folds, and the split of Wang, Ye & Zhao (arXiv 2511.19486) with the true law known and lambda = 1. The
best of the fixed ones over all draws of a task is the best in hindsight. Coverage is that of nominal 95% intervals. The
three ratings of EmoBank share their draws. Texts are embedded once. The last line is one JSON object.

With the probe decompositions are shared between ratings and the fits are those of engine.learning.probe, checked on the
first draw. With --learner auto (or lora) every fit is a real one: give --draws 5. --rows FILE keeps each draw as a JSON
line and does none of them again.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from residual_variance import TASKS, rows_of
from tqdm import tqdm

from engine.allocation import Costs, Design, Plan, plan, weigh
from engine.data.sealing import Sealing
from engine.learning.learners import Workbench
from engine.learning.models import DEFAULT_MODEL, offline_environment
from engine.learning.probe import _PENALTIES, _weights, fit_layers
from engine.learning.trials import residual_variance
from engine.rectification import Estimate, rectified_mean
from engine.runs import home
from engine.scaling import fit_law

SEEDS = {"probe": 5}
CURVE = (25, 50, 100, 200, 400, 800)

Fit = Callable[[np.ndarray], np.ndarray]  # training rows -> predictions of all rows, (rows, ratings)


@dataclass(frozen=True)
class Corpus:
    """Texts with one or more ratings of each.

    Attributes:
        names: Tasks, one for each rating.
        y: Ratings, shape (rows, ratings).
        fit: The learner.
        seconds: What a label of a fit takes.
    """

    names: list[str]
    y: np.ndarray
    fit: Fit
    seconds: float


# ------------------------------------------------------------------ learners


def probe_of(states: np.ndarray, y: np.ndarray) -> Fit:
    """Return the probe of all ratings at once; `states` has shape (rows, layers, width)."""
    X = states.reshape(len(states), -1)

    def fit(train: np.ndarray) -> np.ndarray:
        own = X[train].astype(float)
        centre, scale = own.mean(0), own.std(0)
        scale[scale < 1e-6 * max(float(scale.max()), 1e-300)] = np.inf
        Z, target, n = (own - centre) / scale, y[train] - y[train].mean(0), len(train)
        values, U = np.linalg.eigh(Z @ Z.T)
        kept = values > 1e-12 * values[-1]
        values, U = values[kept], U[:, kept]
        shrinks = np.array([values / (values + p) for p in _PENALTIES * values.sum() / n] + [0 * values]).T
        leverages = np.maximum(1 - (U**2) @ shrinks - 1 / n, 1e-6)
        coefficients = []
        for column in target.T:
            projected = U.T @ column
            left_out = (column[:, None] - U @ (shrinks * projected[:, None])) / leverages
            weights = _weights(0.5 * n * np.log(np.maximum(left_out.var(0), 1e-300)))
            coefficients.append(Z.T @ (U @ (shrinks @ weights / values * projected)) / scale)
        slope = np.array(coefficients).T
        return X @ slope.astype(np.float32) + (y[train].mean(0) - centre @ slope)

    check = np.arange(150)
    head = fit_layers(states[check], y[check, 0], None)
    if not np.allclose(fit(check)[:, 0], head.predict(X), atol=1e-3 * y[:, 0].std()):
        raise SystemExit("The shared decomposition no longer gives the probe of engine.learning.probe: bring it up.")
    return fit


def learner_of(bench: Workbench, name: str, texts: list[str], y: np.ndarray) -> Fit:
    """Return a learner that is fitted for each rating."""

    def fit(train: np.ndarray) -> np.ndarray:
        columns = []
        for column in y.T:
            model = bench.learner(name, "variance", None).fit([texts[i] for i in train], column[train], seed=0)
            columns.append(model.predict(texts))
        return np.array(columns).T

    return fit


def corpora(bench: Workbench, learner: str, tasks: list[str]) -> Iterator[Corpus]:
    """Return the texts, with the ratings that are asked for."""
    files = defaultdict(list)
    for name in tasks:
        # A rating has its own fits with other learners than the probe: nothing is shared.
        files[TASKS[name][0] if learner == "probe" else name].append(name)
    for names in files.values():
        texts, y = rows_of(names[0])[0], np.column_stack([rows_of(name)[1] for name in names])
        states = bench.cache.states(texts)
        fit = probe_of(states, y) if learner == "probe" else learner_of(bench, learner, texts, y)
        start = perf_counter()
        fit(np.arange(100))
        seconds = (perf_counter() - start) / 100
        yield Corpus(names, y, fit, 0.001 if learner == "probe" else seconds)


# ------------------------------------------------------------- one draw's way


@dataclass(frozen=True)
class Draw:
    """n labels of a corpus; the other rows are the pool. Fits are shared by what is done on the draw."""

    corpus: Corpus
    labels: np.ndarray
    pool: np.ndarray
    sealing: Sealing
    fit: Fit

    @classmethod
    def of(cls, corpus: Corpus, n: int, seed: int) -> Draw:
        """Return draw number `seed`."""
        order = np.random.default_rng([seed, n]).permutation(len(corpus.y))
        labels = order[:n]
        kept = cache(lambda train: corpus.fit(labels[list(train)]))
        return cls(corpus, labels, order[n:], Sealing.of(f"{seed:032x}", n, 0), lambda train: kept(tuple(train)))

    def trials(self, opened: int, seeds: int) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """Return the trials of a step as (size, seed, residual variance and degrees of freedom of each rating)."""
        for seed, train, holdout in self.sealing.opened(opened).trials(seeds):
            rows, predictions = self.labels[holdout], self.fit(train)
            scores = [
                residual_variance(self.corpus.y[rows, k, None], predictions[rows, k, None])
                for k in range(len(self.corpus.names))
            ]
            yield len(train), seed, np.array([score[0] for score in scores]), np.array([score[2] for score in scores])


def planned(draw: Draw, k: int, trials: Callable[[int], list[tuple]]) -> Plan:
    """Return the plan for rating k, as the worker makes it: labels opened step by step."""
    n, m, y = len(draw.labels), len(draw.pool), draw.corpus.y[draw.labels, k]
    costs = Costs(seconds_per_label=draw.corpus.seconds, seconds_per_thousand=0.01)
    steps = draw.sealing.steps()
    for opened, following in zip(steps, [*steps[1:], None], strict=True):
        sizes, seeds, variances, freedom = zip(*trials(opened), strict=True)
        spread = float(y[draw.sealing.order[:opened]].var(ddof=1))
        law = fit_law(
            sizes,
            [v[k] for v in variances],
            degrees_of_freedom=[f[k] for f in freedom],
            holdouts=seeds,
            label_variance=spread,
        )
        made = plan(
            law, n=n, m=m, label_variance=spread, population="these", finetune_minimum=opened, costs=costs,
            label_degrees_of_freedom=opened - 1,
        )  # fmt: skip
        work = 2 * sum(sizes) * costs.seconds_per_label
        design = Design(n, m, spread, "these", 0.95)
        if not weigh(
            law, design, opened=opened, following=following, folds=made.folds, costs=costs, seconds=work
        ).goes_on:
            break
    return made


def rectified(draw: Draw, k: int, predictions: np.ndarray, rectify: np.ndarray, train: np.ndarray, tuned: bool):
    """Return the estimate for rating k from predictions of all rows; `rectify` and `train` are places in the labels."""
    y = draw.corpus.y[:, k]
    return rectified_mean(
        y[draw.labels[rectify]],
        predictions[draw.labels[rectify], k],
        predictions[draw.pool, k],
        trained=y[draw.labels[train]],
        finite_population=True,
        power_tuning=tuned,
    )


def split(draw: Draw, k: int, s: int, tuned: bool = True) -> Estimate:
    """Fine-tune on s labels, rectify with the others."""
    train, rectify = draw.sealing.split(s)
    return rectified(draw, k, draw.fit(train), rectify, train, tuned)


def cross_fit(draw: Draw, k: int, folds: int) -> Estimate:
    """Every label trains and rectifies."""
    n, every = len(draw.labels), np.zeros(draw.corpus.y.shape)
    own = np.empty((n, draw.corpus.y.shape[1]))
    for fold in draw.sealing.folds(folds):
        predictions = draw.fit(np.setdiff1d(np.arange(n), fold))
        own[fold] = predictions[draw.labels[fold]]
        every += predictions / folds
    every[draw.labels] = own
    return rectified(draw, k, every, np.arange(n), np.empty(0, dtype=int), tuned=True)


def carried_out(draw: Draw, k: int, made: Plan) -> Estimate:
    """Do what the plan recommends."""
    record = made[made.recommended]
    if record.name == "split":
        return split(draw, k, record.finetune)
    return cross_fit(draw, k, record.folds) if record.name == "cross-fit" else labels_only(draw, k)


def labels_only(draw: Draw, k: int) -> Estimate:
    """Return the plain mean with its interval."""
    zero = np.zeros(draw.corpus.y.shape)
    return rectified(draw, k, zero, np.arange(len(draw.labels)), np.empty(0, dtype=int), tuned=True).labels_only


def published_split(curve: dict[int, float], n: int) -> int:
    """Return the split of the smallest sigma2(s) / (n - s), sigma2 being read off the true curve."""
    s = np.arange(10, n - 9)
    variances = np.exp(np.interp(np.log(s), np.log(list(curve)), np.log(list(curve.values()))))
    return int(s[np.argmin(variances / (n - s))])


def true_curves(corpus: Corpus, seeds: int = 5) -> list[dict[int, float]]:
    """Return Var(Y - f) of each rating at growing sizes, on all rows that did not train."""
    curves: list[dict[int, float]] = [{} for _ in corpus.names]
    for size in CURVE:
        found = []
        for seed in range(seeds):
            order = np.random.default_rng([seed, size, 1]).permutation(len(corpus.y))
            rest = order[size:]
            found.append((corpus.y[rest] - corpus.fit(order[:size])[rest]).var(0))
        for curve, value in zip(curves, np.mean(found, axis=0), strict=True):
            curve[size] = float(value)
    return curves


def one_draw(draw: Draw, seed: int, curves: list[dict[int, float]], seeds: int, quick: bool) -> Iterator[dict]:
    """Return a row for each rating: widths and coverage of the recommendation and of what stands beside it."""
    n = len(draw.labels)
    trials = cache(lambda opened: list(draw.trials(opened, seeds)))
    for k, name in enumerate(draw.corpus.names):
        made = planned(draw, k, trials)
        estimates = {
            "recommended": carried_out(draw, k, made),
            "labels-only": labels_only(draw, k),
            "split 1/4": split(draw, k, n // 4),
            "published": split(draw, k, published_split(curves[k], n), tuned=False),
        }
        if not quick:
            estimates |= {"split 1/2": split(draw, k, n // 2), "cross-fit 5": cross_fit(draw, k, 5)}
            estimates["cross-fit 10"] = cross_fit(draw, k, 10)
        truth = float(draw.corpus.y[:, k].mean())
        yield {
            "task": name,
            "n": n,
            "draw": seed,
            "strategy": made.recommended,
            "folds": made[made.recommended].folds,
            "opened": made.finetune_minimum,
            "predicted": made[made.recommended].half_width,
            "widths": {key: e.ci_high - e.ci_low for key, e in estimates.items()},
            "covered": {key: bool(e.ci_low <= truth <= e.ci_high) for key, e in estimates.items()},
        }


# -------------------------------------------------------------------- report


def report(rows: list[dict]) -> None:
    """Print the tables and, last, their figures as one JSON object."""
    frame = pd.DataFrame(rows)
    widths = pd.json_normalize(frame["widths"])
    covered = pd.json_normalize(frame["covered"])
    fixed = [name for name in widths if name not in ("recommended", "published")]
    table = []
    for (name, n), part in frame.groupby(["task", "n"], sort=False):
        mean, won = widths.loc[part.index].mean(), widths.loc[part.index]
        best = mean[fixed].idxmin()
        relative = mean["recommended"] / mean["labels-only"]
        table.append(
            {
                "task": name,
                "n": n,
                "draws": len(part),
                "coverage": covered.loc[part.index, "recommended"].astype(float).mean(),
                "coverage_labels_only": covered.loc[part.index, "labels-only"].astype(float).mean(),
                "width": relative,
                "saved": 1 - relative**2,
                "best_fixed": best,
                "regret": mean["recommended"] / mean[best] - 1,
                "published": mean["published"] / mean["labels-only"],
                "split 1/4": mean["split 1/4"] / mean["labels-only"],
                "loses": float((won["recommended"] > 1.01 * won["labels-only"]).mean()),
                "cross_fitted": float((part["strategy"] == "cross-fit").mean()),
                "opened": float(part["opened"].mean() / n),
                "predicted": float((2 * part["predicted"] / won["recommended"]).median()),
            }
        )
    summary = pd.DataFrame(table)
    print(summary.round(3).to_string(index=False))
    numbers = ["width", "saved", "regret", "published", "loses", "predicted"]
    means = summary.groupby("n")[numbers].mean()
    print(means.round(3).to_string())
    by_strategy = covered.astype(float).mean()
    print("coverage of each: " + ", ".join(f"{name} {share:.3f}" for name, share in by_strategy.items()))
    pooled = covered["recommended"].astype(float)
    error = float(np.sqrt(pooled.mean() * (1 - pooled.mean()) / len(pooled)))
    print(f"coverage {pooled.mean():.3f} (standard error {error:.3f}), regret {summary['regret'].mean():.3f}")
    figures = {
        "coverage": round(float(pooled.mean()), 4),
        "standard_error": round(error, 4),
        "regret": round(float(summary["regret"].mean()), 4),
        "coverage_by_strategy": by_strategy.round(4).to_dict(),
        "by_n": means.round(4).reset_index().to_dict("records"),
        "rows": summary.round(4).to_dict("records"),
    }
    print(json.dumps(figures))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--labels", default="200,500,1000")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--learner", default="probe", choices=("probe", "lora", "auto"))
    parser.add_argument("--rows", type=Path)
    options = parser.parse_args()
    offline_environment()
    bench = Workbench.open(DEFAULT_MODEL, home() / "cache")
    kept = options.rows.read_text("utf-8").splitlines() if options.rows and options.rows.exists() else []
    rows = [json.loads(line) for line in kept]
    done = {(row["task"], row["n"], row["draw"]) for row in rows}
    for corpus in corpora(bench, options.learner, options.tasks.split(",")):
        curves = true_curves(corpus, 5 if options.learner == "probe" else 1)
        wanted = [(int(n), seed) for n in options.labels.split(",") for seed in range(options.draws)]
        wanted = [one for one in wanted if any((name, *one) not in done for name in corpus.names)]
        for n, seed in tqdm(wanted, desc=", ".join(corpus.names), mininterval=5):
            draw = Draw.of(corpus, n, seed)
            for row in one_draw(draw, seed, curves, SEEDS.get(options.learner, 3), options.learner != "probe"):
                rows.append(row)
                if options.rows:
                    with options.rows.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(row) + "\n")
    report(rows)


if __name__ == "__main__":
    main()
