"""Predicted against measured residual variance at 2, 4 and 8 times the largest size fitted.

python benchmarks/law_fit.py [--pilots 100,250,500,1000] [--draws 20] [--seeds 4]

The probe on five questions with human ratings (see residual_variance.py). Each draw opens some labels, as the pilot of
a run does: trials at growing sizes, cross-validated inside them, and a law fitted to the trials. The truth at a larger
size is the mean residual variance of the probe, over seeds, on all rows that it did not train on. Beside the law stands
plain least squares of a s^-alpha + b on the mean of each size. "share" is the same for the residual variance as a share
of the label variance, in which part of the luck of the opened labels cancels; "labels" is the error of the label
variance itself, estimated from the same labels. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
from residual_variance import TASKS, rows_of
from scipy.optimize import least_squares
from tqdm import tqdm

from engine.data.sealing import Sealing
from engine.learning.learners import Workbench
from engine.learning.models import DEFAULT_MODEL, offline_environment
from engine.learning.probe import fit_layers
from engine.learning.trials import residual_variance
from engine.runs import home
from engine.scaling import Law, fit_law

TIMES = (2, 4, 8)
LARGEST = 3200  # size up to which the truth is measured


@dataclass(frozen=True)
class Task:
    """Pooled states (rows, layers, width) and ratings (rows,) of one question."""

    states: np.ndarray
    y: np.ndarray

    def score(self, train: np.ndarray, test: np.ndarray) -> tuple[float, float, float]:
        """Return residual variance, label variance and degrees of freedom on `test` of the probe fitted on `train`."""
        head = fit_layers(self.states[train], self.y[train], None)
        predictions = head.predict(self.states[test].reshape(len(test), -1))
        return residual_variance(self.y[test, None], predictions[:, None])


def opened(task: Task, rows: np.ndarray) -> tuple[pd.DataFrame, Law]:
    """Return the trials inside the opened rows and the law fitted to them."""
    trials = []
    for seed, train, holdout in Sealing(np.arange(len(rows)), len(rows)).trials(5):
        variance, _, freedom = task.score(rows[train], rows[holdout])
        trials.append({"size": len(train), "seed": seed, "variance": variance, "freedom": freedom})
    frame = pd.DataFrame(trials)
    law = fit_law(
        frame["size"],
        frame["variance"],
        degrees_of_freedom=frame["freedom"],
        holdouts=frame["seed"],
        label_variance=float(task.y[rows].var(ddof=1)),
    )
    return frame, law


def plain_fit(trials: pd.DataFrame, size: float) -> float:
    """Return what a plain fit of a s^-alpha + b to the mean of each size predicts."""
    means = trials.groupby("size")["variance"].mean()
    s, v = means.index.to_numpy(float), means.to_numpy()
    start, bounds = (v[0] * s[0] ** 0.5, 0.5, 0.0), ((0, 0, 0), (np.inf, 5, np.inf))
    fitted = least_squares(lambda p: p[0] * s ** -p[1] + p[2] - v, start, bounds=bounds).x
    return float(fitted[0] * size ** -fitted[1] + fitted[2])


def truth(task: Task, size: int, seeds: int) -> float:
    """Return the mean residual variance at a size, on all rows that did not train."""
    found = []
    for seed in range(seeds):
        order = np.random.default_rng([seed, size]).permutation(len(task.y))
        found.append(task.score(order[:size], order[size:])[0])
    return float(np.mean(found))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pilots", default="100,250,500,1000")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--tasks", default=",".join(TASKS))
    options = parser.parse_args()
    offline_environment()
    bench = Workbench.open(DEFAULT_MODEL, home() / "cache")
    rows = []
    for name in tqdm(options.tasks.split(","), desc="tasks"):
        texts, y = rows_of(name)
        task = Task(bench.cache.states(texts), y)
        for pilot in map(int, options.pilots.split(",")):
            largest = max(len(train) for _, train, _ in Sealing(np.arange(pilot), pilot).trials(5))
            reached = [times for times in TIMES if times * largest <= min(LARGEST, 0.9 * len(y))]
            truths = {times: truth(task, times * largest, options.seeds) for times in reached}
            for draw in range(options.draws if reached else 0):
                chosen = np.random.default_rng([draw, pilot]).permutation(len(y))[:pilot]
                trials, law = opened(task, chosen)
                for times, value in truths.items():
                    rows.append(compare(name, pilot, times, value, trials, law, float(y.var())))
    report(pd.DataFrame(rows))


def compare(
    name: str, pilot: int, times: int, true: float, trials: pd.DataFrame, law: Law, label_variance: float
) -> dict[str, object]:
    """Return the errors of one prediction; that of the share is relative too."""
    size = times * int(trials["size"].max())
    low, high = law.interval(size)
    predicted, plain = law.predict(size), plain_fit(trials, size)
    return {
        "task": name,
        "pilot": pilot,
        "times": times,
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
    for keys in (["times"], ["times", "pilot"], ["times", "task"]):
        grouped = rows.groupby(keys)
        table = grouped[["error", "plain", "labels", "share", "plain_share"]].median()
        table["bias"], table["coverage"] = grouped["signed"].median(), grouped["covered"].mean()
        table["band"], table["n"] = grouped["band"].median(), grouped.size()
        print(table.round(3).to_string(), end="\n\n")
        tables[" ".join(keys)] = table.round(4).reset_index().to_dict("records")
    print(json.dumps(tables))


if __name__ == "__main__":
    main()
