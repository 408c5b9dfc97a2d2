"""Residual variance that the learners leave on unseen rows, as a share of the label variance.

python benchmarks/residual_variance.py [--tasks valence,films] [--sizes 100,400] [--seeds 5] [--learners probe,lora]
                                       [--every]

Five questions with human ratings: EmoBank's valence, arousal and dominance, product reviews, film reviews. Of each,
1,200 rows that nothing trains on are the test, or with --every all rows that a draw does not train on; the labels of a
seed are drawn from the others, the smaller sizes within the larger. Beside the learners stands ridge regression on the
last layer's mean-pooled embeddings. "raw" is Var(Y - f) / Var(Y), "linear" the same under the best linear use of f. A
learner minimises the variance of the residual; "lora/mean-square" is one with another objective. With --rows FILE each
fit is added to a file of JSON lines, and those already there are not fitted again: a run of everything takes hours. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import numpy as np
import pandas as pd
from curve_prediction import shared
from tqdm import tqdm

from engine.learning.files import DEFAULT_MODEL, offline_environment
from engine.learning.learners import Workbench
from engine.runs import home

TASKS = {
    "valence": ("emobank.csv", "valence"),
    "arousal": ("emobank.csv", "arousal"),
    "dominance": ("emobank.csv", "dominance"),
    "products": ("amazon_snippets.csv", "sentiment"),
    "films": ("movie_snippets.csv", "sentiment"),
}
SIZES = (50, 100, 200, 400, 800)
LEARNERS = ("probe", "lora", "auto")
TEST = 1200


def rows_of(task: str) -> tuple[list[str], np.ndarray]:
    """Return texts and ratings in random order, or end with a sentence."""
    name, column = TASKS[task]
    table = shared(name).dropna(subset=["text"]).drop_duplicates("text").sample(frac=1, random_state=0)
    return table["text"].astype(str).tolist(), table[column].to_numpy(float)


class KeptRows:
    """Rows of figures; with a file of JSON lines those already there, and each new one is added to it."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        kept = file.read_text("utf-8").splitlines() if file and file.exists() else []
        self.all: list[dict] = [json.loads(line) for line in kept]

    def add(self, row: dict) -> None:
        """Keep a row."""
        self.all.append(row)
        if self.file:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


def ridge(X: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Ridge regression with the penalty of smallest leave-one-out error, written plainly."""
    centre, mean = X.mean(0), y.mean()
    K, L = (X - centre) @ (X - centre).T, (test - centre) @ (X - centre).T
    best, chosen = np.inf, None
    for penalty in np.logspace(-3, 3, 25) * np.trace(K) / len(y):
        inverse = np.linalg.inv(K + penalty * np.eye(len(y)))
        leverage = np.diag(K @ inverse) + 1 / len(y)
        error = float((((y - mean) - K @ inverse @ (y - mean)) ** 2 / (1 - leverage) ** 2).mean())
        if error < best:
            best, chosen = error, inverse @ (y - mean)
    return mean + L @ chosen


def shares(y: np.ndarray, predictions: np.ndarray) -> tuple[float, float]:
    """Return the residual variance as a share of the label variance, raw and under the best linear use."""
    raw = float(np.var(y - predictions) / np.var(y))
    correlation = float(np.corrcoef(y, predictions)[0, 1]) if np.std(predictions) > 1e-9 else 0.0
    return raw, 1 - correlation**2


def fits(bench: Workbench, task: str, size: int, seed: int, learners: list[str], every: bool) -> Iterator[dict]:
    """Fit the learners on one draw of labels; `probe` is read off `auto` where both are asked, since it is its part."""
    texts, y = rows_of(task)
    train = TEST + np.random.default_rng(seed).permutation(len(y) - TEST)[:size]
    rest = np.setdiff1d(np.arange(len(y) if every else TEST), train)
    own, unseen = [texts[i] for i in train], [texts[i] for i in rest]
    parts = {}
    # The states are cached first: the time of a fit is that of the fit.
    embedded = bench.cache.embed(own), bench.cache.embed(unseen)
    for name in sorted(learners):
        start = perf_counter()
        if name == "ridge":
            predictions = ridge(embedded[0], y[train], embedded[1])
        else:
            kind, _, objective = name.partition("/")
            model = parts.get(name) or bench.learner(kind, objective or "variance", None).fit(own, y[train], seed=seed)
            predictions = model.predict(unseen)
        seconds = None if name in parts else perf_counter() - start  # what is a part of `auto` was not fitted again
        if name == "auto":
            parts = {"probe": model.probed}
        raw, linear = shares(y[rest], predictions)
        figures = {"raw": raw, "linear": linear, "s": seconds}
        yield {"task": task, "size": size, "seed": seed, "learner": name, "every": every, **figures}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--learners", default=",".join(LEARNERS))
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--rows", type=Path)
    options = parser.parse_args()
    offline_environment()
    bench = Workbench.open(DEFAULT_MODEL, home() / "cache")
    rows = KeptRows(options.rows)
    # Rows that were tested on others are no part of this report.
    rows.all = [row for row in rows.all if row.get("every", False) == options.every]
    done = {(row["task"], row["size"], row["seed"], row["learner"]) for row in rows.all}
    draws = [
        (task, int(size), seed)
        for seed in range(options.seeds)
        for size in options.sizes.split(",")
        for task in options.tasks.split(",")
    ]
    for draw in tqdm(draws, desc="draws"):
        learners = [name for name in ["ridge", *options.learners.split(",")] if (*draw, name) not in done]
        for row in fits(bench, *draw, learners, options.every):
            rows.add(row)
    report(pd.DataFrame(rows.all))


def report(rows: pd.DataFrame) -> None:
    """Print the table and, last, its figures as one JSON object."""
    grouped = rows.groupby(["task", "size", "learner"], sort=False)
    table = grouped[["raw", "linear", "s"]].mean()
    table["raw_se"] = grouped["raw"].sem()
    table["seeds"] = grouped.size()
    print(table.round(3).to_string())
    figures = table.round(4).reset_index().astype(object)
    print(json.dumps({"rows": figures.where(figures.notna(), None).to_dict("records")}))


if __name__ == "__main__":
    main()
