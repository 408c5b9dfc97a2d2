"""Predictions without training: a model that writes is asked for the labels, where none come with the data."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.learning.decoders import load_decoder
from engine.learning.label_tokens import Choices, zero_shot
from engine.learning.models import is_decoder
from engine.runs import fingerprint, home
from engine.worker.job import VERSION, Job

_PART = 1000  # texts whose predictions are kept together, so that a stopped run goes on where it stopped

Floats = NDArray[np.float64]


def asked(job: Job, texts: Sequence[str], progress: Callable[[float], None]) -> Floats | None:
    """Return the model's predictions of texts, (len(texts),) or (len(texts), k), or None where it does not write.

    Which numbers it may answer is read off the pilot's labels alone: the others are sealed.
    """
    model, keep = job.settings.model, job.settings.keep
    if not is_decoder(model):
        return None
    choices = Choices.of(job.dataset.y[job.sealing.pilot], job.dataset.classes, about=job.study.roles.label)
    decoder = cache(lambda: load_decoder(model, keep=keep))
    parts = []
    for start in range(0, len(texts), _PART):

        def share_done(share: float, start: int = start) -> None:
            progress(min(start + share * _PART, len(texts)) / len(texts))

        part = list(texts[start : start + _PART])
        path = (
            home()
            / "cache"
            / "predictions"
            / f"{fingerprint(VERSION, 'asked', job.weights, keep, asdict(choices), part)}.npy"
        )
        if not path.exists():
            _write(path, zero_shot(decoder(), part, choices, share_done))
        parts.append(np.load(path))
    progress(1.0)
    return np.concatenate(parts)


def _write(path: Path, values: Floats) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.part.npy")
    np.save(unfinished, values)
    os.replace(unfinished, path)
