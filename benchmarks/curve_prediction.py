"""How well pilots and CoS-Low foretell the published data-efficiency curves.

    python benchmarks/curve_prediction.py

Every task is left out in turn, in all families at once, and everything is learned anew from the rest. From each pilot
the scores measured at later sizes (up to 5,000) are predicted, the published area and the labels to 90% of the way,
with their 80% intervals, beside a least-squares power law (error = a n^-alpha + b by scipy's curve_fit), x^p at the
mean area of the other tasks, and the last value. The levels of the intervals are learned anew too, by leaving out tasks
of the rest. The same with the family taken for unknown; with a whole family unseen, its task in the other family left
out or known; with CoS-Low on the tasks that have one; and before any score, where both the posterior and the closed
form x^p take the published coefficients. These and the published correlation of CoS-Low with the area, 0.675, which
enters the prior, were computed on the very tasks left out here.

Learned on one family, the posterior cannot know how the next differs, and its levels stay at 0.8. With "levels of any
model" both families are predicted from the other at the levels that go with any other model: these were learned from
other tasks of the two families, each predicted from the other. It stands for a third family, predicted from two.

Errors of scores are in points of 100, those of labels in doublings, counted up to 5,000 where a quarter of the curves
has not arrived. Labels are read off the measured curve between its sizes as off the predicted one. What was chosen by
looking at errors on tasks left out: the weight of other families (0.1), the probability of a family's own process
(0.8), 3 degrees of freedom, the reach of the prior scatter (24 doublings, by the likelihood of the curves left out) and
the 30 curves that hold the levels at 0.8; neighbouring choices differ by 0.1 points, 0.002 of area, 0.02 of coverage.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import OptimizeWarning, curve_fit

from engine.efficiency import SIZES, Calibration, Efficiency, area, closed_form, efficiency
from engine.efficiency.curve import LARGEST, crossing, normalised, position
from engine.efficiency.published import accuracy_calibrations, recalibrated

PILOTS = ((0,), (0, 50), (0, 50, 100, 200), (0, 50, 100, 200, 500))
NAMES = {pilot: "{" + ",".join(map(str, pilot)) + "}" for pilot in PILOTS}
BARS = {"scores_from_four": 5.4, "auc_from_four": 0.043, "auc_from_coslow": 0.076}
COVERAGE = (0.75, 0.86)  # of the 80% intervals


@dataclass(frozen=True)
class Curve:
    """A published curve, its area and the labels to 90% of its way (doublings)."""

    family: str
    task: str
    scores: dict[int, float]
    ceiling: float | None
    test_size: int | None
    coslow: float | None
    auc: float

    @property
    def doublings(self) -> float:
        return _doublings(self.scores, self.ceiling)

    def pilot(self, sizes: tuple[int, ...]) -> dict[int, float]:
        return {n: self.scores[n] for n in sizes if n in self.scores}

    def later(self, sizes: tuple[int, ...]) -> dict[int, float]:
        return {n: s for n, s in self.scores.items() if max(sizes) < n <= LARGEST and n >= SIZES[1]}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    table, coslow = shared("dataefficiency_curves.csv"), shared("coslow_llama.csv")
    curves = [curve for curve in read(table, coslow) if 0 in curve.scores]
    tasks = sorted({curve.task for curve in curves})
    apart = {family: without(family, table, coslow) for family in table["family"].unique()}
    ask = partial(foretell, curves=curves, table=table, coslow=coslow, apart=apart)
    with ProcessPoolExecutor() as pool:
        records = pd.DataFrame([record for found in pool.map(ask, tasks) for record in found])
    groups = dict(iter(records.groupby(["setting", "method", "pilot"], sort=False)))
    settings = list(dict.fromkeys(records["setting"]))
    figures = {name: summarise(groups[name]) for name in sorted(groups, key=lambda name: settings.index(name[0]))}
    show(figures)
    print(json.dumps(verdict(figures)))


def shared(name: str) -> pd.DataFrame:
    """Return a table of the shared folder or of its subfolder data, or end with a sentence."""
    folder = Path(os.environ.get("LABELWISE_SHARED", Path(__file__).parents[1] / ".." / "shared"))
    folder = folder / "data" if (folder / "data").is_dir() else folder
    if not (folder / name).exists():
        sys.exit(f"{folder / name} is missing; set LABELWISE_SHARED to the folder that holds it.")
    return pd.read_csv(folder / name)


def read(table: pd.DataFrame, coslow: pd.DataFrame) -> Iterator[Curve]:
    """Every published curve."""
    cosines = {(row.family, row.task): row.coslow for row in coslow.itertuples()}
    for (family, task), part in table.groupby(["family", "task"]):
        scores = dict(zip(part["n"].astype(int), part["score"], strict=True))
        ceiling, size = (
            None if pd.isna(part[name].iloc[0]) else part[name].iloc[0] for name in ("human_ceiling", "test_size")
        )
        auc = float(part["published_auc"].iloc[0])
        yield Curve(family, task, scores, ceiling, size and int(size), cosines.get((family, task)), auc)


def without(family: str, table: pd.DataFrame, coslow: pd.DataFrame) -> Calibration:
    """What the other families teach about a model that none of them is."""
    return accuracy_calibrations(table[table["family"] != family], coslow[coslow["family"] != family])["accuracy"]


def foretell(
    task: str, curves: list[Curve], table: pd.DataFrame, coslow: pd.DataFrame, apart: dict[str, Calibration]
) -> list[dict[str, Any]]:
    """What each method says of a task's curves after learning from the others'."""
    rest, cosines = table[table["task"] != task], coslow[coslow["task"] != task]
    known = recalibrated(accuracy_calibrations(rest, cosines), rest, cosines)
    mean_auc = float(np.mean([curve.auc for curve in curves if curve.task != task]))
    print(task, file=sys.stderr)
    found = []
    for curve in (curve for curve in curves if curve.task == task):
        unseen = without(curve.family, rest, cosines)
        levelled = replace(unseen, recalibration=known["accuracy"].recalibration)
        for pilot in PILOTS:
            found.append(judge("task left out", curve, pilot, known[curve.family]))
            found.append(judge(f"{curve.family} unseen, task left out", curve, pilot, unseen))
            found.append(judge(f"{curve.family} unseen, its tasks known", curve, pilot, apart[curve.family]))
            found.append(judge("either family unseen, levels of any model", curve, pilot, levelled))
            found.append(judge("family taken for unknown", curve, pilot, known["accuracy"]))
            for name, method in BASELINES.items():
                found.append(judge_points("task left out", name, curve, pilot, method(curve, pilot, mean_auc)))
            if curve.coslow is not None:
                found.append(judge("with CoS-Low", curve, pilot, known[curve.family], curve.coslow))
                found.append(judge("without CoS-Low, same tasks", curve, pilot, known[curve.family]))
        if curve.coslow is not None:
            found += judge_predictions(curve, known[curve.family])
        if {16, 32} <= set(curve.scores):
            found.append(judge("small sizes", curve, (0, 16, 32), known[curve.family]))
            found.append(judge("small sizes", curve, (0,), known[curve.family]))
    return found


def judge(
    setting: str, curve: Curve, pilot: tuple[int, ...], family: Calibration, coslow: float | None = None
) -> dict[str, Any]:
    """The posterior's errors and whether its intervals hold the truth."""
    found = efficiency(
        coslow, family=family, scores=curve.pilot(pilot), ceiling=curve.ceiling, test_size=curve.test_size
    )
    later = curve.later(pilot)
    band, truth = found.curve(list(later)), np.array(list(later.values()))
    return {
        **judge_points(setting, "posterior", curve, pilot, lambda n: found.curve(n)["median"].to_numpy()),
        **judge_area_and_labels(curve, found),
        "score_covered": float(((truth >= band["low"]) & (truth <= band["high"])).sum()),
        "score_width": 100 * float((band["high"] - band["low"]).sum()),
    }


