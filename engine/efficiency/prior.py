"""What a process is shrunk towards, where the curves are too few to tell.

The scatter of two sizes is s^2 exp(-|log2 a - log2 b| / 24), s the pooled standard deviation about the mean of each
size: curves keep their place, and lose it slowly. The ceiling is taken for unrelated to the curve. AUC' is correlated
with the area as published, 0.675: the area's gradient at the mean curve says with which coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.efficiency.curve import SIZES, areas, position
from engine.efficiency.process import LEARNED_SIZES, Prior, Process, Seen
from engine.efficiency.scale import Floats, Kind, to_score

CURVES = 5.0  # that the prior scatter is worth
_REACH = 24.0  # doublings over which the correlation falls to 1/e
_CORRELATION = 0.675  # of CoS-Low with the area on the 30 tasks of Llama 3.1 8B, as published
_AREA_SPREAD = 0.09  # standard deviation of AUC' over the published tasks
_STEP = 1e-4


def shape(curves: Sequence[Seen], weights: Sequence[float], kind: Kind) -> Prior:
    """Return the prior for a model that many curves tell of: their mean, and the scatter above."""
    k, x = len(LEARNED_SIZES), position(LEARNED_SIZES)
    at = [np.abs(position(curve.sizes)[:, None] - x).argmin(axis=1) for curve in curves]
    places = np.concatenate(at)
    values = np.concatenate([curve.values for curve in curves])
    load = np.concatenate([np.full(len(curve.sizes), w) for curve, w in zip(curves, weights, strict=True)])
    total = np.bincount(places, load, k)
    seen = total > 0
    means = np.bincount(places, load * values, k)[seen] / total[seen]
    mean = np.interp(x, x[seen], means)
    spread = np.sqrt(np.average((values - mean[places]) ** 2, weights=load))
    top, top_spread = _moments([c.ceiling for c in curves], weights, (float(mean.max()), 1.0))
    area, area_spread = _moments([c.area for c in curves], weights, (0.42, _AREA_SPREAD))
    start = np.append(mean, [top, area])
    doublings = np.log2(np.maximum(LEARNED_SIZES, 1))
    scatter = np.diag(np.append(np.full(k, spread**2), [top_spread**2, area_spread**2]))
    scatter[:k, :k] = spread**2 * np.exp(-np.abs(doublings[:, None] - doublings) / _REACH)
    return Prior(start, _linked(scatter, start, kind), CURVES)


def towards(processes: Sequence[Process], weights: Floats) -> Prior:
    """Return the prior for a model that few curves tell of: other models' processes, as one."""
    share = weights / weights.sum()
    means = np.array([process.mean for process in processes])
    centre = share @ means
    within = np.einsum("i,ijk->jk", share, [process.scatter for process in processes])
    between = np.einsum("i,ij,ik->jk", share, means - centre, means - centre)
    return Prior(centre, within + between, CURVES, CURVES)


def _moments(values: list[float | None], weights: Sequence[float], default: tuple[float, float]) -> tuple[float, float]:
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    if len(known) < 2:
        return default
    value, weight = np.array(known).T
    mean = np.average(value, weights=weight)
    # Ceilings or areas that are all the same still leave room for another.
    return float(mean), max(float(np.sqrt(np.average((value - mean) ** 2, weights=weight))), default[1] / 10)


def _linked(scatter: Floats, mean: Floats, kind: Kind) -> Floats:
    """The scatter with AUC' correlated as published with the area, to first order about the mean curve."""
    steps = _STEP * np.eye(len(mean))[:-1]
    there, back = _area(mean + steps, kind), _area(mean - steps, kind)
    gradient = (there - back) / (2 * _STEP)
    rest = scatter[:-1, :-1]
    towards_area = rest @ gradient / np.sqrt(gradient @ rest @ gradient)
    linked = scatter.copy()
    linked[-1, :-1] = linked[:-1, -1] = _CORRELATION * np.sqrt(scatter[-1, -1]) * towards_area
    return linked


def _area(latent: Floats, kind: Kind) -> Floats:
    known = np.isin(LEARNED_SIZES, SIZES)
    scores = to_score(kind, latent[:, :-2][:, known])
    return areas(SIZES, scores, to_score(kind, latent[:, -2]))
