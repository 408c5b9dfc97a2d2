"""What a plan refuses, each in a sentence."""

from __future__ import annotations

import numpy as np

from engine.allocation.strategies import FEWEST_TO_RECTIFY
from engine.errors import ArgumentError

FEWEST = 2 * FEWEST_TO_RECTIFY


def check_numbers(n: int, m: int, label_variance: float, population: str, folds: int | None) -> None:
    """Refuse numbers that cannot be planned with."""
    if n < FEWEST:
        raise ArgumentError(f"n is {n}; a plan needs at least {FEWEST} labels.")
    if m < 1:
        raise ArgumentError(f"m is {m}; a plan needs a pool of at least one text.")
    if not (np.isfinite(label_variance) and label_variance > 0):
        raise ArgumentError(f"label_variance is {label_variance}; it must be finite and above zero.")
    if population not in ("these", "larger"):
        raise ArgumentError(f"population is {population!r}; it must be 'these' or 'larger'.")
    if folds is not None and not 2 <= folds <= n:
        raise ArgumentError(f"folds is {folds}; it must lie from 2 to the number of labels, {n}.")


def check_options(
    confidence: float,
    finetune_minimum: int,
    zero_shot_variance: float | None,
    half_width: float | None,
    design_effect: float,
    unit_share: float,
) -> None:
    """Refuse options outside their range."""
    if not 0 < confidence < 1:
        raise ArgumentError(f"confidence is {confidence}; it must lie between 0 and 1, such as 0.95.")
    if finetune_minimum < 0:
        raise ArgumentError(f"finetune_minimum is {finetune_minimum}; it cannot be negative.")
    if zero_shot_variance is not None and not (np.isfinite(zero_shot_variance) and zero_shot_variance > 0):
        raise ArgumentError(f"zero_shot_variance is {zero_shot_variance}; it must be finite and above zero.")
    if not (np.isfinite(design_effect) and design_effect >= 1):
        raise ArgumentError(f"design_effect is {design_effect}; it is 1 without weights and larger with them.")
    if not 0 < unit_share <= 1:
        raise ArgumentError(f"unit_share is {unit_share}; it is 1 without weights and smaller with them.")
    if half_width is not None:
        check_half_width(half_width)


def check_labels(n: int, texts: int) -> None:
    """Refuse more labels than leave a text to predict."""
    if n >= texts:
        raise ArgumentError(f"n is {n}, but there are {texts} texts in all; with all of them labelled nothing is left.")


def check_half_width(half_width: float) -> None:
    """Refuse a half-width that is not finite and above zero."""
    if not 0 < half_width < np.inf:
        raise ArgumentError(f"half_width is {half_width}; it must be finite and above zero, in units of the label.")