def judge_area_and_labels(curve: Curve, found: Efficiency) -> dict[str, Any]:
    """Errors, coverage and widths of the area and of the labels to 90%."""
    to = found.labels_to(0.9)
    low, median, high = (np.log2(to[name]) for name in ("low", "median", "high"))
    return {
        "auc_error": abs(found.auc - curve.auc),
        "auc_covered": found.interval[0] <= curve.auc <= found.interval[1],
        "auc_width": found.interval[1] - found.interval[0],
        "labels_error": abs(median - curve.doublings),
        "labels_covered": low - 1e-9 <= curve.doublings <= high + 1e-9,
        "labels_width": high - low,
    }


def judge_points(
    setting: str, method: str, curve: Curve, pilot: tuple[int, ...], predict: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """The errors of a method that predicts scores: of the scores, and of the area and labels that follow."""
    later = curve.later(pilot)
    predicted = predict(np.array(list(later), dtype=float)) if later else np.array([])
    every = {**curve.pilot(pilot), **{n: float(predict(np.array([float(n)]))[0]) for n in SIZES if n > max(pilot)}}
    top = max([*every.values(), curve.ceiling or 0.0])
    auc = area(list(every), list(every.values()), zero_shot=every[0], ceiling=top) if top > every[0] else 0.0
    return {
        "setting": setting, "method": method, "pilot": "{" + ",".join(map(str, pilot)) + "}", "scores": len(later),
        "score_error": 100 * float(np.abs(predicted - np.array(list(later.values()))).sum()),
        "auc_error": abs(auc - curve.auc),
        "labels_error": abs(_doublings(every, curve.ceiling) - curve.doublings),
    }  # fmt: skip


def judge_predictions(curve: Curve, family: Calibration) -> Iterator[dict[str, Any]]:
    """Before any score: the predicted curve, and the closed form at the same area."""
    found = efficiency(curve.coslow, family=family, ceiling=curve.ceiling)
    start = {"setting": "nothing trained", "pilot": "CoS-Low alone", "scores": 0, "score_error": 0.0}
    yield {**start, "method": "posterior", **judge_area_and_labels(curve, found)}
    fine = np.unique(np.geomspace(1, LARGEST, 400).round())
    shape = {0: 0.0, **{int(n): float(g) for n, g in zip(fine, closed_form(found.auc, fine), strict=True)}}
    error = abs(_doublings(shape, 1.0, every=True) - curve.doublings)
    yield {**start, "method": "x^p", "auc_error": abs(found.auc - curve.auc), "labels_error": error}


def power_law(curve: Curve, pilot: tuple[int, ...], _: float) -> Callable[[np.ndarray], np.ndarray]:
    """The usual fit: error = a n^-alpha + b by least squares; the last value where there are fewer than three scores.

    The zero-shot score, at which the power is infinite, takes no part: with it (at n = 1) the errors are larger.
    """
    scores = {n: score for n, score in curve.pilot(pilot).items() if n > 0}
    if len(scores) < 3:
        return last_value(curve, pilot, 0.0)
    n, error = np.array(list(scores), dtype=float), 1 - np.array(list(scores.values()))

    def law(n: np.ndarray, a: float, alpha: float, b: float) -> np.ndarray:
        return np.asarray(a * n**-alpha + b)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        bounds = ([0, 0, 0], [2, 5, 1])
        fitted, _ = curve_fit(law, n, error, p0=(0.3, 0.5, 0.1), bounds=bounds, max_nfev=20000)
    return lambda n: 1 - law(n, *fitted)


def mean_power(curve: Curve, pilot: tuple[int, ...], mean_auc: float) -> Callable[[np.ndarray], np.ndarray]:
    """x^p from the zero-shot score to the ceiling, at the mean area of the other tasks."""
    zero = curve.scores[0]
    top = max(1.0 if curve.ceiling is None else curve.ceiling, *curve.pilot(pilot).values())
    return lambda n: zero + (top - zero) * closed_form(mean_auc, n)


def last_value(curve: Curve, pilot: tuple[int, ...], _: float) -> Callable[[np.ndarray], np.ndarray]:
    """The score stays what it was."""
    last = curve.pilot(pilot)[max(n for n in pilot if n in curve.scores)]
    return lambda n: np.full(len(n), last)


BASELINES = {"least squares": power_law, "x^p at the mean area": mean_power, "last value": last_value}


def _doublings(scores: dict[int, float], ceiling: float | None, *, every: bool = False) -> float:
    """log2 of the labels to 90% of the way, up to 5,000; sizes below the first published one do not count."""
    sizes = sorted(n for n in scores if every or n == 0 or SIZES[1] <= n <= LARGEST)
    g = normalised(np.array([[scores[n] for n in sizes]]), ceiling)
    return float(crossing(position(sizes), g, 0.9)[0] * np.log2(LARGEST))


def summarise(part: pd.DataFrame) -> dict[str, float]:
    """Means over curves; of scores, over all scores."""
    scores = max(part["scores"].sum(), 1)
    figures = {"curves": len(part), "score_error": part["score_error"].sum() / scores}
    if part["score_covered"].notna().all() and part["scores"].any():
        figures |= {"score_coverage": part["score_covered"].sum() / scores}
        figures |= {"score_width": part["score_width"].sum() / scores}
    for what in ("auc", "labels"):
        figures[f"{what}_error"] = part[f"{what}_error"].mean()
        if part[f"{what}_covered"].notna().all():
            figures[f"{what}_coverage"] = part[f"{what}_covered"].astype(float).mean()
            figures[f"{what}_width"] = part[f"{what}_width"].mean()
    return {name: round(float(value), 4) for name, value in figures.items()}


def show(figures: dict[tuple[str, str, str], dict[str, float]]) -> None:
    """Print a line for each setting, method and pilot."""
    print(f"{'':43} curves | {'scores, points':^20} | {'area':^20} | {'labels to 90%, log2':^20}")
    print(f"{'':43}        |" + " |".join(["  error  cover  width"] * 3))
    before = ""
    for (setting, method, pilot), figure in figures.items():
        if setting != before:
            print(setting)
        before = setting
        cells = []
        for what, digits in (("score", 2), ("auc", 4), ("labels", 2)):
            values = [figure.get(f"{what}_{part}") for part in ("error", "coverage", "width")]
            cells.append(" ".join(_cell(v, d) for v, d in zip(values, (digits, 2, 2), strict=True)))
        print(f"  {method:20} {pilot:20} {figure['curves']:6.0f} | " + " | ".join(cells))


def _cell(value: float | None, digits: int) -> str:
    return f"{'-':>6}" if value is None else f"{value:6.{digits}f}"


def verdict(figures: dict[tuple[str, str, str], dict[str, float]]) -> dict[str, Any]:
    """All figures, and which of them miss what is asked of them."""
    four = figures["task left out", "posterior", NAMES[PILOTS[2]]]
    start = figures["with CoS-Low", "posterior", NAMES[PILOTS[0]]]
    found = {"scores_from_four": four["score_error"], "auc_from_four": four["auc_error"]}
    found["auc_from_coslow"] = start["auc_error"]
    low, high = COVERAGE
    outside = {
        f"{setting}, {pilot}: {what}": figure[f"{what}_coverage"]
        for (setting, method, pilot), figure in figures.items()
        for what in ("score", "auc", "labels")
        if method == "posterior" and not low <= figure.get(f"{what}_coverage", low) <= high
    }
    return {
        **{name: {"error": error, "bar": BARS[name], "met": error <= BARS[name]} for name, error in found.items()},
        "coverage_outside": outside,
        "figures": {" | ".join(name): figure for name, figure in figures.items()},
    }


if __name__ == "__main__":
    main()
