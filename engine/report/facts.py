"""What a run tells of how it was done, as names in words and their values."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.report import wording
from engine.runs import Results

NOTES = ("notes", "remarks", "warnings")  # sentences of their own, told elsewhere
_NAMES = {
    "strategy": "Strategy carried out",
    "finetune": "Labels that fine-tuned",
    "pilot_labels": "Labels opened by the pilot",
    "texts_cut": "Texts longer than the model reads",
    "coslow": "CoS-Low",
    "examples": "Texts CoS-Low was measured on",
    "zero_shot": "Score without training",
    "instruction": "Instruction to the model",
    "calibration": "What CoS-Low tells",
    "seconds": "Compute time",
    "cores": "Processor cores",
    "device": "Device",
    "model": "Model",
}


def run_facts(results: Results) -> list[tuple[str, str]]:
    """Return how a run was done: name and value of each fact that means something for it."""
    done = results.details.get("strategy")
    left_out = {*NOTES}
    left_out |= {"finetune"} if done not in (None, "split") else set()
    left_out |= {"pilot_labels"} if results.trials.empty else set()
    facts = [name for name in _NAMES if name in results.details]
    facts += [name for name in results.details if name not in _NAMES]
    return [
        (_NAMES.get(name) or _words(name), _said(name, results.details[name]))
        for name in facts
        if name not in left_out and _tells(name, results.details[name])
    ]


def _tells(name: str, value: Any) -> bool:
    """Whether a value is there and says something; a count of none says nothing."""
    empty = value is None or (isinstance(value, str | dict | list | tuple) and not value)
    return not empty and not (name in ("finetune", "pilot_labels", "texts_cut") and value == 0)


def _said(name: str, value: Any) -> str:
    if name == "strategy":
        return wording.STRATEGY_WORDS.get(value, str(value))
    if name == "seconds" and isinstance(value, int | float):
        return wording.seconds_words(value)
    return f"{value:.0%}" if name == "zero_shot" and isinstance(value, float) else _plain(value)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')}: {_plain(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(part) for part in value[:20]) + (", …" if len(value) > 20 else "")
    if isinstance(value, float):
        return f"{value:,.4g}" if np.isfinite(value) else "unknown"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
