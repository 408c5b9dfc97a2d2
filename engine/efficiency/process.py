"""The process behind data-efficiency curves: a t process over log2 n, learned from whole curves and seen through noise.

A curve is a vector u of coordinates: the latent score (`scale`) at the learned sizes, the latent ceiling, and AUC', the
area that CoS-Low predicts. Over tasks u is multivariate t with 3 degrees of freedom, u | w ~ N(mean, scatter / w) with
w ~ Gamma(3/2, 3/2), so that one odd task neither drags the mean nor is taken for impossible. What is measured is
y = A u + e. A picks coordinates, any of which may be missing, or reads the line over log2 n between two of them; the
binomial noise e has its own known variance and is not w's. With w on 16 equally likely nodes everything is an exact
mixture of Gaussians: the posterior, the likelihood, and the steps of EM.

Between two learned sizes a and b, at the fraction f of log2 n, the line through them lacks the variance
f (1 - f) Var(u_b - u_a): exactly that of a Brownian bridge, and exactly that of scatter independent from size to size.
Beyond the last size the curve is expected to stay and its variance grows at the last segment's rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.stats import qmc

from engine.efficiency.scale import Floats, Kind, latent_ceiling, to_latent

LEARNED_SIZES = (0, 4, 8, 16, 32, 50, 100, 200, 500, 1000, 2500, 5000, 10000)
DEGREES_OF_FREEDOM = 3
ROUNDS = 25  # of EM
_NODES: Floats = stats.gamma.ppf((np.arange(16) + 0.5) / 16, DEGREES_OF_FREEDOM / 2, scale=2 / DEGREES_OF_FREEDOM)
_EXACT = 1e-6  # variance of a value known without noise, for the sake of the arithmetic


@dataclass(frozen=True)
class Seen:
    """What was measured of one curve.

    Attributes:
        sizes: Numbers of labels, distinct and rising, shape (m,).
        values: Latent scores, shape (m,).
        variances: Variances of their measurement, shape (m,).
        ceiling: Latent ceiling, or None.
        area: AUC', the area that CoS-Low predicts, or None.
        area_variance: Variance of AUC' that comes with coefficients of other models.
    """

    sizes: Floats
    values: Floats
    variances: Floats
    ceiling: float | None = None
    area: float | None = None
    area_variance: float = 0.0

    @classmethod
    def of(
        cls,
        kind: Kind,
        scores: dict[int, float],
        *,
        ceiling: float | None = None,
        test_size: float | None = None,
        area: float | None = None,
        area_variance: float = 0.0,
    ) -> Seen:
        """Put scores by number of labels on the latent scale."""
        sizes = sorted(scores)
        values, variances = to_latent(kind, [scores[n] for n in sizes], test_size)
        top = None if ceiling is None else latent_ceiling(kind, ceiling)
        return cls(np.array(sizes, dtype=float), values, variances, top, area, area_variance)


@dataclass(frozen=True)
class Process:
    """A t process over log2 n with the ceiling and AUC' as two further coordinates.

    Attributes:
        sizes: The k sizes of the first coordinates, rising.
        mean: Centre, shape (k + 2,): latent scores, latent ceiling, AUC'.
        scatter: Scatter matrix, shape (k + 2, k + 2).
    """

    sizes: tuple[int, ...]
    mean: Floats
    scatter: Floats

    def with_sizes(self, sizes: Floats) -> Process:
        """Return the process with further sizes among its coordinates."""
        everything = np.union1d(np.asarray(self.sizes, dtype=float), sizes)
        if len(everything) == len(self.sizes):
            return self
        loadings, bridge = self._loadings(everything)
        scatter = loadings @ self.scatter @ loadings.T + np.diag(bridge)
        return Process(tuple(int(n) for n in everything), loadings @ self.mean, scatter)

    def condition(self, seen: Seen) -> Posterior:
        """Return the posterior of all coordinates; the sizes seen become coordinates too."""
        process = self.with_sizes(seen.sizes)
        k = len(process.sizes)
        where = [int(i) for i in np.searchsorted(np.asarray(process.sizes), seen.sizes)]
        values, variances = list(seen.values), list(seen.variances)
        if seen.ceiling is not None:
            where, values, variances = [*where, k], [*values, seen.ceiling], [*variances, 0.0]
        if seen.area is not None:
            where, values, variances = [*where, k + 1], [*values, seen.area], [*variances, seen.area_variance]
        return Posterior(process, np.array(where, dtype=int), np.array(values), np.array(variances))

    def _loadings(self, sizes: Floats) -> tuple[Floats, Floats]:
        """Lines through the coordinates that give the latent score at these sizes, and the variance they lack."""
        known, x = _doublings(np.asarray(self.sizes, dtype=float)), _doublings(sizes)
        left = np.clip(np.searchsorted(known, x, side="right") - 1, 0, len(known) - 2)
        length = known[left + 1] - known[left]
        beyond = np.maximum(x - known[-1], 0.0)
        part = np.clip((x - known[left]) / length, 0, 1)
        m, d = len(sizes), len(self.mean)
        loadings = np.zeros((m + 2, d))
        loadings[np.arange(m), left] = 1 - part
        loadings[np.arange(m), left + 1] = part
        loadings[[m, m + 1], [d - 2, d - 1]] = 1
        variance = np.diag(self.scatter)
        step = variance[left + 1] + variance[left] - 2 * self.scatter[left, left + 1]
        return loadings, np.append(step * (part * (1 - part) + beyond / length), [0.0, 0.0])


class Posterior:
    """A process given what was seen of a curve: a mixture of Gaussians, one for each node of w.

    With S the scatter, P its rows of what was seen, V the part between them and R the noise, one eigendecomposition
    R^-1/2 V R^-1/2 = Q diag(l) Q' serves every w: (V/w + R)^-1 = R^-1/2 Q diag(w / (l + w)) Q' R^-1/2. With
    H = Q' R^-1/2 P and b = Q' R^-1/2 (y - mean) the mean given w is mean + H' (b / (l + w)) and the covariance
    (S - H' diag(1 / (l + w)) H) / w.
    """

    def __init__(self, process: Process, where: NDArray[np.int_], values: Floats, variances: Floats) -> None:
        self.process = process
        noise = 1 / np.sqrt(variances + _EXACT)
        rows = process.scatter[where]
        lengths, vectors = np.linalg.eigh(noise[:, None] * rows[:, where] * noise)
        lengths = np.maximum(lengths, 0.0)
        self._h = vectors.T @ (noise[:, None] * rows)
        b = vectors.T @ (noise * (values - process.mean[where]))
        self._shrink = 1 / (lengths + _NODES[:, None])
        self._pull = b * self._shrink
        fit = -0.5 * (_NODES[:, None] * b * self._pull - np.log(_NODES[:, None] * self._shrink)).sum(axis=1)
        constant = np.log(noise).sum() - 0.5 * len(where) * np.log(2 * np.pi)
        total = float(np.logaddexp.reduce(fit))
        self.evidence = total - np.log(len(_NODES)) + float(constant)
        self.weights: Floats = np.exp(fit - total)

    @cached_property
    def means(self) -> Floats:
        """Mean given each node, shape (16, d)."""
        return np.asarray(self.process.mean + self._pull @ self._h)

    def covariance(self, node: int) -> Floats:
        """Covariance given a node, shape (d, d)."""
        return np.asarray((self.process.scatter - self._h.T @ (self._shrink[node][:, None] * self._h)) / _NODES[node])

    def moments(self, columns: NDArray[np.int_]) -> tuple[float, Floats, Floats]:
        """Return E w, E w (u - mean) and E w (u - mean)(u - mean)' of some coordinates, for EM."""
        h, weighted = self._h[:, columns], self.weights * _NODES
        first = (weighted @ self._pull) @ h
        inner = (self._pull * weighted[:, None]).T @ self._pull - np.diag(self.weights @ self._shrink)
        return float(weighted.sum()), first, self.process.scatter[np.ix_(columns, columns)] + h.T @ inner @ h


def draw(posteriors: Sequence[Posterior], weights: Sequence[float], count: int) -> Floats:
    """Draw latent curves from a weighted mixture of posteriors over the same coordinates, shape (count, d).

    The points are a scrambled Sobol sequence (count a power of two): the same each time, and their quantiles settle
    faster than those of random draws.
    """
    share = np.log(weights) + [posterior.evidence for posterior in posteriors]
    share = np.exp(share - np.logaddexp.reduce(share))
    part = np.concatenate([s * posterior.weights for s, posterior in zip(share, posteriors, strict=True)])
    d = len(posteriors[0].process.mean)
    uniform, normal = _points(d, count)
    chosen = np.minimum(np.searchsorted(np.cumsum(part), uniform), len(part) - 1)
    draws = np.empty((count, d))
    for k in np.unique(chosen):
        rows, posterior, node = chosen == k, posteriors[k // len(_NODES)], k % len(_NODES)
        lengths, vectors = np.linalg.eigh(posterior.covariance(node))
        draws[rows] = posterior.means[node] + (normal[rows] * np.sqrt(np.maximum(lengths, 0.0))) @ vectors.T
    return draws


@cache
def _points(d: int, count: int) -> tuple[Floats, Floats]:
    """Uniform numbers of shape (count,) and normal ones of shape (count, d)."""
    points = qmc.Sobol(d + 1, rng=np.random.default_rng(20251224)).random(count)
    return points[:, 0], stats.norm.ppf(np.clip(points[:, 1:], 1e-9, 1 - 1e-9))


@dataclass(frozen=True)
class Prior:
    """What a process is shrunk towards.

    Attributes:
        start: Centre from which EM starts, shape (d,).
        scatter: Scatter, shape (d, d).
        rows: Number of curves that the scatter is worth.
        mean_rows: Number of curves that the centre is worth; 0 where the curves alone place it.
    """

    start: Floats
    scatter: Floats
    rows: float
    mean_rows: float = 0.0


def fit(curves: Sequence[Seen], weights: Sequence[float], prior: Prior, rounds: int = ROUNDS) -> Process:
    """Fit a process at `LEARNED_SIZES` to curves by EM, the scatter as the posterior mode under an inverse Wishart."""
    process = Process(LEARNED_SIZES, prior.start, prior.scatter)
    for _ in range(rounds):
        process = _em_step(process, curves, weights, prior)
    return process


def _em_step(process: Process, curves: Sequence[Seen], weights: Sequence[float], prior: Prior) -> Process:
    """One step of EM: the moments of each curve given what was seen of it, then centre and scatter."""
    total, first, second = prior.mean_rows, prior.mean_rows * (prior.start - process.mean), prior.rows * prior.scatter
    for curve, weight in zip(curves, weights, strict=True):
        posterior = process.condition(curve)
        k = len(posterior.process.sizes)
        sizes = np.searchsorted(np.asarray(posterior.process.sizes), np.asarray(process.sizes))
        w, one, two = posterior.moments(np.append(sizes, [k, k + 1]))
        total, first, second = total + weight * w, first + weight * one, second + weight * two
    step = first / total
    # The curves' part of `first` and `total`; the prior's pull on the centre adds nothing to the scatter.
    own, pulled = total - prior.mean_rows, first - prior.mean_rows * (prior.start - process.mean)
    second = second - np.outer(pulled, step) - np.outer(step, pulled) + own * np.outer(step, step)
    scatter = second / (prior.rows + float(np.sum(weights)))
    return Process(process.sizes, process.mean + step, (scatter + scatter.T) / 2)


def _doublings(n: Floats) -> Floats:
    return np.asarray(np.log2(np.maximum(n, 1)))
