"""Coverage of the 95% and 90% intervals, and their widths beside ppi-python's and glide's, in every cell of a grid.

    python benchmarks/coverage_grid.py [--draws 1000] [--only TEXT]

A cell fails where coverage falls short of nominal by more than 0.03 (0.02 from 100 labels on). Coverage has a Monte
Carlo error of 0.007 at 0.95 and 0.009 at 0.90 with 1,000 draws, so a cell that falls short is measured again with
ten times the draws, and that figure counts. glide-py is asked where it is installed: it names Python 3.12 as its
oldest, but runs on 3.11 (pip install --no-deps --ignore-requires-python glide-py==0.11.0).
The last line is one JSON object.
"""

import argparse
import json
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit

from engine.errors import ArgumentError
from engine.rectification import (
    rectified_groups,
    rectified_logistic,
    rectified_mean,
    rectified_ols,
    rectified_quantile,
    rectified_shares,
)

STRENGTHS = {"useless": 0.0, "fair": 0.6, "strong": 0.9}
POOL = 1000
LEVELS = (0.95, 0.90)
PEER_DRAWS = 100  # enough for a mean width; ppi-python takes most of the time
PEERS = ("ppi", "glide")
MORE = 10  # times the draws for a cell that looks short, to tell chance from fault

Peer = Callable[[dict[str, Any], float], tuple[Any, Any]]


@dataclass(frozen=True)
class Cell:
    """One setting. draw(rng): what `ours` takes, and the truth. ppi, glide: a peer's interval at a level, or None."""

    name: str
    n: int
    draw: Callable[[np.random.Generator], tuple[dict[str, Any], Any]]
    ours: Callable[..., Any]
    ppi: Peer | None = None
    glide: Peer | None = None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--draws", type=int, default=1000)
    options.add_argument("--only", default="", help="run the cells whose name holds this text")
    chosen = options.parse_args()
    heads = "".join(f" {peer + '95':>8} {peer + 'cov':>8}" for peer in PEERS)
    print(f"{'cell':44} {'n':>4} {'cov95':>6} {'cov90':>6} {'width95':>8} {'labels95':>8}{heads}")
    begun, failed, records = time.perf_counter(), [], []
    with_glide = find_spec("glide") is not None
    for cell in cells():
        if not with_glide:
            cell = replace(cell, glide=None)
        if chosen.only in cell.name:
            record = measure(cell, chosen.draws)
            if record["short"]:
                record = measure(cell, MORE * chosen.draws)
            records.append(record)
            failed += [cell.name] if record["short"] else []
            print(_line(record), flush=True)
    worst = max((r["shortfall"] for r in records), default=0.0)
    figures = {"cells": len(records), "draws": chosen.draws, "failed": failed, "largest_shortfall": round(worst, 4),
               "seconds": round(time.perf_counter() - begun, 1)}  # fmt: skip
    print(json.dumps(figures))


def measure(cell: Cell, draws: int) -> dict[str, Any]:
    """Coverage and mean widths of one cell; several quantities in one draw count one by one."""
    covered, widths, labels = {level: [] for level in LEVELS}, [], []
    peers = {name: _Peer(getattr(cell, name)) for name in PEERS}
    for draw in range(draws):
        rng = np.random.default_rng([draw, zlib.crc32(cell.name.encode())])
        arguments, truth = cell.draw(rng)
        try:
            for level in LEVELS:
                answer = cell.ours(**arguments, confidence=level)
                low, high = np.atleast_1d(answer.ci_low), np.atleast_1d(answer.ci_high)
                k = len(np.atleast_1d(truth))
                covered[level].append(((low[:k] <= truth) & (truth <= high[:k])).mean())
                if level == LEVELS[0]:
                    widths.append((high - low)[:k].mean())
                    labels.append(np.atleast_1d(answer.labels_only.width)[:k].mean())
        except ArgumentError:  # such as labels without any spread: an answer was refused, not given
            continue
        if draw < PEER_DRAWS:
            for peer in peers.values():
                peer.ask(arguments, truth)
    coverage = {level: float(np.mean(covered[level])) for level in LEVELS}
    shortfall = max(level - coverage[level] for level in LEVELS)
    return {
        "name": cell.name,
        "n": cell.n,
        "coverage": coverage,
        "width": float(np.mean(widths)),
        "labels": float(np.mean(labels)),
        "peers": {name: peer.figures() for name, peer in peers.items()},
        "refused": draws - len(covered[LEVELS[0]]),
        "shortfall": shortfall,
        "short": shortfall > (0.02 if cell.n >= 100 else 0.03),
    }


