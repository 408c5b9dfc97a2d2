"""The link from CoS-Low to the area, AUC' = c CoS-Low + I, and what it is worth on tasks left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.efficiency.scale import Floats
from engine.efficiency.tasks import task_group

# (c, I) as published for Llama 3.1 8B, Mistral 7B v0.3 and Qwen 2.5 14B.
COEFFICIENTS = {"llama": (0.545, 0.310), "mistral": (0.797, 0.357), "qwen": (0.526, 0.305)}
_FEWEST_TASKS = 5  # below these no line is drawn
_AREA_SPREAD = 0.17  # of the area over the published tasks, where there are too few to tell


@dataclass(frozen=True)
class Link:
    """From CoS-Low to the area.

    Attributes:
        coefficients: (c, I): the model's own; several, of other models, where its own are unknown; none where CoS-Low
            says nothing about this model.
        area_error: Root mean square error of AUC' (without coefficients, of the mean area) on tasks left out.
        errors: Mean absolute error of the area on tasks left out, "with" CoS-Low and "without"; empty where unknown.
        tasks: Number of tasks behind the errors.
    """

    coefficients: tuple[tuple[float, float], ...]
    area_error: float
    errors: dict[str, float]
    tasks: int

    def area(self, coslow: float | None) -> tuple[float | None, float]:
        """Return AUC' and the variance that comes with coefficients of other models; None where there is no AUC'.

        The next model's line is to those of k others like a further draw: variance (1 + 1/k) times theirs.
        """
        if coslow is None or not self.coefficients:
            return None, 0.0
        lines = np.array([c * coslow + intercept for c, intercept in self.coefficients])
        k = len(lines)
        return float(lines.mean()), float(lines.var(ddof=1)) * (1 + 1 / k) if k > 1 else 0.0


def learn_link(areas: dict[str, float], coslow: dict[str, float]) -> Link:
    """Draw the least-squares line of the area on CoS-Low through the tasks that have both.

    It is judged on tasks left out in turn, those together whose names are alike up to the first dash, for they share
    texts. Where it does not lessen the error of the area, CoS-Low is not used.
    """
    tasks = [task for task in areas if task in coslow]
    if len(tasks) < _FEWEST_TASKS:
        known = list(areas.values())
        spread = float(np.std(known, ddof=1)) if len(known) >= _FEWEST_TASKS else _AREA_SPREAD
        return Link((), spread, {}, len(tasks))
    x, y = np.array([coslow[task] for task in tasks]), np.array([areas[task] for task in tasks])
    group = np.array([task_group(task) for task in tasks])
    lines, means = np.empty(len(tasks)), np.empty(len(tasks))
    for left in np.unique(group):
        out = group == left
        rest = ~out if not out.all() else out
        c, intercept = _line(x[rest], y[rest])
        lines[out], means[out] = c * x[out] + intercept, y[rest].mean()
    errors = {"with": float(np.abs(lines - y).mean()), "without": float(np.abs(means - y).mean())}
    useful = errors["with"] < errors["without"]
    error = float(np.sqrt(np.mean(((lines if useful else means) - y) ** 2)))
    return Link((_line(x, y),) if useful else (), error, errors, len(tasks))


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    variance = float(np.var(x))
    c = float(np.mean((x - x.mean()) * (y - y.mean()))) / variance if variance > 0 else 0.0
    return c, float(y.mean()) - c * float(x.mean())
