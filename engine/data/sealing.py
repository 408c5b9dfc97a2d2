"""Sealing: which labels may be looked at before the estimate, decided by the data and a seed alone.

The split may be chosen only from labels of the fine-tuning part: the pilot opens them step by step, and those not yet
opened stay sealed until the estimate. All draws are determined by the data set's key and the seed, so the same study
gives the same hold-outs, the same trials and the same folds on every run. What one pilot has opened rectifies no split
of a later run either.

Under cross-fit the labels that the pilot opened rectify too, and this is honest for two reasons. No label rectifies a
model that it trained. And what the pilot chose (the strategy, the number of folds) it chose by how far cross-validated
residuals scatter, while the estimate errs by their mean: changing the sign of all residuals changes the second and not
the first, so where they scatter evenly about their mean the choice tells nothing of the error. The interval is measured
after the choice, from all labels. How often it covers is measured in benchmarks/allocation_regret.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArgumentError

Rows = NDArray[np.intp]

_FIRST_STEP = 64  # labels at most
_SMALLEST_TRIAL, _FEWEST_TO_TRAIN = 12, 5
_FEWEST_HELD_OUT = 4


@dataclass(frozen=True)
class Sealing:
    """The order in which labels are opened.

    Attributes:
        order: All labelled rows in random order, shape (n,); the pilot takes the first, a split the first s.
        pilot_size: How many of them the pilot has opened.
    """

    order: Rows
    pilot_size: int

    @classmethod
    def of(cls, key: str, n: int, seed: int) -> Sealing:
        """Return the sealing of a data set by its key, opened for the first step."""
        return cls(generator(key, seed).permutation(n), fewest_to_finetune(n))

    def steps(self) -> list[int]:
        """Return how many labels the pilot has opened after this step and each further one: twice as many, to half."""
        further, size = [], len(self.order) // 2
        while size > self.pilot_size:
            further.append(size)
            size //= 2
        return [self.pilot_size, *further[::-1]]

    def opened(self, count: int) -> Sealing:
        """Return the sealing once the pilot has opened `count` labels."""
        return replace(self, pilot_size=count)

    @property
    def pilot(self) -> Rows:
        """The rows that the pilot may look at."""
        return self.order[: self.pilot_size]

    def split(self, s: int) -> tuple[Rows, Rows]:
        """Return the rows that fine-tune and the rows that rectify."""
        return np.sort(self.order[:s]), np.sort(self.order[s:])

    def trials(self, seeds: int, classes: Rows | None = None) -> list[tuple[int, Rows, Rows]]:
        """Return the trials as (seed, training rows, hold-out rows); `classes` are the codes of all labels, shape (n,).

        Each seed holds out its own part of the pilot, the same at every size, and adds labels in its own order: the
        curve does not jump because another hold-out was drawn, and all parts together leave no label unused. A small
        pilot has fewer and larger parts: a line through two held-out labels would leave no residual. The sizes of a
        step are among those of the next. Each hold-out has its part of every class, as far as there are enough of it.
        """
        pilot = self.pilot if classes is None else self.pilot[np.argsort(classes[self.pilot], kind="stable")]
        parts = max(min(seeds, len(pilot) // _FEWEST_HELD_OUT), 2)
        trials = []
        for seed in range(min(seeds, parts)):
            holdout = pilot[seed::parts]
            rest = np.setdiff1d(pilot, holdout, assume_unique=True)
            rest = np.random.default_rng([seed, len(pilot)]).permutation(rest)
            trials += [(seed, rest[:size], holdout) for size in _sizes(len(pilot), parts)]
        return sorted(trials, key=lambda trial: (len(trial[1]), trial[0]))

    def folds(self, count: int) -> list[Rows]:
        """Return K folds of all labels, their sizes within one of each other."""
        return [np.sort(part) for part in np.array_split(self.order, count)]


def fewest_to_finetune(n: int) -> int:
    """Return how many of n labels the pilot opens first, and so the fewest that fine-tune under a split: half of them,
    or a half of a half and so on, at most 64."""
    first = n // 2
    while first > _FIRST_STEP:
        first //= 2
    return first


def generator(key: str, seed: int) -> np.random.Generator:
    """Return a generator determined by a data set's key and a seed."""
    return np.random.default_rng([seed, *(int(key[i : i + 8], 16) for i in range(0, 32, 8))])


def require_sealed(opened: Rows, rectify: Rows) -> None:
    """Refuse to rectify a split with labels that the pilot has opened.

    Raises:
        ArgumentError: Some of the rows were opened.
    """
    seen = np.intersect1d(opened, rectify)
    if seen.size:
        raise ArgumentError(
            f"{seen.size:,} labels were opened to choose the split and cannot rectify it; fine-tune on at least "
            f"{opened.size:,} labels."
        )


def _sizes(pilot: int, parts: int) -> list[int]:
    """What is left of the pilot beside a hold-out, and the same of each half of it, down to a dozen labels."""
    sizes: list[int] = []
    while pilot > 1:
        size = pilot - -(-pilot // parts)
        if size < (_SMALLEST_TRIAL if len(sizes) > 1 else _FEWEST_TO_TRAIN):
            break
        sizes.append(size)
        pilot //= 2
    return sizes[::-1] or [pilot - -(-pilot // parts)]