class _Peer:
    """Widths and coverage of one peer at the first level, over the draws in which it answers."""

    def __init__(self, call: Peer | None) -> None:
        self.call = call
        self.widths: list[float] = []
        self.covered: list[float] = []

    def ask(self, arguments: dict[str, Any], truth: Any) -> None:
        if self.call is None:
            return
        try:
            low, high = (np.asarray(bound) for bound in self.call(arguments, LEVELS[0]))
        except (np.linalg.LinAlgError, ValueError, IndexError, ZeroDivisionError):  # the peer gave up
            return
        self.widths.append(float(np.mean(high - low)))
        self.covered.append(float(np.mean((low <= truth) & (truth <= high))))

    def figures(self) -> tuple[float | None, float | None]:
        return (float(np.mean(self.widths)), float(np.mean(self.covered))) if self.widths else (None, None)


def _line(record: dict[str, Any]) -> str:
    beside = "".join(
        f" {width:8.4f} {coverage:8.3f}" if coverage is not None else f" {'-':>8} {'-':>8}"
        for width, coverage in record["peers"].values()
    )
    first, second = (record["coverage"][level] for level in LEVELS)
    flag = "  UNDER" if record["short"] else ""
    refused = f"  ({record['refused']} refused)" if record["refused"] else ""
    return (
        f"{record['name']:44} {record['n']:4d} {first:6.3f} {second:6.3f} {record['width']:8.4f} "
        f"{record['labels']:8.4f}{beside}{flag}{refused}"
    )


def cells() -> Iterator[Cell]:
    """The whole grid."""
    for strength, rho in STRENGTHS.items():
        for n in (10, 30, 100, 300):
            yield Cell(f"mean, Gaussian, {strength}, n={n}", n, gaussian(n, rho), rectified_mean, ppi_mean, glide_mean)
            for p in (0.03, 0.1, 0.5):
                yield Cell(f"share {p}, {strength}, n={n}", n, binary(n, p, rho), rectified_mean, ppi_mean, glide_mean)
                name = f"share {p}, hard predictions, {strength}, n={n}"
                yield Cell(name, n, hard(n, p, rho), rectified_mean, ppi_mean, glide_mean)
            yield Cell(f"three shares, {strength}, n={n}", n, three_shares(n, rho), rectified_shares)
            yield Cell(f"median, {strength}, n={n}", n, median(n, rho), rectified_quantile, ppi_median)
        for n in (30, 100, 300):
            yield from designs(strength, rho, n)
            yield Cell(f"OLS, {strength}, n={n}", n, ols(n, rho), rectified_ols, ppi_ols)
            yield Cell(f"three groups, {strength}, n={n}", n, groups(n, rho), one_by_one)
            yield Cell(f"three groups of shares, {strength}, n={n}", n, groups(n, rho, share=True), one_by_one)
        for n in (100, 300):
            yield Cell(f"logistic, {strength}, n={n}", n, logistic(n, rho), rectified_logistic, ppi_logistic)


def designs(strength: str, rho: float, n: int) -> Iterator[Cell]:
    """Weights, strata, clusters and finite populations, for a mean and for a share."""
    for share in (None, 0.1, 0.5):
        kind = "mean" if share is None else f"share {share}"
        for design in (weighted, probabilities, strata, finite):
            title = design.__name__
            peer = glide_mean if design is strata else None
            yield Cell(f"{kind}, {title}, {strength}, n={n}", n, design(n, rho, share), rectified_mean, glide=peer)
        for count in (20, 50):
            if n >= 2 * count:
                name = f"{kind}, {count} clusters, {strength}, n={n}"
                yield Cell(name, n, clustered(n, rho, share, count), rectified_mean, glide=glide_mean)


Draw = Callable[[np.random.Generator], tuple[dict[str, Any], Any]]


