"""Predicted against measured residual variance at 2, 4 and 8 times the largest size fitted.

python benchmarks/law_fit.py [--pilots 100,250,500,1000] [--draws 20] [--seeds 4] [--parts 5]

The probe on five questions with human ratings (see residual_variance.py). Each draw opens some labels, as the pilot of
a run does: trials at growing sizes inside them, and a law fitted to the trials. The truth at a larger size is the mean
residual variance of the probe, over seeds, on all rows that it did not train on. --parts: of the opened labels, each of
which is held out by as many trials as there are sizes; 5 as of the probe, 4 as of what is fine-tuned. The trials are
scored in two ways:

measured: on all rows that were not opened. What is left is the error of the law, and the luck of which labels trained.
run: on the opened labels that a trial has not seen, all that a run has. With a hundred labels a residual variance is
     known to a tenth at best, whatever the law; "labels" is the error of the label variance of the same labels.

Beside the law stands plain least squares of a s^-alpha + b on the mean of each size. "share" is the error of the
residual variance as a share of the label variance, in which part of the luck of the labels cancels. Coverage is that of
80% bands. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from residual_variance import TASKS, rows_of
from scipy.optimize import least_squares
from shared_probe import Fit, probe_of
from tqdm import tqdm

from engine.data.sealing import Sealing
from engine.learning.files import DEFAULT_MODEL, offline_environment
from engine.learning.learners import Workbench
from engine.learning.trials import residual_variance
from engine.runs import home
from engine.scaling import Law, effective_freedom, fit_law

TIMES = (2, 4, 8)
WAYS = ("run", "measured")
LARGEST = 3200  # size up to which the truth is measured


@dataclass(frozen=True)
class Corpus:
    """Texts with one or more ratings of each, y of shape (rows, ratings), and the probe."""

    names: list[str]
    y: np.ndarray
    fit: Fit

    def scores(self, train: np.ndarray, *tests: np.ndarray) -> list[list[tuple[float, float, float]]]:
        """Return residual variance, label variance and degrees of freedom of each rating on each of the tests."""
        predictions = np.split(self.fit(train, np.concatenate(tests)), np.cumsum([len(test) for test in tests])[:-1])
        return [
            [residual_variance(self.y[test, k, None], found[:, k, None]) for k in range(len(self.names))]
            for test, found in zip(tests, predictions, strict=True)
        ]


def corpora(bench: Workbench, tasks: list[str]) -> Iterator[Corpus]:
    """Return the texts, with the ratings that are asked for."""
    files = defaultdict(list)
    for name in tasks:
        files[TASKS[name][0]].append(name)
    for names in files.values():
        texts, y = rows_of(names[0])[0], np.column_stack([rows_of(name)[1] for name in names])
        yield Corpus(names, y, probe_of(bench.cache.states(texts), y))


def law_of(trials: pd.DataFrame, labels: np.ndarray) -> Law:
    """Return the law of trials that were scored on these labels or some of them."""
    return fit_law(
        trials["size"],
        trials["variance"],
        degrees_of_freedom=effective_freedom(trials["freedom"], labels[:, None]),
        holdouts=trials["seed"],
        label_variance=float(labels.var(ddof=1)),
    )


def tried(corpus: Corpus, rows: np.ndarray, parts: int) -> Iterator[tuple[int, str, pd.DataFrame, Law]]:
    """Yield for each rating and each way of scoring the trials inside the opened rows, and their law."""
    others = np.setdiff1d(np.arange(len(corpus.y)), rows)
    trials = [
        (len(train), seed, dict(zip(WAYS, corpus.scores(rows[train], rows[holdout], others), strict=True)))
        for seed, train, holdout in Sealing(np.arange(len(rows)), len(rows)).trials(parts)
    ]
    for k in range(len(corpus.names)):
        for way, known in zip(WAYS, (rows, others), strict=True):
            records = [(size, seed, scores[way][k][0], scores[way][k][2]) for size, seed, scores in trials]
            frame = pd.DataFrame(records, columns=["size", "seed", "variance", "freedom"])
            yield k, way, frame, law_of(frame, corpus.y[known, k])


def plain_fit(trials: pd.DataFrame, size: float) -> float:
    """Return what a plain fit of a s^-alpha + b to the mean of each size predicts."""
    means = trials.groupby("size")["variance"].mean()
    s, v = means.index.to_numpy(float), means.to_numpy()
    start, bounds = (v[0] * s[0] ** 0.5, 0.5, 0.0), ((0, 0, 0), (np.inf, 5, np.inf))
    fitted = least_squares(lambda p: p[0] * s ** -p[1] + p[2] - v, start, bounds=bounds).x
    return float(fitted[0] * size ** -fitted[1] + fitted[2])


def truths(corpus: Corpus, size: int, seeds: int) -> np.ndarray:
    """Return the mean residual variance of each rating at a size, on all rows that did not train."""
    found = []
    for seed in range(seeds):
        order = np.random.default_rng([seed, size]).permutation(len(corpus.y))
        found.append([score[0] for score in corpus.scores(order[:size], order[size:])[0]])
    return np.mean(found, axis=0)


def compared(corpus: Corpus, pilot: int, draws: int, seeds: int, parts: int) -> Iterator[dict[str, object]]:
    """Return a row for each draw of `pilot` labels, each rating and each larger size."""
    largest = max(len(train) for _, train, _ in Sealing(np.arange(pilot), pilot).trials(parts))
    reached = [times for times in TIMES if times * largest <= min(LARGEST, 0.9 * len(corpus.y))]
    true = {times: truths(corpus, times * largest, seeds) for times in reached}
    for draw in range(draws if reached else 0):
        chosen = np.random.default_rng([draw, pilot]).permutation(len(corpus.y))[:pilot]
        for k, way, trials, law in tried(corpus, chosen, parts):
            for times, values in true.items():
                row = {"task": corpus.names[k], "pilot": pilot, "scored": way, "times": times}
                yield row | compare(times, values[k], trials, law, float(corpus.y[:, k].var()))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pilots", default="100,250,500,1000")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--parts", type=int, default=5)
    parser.add_argument("--tasks", default=",".join(TASKS))
    options = parser.parse_args()
    offline_environment()
    bench = Workbench.open(DEFAULT_MODEL, home() / "cache")
    rows: list[dict[str, object]] = []
    for corpus in corpora(bench, options.tasks.split(",")):
        for pilot in tqdm(list(map(int, options.pilots.split(","))), desc=", ".join(corpus.names)):
            rows += compared(corpus, pilot, options.draws, options.seeds, options.parts)
    report(pd.DataFrame(rows))


def compare(times: int, true: float, trials: pd.DataFrame, law: Law, label_variance: float) -> dict[str, object]:
    """Return the errors of one prediction; that of the share is relative too."""
    size = times * int(trials["size"].max())
    low, high = law.interval(size)
    predicted, plain = law.predict(size), plain_fit(trials, size)
    return {
        "error": abs(predicted / true - 1),
        "signed": predicted / true - 1,
        "covered": low <= true <= high,
        "band": (high - low) / predicted,
        "plain": abs(plain / true - 1),
        "labels": abs(law.label_variance / label_variance - 1),
        "share": abs(predicted / law.label_variance * label_variance / true - 1),
        "plain_share": abs(plain / law.label_variance * label_variance / true - 1),
    }


def report(rows: pd.DataFrame) -> None:
    """Print the tables and, last, their figures as one JSON object."""
    tables = {}
    for keys in (["scored", "times"], ["scored", "times", "pilot"], ["scored", "times", "task"]):
        grouped = rows.groupby(keys)
        table = grouped[["error", "plain", "labels", "share", "plain_share"]].median()
        table["bias"], table["coverage"] = grouped["signed"].median(), grouped["covered"].mean()
        table["band"], table["n"] = grouped["band"].median(), grouped.size()
        print(table.round(3).to_string(), end="\n\n")
        tables[" ".join(keys)] = table.round(4).reset_index().to_dict("records")
    print(json.dumps(tables))


if __name__ == "__main__":
    main()
