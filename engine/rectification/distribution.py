"""The rectified distribution function: jumps at labels and their predictions, laid over the sorted pool."""

from dataclasses import dataclass

import numpy as np

from engine.rectification.design import Sample
from engine.rectification.inputs import Floats
from engine.rectification.layout import Layout

NEAR = 1e-12  # heights closer than this are the same


@dataclass(frozen=True)
class SortedPool:
    """The pool's predictions in rising order, (m,), and where the rows came from if their masses differ."""

    values: Floats
    order: np.ndarray | None

    @classmethod
    def of(cls, predictions: Floats, layout: Layout) -> "SortedPool":
        """Sorted; the order is kept only where weights or strata need it."""
        if layout.pool_weights is None and layout.pool_strata is None:
            return cls(np.sort(predictions), None)
        order = np.argsort(predictions)
        return cls(predictions[order], order)


@dataclass(frozen=True)
class Curve:
    """F(v) as the sum of two step functions.

    jumps: places of labels and their predictions, rising, (k,). heights: what these add from each place on, (k,).
    pool: sorted predictions, (m,). mass: what each of them adds, or the running sums where they differ, (m + 1,).
    """

    jumps: Floats
    heights: Floats
    pool: Floats
    mass: float | Floats

    def at(self, value: float) -> float:
        """F at one point."""
        k = int(np.searchsorted(self.jumps, value, side="right"))
        own = float(self.heights[k - 1]) if k else 0.0
        return own + float(self._height(np.searchsorted(self.pool, value, side="right")))

    def highest_up_to(self, value: float) -> float:
        """The largest F at any place up to the value; F may fall where predictions of labelled rows stand."""
        base, _, ends = self._segments()
        before = int(np.searchsorted(self.jumps, value, side="right"))
        return float(max([self.at(value), *(base + self._height(ends))[:before]]))

    def lowest_from(self, value: float) -> float:
        """The smallest F from just before the value on."""
        base, starts, _ = self._segments()
        after = int(np.searchsorted(self.jumps, value, side="left")) + 1
        return float(min([self.at(float(np.nextafter(value, -np.inf))), *(base + self._height(starts))[after:]]))

    def crossing(self, level: float) -> float:
        """The first place where F reaches the level; the middle of the stretch where it stays on it."""
        first = self.first_reaching(level)
        if abs(self.at(first) - level) > NEAR:
            return first
        after = self._next(first)
        return first if after is None else 0.5 * (first + after)

    def first_reaching(self, level: float) -> float:
        """The smallest place where F is not below the level."""
        base, starts, ends = self._segments()
        most = base + self._height(ends)
        reached = np.flatnonzero(most >= level - NEAR)
        if not len(reached):
            return self._largest()
        k = int(reached[0])
        count = self._count_reaching(level - NEAR - base[k])
        if count > starts[k]:
            return float(self.pool[count - 1])
        return float(self.jumps[k - 1]) if k else self._smallest()

    def last_within(self, level: float) -> float:
        """The end of the last stretch where F is not above the level."""
        base, starts, ends = self._segments()
        within = np.flatnonzero(base + self._height(starts) <= level + NEAR)
        if not len(within):
            return self._smallest()
        k = int(within[-1])
        count = self._count_exceeding(level + NEAR - base[k])
        if count <= ends[k]:
            return float(self.pool[count - 1])
        return float(self.jumps[k]) if k < len(self.jumps) else self._largest()

    def joined(self, known: Floats, part: float) -> "Curve":
        """This curve for all but a part of the population whose values are known, (s,)."""
        masses = np.concatenate(
            [(1 - part) * np.diff(self.heights, prepend=0.0), np.full(len(known), part / len(known))]
        )
        jumps, heights = _running(np.concatenate([self.jumps, known]), masses)
        return Curve(jumps, heights, self.pool, self.mass * (1 - part))

    def _segments(self) -> tuple[Floats, np.ndarray, np.ndarray]:
        """Between jumps: the constant part, and how many pool rows lie before the start and before the end."""
        base = np.concatenate([[0.0], self.heights])
        starts = np.concatenate([[0], np.searchsorted(self.pool, self.jumps, side="right")])
        ends = np.append(np.searchsorted(self.pool, self.jumps, side="left"), len(self.pool))
        return base, starts, np.maximum(starts, ends)

    def _height(self, counts: np.ndarray | np.integer) -> Floats:
        if isinstance(self.mass, float):
            return np.asarray(self.mass * counts)
        return np.asarray(self.mass[counts])

    def _count_reaching(self, level: float) -> int:
        """The fewest pool rows whose mass reaches the level."""
        if isinstance(self.mass, float):
            return int(np.clip(np.ceil(level / self.mass), 0, len(self.pool))) if self.mass > 0 else 0
        return min(int(np.searchsorted(self.mass, level, side="left")), len(self.pool))

    def _count_exceeding(self, level: float) -> int:
        """The fewest pool rows whose mass exceeds the level; one more than there are if none does."""
        if isinstance(self.mass, float):
            return max(int(np.floor(level / self.mass)) + 1, 1) if self.mass > 0 else len(self.pool) + 1
        return max(int(np.searchsorted(self.mass, level, side="right")), 1)

    def _next(self, value: float) -> float | None:
        k = int(np.searchsorted(self.jumps, value, side="right"))
        i = int(np.searchsorted(self.pool, value, side="right")) if self._counts() else len(self.pool)
        later = [float(self.jumps[k])] if k < len(self.jumps) else []
        later += [float(self.pool[i])] if i < len(self.pool) else []
        return min(later) if later else None

    def _counts(self) -> bool:
        return not isinstance(self.mass, float) or self.mass > 0

    def _smallest(self) -> float:
        return float(min([*self.jumps[:1], *(self.pool[:1] if self._counts() else ())]))

    def _largest(self) -> float:
        return float(max([*self.jumps[-1:], *(self.pool[-1:] if self._counts() else ())]))