def _pair(rng: np.random.Generator, rows: int, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """A latent outcome with standard deviation 1, and a prediction of it that correlates by rho."""
    z = rng.normal(size=rows)
    return rho * z + np.sqrt(1 - rho**2) * rng.normal(size=rows), z


def _outcome(
    latent: np.ndarray, z: np.ndarray, rho: float, share: float | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """The latent outcome itself about 1, or whether it is in the upper `share`; a prediction; the truth."""
    if share is None:
        return latent + 1, 0.8 * z + 0.5, 1.0
    cut = stats.norm.ppf(1 - share)
    spread = np.sqrt(1 - rho**2)
    return (latent > cut).astype(float), stats.norm.cdf((rho * z - cut) / spread) if rho else expit(z), share


def _split(y: np.ndarray, f: np.ndarray, n: int) -> dict[str, Any]:
    return {"y": y[:n], "predictions": f[:n], "pool_predictions": f[n:]}


def gaussian(n: int, rho: float) -> Draw:
    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        y, f, truth = _outcome(*_pair(rng, n + POOL, rho), rho, None)
        return _split(y, f, n), truth

    return draw


def binary(n: int, p: float, rho: float) -> Draw:
    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        y, f, truth = _outcome(*_pair(rng, n + POOL, rho), rho, p)
        return _split(y, f, n), truth

    return draw


def hard(n: int, p: float, rho: float) -> Draw:
    """Predictions of 0 and 1, which agree with the label, or else are drawn anew."""

    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        y = (rng.random(n + POOL) < p).astype(float)
        anew = (rng.random(n + POOL) < p).astype(float)
        f = np.where(rng.random(n + POOL) < rho, y, anew)
        return _split(y, f, n), p

    return draw


def three_shares(n: int, rho: float) -> Draw:
    truth = np.array([0.1, 0.3, 0.6])

    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        y = rng.choice(3, size=n + POOL, p=truth)
        shown = np.where(rng.random(n + POOL) < rho, y, rng.choice(3, size=n + POOL, p=truth))
        f = 0.2 / 3 + 0.8 * np.eye(3)[shown]
        return _split(y, f, n) | {"classes": [0, 1, 2]}, truth

    return draw


def median(n: int, rho: float) -> Draw:
    return gaussian(n, rho)


def weighted(n: int, rho: float, share: float | None) -> Draw:
    """Weights between 0.5 and 2 that go with the outcome; the truth is the weighted mean."""

    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        # Weights proportional to a density ratio: rows drawn at random, reweighted to another population.
        rows = n + POOL
        high = rng.random(rows) < 0.5
        w = np.where(high, 2.0, 0.5)
        latent, z = _pair(rng, rows, rho)
        y, f, truth = _outcome(latent, z, rho, share)
        flip = high & (rng.random(rows) < 0.3)
        y = np.where(flip, 1.0 if share else y + 1, y)
        target = (0.8 * (0.3 + 0.7 * truth) + 0.2 * truth) if share else truth + 0.8 * 0.3
        return _split(y, f, n) | {"weights": w[:n], "pool_weights": w[n:]}, target

    return draw


def probabilities(n: int, rho: float, share: float | None) -> Draw:
    """Each row labelled with a known probability that goes with its prediction."""

    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        rows = n + POOL
        y, f, truth = _outcome(*_pair(rng, rows, rho), rho, share)
        chance = expit(stats.zscore(f) * 0.5)
        chance = np.clip(chance * n / chance.sum(), 0.002, 1)
        chosen = rng.random(rows) < chance
        chosen[: max(0, 2 - chosen.sum())] = True
        return {"y": y[chosen], "predictions": f[chosen], "pool_predictions": f[~chosen],
                "probabilities": chance[chosen]}, truth  # fmt: skip

    return draw


def strata(n: int, rho: float, share: float | None) -> Draw:
    """Three strata of shares 0.5, 0.3, 0.2, labelled alike, with outcomes of their own."""
    sizes, shifts = np.array([0.5, 0.3, 0.2]), np.array([-0.3, 0.0, 0.5])

    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        code = np.concatenate([np.repeat([0, 1, 2], n // 3 + 1)[:n], rng.choice(3, size=POOL, p=sizes)])
        latent, z = _pair(rng, n + POOL, rho)
        latent, z = latent + shifts[code], z + shifts[code] * (rho > 0)
        y, f, truth = _outcome(latent, z, rho, share)
        truth = (
            truth + sizes @ shifts
            if share is None
            else float(sizes @ stats.norm.sf(stats.norm.ppf(1 - share) - shifts))
        )
        names = np.array(["a", "b", "c"])[code]
        return _split(y, f, n) | {"strata": names[:n], "pool_strata": names[n:]}, truth

    return draw


def clustered(n: int, rho: float, share: float | None, count: int) -> Draw:
    """Rows of a cluster correlate by 0.2 beyond their predictions."""

    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        member = np.arange(n) % count
        latent, z = _pair(rng, n + POOL, rho)
        effect = rng.normal(size=count)[member]
        shock = np.sqrt(0.8) * rng.normal(size=n) + np.sqrt(0.2) * effect
        latent[:n] = rho * z[:n] + np.sqrt(1 - rho**2) * shock
        y, f, truth = _outcome(latent, z, rho, share)
        return _split(y, f, n) | {"clusters": member}, truth

    return draw


def finite(n: int, rho: float, share: float | None) -> Draw:
    """Labels are a third of everything there is."""

    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        rows = 3 * n
        y, f, _ = _outcome(*_pair(rng, rows, rho), rho, share)
        return _split(y, f, n) | {"finite_population": True}, y.mean()

    return draw


def groups(n: int, rho: float, share: bool = False) -> Draw:
    """Three groups of equal size; their means and the differences between them."""
    shifts = np.array([-0.3, 0.0, 0.4])

    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        code = np.arange(n + POOL) % 3
        latent, z = _pair(rng, n + POOL, rho)
        y, f, _ = _outcome(latent + shifts[code], z + shifts[code] * (rho > 0), rho, 0.3 if share else None)
        means = stats.norm.sf(stats.norm.ppf(0.7) - shifts) if share else 1 + shifts
        truth = np.concatenate([means, [means[0] - means[1], means[0] - means[2], means[1] - means[2]]])
        return _split(y, f, n) | {"groups": code[:n], "pool_groups": code[n:]}, truth

    return draw


def one_by_one(**arguments: Any) -> Any:
    return rectified_groups(**arguments, multiplicity="none")


def ols(n: int, rho: float) -> Draw:
    """A constant and two covariates; residuals spread with the first."""
    truth = np.array([1.0, 0.5, -0.5])

    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        x = np.column_stack([np.ones(n + POOL), rng.normal(size=(n + POOL, 2))])
        noise, z = _pair(rng, n + POOL, rho)
        spread = np.sqrt(0.5 + 0.5 * x[:, 1] ** 2)
        y = x @ truth + spread * noise
        f = (x @ truth) * 0.9 + spread * z if rho else rng.normal(size=n + POOL)
        return _split(y, f, n) | {"x": x[:n], "x_pool": x[n:]}, truth

    return draw


def logistic(n: int, rho: float) -> Draw:
    truth = np.array([-0.3, 0.5, -0.5])

    def draw(rng: np.random.Generator) -> tuple[dict[str, Any], Any]:
        x = np.column_stack([np.ones(n + POOL), rng.normal(size=(n + POOL, 2))])
        y = (rng.random(n + POOL) < expit(x @ truth)).astype(float)
        f = np.where(rng.random(n + POOL) < rho, 0.1 + 0.8 * y, rng.random(n + POOL))
        return _split(y, f, n) | {"x": x[:n], "x_pool": x[n:]}, truth

    return draw


def ppi_mean(a: dict[str, Any], level: float) -> tuple[Any, Any]:
    import ppi_py

    low, high = ppi_py.ppi_mean_ci(a["y"], a["predictions"], a["pool_predictions"], alpha=1 - level)
    return low.item(), high.item()


def glide_mean(a: dict[str, Any], level: float) -> tuple[Any, Any]:
    """glide's mean of the design at hand; rows of the pool without a cluster are clusters of one."""
    from glide import estimators

    m = len(a["pool_predictions"])
    rows = (np.append(a["y"], np.full(m, np.nan)), np.append(a["predictions"], a["pool_predictions"]))
    if "strata" in a:
        marks = np.append(a["strata"], a["pool_strata"])
        result = estimators.StratifiedPPIMeanEstimator().estimate(*rows, marks, confidence_level=level)
    elif "clusters" in a:
        marks = np.append(a["clusters"], a["clusters"].max() + 1 + np.arange(m))
        result = estimators.ClusteredPPIMeanEstimator().estimate(*rows, marks, confidence_level=level)
    else:
        result = estimators.PPIMeanEstimator().estimate(*rows, confidence_level=level)
    return result.confidence_interval.lower_bound, result.confidence_interval.upper_bound


def ppi_median(a: dict[str, Any], level: float) -> tuple[Any, Any]:
    import ppi_py

    return tuple(
        ppi_py.ppi_quantile_ci(a["y"], a["predictions"], a["pool_predictions"], 0.5, alpha=1 - level, exact_grid=True)
    )


def ppi_ols(a: dict[str, Any], level: float) -> tuple[Any, Any]:
    import ppi_py

    return ppi_py.ppi_ols_ci(a["x"], a["y"], a["predictions"], a["x_pool"], a["pool_predictions"], alpha=1 - level)


def ppi_logistic(a: dict[str, Any], level: float) -> tuple[Any, Any]:
    import ppi_py

    return ppi_py.ppi_logistic_ci(a["x"], a["y"], a["predictions"], a["x_pool"], a["pool_predictions"], alpha=1 - level)


if __name__ == "__main__":
    main()
