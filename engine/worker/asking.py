"""Predictions without training: a model that writes is asked for the labels, where none come with the data."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.learning.label_tokens import Choices, ask, zero_shot
from engine.runs import fingerprint, home
from engine.worker.job import VERSION, Job

_PART = 1000  # texts whose predictions are kept together, so that a stopped run goes on where it stopped

Floats = NDArray[np.float64]


def asked(job: Job, texts: Sequence[str], progress: Callable[[float], None]) -> Floats | None:
    """Return the model's predictions of texts, (len(texts),) or (len(texts), k), or None where it does not write.

    Which numbers it may answer is read off the pilot's labels alone: the others are sealed.
    """
    if not job.can_be_asked:
        return None
    choices = _choices(job)
    parts = []
    for start in range(0, len(texts), _PART):

        def share_done(share: float, start: int = start) -> None:
            progress(min(start + share * _PART, len(texts)) / len(texts))

        part = list(texts[start : start + _PART])
        name = fingerprint(VERSION, "asked", job.weights, job.settings.keep, asdict(choices), part)
        path = home() / "cache" / "predictions" / f"{name}.npy"
        if not path.exists():
            assert job.bench.decoder is not None
            _write(path, zero_shot(job.bench.decoder, part, choices, share_done))
        parts.append(np.load(path))
    progress(1.0)
    return np.concatenate(parts)


def texts_cut(job: Job) -> int:
    """Return how many texts are longer than the model reads of them, or than it reads beside its question."""
    texts = [*job.dataset.texts, *job.dataset.pool_texts]
    probed = job.settings.learner == "probe" and job.settings.strategy != "zero-shot"

    def counted() -> dict[str, int]:
        bench = job.bench
        reader = bench.encoder if bench.decoder is None or probed else ask(bench.decoder, _choices(job))
        return {"texts": reader.truncated(texts)}

    return int(job.step("texts cut", ["texts cut", probed], counted)["texts"])


def _choices(job: Job) -> Choices:
    return Choices.of(job.dataset.y[job.sealing.pilot], job.dataset.classes, about=job.study.roles.label)


def _write(path: Path, values: Floats) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.part.npy")
    np.save(unfinished, values)
    os.replace(unfinished, path)
