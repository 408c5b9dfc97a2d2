"""What it takes to do a run again: files with their hashes, roles, settings, versions and the command line."""

from __future__ import annotations

import json
import platform
import shlex
from importlib import metadata
from typing import Any

from engine.report.wording import STRATEGY_WORDS, rectifies
from engine.runs import Run, RunSettings, Store, StoredFile, Study, read_results
from engine.runs.pace import UNTRAINED

_PACKAGES = ("labelwise", "numpy", "pandas", "scipy", "torch", "transformers", "peft")
TO_FINETUNE = "Labels to fine-tune"
_SETTINGS = {
    "objective": "Fine-tuning objective",
    "finetune": TO_FINETUNE,
    "folds": "Folds of cross-fit",
    "cost_per_label": "Price of a label",
    "cost_per_gpu_hour": "Price of an hour of compute",
    "cost_per_thousand": "Price of a thousand predictions",
    "half_width": "Half-width wanted",
    "count": "Texts to select",
    "draw": "Drawn by",
    "keep": "Kept of a long text",
    "report_to": "Losses reported to",
}
_SPEAKS_OF = {"these": "these texts", "larger": "all texts like these"}
_ROLE_OPTIONS = {"text": "text", "label": "label", "prediction": "prediction", "weight": "weight", "group": "by"}


def settings_json(store: Store, run_id: str) -> str:
    """Return everything that determines a run as JSON.

    Raises:
        RunError: The store holds no such run.
    """
    run = store.run(run_id)
    study = store.study(run.study_id)
    record = {
        "study": {
            "id": study.id,
            "name": study.name,
            "labels_file": _file(study.labels_file),
            "pool_file": _file(study.pool_file) if study.pool_file else None,
            "roles": study.roles.to_dict(),
            "question": study.question.to_dict(),
        },
        "run": {
            "id": run.id,
            "kind": run.kind,
            "state": run.state.value,
            "created": run.created.isoformat(),
            "finished": run.finished.isoformat() if run.finished else None,
            "settings": run.settings.to_dict(),
        },
        "details": read_results(store, run).details,
        # Which labelled rows, counted from 0 in the order of the data, did what.
        "rows": store.step_results(run_id).get("rows"),
        "versions": versions(),
        "command": command_line(study, run),
    }
    return json.dumps(record, indent=2, ensure_ascii=False, default=str)


def _file(file: StoredFile) -> dict[str, Any]:
    return {"name": file.name, "sha256": file.sha256, "bytes": file.size}


def versions() -> dict[str, str]:
    """Return the versions of Labelwise, Python and the packages that compute, without importing them."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def command_line(study: Study, run: Run) -> str:
    """Return the command that does the run again; settings at their defaults are left out."""
    if run.kind == "select":
        return shlex.join(_selection(study, run.settings))
    calibrates = run.kind == "calibration"
    words = ["labelwise", "calibrate" if calibrates else run.kind, study.labels_file.name]
    if study.pool_file:
        words.append(study.pool_file.name)
    words += _options({option: getattr(study.roles, role) for role, option in _ROLE_OPTIONS.items()}, {})
    if calibrates or run.kind == "efficiency":
        words += ["--model", run.settings.model]
        asked = {name: getattr(run.settings, name) for name in ("keep", "seed", *(["learner"] if calibrates else []))}
        # The other tasks that were calibrated with are not known to this one's run.
        return shlex.join(words + _options(asked, RunSettings().to_dict())) + (" ..." if calibrates else "")
    words += _options(_question(study), {"population": "these", "confidence": 0.95})
    # What the strategy does not look at, the command line refuses.
    idle = {"finetune": "split", "folds": "cross-fit"}
    asked = {
        key: value for key, value in run.settings.to_dict().items() if idle.get(key) in (None, run.settings.strategy)
    }
    words += _options(asked, RunSettings().to_dict())
    return shlex.join([*words, "-o", f"run-{run.id}"] if run.kind == "run" else words)


def _selection(study: Study, settings: RunSettings) -> list[str]:
    """The command that selects the texts again; labels at hand are an option beside the pool."""
    words = ["labelwise", "select", (study.pool_file or study.labels_file).name]
    words += ["--labels", study.labels_file.name] if study.pool_file else []
    words += ["--text", study.roles.text, "--label", study.roles.label]
    asked, defaults = settings.to_dict(), RunSettings().to_dict()
    words += _options({name: asked[name] for name in ("model", "keep", "count", "draw", "seed")}, defaults)
    if settings.answers is None:
        return words
    low, high, classes = settings.answers.low, settings.answers.high, settings.answers.classes
    # As one word: a number below 0 would be taken for an option.
    return words + (["--classes", ",".join(classes)] if classes else [f"--rating={low:g}:{high:g}"])


def _question(study: Study) -> dict[str, Any]:
    """The question as options; what the command line would take for granted is left out."""
    question = study.question
    estimand = f"quantile={question.q:g}" if question.estimand == "quantile" else question.estimand
    # With a group the command line would compare groups, so what else is asked for must be said.
    granted = "mean" if study.roles.group is None else None
    return {
        "estimand": None if estimand == granted else estimand,
        "population": question.population,
        "confidence": question.confidence,
    }


def _options(values: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in values.items():
        if value is not None and value != defaults.get(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def _setting(name: str, value: Any) -> str:
    if name == "strategy":
        return "As the plan recommends" if value == "auto" else STRATEGY_WORDS[value]
    if name == "answers":
        return ", ".join(value["classes"]) or f"{value['low']:g} to {value['high']:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _without_meaning(study: Study, run: Run) -> set[str]:
    """The settings that have no part in a run of this kind and strategy."""
    strategy, every, selecting = run.settings.strategy, set(run.settings.to_dict()), {"count", "draw"}
    if run.kind == "select":
        return every - {"model", "seed", "keep", "answers", *selecting}
    if run.kind in ("efficiency", "calibration"):
        return every - {"learner", "model", "seed", "keep"}
    if run.kind == "run" and strategy in UNTRAINED:
        asks = strategy == "zero-shot" and study.roles.prediction is None
        return every - ({"strategy", "model", "keep"} if asks else {"strategy"})
    chosen = ({"finetune"} if strategy != "split" else set()) | ({"folds"} if strategy != "cross-fit" else set())
    return selecting | chosen


def settings_rows(study: Study, run: Run) -> list[tuple[str, str]]:
    """Return the settings as rows of a table: what, and its value."""
    files = [("Labels file", study.labels_file), ("Pool file", study.pool_file)]
    rows = [("Study", f"{study.name} ({study.id})"), ("Run", f"{run.id}, {run.kind}, {run.state.value}")]
    for name, file in files:
        if file is not None:
            rows.append((name, f"{file.name}, {file.size:,} bytes, SHA-256 {file.sha256}"))
    roles = [f"{part}: {column}" for part, column in study.roles.to_dict().items() if column]
    rows.append(("Columns", ", ".join(roles)))
    if rectifies(run):
        question = study.question
        asked = f"{question.estimand} {question.q:g}" if question.estimand == "quantile" else question.estimand
        rows.append(("Question", f"{asked}, {_SPEAKS_OF[question.population]}, {100 * question.confidence:g}%"))
    left_out = _without_meaning(study, run)
    for name, value in run.settings.to_dict().items():
        if name not in left_out and (name == "seed" or value not in (None, "", 0)):
            rows.append((_SETTINGS.get(name, name.capitalize()), _setting(name, value)))
    if run.finished is not None:
        rows.append(("Finished", f"{run.finished:%d %B %Y, %H:%M} UTC"))
    rows.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions().items())))
    return rows
