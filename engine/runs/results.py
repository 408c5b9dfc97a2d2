"""What a run has found so far, typed: the step results that the store keeps under names."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import pandas as pd

from engine.allocation import Plan
from engine.efficiency import Efficiency
from engine.rectification import Estimate
from engine.runs.labelling import Selection
from engine.runs.states import Run
from engine.runs.store import Store
from engine.scaling import Law

TRIAL_COLUMNS = ("learner", "size", "seed", "variance", "score", "degrees_of_freedom", "seconds")


@dataclass(frozen=True)
class Results:
    """The results of a run, each None (or empty) until its step is done.

    Attributes:
        selection: Texts chosen to be labelled.
        efficiency: Data-efficiency curve.
        trials: Pilot trials of the last step of the ramp-up, one row each: learner, size, seed, variance (residual
            variance on unseen labels, in squared units of the label), score (1 - variance / label variance),
            degrees_of_freedom, seconds.
        law: The law fitted to the trials.
        plan: The strategies side by side.
        estimate: The rectified answer.
        details: Facts for the report: device, seconds by stage, rows used for what, model, truncated texts.
        losses: Fine-tuning loss and learning rate: fit, step, loss, rate. Of the pilot's trials until a model of the
            strategy trains or the run has ended, of those models from then on.
    """

    selection: Selection | None = None
    efficiency: Efficiency | None = None
    trials: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(TRIAL_COLUMNS)))
    law: Law | None = None
    plan: Plan | None = None
    estimate: Estimate | None = None
    details: dict[str, Any] = field(default_factory=dict)
    losses: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["fit", "step", "loss", "rate"]))


def read_results(store: Store, run: Run) -> Results:
    """Return what a run has found so far; a run under way has part of it."""
    steps = store.step_results(run.id)
    trials = _of_last_step({name: value for name, value in sorted(steps.items()) if name.startswith("trial ")})
    details = [value for name, value in sorted(steps.items()) if name.startswith("details")]
    return Results(
        selection=Selection.from_dict(steps["selection"]) if "selection" in steps else None,
        # A curve stored in an older form is left out; it is drawn anew when it is asked for.
        efficiency=Efficiency.from_dict(steps["efficiency"]) if "kind" in steps.get("efficiency", {}) else None,
        trials=_trials(trials),
        law=Law.from_dict(steps["law"]) if "law" in steps else None,
        plan=Plan.from_dict(steps["plan"]) if "plan" in steps else None,
        estimate=Estimate.from_dict(steps["estimate"]) if "estimate" in steps else None,
        details={key: value for part in details for key, value in part.items()},
        losses=_losses(run),
    )


def _of_last_step(trials: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The trials inside the labels that were opened last; earlier steps tried the same sizes inside fewer labels."""
    # "trial LEARNER OPENED SIZE SEED"; what is no pilot has no steps, and its names lack OPENED.
    steps = {name: words[2] if len(words := name.split()) == 5 else "" for name in trials}
    return [value for name, value in trials.items() if steps[name] == max(steps.values())]


def _losses(run: Run) -> pd.DataFrame:
    path = run.folder / "losses.csv"
    text = path.read_text("utf-8") if path.exists() else ""
    # A full disk, or a moment in which the file is begun, leaves less than its first line.
    if not text.startswith("fit,step,"):
        return Results().losses
    # Of a run of an earlier day the rates were not kept; of a line that is being written the step may be missing.
    losses = pd.read_csv(StringIO(text), dtype={"fit": str, "step": float}).reindex(columns=Results().losses.columns)
    # A fit that was broken off has told steps that it took again.
    last = losses[::-1].groupby("fit")["step"].cummin() == losses["step"][::-1]
    losses = losses[last[::-1]].drop_duplicates(["fit", "step"], keep="last")
    of_trials = losses["fit"].str.startswith("trial")
    return losses if of_trials.all() and not run.is_finished else losses[~of_trials]


def _trials(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))
    return frame.sort_values(["learner", "size", "seed"], ignore_index=True)
