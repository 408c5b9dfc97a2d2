"""What the recommendation gives, everything learned inside the n labels: coverage, width, labels saved, regret.

python benchmarks/allocation_regret.py [--draws 100] [--labels 200,500,1000] [--tasks valence,films] [--rows FILE]
python benchmarks/allocation_regret.py --learner auto --quick --draws 5 --labels 500 --rows FILE

Each draw takes n random labels, the other texts being the pool: all rows are the population, whose mean is known. As
in a run the pilot opens labels step by step, the law is fitted, the plan recommends, and the recommendation is carried
out. Beside it, on the same draw: labels-only, splits that fine-tune on a quarter or half of the labels, cross-fit of
five and ten folds, and the split of Wang, Ye & Zhao (arXiv 2511.19486) with the true law known and lambda = 1. The
best of the fixed ones over all draws of a task is the best in hindsight. Coverage is that of nominal 95% intervals. The
three ratings of EmoBank share their draws. Texts are embedded once. The last line is one JSON object.

--quick leaves out the splits and the fixed folds, and with them regret and the published split: what remains is the
recommendation, labels-only and, with another learner than the probe, the probe's cross-fit of ten folds on the same
draw. With --learner auto (or lora) every fit is a real one, minutes a draw. --shuffled gives every text the ratings of
another one, so that no model can help. --rows FILE keeps each draw as a JSON line and does none of them again.
"""

from __future__ import annotations

import argparse
import atexit
import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from time import perf_counter

import numpy as np
import pandas as pd
from residual_variance import TASKS, KeptRows, rows_of
from shared_probe import Fit, probe_of
from tqdm import tqdm

from engine.allocation import Design, Plan, plan, weigh
from engine.data.sealing import Sealing
from engine.learning.files import DEFAULT_MODEL, offline_environment
from engine.learning.learners import Workbench
from engine.learning.trials import residual_variance
from engine.rectification import Estimate, rectified_mean
from engine.runs import RunSettings, home
from engine.runs.pace import SEEDS, costs_of
from engine.scaling import effective_freedom, fit_law

CURVE = (25, 50, 100, 200, 400, 800)


@dataclass(frozen=True)
class Corpus:
    """Texts with one or more ratings of each.

    Attributes:
        names: Tasks, one for each rating.
        y: Ratings, shape (rows, ratings).
        learner: Name of the learner.
        fit: The learner.
        probe: The probe, for what stands beside another learner.
    """

    names: list[str]
    y: np.ndarray
    learner: str
    fit: Fit
    probe: Fit


def learner_of(bench: Workbench, name: str, texts: list[str], y: np.ndarray) -> Fit:
    """Return a learner that is fitted for each rating; fits in blocks have their models in common."""
    shelf = Path(mkdtemp())
    atexit.register(shutil.rmtree, shelf, ignore_errors=True)

    def fit(train: np.ndarray, wanted: np.ndarray, blocks: np.ndarray | None = None) -> np.ndarray:
        columns, own = [], [texts[i] for i in train]
        for column in y.T:
            learner = bench.learner(name, "variance", None)
            model = learner.fit(own, column[train], seed=0, checkpoints=shelf, blocks=blocks)
            columns.append(model.predict([texts[i] for i in wanted], rough=True))
        return np.array(columns).T

    return fit


def corpora(bench: Workbench, learner: str, tasks: list[str], shuffled: bool) -> Iterator[Corpus]:
    """Return the texts, with the ratings that are asked for."""
    files = defaultdict(list)
    for name in tasks:
        # A rating has its own fits with other learners than the probe: nothing is shared.
        files[TASKS[name][0] if learner == "probe" else name].append(name)
    for names in files.values():
        texts, y = rows_of(names[0])[0], np.column_stack([rows_of(name)[1] for name in names])
        if shuffled:
            names, y = [f"{name} shuffled" for name in names], np.random.default_rng(0).permutation(y)
        probe = probe_of(bench.cache.states(texts), y)
        yield Corpus(names, y, learner, probe if learner == "probe" else learner_of(bench, learner, texts, y), probe)


# ------------------------------------------------------------- one draw's way


@dataclass(frozen=True)
class Trial:
    """A trial of the pilot; variances and freedom hold a number for each rating."""

    size: int
    seed: int
    variances: list[float]
    freedom: list[float]
    seconds: float


