"""What the published curves teach, as the calibrations that come with the package.

    python -m engine.efficiency.published CURVES COSLOW [--into FOLDER]

CURVES is a CSV file of published scores (family, task, n, score, human_ceiling, test_size), COSLOW one of CoS-Low
(family, task, coslow). Written are fitted parameters, never the curves. One process is fitted per family, in which the
curves of the others count a tenth; a curve of a family follows its own process with probability 0.8 and the others'
with the rest, a curve of any other model each alike, until its scores tell. Mistral's curves are not among the
published: its link is its own, its processes are those of any other model.

For explained variance the published scores are read as the share of the zero-shot error that training removes, which
is 0 without training and 1 at best. How much another kind of model removes is unknown to an order of magnitude: three
processes, alike until the scores tell, take the logarithm of the error removed whole, by a third and by a tenth.

The levels of the intervals (`recalibration`) are learned on the published accuracies, a fifth of the tasks left out at
a time. Of a family that the curves hold, they are those of its own calibration. For any other model they are learned on
two checks at once: each family taken for unknown, the curves of its other tasks known, and each family predicted from
the others alone. A new family is harder to foretell than in the first check and easier than in the second, which knows
one family less. One family alone does not tell how the next differs, and leaves these levels at 0.8, as does explained
variance, of which no curve is published.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from engine.efficiency.calibration import FOLDER, Calibration
from engine.efficiency.levels import Recalibration
from engine.efficiency.link import COEFFICIENTS, Link, learn_link
from engine.efficiency.prior import shape
from engine.efficiency.process import Process, Seen, fit
from engine.efficiency.recalibration import Draws, LeastLevels, Whole, recalibrate, together
from engine.efficiency.scale import ACCURACY, EXPLAINED_VARIANCE, bend
from engine.efficiency.tasks import read_coslow, read_tasks, see_task, task_area

SOURCE = "Figures of Je and Raffel, arXiv 2512.24991"
_OWN, _OTHER = 0.8, 0.1  # probability of a family's own process; weight of another family's curve in it
_SCALES = (1.0, 1 / 3, 1 / 10)
_AREA_ERROR = 0.11  # of AUC' on llama, for the case that its tasks are not among the curves
_MEASURED_ON = "llama"  # the family whose CoS-Low is published task by task
_FOLDS = 5  # of the tasks, for the levels of the intervals


@dataclass(frozen=True)
class _Curve:
    family: str
    task: str
    seen: Seen
    whole: Whole | None


def calibrations(curves: pd.DataFrame, coslow: pd.DataFrame) -> dict[str, Calibration]:
    """Return every calibration that the published curves teach, by name."""
    found = recalibrated(accuracy_calibrations(curves, coslow), curves, coslow)
    whole = [curve.seen for curve in _read(curves, coslow) if curve.seen.sizes[0] == 0]
    weights = [1.0] * len(whole)
    components = []
    for scale in _SCALES:
        removed = [_error_removed(seen, scale) for seen in whole]
        process = fit(removed, weights, shape(removed, weights, EXPLAINED_VARIANCE))
        components.append((1 / len(_SCALES), process))
    link = found[ACCURACY].link
    general = Calibration(EXPLAINED_VARIANCE, EXPLAINED_VARIANCE, SOURCE, tuple(components), link)
    return {**found, EXPLAINED_VARIANCE: general}


def accuracy_calibrations(curves: pd.DataFrame, coslow: pd.DataFrame) -> dict[str, Calibration]:
    """Return the calibrations for accuracies, by name, with levels of 0.8: of each published family, and in general."""
    processes = _processes(_read(curves, coslow))
    link = _measured_link(curves, coslow)
    lines = tuple(COEFFICIENTS.values())
    found = {}
    for name in [*COEFFICIENTS, ACCURACY]:
        own = replace(link, coefficients=(COEFFICIENTS[name],) if name in COEFFICIENTS else lines)
        own = own if name == _MEASURED_ON else replace(own, errors={}, tasks=0)
        found[name] = Calibration(name, ACCURACY, SOURCE, _components(name, processes), own)
    return found


def recalibrated(found: dict[str, Calibration], curves: pd.DataFrame, coslow: pd.DataFrame) -> dict[str, Calibration]:
    """Return the calibrations that these curves taught with the levels that the same curves, left out, teach."""
    read = _read(curves, coslow)
    families = {curve.family for curve in read}
    known, unknown = zip(*_left_out(read, families), strict=True)
    own, other = recalibrate(known), recalibrate(unknown) if len(families) > 1 else Recalibration()
    return {name: replace(each, recalibration=own if name in families else other) for name, each in found.items()}


def _left_out(read: list[_Curve], families: set[str]) -> Iterator[tuple[LeastLevels, LeastLevels]]:
    """The least levels of each curve left out: of its own family's calibration, and of those of any other model."""
    tasks = sorted({curve.task for curve in read})
    for fold in range(_FOLDS):
        left = tasks[fold::_FOLDS]
        rest = [curve for curve in read if curve.task not in left]
        whole = _processes(rest)
        apart = {family: _processes([curve for curve in rest if curve.family != family]) for family in families}
        for curve in read:
            if curve.task in left and curve.whole is not None:
                own, general = (curve.whole.least_levels(_draws(name, whole)) for name in (curve.family, ACCURACY))
                others = apart[curve.family]
                yield own, together([general, curve.whole.least_levels(_draws(ACCURACY, others))]) if others else {}


