"""Which calibration holds for a model: the user's own, the shipped one, or what is known of models in general."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from engine.efficiency import Calibration, family_of, shipped
from engine.efficiency.scale import Kind
from engine.runs.states import home

# Hub names of the models whose coefficients are published.
_PUBLISHED = {
    "llama": re.compile(r"llama-?3\.1-8b", re.IGNORECASE),
    "mistral": re.compile(r"mistral-7b(-instruct)?-v0\.3", re.IGNORECASE),
    "qwen": re.compile(r"qwen2\.5-14b", re.IGNORECASE),
}


def calibration_of(model: str, learner: str, kind: Kind) -> Calibration:
    """Return what is known of the curves of a model under a learner.

    Raises:
        DataError: The user's calibration cannot be read.
    """
    own = calibration_path(model, learner)
    if own.exists():
        return Calibration.load(own)
    # An earlier version had one file for all models whose names differ by signs alone, and none for a very long name.
    shared = own.with_name(f"{_letters(model)}-{learner}.json")
    if os.path.exists(shared) and (found := Calibration.load(shared)).name == model:
        return found
    if kind == "accuracy":
        family = next((name for name, pattern in _PUBLISHED.items() if pattern.search(model)), kind)
        return shipped()[family]
    # What is shipped for a model was learned with the probe.
    return family_of(model if learner == "probe" else kind, kind)


def calibration_path(model: str, learner: str) -> Path:
    """Return the file of the user's own calibration of a model under a learner."""
    folder = home() / "calibrations"
    folder.mkdir(exist_ok=True)
    digest = hashlib.sha256(model.encode()).hexdigest()[:8]  # other names have the same letters
    return folder / f"{_letters(model)[-100:]}-{digest}-{learner}.json".lstrip("-")


def _letters(model: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", model).strip("-")
