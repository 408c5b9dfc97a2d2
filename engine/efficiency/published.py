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
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from engine.efficiency.calibration import FOLDER, Calibration
from engine.efficiency.link import COEFFICIENTS, Link, learn_link
from engine.efficiency.prior import shape
from engine.efficiency.process import Process, Seen, fit
from engine.efficiency.scale import ACCURACY, EXPLAINED_VARIANCE, bend
from engine.efficiency.tasks import read_coslow, read_tasks, see_task, task_area

SOURCE = "Figures of Je and Raffel, arXiv 2512.24991"
_OWN, _OTHER = 0.8, 0.1  # probability of a family's own process; weight of another family's curve in it
_SCALES = (1.0, 1 / 3, 1 / 10)
_AREA_ERROR = 0.11  # of AUC' on llama, for the case that its tasks are not among the curves
_MEASURED_ON = "llama"  # the family whose CoS-Low is published task by task


def calibrations(curves: pd.DataFrame, coslow: pd.DataFrame) -> dict[str, Calibration]:
    """Return every calibration that the published curves teach, by name."""
    found = accuracy_calibrations(curves, coslow)
    whole = [seen for _, seen in _seen(curves, coslow) if seen.sizes[0] == 0]
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
    """Return the calibrations for accuracies, by name: one of each published family, and the general one."""
    seen = _seen(curves, coslow)
    families = sorted({family for family, _ in seen})
    processes = {family: _family_process(family, seen) for family in families}
    link = _measured_link(curves, coslow)
    lines = tuple(COEFFICIENTS.values())
    found = {}
    for name in [*COEFFICIENTS, ACCURACY]:
        own = replace(link, coefficients=(COEFFICIENTS[name],) if name in COEFFICIENTS else lines)
        own = own if name == _MEASURED_ON else replace(own, errors={}, tasks=0)
        components = tuple((_weight(name, family, families), processes[family]) for family in families)
        found[name] = Calibration(name, ACCURACY, SOURCE, components, own)
    return found


def _weight(name: str, family: str, families: list[str]) -> float:
    if name not in families or len(families) == 1:
        return 1 / len(families)
    return _OWN if name == family else (1 - _OWN) / (len(families) - 1)


def _family_process(family: str, seen: list[tuple[str, Seen]]) -> Process:
    curves = [curve for _, curve in seen]
    weights = [1.0 if other == family else _OTHER for other, _ in seen]
    return fit(curves, weights, shape(curves, weights, ACCURACY))


def _seen(curves: pd.DataFrame, coslow: pd.DataFrame) -> list[tuple[str, Seen]]:
    """Every published curve with its family, and with AUC' where CoS-Low is published."""
    found = []
    for family, table in curves.rename(columns={"human_ceiling": "ceiling"}).groupby("family"):
        measured = read_coslow(coslow[coslow["family"] == family])
        for task, part in read_tasks(table, ACCURACY).items():
            area = None
            if task in measured:
                c, intercept = COEFFICIENTS[str(family)]
                area = c * measured[task] + intercept
            found.append((str(family), see_task(part, ACCURACY, area)))
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