def rectified_curve(
    y: Floats, f: Floats, pool: SortedPool, layout: Layout, samples: list[Sample], powers: Floats
) -> Curve:
    """+1 at labels, -lambda at their predictions and +lambda over the pool, each by its share of the population."""
    places, masses, pool_masses = [], [], []
    for k, sample in enumerate(samples):
        here = slice(None) if layout.strata is None else layout.strata == k
        own = np.ones(sample.n) if sample.weights is None else sample.weights
        w = own if sample.chosen is None else 1 / sample.chosen
        w = sample.share * w / w.sum()
        whole = sample.finite or sample.chosen is not None
        total = sample.pool.weight + (float(own.sum()) if whole else 0.0)
        known = sample.share * own / total if whole else np.zeros_like(w)
        places += [y[here], f[here]]
        masses += [w, powers[k] * (known - w)]
        pool_masses.append(float(powers[k] * sample.share / total) if total > 0 else 0.0)
    jumps, heights = _running(np.concatenate(places), np.concatenate(masses))
    if pool.order is None:
        return Curve(jumps, heights, pool.values, pool_masses[0])
    v = np.ones(len(pool.values)) if layout.pool_weights is None else layout.pool_weights
    codes = np.zeros(len(pool.values), dtype=np.int64) if layout.pool_strata is None else layout.pool_strata
    steps = (v * np.asarray(pool_masses)[codes])[pool.order]
    return Curve(jumps, heights, pool.values, np.concatenate([[0.0], np.cumsum(steps)]))


def _running(places: Floats, masses: Floats) -> tuple[Floats, Floats]:
    """Distinct places with the running sum of their masses; places without mass are left out."""
    kept = masses != 0
    places, masses = places[kept], masses[kept]
    order = np.argsort(places, kind="stable")
    places, heights = places[order], np.cumsum(masses[order])
    last = np.append(places[1:] != places[:-1], True)
    places, heights = places[last], heights[last]
    # A label and its equal prediction cancel; where nothing jumps there is no place to stop.
    moved = np.abs(np.diff(heights, prepend=0.0)) > NEAR
    return places[moved], heights[moved]
