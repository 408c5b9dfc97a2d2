"""The rectified mean."""

from dataclasses import replace

import numpy as np

from engine.rectification.answer import Scores, answer_scores
from engine.rectification.calibration import calibrate_scores
from engine.rectification.estimate import Estimate
from engine.rectification.inputs import Alternative, Calibration, Faults, Floats
from engine.rectification.layout import Design, read_layout, read_pool


def rectified_mean(
    y: object,
    predictions: object,
    pool_predictions: object,
    *,
    confidence: float = 0.95,
    power_tuning: bool = True,
    weights: object | None = None,
    pool_weights: object | None = None,
    strata: object | None = None,
    pool_strata: object | None = None,
    clusters: object | None = None,
    finite_population: bool = False,
    trained: object | None = None,
    trained_weights: object | None = None,
    trained_clusters: object | None = None,
    pool_clusters: object | None = None,
    probabilities: object | None = None,
    alternative: Alternative = "two-sided",
    null: float | None = None,
    calibrate: Calibration | None = None,
) -> Estimate:
    """The mean label of a population from n labels and m predictions, by prediction-powered inference.

    theta = lambda mean_pool(f) + mean(Y - lambda f) (Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453).

    Args:
        y: n labels. Where they are all 0 or 1 the interval is Wilson's and stays within [0, 1].
        predictions: n predictions for the same rows, by a model that did not see these labels.
        pool_predictions: m predictions for rows without a label, or a PoolSummary of them.
        confidence: share of intervals that contain the truth, between 0 and 1.
        power_tuning: choose lambda from the data (else 1).
        weights: how much each of the n rows counts.
        pool_weights: how much each of the m rows counts.
        strata: names of the n rows' strata, each sampled separately.
        pool_strata: the same for the m rows.
        clusters: names of the n rows' clusters, each sampled as a whole.
        pool_clusters: the same for the m rows, where the pool was sampled so too.
        finite_population: labels, trained labels and pool are everything one speaks of.
        trained: labels of rows that trained the predictor, drawn at random from the same population, none of
            them in y. They count for labels_only, and exactly where the population is finite.
        trained_weights: their weights, needed where weights are given.
        trained_clusters: names of their clusters, needed where clusters are given; no cluster should be in both.
        probabilities: known chance, above 0 and up to 1, with which each label was drawn from all rows.
        alternative: "larger" or "smaller" gives a one-sided interval.
        null: value whose p-value is wanted.
        calibrate: "linear" or "isotonic" maps predictions onto labels first, cross-fitted.

    Raises:
        ArgumentError: naming every argument at fault.
    """
    faults = Faults()
    question = faults.question(confidence, alternative, power_tuning, finite_population, null)
    faults.choice("calibrate", calibrate, (None, "linear", "isotonic"))
    labels = faults.numbers("y", y, least=2)
    own = faults.numbers("predictions", predictions, length=len(labels))
    design = Design(
        weights, pool_weights, strata, pool_strata, clusters, pool_clusters, probabilities, trained, trained_weights,
        trained_clusters,
    )  # fmt: skip
    rows = calibrate is not None or any(
        part is not None for part in (weights, pool_weights, pool_strata, pool_clusters)
    )
    pool = read_pool(faults, pool_predictions, 1, question.finite_population, rows=rows)
    layout = read_layout(faults, design, len(labels), pool, question.finite_population)
    extra = _trained(faults, trained)
    extra_weights = None if extra is None else faults.weights("trained_weights", trained_weights, len(extra), "trained")
    faults.raise_any()
    scores = Scores(labels[:, None], own[:, None], pool, extra, extra_weights)
    if calibrate is not None:
        scores = replace(scores, **calibrate_scores(scores.y, scores.f, pool, calibrate))
    return answer_scores(scores, layout, question, shares=_only_zero_and_one(labels, extra))


def _trained(faults: Faults, trained: object | None) -> Floats | None:
    if trained is None or (hasattr(trained, "__len__") and len(trained) == 0):
        return None
    return faults.numbers("trained", trained)[:, None]


def _only_zero_and_one(labels: Floats, trained: Floats | None) -> bool:
    if labels[0] not in (0, 1):
        return False
    every = labels if trained is None else np.concatenate([labels, trained[:, 0]])
    return bool(((every == 0) | (every == 1)).all())