@dataclass(frozen=True)
class Draw:
    """n labels of a corpus; the other rows are the pool. Fits are shared by what is done on the draw."""

    corpus: Corpus
    labels: np.ndarray
    pool: np.ndarray
    sealing: Sealing
    predictions: Callable[[tuple[int, ...], tuple[int, ...], tuple[int, ...] | None], np.ndarray]

    @classmethod
    def of(cls, corpus: Corpus, n: int, seed: int) -> Draw:
        """Return draw number `seed`."""
        order = np.random.default_rng([seed, n]).permutation(len(corpus.y))
        draw = cls(corpus, order[:n], order[n:], Sealing.of(f"{seed:032x}", n, 0), lambda *_: np.empty(0))
        return draw.fitted_by(corpus.fit)

    def fitted_by(self, fit: Fit) -> Draw:
        """Return the draw with another learner."""

        @cache
        def predictions(train: tuple[int, ...], rows: tuple[int, ...], blocks: tuple[int, ...] | None) -> np.ndarray:
            options = {} if blocks is None else {"blocks": np.array(blocks)}
            return fit(self.labels[list(train)], np.array(rows), **options)

        return replace(self, predictions=predictions)

    def predict(
        self,
        into: np.ndarray,
        train: np.ndarray,
        rectify: np.ndarray,
        pool: np.ndarray,
        blocks: np.ndarray | None = None,
    ) -> None:
        """Write the predictions of labels and rows of the pool, learnt from other labels, to `into`, (rows, ratings).

        `train` and `rectify` are places in the labels, `blocks` has the fold of each that trains.
        """
        rows = np.concatenate([self.labels[rectify], pool])
        known = None if blocks is None else tuple(blocks.tolist())
        into[rows] = self.predictions(tuple(train.tolist()), tuple(rows.tolist()), known)

    def trials(self, opened: int) -> list[Trial]:
        """Return the trials of a step of the pilot."""
        found = []
        for seed, train, holdout in self.sealing.opened(opened).trials(SEEDS[self.corpus.learner]):
            start, rows = perf_counter(), self.labels[holdout]
            predictions, y = self.corpus.fit(self.labels[train], rows), self.corpus.y[rows]
            scores = [residual_variance(y[:, k, None], predictions[:, k, None]) for k in range(y.shape[1])]
            seconds = 0.001 * len(train) if self.corpus.learner == "probe" else perf_counter() - start
            found.append(Trial(len(train), seed, [s[0] for s in scores], [s[2] for s in scores], seconds))
        return found


def planned(draw: Draw, k: int, trials: Callable[[int], list[Trial]]) -> Plan:
    """Return the plan for rating k, as the worker makes it: labels opened step by step."""
    n, m, y = len(draw.labels), len(draw.pool), draw.corpus.y[draw.labels, k]
    steps = draw.sealing.steps()
    for opened, following in zip(steps, [*steps[1:], None], strict=True):
        found = trials(opened)
        settings = RunSettings(learner=draw.corpus.learner)
        work = costs_of(settings).work
        costs = costs_of(settings, sum(t.seconds for t in found) / sum(work(t.size) for t in found))
        known = y[draw.sealing.order[:opened], None]
        spread = float(known.var(ddof=1))
        law = fit_law(
            [t.size for t in found],
            [t.variances[k] for t in found],
            degrees_of_freedom=effective_freedom([t.freedom[k] for t in found], known),
            holdouts=[t.seed for t in found],
            label_variance=spread,
        )
        made = plan(
            law, n=n, m=m, label_variance=spread, population="these", finetune_minimum=opened, costs=costs,
            label_degrees_of_freedom=float(effective_freedom(opened - 1, known)),
        )  # fmt: skip
        further = draw.sealing.opened(following).trials(SEEDS[draw.corpus.learner]) if following else []
        seconds = sum(costs.seconds(1, len(train), 0) for _, train, _ in further)
        design = Design(n, m, spread, "these", 0.95)
        step = weigh(law, design, opened=opened, following=following, folds=made.folds, costs=costs, seconds=seconds)
        if not step.goes_on:
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
    predictions = np.empty(draw.corpus.y.shape)
    draw.predict(predictions, train, rectify, draw.pool)
    return rectified(draw, k, predictions, rectify, train, tuned)