def _draws(name: str, processes: dict[str, Process]) -> Draws:
    return Calibration(name, ACCURACY, SOURCE, _components(name, processes), Link((), _AREA_ERROR, {}, 0)).draws


def _components(name: str, processes: dict[str, Process]) -> tuple[tuple[float, Process], ...]:
    families = list(processes)
    return tuple((_weight(name, family, families), process) for family, process in processes.items())


def _weight(name: str, family: str, families: list[str]) -> float:
    if name not in families or len(families) == 1:
        return 1 / len(families)
    return _OWN if name == family else (1 - _OWN) / (len(families) - 1)


def _processes(curves: list[_Curve]) -> dict[str, Process]:
    """A process for each family, in which the curves of the others count little."""
    seen, found = [curve.seen for curve in curves], {}
    for family in sorted({curve.family for curve in curves}):
        weights = [1.0 if curve.family == family else _OTHER for curve in curves]
        found[family] = fit(seen, weights, shape(seen, weights, ACCURACY))
    return found


def _read(curves: pd.DataFrame, coslow: pd.DataFrame) -> list[_Curve]:
    """Every published curve with its family, and with AUC' where CoS-Low is published."""
    found = []
    for family, table in curves.rename(columns={"human_ceiling": "ceiling"}).groupby("family"):
        measured = read_coslow(coslow[coslow["family"] == family])
        for task, part in read_tasks(table, ACCURACY).items():
            area = None
            if task in measured:
                c, intercept = COEFFICIENTS[str(family)]
                area = c * measured[task] + intercept
            found.append(_Curve(str(family), task, see_task(part, ACCURACY, area), Whole.of(part, ACCURACY)))
    return found


def _measured_link(curves: pd.DataFrame, coslow: pd.DataFrame) -> Link:
    """The errors of a line through the tasks whose CoS-Low is published, for want of others for every family."""
    table = curves[curves["family"] == _MEASURED_ON].rename(columns={"human_ceiling": "ceiling"})
    if table.empty:
        return Link((), _AREA_ERROR, {}, 0)
    areas = {task: found for task, part in read_tasks(table, ACCURACY).items() if (found := task_area(part))}
    return learn_link(areas, read_coslow(coslow[coslow["family"] == _MEASURED_ON]))


def _error_removed(seen: Seen, scale: float) -> Seen:
    """A curve of accuracies as the share of its zero-shot error that is removed, its logarithm scaled, as latent."""
    # The latent accuracy is the logit, of which the log of the error is minus the log of 1 + e^logit.
    log_error = -np.logaddexp(0.0, seen.values)
    variances = seen.variances * expit(seen.values) ** 2
    noise = np.where(seen.sizes == 0, 0.0, variances + variances[0])
    values, variances = bend(scale * (log_error[0] - log_error), scale**2 * noise)
    return Seen(seen.sizes, values, variances, None, seen.area)


def main() -> None:
    """Read the published curves and write a JSON file for each calibration."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("curves", type=Path)
    options.add_argument("coslow", type=Path)
    options.add_argument("--into", type=Path, default=FOLDER)
    chosen = options.parse_args()
    chosen.into.mkdir(parents=True, exist_ok=True)
    for name, calibration in calibrations(pd.read_csv(chosen.curves), pd.read_csv(chosen.coslow)).items():
        path = chosen.into / f"{name.replace(' ', '_')}.json"
        calibration.save(path)
        print(f"{path}: {calibration.summary()}")


if __name__ == "__main__":
    main()
