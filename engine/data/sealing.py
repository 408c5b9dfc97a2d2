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

Labels of one text stay together: what has trained on a text says nothing of how well others are predicted.
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
        clusters: Codes of the rows by their texts, shape (n,), where some text has several labels; those of a text
            follow each other in the order.
    """

    order: Rows
    pilot_size: int
    clusters: Rows | None = None

    @classmethod
    def of(cls, key: str, n: int, seed: int, clusters: Rows | None = None) -> Sealing:
        """Return the sealing of a data set by its key, opened for the first step."""
        order = generator(key, seed).permutation(n)
        if clusters is not None:
            order = order[np.argsort(_by_appearance(clusters[order]), kind="stable")]
        return cls(order, n, clusters).opened(fewest_to_finetune(n))

    def steps(self) -> list[int]:
        """Return how many labels the pilot has opened after this step and each further one: twice as many, to half."""
        further, size = [], len(self.order) // 2
        while size > self.pilot_size:
            further.append(self._whole(size))
            size //= 2
        return [self.pilot_size, *dict.fromkeys(further[::-1])]

    def opened(self, count: int) -> Sealing:
        """Return the sealing once the pilot has opened `count` labels, and what else their last text has."""
        return replace(self, pilot_size=self._whole(count))

    @property
    def pilot(self) -> Rows:
        """The rows that the pilot may look at."""
        return self.order[: self.pilot_size]

    def split(self, s: int) -> tuple[Rows, Rows]:
        """Return the rows that fine-tune, s and what else their last text has, and the rows that rectify."""
        s = self._whole(s)
        return np.sort(self.order[:s]), np.sort(self.order[s:])

    def trials(self, seeds: int, classes: Rows | None = None) -> list[tuple[int, Rows, Rows]]:
        """Return the trials as (seed, training rows, hold-out rows); `classes` are the codes of all labels, shape (n,).

        Each seed holds out its own part of the pilot, the same at every size, and adds labels in its own order: the
        curve does not jump because another hold-out was drawn, and all parts together leave no label unused. A small
        pilot has fewer and larger parts: a line through two held-out labels would leave no residual. The sizes of a
        step are among those of the next. Each hold-out has its part of every class, as far as there are enough of it.
        """
        pilot = self.pilot if classes is None else self.pilot[np.argsort(classes[self.pilot], kind="stable")]
        texts = np.arange(len(pilot)) if self.clusters is None else _by_appearance(self.clusters[pilot])
        parts = max(min(seeds, (texts.max() + 1) // _FEWEST_HELD_OUT), 2)
        trials = []
        for seed in range(min(seeds, parts)):
            holdout = pilot[texts % parts == seed]
            rest = np.setdiff1d(pilot, holdout, assume_unique=True)
            rest = np.random.default_rng([seed, len(pilot)]).permutation(rest)
            trials += [(seed, rest[:size], holdout) for size in _sizes(len(pilot), parts)]
        return sorted(trials, key=lambda trial: (len(trial[1]), trial[0]))

    def folds(self, count: int) -> list[Rows]:
        """Return K folds of all labels, their sizes within one of each other; fewer where texts are."""
        ends = np.cumsum([len(part) for part in np.array_split(self.order, count)])
        cuts = dict.fromkeys(self._whole(int(end)) for end in ends[:-1])
        return [np.sort(part) for part in np.split(self.order, list(cuts)) if len(part)]

    def _whole(self, count: int) -> int:
        """Return where to cut the order so that no text is parted: at `count`, or at the nearest place above, or below
        where there is none."""
        if self.clusters is None or not 0 < count < len(self.order):
            return count
        codes = self.clusters[self.order]
        cuts = np.flatnonzero(codes[1:] != codes[:-1]) + 1
        above = cuts[cuts >= count]
        return int(above[0] if above.size else cuts[-1])


def _by_appearance(codes: Rows) -> Rows:
    """Number codes from zero in the order in which they first appear."""
    _, first, places = np.unique(codes, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[places])


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
