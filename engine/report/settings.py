"""What it takes to do a run again: files with their hashes, roles, settings, versions and the command line."""

from __future__ import annotations

import json
import platform
import shlex
from importlib import metadata
from typing import Any

from engine.runs import Run, RunSettings, Store, StoredFile, Study, read_results

_PACKAGES = ("labelwise", "numpy", "pandas", "scipy", "torch", "transformers", "peft")
_ROLE_OPTIONS = ("text", "label", "prediction", "weight", "group")


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
        "versions": versions(),
        "command": command_line(study, run),
    }
    return json.dumps(record, indent=2, ensure_ascii=False, default=str)


def _file(file: StoredFile) -> dict[str, Any]:
    return {"name": file.name, "sha256": file.hash, "bytes": file.size}


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
    words = ["labelwise", run.kind, study.labels_file.name]
    if study.pool_file and run.kind != "efficiency":
        words.append(study.pool_file.name)
    words += _options({name: getattr(study.roles, name) for name in _ROLE_OPTIONS}, {"label": None})
    if run.kind == "efficiency":
        return shlex.join([*words, "--model", run.settings.model])
    words += _options(study.question.to_dict(), {"estimand": "mean", "population": "these", "confidence": 0.95})
    words += _options(run.settings.to_dict(), RunSettings().to_dict())
    return shlex.join([*words, "-o", f"run-{run.id}"] if run.kind == "run" else words)


def _options(values: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in values.items():
        if value is not None and value != defaults.get(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def settings_rows(study: Study, run: Run) -> list[tuple[str, str]]:
    """Return the settings as rows of a table: what, and its value."""
    files = [("Labels file", study.labels_file), ("Pool file", study.pool_file)]
    rows = [("Study", f"{study.name} ({study.id})"), ("Run", f"{run.id}, {run.kind}, {run.state.value}")]
    for name, file in files:
        if file is not None:
            rows.append((name, f"{file.name}, {file.size:,} bytes, SHA-256 {file.hash}"))
    roles = [f"{part}: {column}" for part, column in study.roles.to_dict().items() if column]
    rows.append(("Columns", ", ".join(roles)))
    question = study.question
    rows.append(("Question", f"{question.estimand}, {question.population} texts, {100 * question.confidence:g}%"))
    for name, value in run.settings.to_dict().items():
        if value is not None:
            rows.append((name.replace("_", " ").capitalize(), f"{value:g}" if isinstance(value, float) else str(value)))
    if run.finished is not None:
        rows.append(("Finished", f"{run.finished:%d %B %Y, %H:%M} UTC"))
    rows.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions().items())))
    return rows
