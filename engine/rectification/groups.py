"""Rectified means of groups and all differences between them: what the caller hands in."""

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArgumentError
from engine.rectification.calibration import calibrate_scores
from engine.rectification.contrasts import Multiplicity
from engine.rectification.estimate import Estimate
from engine.rectification.group_answers import GroupTable, answer_groups
from engine.rectification.inputs import Alternative, Calibration, Faults, Floats, quietly
from engine.rectification.layout import Design, codes_of, read_layout, read_pool
from engine.rectification.pool import PoolSummary


def rectified_groups(
    y: object,
    predictions: object,
    pool_predictions: object,
    *,
    groups: object,
    pool_groups: object,
    confidence: float = 0.95,
    power_tuning: bool = True,
    weights: object | None = None,
    pool_weights: object | None = None,
    clusters: object | None = None,
    finite_population: bool = False,
    multiplicity: Multiplicity = "holm",
    trained: object | None = None,
    trained_groups: object | None = None,
    trained_weights: object | None = None,
    trained_clusters: object | None = None,
    alternative: Alternative = "two-sided",
    null: float = 0.0,
    calibrate: Calibration | None = None,
) -> Estimate:
    """The mean of each group, then every difference "A - B", with their covariance.

    Takes what rectified_mean takes (but strata), and:
        groups, pool_groups: names of the groups of the n and m rows.
        trained_groups: the same for the labels in trained.
        multiplicity: how the intervals and p-values of the differences allow for their number: "holm",
            "bonferroni" (both hold together at the confidence) or "none". Means are given one by one.
        null: value that the p-values of the means test; differences are tested against 0.

    Returns:
        Estimate with arrays in the order of names: the k groups, sorted, then k (k - 1) / 2 differences. Each group
        has a lambda of its own; a group with fewer than 2 labels of positive weight, or with labels of a single
        cluster, is left out with a note.

    Raises:
        ArgumentError: naming every argument at fault.
    """
    faults = Faults()
    question = faults.question(confidence, alternative, power_tuning, finite_population, null)
    if null is None:
        faults.add("null must be one finite number; None was given.")
    faults.choice("multiplicity", multiplicity, ("holm", "bonferroni", "none"))
    faults.choice("calibrate", calibrate, (None, "linear", "isotonic"))
    if isinstance(pool_predictions, PoolSummary):
        raise ArgumentError("Groups need the pool row by row: give pool_predictions as an array, not a summary.")
    labels = faults.numbers("y", y, least=2)
    own = faults.numbers("predictions", predictions, length=len(labels))
    pool = np.asarray(read_pool(faults, pool_predictions, 1, question.finite_population))
    design = Design(
        weights, pool_weights, clusters=clusters, trained=trained, trained_weights=trained_weights,
        trained_clusters=trained_clusters,
    )  # fmt: skip
    layout = read_layout(faults, design, len(labels), pool, question.finite_population)
    marks = _marks(faults, "groups", groups, len(labels), "y")
    pool_marks = _marks(faults, "pool_groups", pool_groups, len(pool), "pool_predictions")
    extra, extra_marks, extra_weights = _trained(faults, trained, trained_groups, trained_weights)
    faults.raise_any()
    f = own[:, None]
    if calibrate is not None:
        mapped = calibrate_scores(labels[:, None], f, pool, calibrate)
        f, pool = mapped["f"], np.asarray(mapped["pool"])
    codes, pool_codes, names = codes_of(marks, pool_marks)
    table = GroupTable(labels, f, pool, codes, pool_codes, names, layout, extra, extra_marks, extra_weights)
    shares = bool(np.isin(np.concatenate([labels, extra]), (0, 1)).all())
    result: Estimate = quietly(lambda: answer_groups(table, question, multiplicity, shares))
    return result


def _marks(faults: Faults, name: str, values: object, length: int, of: str) -> NDArray[np.object_]:
    if values is None:
        faults.add(f"{name} must be a list with one group per row; None was given.")
    found = faults.marks(name, values, length, of)
    return np.full(length, "", dtype=object) if found is None else found


def _trained(
    faults: Faults, trained: object | None, groups: object | None, weights: object | None
) -> tuple[Floats, NDArray[np.object_], Floats]:
    if trained is None:
        return np.zeros(0), np.zeros(0, dtype=object), np.zeros(0)
    labels = faults.numbers("trained", trained)
    if groups is None:
        faults.add("trained labels need trained_groups: give one group for each.")
    marks = _marks(faults, "trained_groups", groups, len(labels), "trained")
    found = faults.weights("trained_weights", weights, len(labels), "trained")
    return labels, marks, np.ones(len(labels)) if found is None else found