def cross_fit(draw: Draw, k: int, folds: int, shared: bool = False) -> Estimate:
    """Every label trains and rectifies; the fits of all folds may have their models in common."""
    every = np.empty(draw.corpus.y.shape)
    blocks = np.empty(len(draw.labels), dtype=int)
    for j, fold in enumerate(draw.sealing.folds(folds)):
        blocks[fold] = j
    # As in a run each fold's model predicts its part of the pool; the rows are in random order.
    for j, part in enumerate(np.array_split(draw.pool, folds)):
        train = np.flatnonzero(blocks != j)
        draw.predict(every, train, np.flatnonzero(blocks == j), part, blocks[train] if shared else None)
    return rectified(draw, k, every, np.arange(len(draw.labels)), np.empty(0, dtype=int), tuned=True)


def carried_out(draw: Draw, k: int, made: Plan) -> Estimate:
    """Do what the plan recommends."""
    record = made[made.recommended]
    if record.name == "split":
        return split(draw, k, record.finetune)
    if record.name == "cross-fit":
        return cross_fit(draw, k, record.folds, made.costs.shares(record.folds))
    return labels_only(draw, k)


def labels_only(draw: Draw, k: int) -> Estimate:
    """Return the plain mean with its interval."""
    zero = np.zeros(draw.corpus.y.shape)
    return rectified(draw, k, zero, np.arange(len(draw.labels)), np.empty(0, dtype=int), tuned=True).labels_only


def published_split(curve: dict[int, float], n: int) -> int:
    """Return the split of the smallest sigma2(s) / (n - s), sigma2 being read off the true curve."""
    s = np.arange(10, n - 9)
    variances = np.exp(np.interp(np.log(s), np.log(list(curve)), np.log(list(curve.values()))))
    return int(s[np.argmin(variances / (n - s))])


def true_curves(corpus: Corpus, seeds: int) -> list[dict[int, float]]:
    """Return Var(Y - f) of each rating at growing sizes, on all rows that did not train."""
    curves: list[dict[int, float]] = [{} for _ in corpus.names]
    for size in CURVE:
        found = []
        for seed in range(seeds):
            order = np.random.default_rng([seed, size, 1]).permutation(len(corpus.y))
            rest = order[size:]
            found.append((corpus.y[rest] - corpus.fit(order[:size], rest)).var(0))
        for curve, value in zip(curves, np.mean(found, axis=0), strict=True):
            curve[size] = float(value)
    return curves


