"""How far each label will carry: CoS-Low, published curves and pilot scores as one posterior over the curve.

Before anything is trained CoS-Low gives the law of the area, AUC' on the logit scale with its error on tasks left out;
the curves are draws of the calibration's process, each taken where its own area is the nearest to a draw of that law
(Jeffrey's conditioning: the law of the area is the link's, the shape given the area the process's). With scores AUC' is
one more coordinate of the process (`process`), which is conditioned on it, on the scores and on the ceiling at once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from engine.efficiency.calibration import Calibration, shipped
from engine.efficiency.curve import LARGEST, Efficiency, areas, normalised
from engine.efficiency.levels import tails
from engine.efficiency.process import Seen
from engine.efficiency.scale import ACCURACY, EXPLAINED_VARIANCE, Floats
from engine.errors import ArgumentError

_DRAWS = 1024
_POOL = 8 * _DRAWS  # curves to choose from by their area


def efficiency(
    coslow: float | None = None,
    *,
    family: str | Calibration | None = None,
    scores: dict[int, float] | None = None,
    ceiling: float | None = None,
    test_size: int | None = None,
) -> Efficiency:
    """Predict the data-efficiency curve from CoS-Low, pilot scores, or both.

    Args:
        coslow: Median cosine of low-confidence gradients, between -1 and 1.
        family: What is known of the model: "llama", "mistral", "qwen" (Llama 3.1 8B, Mistral 7B v0.3, Qwen 2.5 14B),
            "accuracy" or "explained variance" for any other model by the kind of its scores, the name of a model whose
            calibration is shipped, or a `Calibration`. By default "explained variance" where a score is negative, as
            only that can be, otherwise "accuracy".
        scores: Pilot scores by number of labels, in any order: accuracies (also exact match or F1), or
            1 - sigma2/Var(Y), whichever the family was learned on; n = 0 is zero-shot.
        ceiling: The best score that can be hoped for, such as human agreement; unknown by default.
        test_size: Number of texts that each score was measured on; gives the scores their sampling noise.

    Without scores the curve is normalised, from untrained (0) to best (1).

    Raises:
        ArgumentError: A value lies outside its range, or neither CoS-Low nor scores is given.
    """
    pilot = _pilot(scores or {})
    _check(coslow, pilot, ceiling, test_size)
    calibration = _calibration(family, pilot)
    _check_kind(calibration, pilot, ceiling)
    area, variance = calibration.link.area(coslow)
    seen = Seen.of(calibration.kind, pilot, ceiling=ceiling, test_size=test_size)
    if pilot:
        sizes, draws, _ = calibration.draws(replace(seen, area=area, area_variance=variance), _DRAWS)
        found = areas(sizes, draws, ceiling)
    else:
        law = None if area is None else _law_of_area(area, calibration.link.area_error, variance)
        sizes, draws, found = _predicted(calibration, seen, law)
        ceiling = 1.0
    levels = calibration.recalibration.at(max(pilot, default=0))
    low, median, high = (float(q) for q in np.quantile(found, tails(levels.area)))
    own, name, kind = calibration.own, calibration.name, calibration.kind
    # That no training explains no variance is known of any data.
    told = area is not None or any(n > 0 or kind == ACCURACY for n in pilot)
    tasks = calibration.link.tasks if calibration.link.errors else 0
    return Efficiency(median, (low, high), coslow, own, pilot, name, kind, ceiling, sizes, draws, levels, told, tasks)


def _predicted(calibration: Calibration, seen: Seen, law: Floats | None) -> tuple[tuple[int, ...], Floats, Floats]:
    """Draws of the normalised curve and their areas, after the law of the area where CoS-Low gives one."""
    sizes, scores, ceilings = calibration.draws(seen, _POOL)
    known = np.asarray(sizes) <= LARGEST
    top = np.maximum(ceilings, scores[:, known].max(axis=1))
    # What a curve gains beyond 5,000 labels is cut off: its ceiling is the best up to there.
    curves = normalised(np.minimum(scores, top[:, None]), top)
    found = areas(sizes, curves, 1.0)
    order = np.argsort(found)
    if law is None:
        kept = order[:: _POOL // _DRAWS]
        return sizes, curves[kept], found[kept]
    middles = (found[order][1:] + found[order][:-1]) / 2
    return sizes, curves[order[np.searchsorted(middles, law)]], law


def _law_of_area(area: float, error: float, variance: float) -> Floats:
    """Quantiles of the area about AUC', kept between 0 and 1 by the logit."""
    centre = float(np.clip(area, 0.05, 0.95))
    spread = np.sqrt(error**2 + variance) / (centre * (1 - centre))
    return np.asarray(expit(logit(centre) + spread * stats.norm.ppf((np.arange(_DRAWS) + 0.5) / _DRAWS)))


def _calibration(family: str | Calibration | None, scores: dict[int, float]) -> Calibration:
    if isinstance(family, Calibration):
        return family
    if family is None:
        family = EXPLAINED_VARIANCE if any(score < 0 for score in scores.values()) else ACCURACY
    if family not in shipped():
        raise ArgumentError(f"family is {family!r}; it can be {', '.join(shipped())}, or a calibration of your own.")
    return shipped()[family]


def _pilot(scores: dict[int, float]) -> dict[int, float]:
    """The scores by number of labels, from the fewest labels to the most."""
    pilot = {}
    for n, score in scores.items():
        try:
            size, value = float(n), float(score)
        except (TypeError, ValueError):
            size, value = np.nan, np.nan
        if not (size >= 0 and size.is_integer() and np.isfinite(value) and value <= 1):
            raise ArgumentError(
                f"scores holds {score} at n = {n}; scores are finite and at most 1, sizes whole numbers from 0."
            )
        pilot[int(size)] = value
    return dict(sorted(pilot.items()))


def _check(coslow: float | None, pilot: dict[int, float], ceiling: float | None, test_size: int | None) -> None:
    if coslow is None and not pilot:
        raise ArgumentError("Neither coslow nor scores is given; a curve needs at least one of them.")
    if coslow is not None and not -1 <= coslow <= 1:
        raise ArgumentError(f"coslow is {coslow}, but a cosine lies between -1 and 1.")
    if ceiling is not None and not (np.isfinite(ceiling) and ceiling <= 1):
        raise ArgumentError(f"ceiling is {ceiling}, but a score is at most 1.")
    if test_size is not None and not 0 < test_size < np.inf:
        raise ArgumentError(f"test_size is {test_size}, but scores are measured on at least one text.")


def _check_kind(calibration: Calibration, pilot: dict[int, float], ceiling: float | None) -> None:
    """Accuracies lie between 0 and 1; explained variances only below 1."""
    if calibration.kind != ACCURACY:
        return
    for n, score in pilot.items():
        if score < 0:
            raise ArgumentError(
                f"scores holds {score} at n = {n}, but {calibration.name} was learned on accuracies, which lie between "
                "0 and 1; for 1 - sigma2/Var(Y) the family is 'explained variance'."
            )
    if ceiling is not None and ceiling < 0:
        raise ArgumentError(f"ceiling is {ceiling}, but an accuracy lies between 0 and 1.")
