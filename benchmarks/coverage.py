"""Coverage and width of labels-only, split and cross-fit on EmoBank, where the truth is known.

python benchmarks/coverage.py [--draws 200] [--labels 300] [--target valence]

Each draw takes random labels from EmoBank, the other rows being the pool (all rows are the population), lets the probe
learn inside those labels alone, and asks whether the nominal 95% interval holds the mean over all rows. Embeddings are
computed once. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from engine.allocation import plan
from engine.data.sealing import Sealing
from engine.learning.embeddings import EmbeddingCache
from engine.learning.models import load_encoder, offline_environment
from engine.learning.probe import fit_ridge
from engine.learning.trials import residual_variance
from engine.rectification import rectified_mean
from engine.runs import home
from engine.scaling import fit_law

STRATEGIES = ("labels-only", "split", "cross-fit")


def shared(name: str) -> pd.DataFrame:
    """Return a table of the shared data folder, or end with a sentence."""
    folder = Path(os.environ.get("LABELWISE_SHARED", Path(__file__).parents[1] / ".." / "shared" / "data"))
    if not (folder / name).exists():
        sys.exit(f"{folder / name} is missing; set LABELWISE_SHARED to the folder that holds it.")
    return pd.read_csv(folder / name)


def planned_split(X: np.ndarray, y: np.ndarray, m: int, sealing: Sealing) -> int:
    """Return the number of fine-tuning labels that the plan chooses from the pilot's labels alone."""
    rows = []
    for _, train, holdout in sealing.trials(5):
        predictions = fit_ridge(X[train], y[train]).predict(X[holdout])
        variance, _, freedom = residual_variance(y[holdout, None], predictions[:, None])
        rows.append((len(train), variance, freedom))
    sizes, variances, freedom = np.array(rows).T
    spread = float(y[sealing.pilot].var(ddof=1))
    law = fit_law(sizes, variances, degrees_of_freedom=freedom, label_variance=spread)
    made = plan(law, n=len(y), m=m, label_variance=spread, population="these", finetune_minimum=sealing.pilot_size)
    return made["split"].finetune


def split(X: np.ndarray, y: np.ndarray, pool: np.ndarray, seed: int):
    """Fine-tune on the planned part, rectify on the rest."""
    sealing = Sealing.of(f"{seed:032x}", len(y), seed)
    train, rectify = sealing.split(planned_split(X, y, len(pool), sealing))
    head = fit_ridge(X[train], y[train])
    predictions = head.predict(X[rectify])
    return rectified_mean(y[rectify], predictions, head.predict(pool), trained=y[train], finite_population=True)


def cross_fit(X: np.ndarray, y: np.ndarray, pool: np.ndarray, seed: int, folds: int = 10):
    """Every label trains and rectifies."""
    own, rest = np.empty(len(y)), np.zeros(len(pool))
    for fold in Sealing.of(f"{seed:032x}", len(y), seed).folds(folds):
        train = np.setdiff1d(np.arange(len(y)), fold)
        head = fit_ridge(X[train], y[train])
        own[fold] = head.predict(X[fold])
        rest += head.predict(pool) / folds
    return rectified_mean(y, own, rest, finite_population=True)


def main() -> None:
    """Draw, estimate, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--labels", type=int, default=300)
    parser.add_argument("--target", default="valence", choices=("valence", "arousal", "dominance"))
    options = parser.parse_args()
    offline_environment()
    frame = shared("emobank.csv")
    X = EmbeddingCache(home() / "cache", load_encoder()).embed(frame["text"].tolist()).astype(float)
    y = frame[options.target].to_numpy(float)
    truth = y.mean()
    covered = {name: [] for name in STRATEGIES}
    widths = {name: [] for name in STRATEGIES}
    for draw in tqdm(range(options.draws), disable=None):
        order = np.random.default_rng(draw).permutation(len(y))
        labels, pool = order[: options.labels], order[options.labels :]
        crossed = cross_fit(X[labels], y[labels], X[pool], draw)
        estimates = (crossed.labels_only, split(X[labels], y[labels], X[pool], draw), crossed)
        for name, estimate in zip(STRATEGIES, estimates, strict=True):
            covered[name].append(estimate.ci_low <= truth <= estimate.ci_high)
            widths[name].append(estimate.ci_high - estimate.ci_low)
    report(options, covered, widths)


def report(options: argparse.Namespace, covered: dict[str, list[bool]], widths: dict[str, list[float]]) -> None:
    """Print the table and the JSON object."""
    base = np.mean(widths["labels-only"])
    table = {
        name: {
            "coverage": float(np.mean(covered[name])),
            "standard_error": float(np.std(covered[name]) / np.sqrt(options.draws)),
            "relative_width": float(np.mean(widths[name]) / base),
            "labels_saved": float(1 - (np.mean(widths[name]) / base) ** 2),
        }
        for name in STRATEGIES
    }
    print(f"EmoBank {options.target}: {options.draws} draws of {options.labels} labels, nominal 95%")
    print(pd.DataFrame(table).T.round(3).to_string())
    print(json.dumps({"target": options.target, "draws": options.draws, "labels": options.labels, **table}))


if __name__ == "__main__":
    main()