def fixed(draw: Draw, k: int, curve: dict[int, float]) -> dict[str, Estimate]:
    """Return what the strategies of one size for all give, and the published split."""
    n = len(draw.labels)
    return {
        "split 1/4": split(draw, k, n // 4),
        "split 1/2": split(draw, k, n // 2),
        "cross-fit 5": cross_fit(draw, k, 5),
        "cross-fit 10": cross_fit(draw, k, 10),
        "published": split(draw, k, published_split(curve, n), tuned=False),
    }


def one_draw(draw: Draw, seed: int, curves: list[dict[int, float]] | None) -> Iterator[dict]:
    """Return a row for each rating: widths and coverage of the recommendation and of what stands beside it."""
    corpus, start = draw.corpus, perf_counter()
    trials = cache(draw.trials)
    for k, name in enumerate(corpus.names):
        made = planned(draw, k, trials)
        estimates = {"recommended": carried_out(draw, k, made), "labels-only": labels_only(draw, k)}
        seconds = perf_counter() - start
        if curves is not None:
            estimates |= fixed(draw, k, curves[k])
        if corpus.learner != "probe":
            estimates["probe, cross-fit 10"] = cross_fit(draw.fitted_by(corpus.probe), k, 10)
        truth = float(corpus.y[:, k].mean())
        yield {
            "learner": corpus.learner,
            "task": name,
            "n": len(draw.labels),
            "draw": seed,
            "strategy": made.recommended,
            "folds": made[made.recommended].folds,
            "opened": made.finetune_minimum,
            "seconds": seconds,
            "predicted": made[made.recommended].half_width,
            "band": made[made.recommended].interval,
            "foreseen": made[made.recommended].labels_saved,
            "unsure": made.may_gain_nothing,
            "widths": {key: e.ci_high - e.ci_low for key, e in estimates.items()},
            "covered": {key: bool(e.ci_low <= truth <= e.ci_high) for key, e in estimates.items()},
        }


# -------------------------------------------------------------------- report


def cell(rows: pd.DataFrame) -> dict[str, object]:
    """Return the figures of one task and number of labels."""
    widths, covered = pd.json_normalize(rows["widths"].tolist()), pd.json_normalize(rows["covered"].tolist())
    mean, alone = widths.mean(), widths["labels-only"]
    own, half = mean["recommended"] / mean["labels-only"], widths["recommended"].to_numpy() / 2
    low, high = np.array(rows["band"].tolist()).T
    figures = {
        "draws": len(rows),
        "coverage": covered["recommended"].astype(float).mean(),
        "coverage_labels_only": covered["labels-only"].astype(float).mean(),
        "width": own,
        "saved": 1 - own**2,
        "loses": float((widths["recommended"] > 1.01 * alone).mean()),
        "most": float((widths["recommended"] / alone).max()),
        "cross_fitted": float((rows["strategy"] == "cross-fit").mean()),
        "folds": rows["folds"].median(),
        "opened": float((rows["opened"] / rows["n"]).mean()),
        "predicted": float(np.median(rows["predicted"].to_numpy() / half)),
        "in_band": float(((low <= half) & (half <= high)).mean()),
        "minutes": rows["seconds"].mean() / 60,
    }
    if "foreseen" in rows:  # rows of an earlier day lack it
        figures |= {"foreseen": rows["foreseen"].mean(), "unsure": rows["unsure"].astype(float).mean()}
    beside = [name for name in widths if name not in ("recommended", "labels-only")]
    figures |= {name: mean[name] / mean["labels-only"] for name in beside}
    if "published" in beside:
        choices = mean.drop(["recommended", "published"])
        figures |= {"best_fixed": choices.idxmin(), "regret": mean["recommended"] / choices.min() - 1}
    return figures


def report(rows: list[dict]) -> None:
    """Print the tables and, last, their figures as one JSON object."""
    frame = pd.DataFrame(rows)
    keys = ["learner", "task", "n"]
    table = [dict(zip(keys, key, strict=True)) | cell(part) for key, part in frame.groupby(keys, sort=False)]
    summary = pd.DataFrame(table)
    print(summary.round(3).to_string(index=False))
    means = summary.groupby(["learner", "n"]).mean(numeric_only=True)
    print(means.round(3).to_string())
    covered = pd.json_normalize(frame["covered"].tolist()).astype(float)
    shares = covered.mean()
    errors = np.sqrt(shares * (1 - shares) / covered.count())
    print("coverage: " + ", ".join(f"{name} {shares[name]:.3f} ({errors[name]:.3f})" for name in covered))
    figures = {
        "coverage": round(float(shares["recommended"]), 4),
        "standard_error": round(float(errors["recommended"]), 4),
        "coverage_by_strategy": shares.round(4).to_dict(),
        "by_n": means.round(4).reset_index().to_dict("records"),
        "rows": summary.round(4).to_dict("records"),
    }
    if "regret" in summary:
        figures["regret"] = round(float(summary["regret"].mean()), 4)
    print(json.dumps(figures))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--labels", default="200,500,1000")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--learner", default="probe", choices=("probe", "lora", "auto"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument("--rows", type=Path)
    options = parser.parse_args()
    offline_environment()
    bench = Workbench.open(DEFAULT_MODEL, home() / "cache")
    rows = KeptRows(options.rows)
    done = {(row["learner"], row["task"], row["n"], row["draw"]) for row in rows.all}
    for corpus in corpora(bench, options.learner, options.tasks.split(","), options.shuffled):
        # Draws outermost: a run that is cut off has a few draws of everything.
        wanted = [(seed, int(n)) for seed in range(options.draws) for n in options.labels.split(",")]
        wanted = [(s, n) for s, n in wanted if any((options.learner, name, n, s) not in done for name in corpus.names)]
        curves = None if options.quick or not wanted else true_curves(corpus, 5 if options.learner == "probe" else 1)
        for seed, n in tqdm(wanted, desc=", ".join(corpus.names), mininterval=5):
            for row in one_draw(Draw.of(corpus, n, seed), seed, curves):
                rows.add(row)
    report(rows.all)


if __name__ == "__main__":
    main()
