"""Sealing: which labels may be looked at before the estimate, decided by the data and a seed alone.

The split may be chosen only from labels of the fine-tuning part; the rectification labels stay sealed until the
estimate. All draws are determined by the data set's key and the seed, so the same study gives the same hold-outs, the
same trials and the same folds on every run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]

_PILOT_SHARE = 0.3
_FEWEST_PILOT = 40
_FIRST_SIZE = 16
_FEWEST_HELD_OUT = 4


@dataclass(frozen=True)
class Sealing:
    """The order in which labels are opened.

    Attributes:
        order: All labelled rows in random order, shape (n,); the pilot takes the first, a split the first s.
        pilot_size: How many of them the pilot may look at.
    """

    order: Rows
    pilot_size: int

    @classmethod
    def of(cls, key: str, n: int, seed: int) -> Sealing:
        """Return the sealing of a data set by its key."""
        order = generator(key, seed).permutation(n)
        return cls(order, min(max(round(_PILOT_SHARE * n), _FEWEST_PILOT), n // 2))

    @property
    def pilot(self) -> Rows:
        """The rows that the pilot may look at."""
        return self.order[: self.pilot_size]

    def split(self, s: int) -> tuple[Rows, Rows]:
        """Return the rows that fine-tune and the rows that rectify."""
        return np.sort(self.order[:s]), np.sort(self.order[s:])

    def trials(self, seeds: int) -> list[tuple[int, Rows, Rows]]:
        """Return the trials as (seed, training rows, hold-out rows).

        Each seed holds out its own fifth of the pilot, the same at every size, and adds labels in its own order: the
        curve does not jump because another hold-out was drawn, and all fifths together leave no label unused. A small
        pilot has fewer and larger parts: a line through two held-out labels would leave no residual.
        """
        pilot = self.pilot
        parts = max(min(max(seeds, 5), len(pilot) // _FEWEST_HELD_OUT), 2)
        trials = []
        for seed in range(min(seeds, parts)):
            holdout = pilot[seed::parts]
            rest = np.setdiff1d(pilot, holdout, assume_unique=True)
            rest = np.random.default_rng([seed, len(pilot)]).permutation(rest)
            trials += [(seed, rest[:size], holdout) for size in _sizes(len(rest))]
        return sorted(trials, key=lambda trial: (len(trial[1]), trial[0]))

    def folds(self, count: int) -> list[Rows]:
        """Return K folds of all labels, their sizes within one of each other."""
        return [np.sort(part) for part in np.array_split(self.order, count)]


def generator(key: str, seed: int) -> np.random.Generator:
    """Return a generator determined by a data set's key and a seed."""
    return np.random.default_rng([seed, *(int(key[i : i + 8], 16) for i in range(0, 32, 8))])


def _sizes(largest: int) -> list[int]:
    """Sizes that double from 16 and end at `largest`; a last doubling that comes close to it is left out."""
    sizes, size = [], _FIRST_SIZE
    while size < 0.75 * largest:
        sizes.append(size)
        size *= 2
    return [*sizes, largest]
