"""Weights that make up for draws of texts that the model was least sure of, which are no random sample.

Each label counts for as many texts as it stands for: those of texts that such were drawn from, for these alone, the
others for the rest. This is post-stratification; the weights enter the estimate as sampling weights do. Which texts
were drawn from is known row by row, also where the model read a part of the pool only: a text that it did not read is
one of the rest, of which draws at random give a random sample. Draws by other models, or from other parts of the pool,
may overlap: among the texts drawn from, a label counts by the inverse of its chance to be drawn in any of them
(multiple frames: Kalton & Anderson 1986).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.runs.labelling import Selection

_FEWEST_REST = 10  # so many labels must speak for the texts that the model is surer of

Old = Literal["judged", "random", "skewed"]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Rows = NDArray[np.intp]
Draws = Sequence[tuple[Selection, int]]


def weigh(
    draws: Draws, before: tuple[Floats, Floats], answered: Rows, rest: Rows, *, old: Old
) -> tuple[Floats, Floats] | None:
    """Return weights with which the labels, and what is left of the pool, speak for all texts, each 1 on average.

    None where too few labels are of the rest.

    Args:
        draws: What was chosen from the pool and how many of it were labelled, the oldest first.
        before: The weights that labels (old and new) and the rest of the pool have already, shapes (n + k,), (m - k,).
        answered: The labelled rows of the pool, (k,).
        rest: Its other rows, (m - k,).
        old: What the n old labels are: a random sample that the model "judged" where it drew by confidence; a "random"
            one too small for that; or "skewed", for texts that nobody knows any more, so that they count nothing.
    """
    own, m = before[0].copy(), len(answered) + len(rest)
    n = len(own) - len(answered)
    pool = np.empty(m)
    pool[answered], pool[rest] = own[n:], before[1]
    own[:n] *= old != "skewed"
    lowest, part = _drawn_from(draws, n, m)
    part = np.concatenate([part, lowest[answered]])
    if (1 - part)[own > 0].sum() < _FEWEST_REST:
        return None
    hard, other = own * part, own * (1 - part)
    # Labels not judged speak for all texts, each as much as a label of the rest; of the odds they know nothing.
    known = np.arange(len(own)) >= (n if old == "random" else 0)
    odds = (hard[:n].sum() + pool[lowest].sum()) / ((other * known)[:n].sum() + pool[~lowest].sum())
    chances = _chances(draws, m)
    hard[n:] *= _evened(chances[answered], lowest[answered])
    labels = other + hard * odds * other[known].sum() / max(float(hard.sum()), 1e-9)
    left = _left(pool, chances, rest, lowest)
    return labels / labels.mean(), left / left.mean()


def _drawn_from(draws: Draws, n: int, m: int) -> tuple[Bools, Floats]:
    """The texts of the pool drawn from by confidence, (m,), and the part to which each old label speaks for them, (n,).

    Where a part of the pool was read, an old hard label is of a text that may have been read as well as not.
    """
    lowest, missed = np.zeros(m, dtype=bool), np.ones(n)
    for selection, labelled in draws:
        if labelled:
            lowest[list(selection.lowest)] = True
            missed[list(selection.hard_labels)] *= 1 - selection.read / m
    return lowest, 1 - missed


def _chances(draws: Draws, m: int) -> Floats:
    """The chance of each text of the pool to be labelled in any draw, given the texts that each was from, (m,)."""
    chance, free, chosen = np.zeros(m), np.ones(m), np.zeros(m, dtype=bool)
    for selection, labelled in draws:
        drawn_from = np.ones(m, dtype=bool)
        if selection.by_confidence:
            drawn_from = np.isin(np.arange(m), selection.lowest)
        left = max(int((drawn_from & ~chosen).sum()), 1)
        chance += free * drawn_from * labelled / left
        free *= 1 - drawn_from * len(selection.rows) / left
        chosen[list(selection.rows)] = True
    return chance


def _evened(chances: Floats, here: Bools) -> Floats:
    """What makes up for chances that differ among the labels here, 1 on average, (k,); 1 for all others."""
    factors = np.ones(len(chances))
    if here.any():
        factors[here] = 1 / chances[here]
        factors[here] /= factors[here].mean()
    return factors


def _left(pool: Floats, chances: Floats, rest: Rows, lowest: Bools) -> Floats:
    """Weights of what is left of the pool: of the texts drawn from, more became labels than of the others, (m - k,)."""
    hard = lowest[rest]
    weights = pool[rest] * _evened(1 - chances[rest], hard)
    if not hard.any() or hard.all():
        return weights
    for here, whole in ((hard, lowest), (~hard, ~lowest)):
        weights[here] *= pool[whole].sum() / weights[here].sum()
    return weights
