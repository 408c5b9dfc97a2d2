"""Calibrations: what is known of a model's curves before any of its labels, and its link from CoS-Low to the area.

A calibration knows the kind of score it was learned on. Shipped are "llama", "mistral" and "qwen" (Llama 3.1 8B,
Mistral 7B v0.3, Qwen 2.5 14B), and "accuracy" and "explained variance" for any other model. `learn` makes one of a
model's own curves by the same machinery.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import pandas as pd

from engine.efficiency.levels import Recalibration
from engine.efficiency.link import Link, learn_link
from engine.efficiency.prior import towards
from engine.efficiency.process import Process, Seen, draw, fit
from engine.efficiency.recalibration import Whole, recalibrate
from engine.efficiency.scale import EXPLAINED_VARIANCE, Floats, Kind, to_score
from engine.efficiency.tasks import read_coslow, read_tasks, see_task, task_area, task_group
from engine.errors import ArgumentError, DataError

FOLDER = Path(__file__).parent / "families"


@dataclass(frozen=True)
class Calibration:
    """What is known of a model's curves.

    Attributes:
        name: Name of the model or family.
        kind: Kind of its scores: "accuracy" or "explained variance".
        source: Where the curves come from.
        components: Processes that a curve of this model may follow, with their weights before anything is measured.
        link: From CoS-Low to the area.
        recalibration: Levels of the posterior's intervals that covered 80% of tasks left out.
    """

    name: str
    kind: Kind
    source: str
    components: tuple[tuple[float, Process], ...]
    link: Link
    recalibration: Recalibration = field(default_factory=Recalibration)

    @property
    def own(self) -> bool:
        """Whether the link from CoS-Low to the area, or that there is none, was learned on this very model."""
        return len(self.link.coefficients) < 2

    def draws(self, seen: Seen, count: int) -> tuple[tuple[int, ...], Floats, Floats]:
        """Draw curves given what was seen: their k sizes, scores of shape (count, k), ceilings of shape (count,)."""
        posteriors = [process.condition(seen) for _, process in self.components]
        latent = draw(posteriors, [weight for weight, _ in self.components], count)
        scores = to_score(self.kind, latent[:, :-1])
        return posteriors[0].process.sizes, scores[:, :-1], scores[:, -1]

    def summary(self) -> str:
        """Say in a sentence what CoS-Low tells of this model."""
        link = self.link
        if not self.own:
            return "CoS-Low was not tried on this model: what it tells of the curve is taken from other models."
        if link.coefficients and not link.errors:
            return (
                f"What CoS-Low tells of the curve of {self.name} is published; its error was not measured task by task."
            )
        if not link.errors:
            return f"Too few tasks of {self.name} have CoS-Low to tell what it says about the curve; it is not used."
        before, after = link.errors["without"], link.errors["with"]
        found = f"On {link.tasks} tasks left out in turn, the area of the curve is predicted within {before:.3f}"
        verdict = "" if link.coefficients else ": CoS-Low says little for this model, and is not used"
        return f"{found} without CoS-Low and within {after:.3f} with it{verdict}."

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary fit for JSON, with numbers of 6 significant digits."""
        components = [
            {"weight": weight, "sizes": process.sizes, "mean": process.mean, "scatter": process.scatter}
            for weight, process in self.components
        ]
        given = {"name": self.name, "kind": self.kind, "source": self.source}
        learned = {"link": asdict(self.link), "recalibration": asdict(self.recalibration)}
        rounded: dict[str, Any] = _rounded({**given, **learned, "components": components})
        return rounded

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a calibration from `to_dict`."""
        components = tuple(
            (part["weight"], Process(tuple(part["sizes"]), np.array(part["mean"]), np.array(part["scatter"])))
            for part in values["components"]
        )
        pairs = tuple((c, intercept) for c, intercept in values["link"]["coefficients"])
        link = Link(**{**values["link"], "coefficients": pairs})
        stages = {name: tuple(stage) for name, stage in values.get("recalibration", {}).items()}
        return cls(values["name"], values["kind"], values["source"], components, link, Recalibration(**stages))

    def save(self, path: Path) -> None:
        """Write the calibration as a JSON file."""
        path.write_text(json.dumps(self.to_dict()) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a calibration from a JSON file.

        Raises:
            DataError: The file is missing or holds no calibration.
        """
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); name the file of a calibration.") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} holds no calibration; name a file that `Calibration.save` wrote.") from error


@cache
def shipped() -> dict[str, Calibration]:
    """Return the calibrations that come with the package, by name."""
    found = [Calibration.load(path) for path in sorted(FOLDER.glob("*.json"))]
    return {calibration.name: calibration for calibration in found}


def family_of(model: str, kind: Kind = EXPLAINED_VARIANCE) -> Calibration:
    """Return a model's shipped calibration, or the general one for its kind of score where it has none."""
    return shipped().get(model) or shipped()[kind]


def learn(
    curves: pd.DataFrame,
    coslow: pd.DataFrame | None = None,
    *,
    name: str,
    kind: Kind = EXPLAINED_VARIANCE,
    source: str = "",
) -> Calibration:
    """Learn a model's calibration from its curves on several tasks.

    Centre and scatter are shrunk towards the general calibration of the kind, which counts as five tasks. The link to
    CoS-Low and the levels of the intervals are judged on tasks left out in turn, those together whose names are alike
    up to the first dash.

    Args:
        curves: One row a measured score: task, n, score and, where known, ceiling and test_size.
        coslow: One row a task: task, coslow.
        name: Name of the model.
        kind: Kind of the scores. An explained variance is 0 at n = 0 where that is missing.
        source: Where the curves come from.

    Raises:
        DataError: A column is missing or a value lies outside its range.
        ArgumentError: The kind is unknown.
    """
    if kind not in get_args(Kind):
        raise ArgumentError(f"kind is {kind!r}; it can be {' or '.join(get_args(Kind))}.")
    tasks = read_tasks(curves, kind)
    measured = {} if coslow is None else read_coslow(coslow)
    areas = {task: found for task, table in tasks.items() if (found := task_area(table)) is not None}
    link = learn_link(areas, measured)
    seen = {task: see_task(table, kind, link.area(measured.get(task))[0]) for task, table in tasks.items()}
    weights, processes = zip(*shipped()[kind].components, strict=True)
    prior = towards(processes, np.array(weights))

    def learned(known: list[Seen]) -> Calibration:
        return Calibration(name, kind, source, ((1.0, fit(known, [1.0] * len(known), prior)),), link)

    held_out = []
    for group in sorted({task_group(task) for task in tasks}):
        rest = learned([curve for task, curve in seen.items() if task_group(task) != group])
        wholes = [Whole.of(table, kind) for task, table in tasks.items() if task_group(task) == group]
        held_out += [whole.least_levels(rest.draws) for whole in wholes if whole is not None]
    return replace(learned(list(seen.values())), recalibration=recalibrate(held_out))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    if isinstance(value, np.ndarray):
        return _rounded(value.tolist())
    return float(f"{value:.6g}") if isinstance(value, float) else value
