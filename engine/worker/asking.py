"""Predictions without training: a model that writes is asked for the labels, where none come with the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from engine.learning.label_tokens import Choices, ask, zero_shot
from engine.learning.models import Progress
from engine.learning.prediction import in_parts
from engine.runs import home
from engine.worker.job import VERSION, Job
from engine.worker.keeping import kept

_PART = 1000  # texts whose predictions are kept together: without a GPU each may take a second

Floats = NDArray[np.float64]


def asked(job: Job, texts: Sequence[str], progress: Callable[[float], None]) -> Floats | None:
    """Return the model's predictions of texts, (len(texts),) or (len(texts), k), or None where it does not write.

    Which numbers it may answer is read off the pilot's labels alone: the others are sealed.
    """
    if not job.can_be_asked:
        return None
    question = choices(job)

    def predict(part: list[str], told: Progress) -> Floats:
        assert job.bench.decoder is not None
        return zero_shot(job.bench.decoder, part, question, told)

    key = VERSION, "asked", job.weights, job.settings.keep, asdict(question)
    return in_parts(kept(predict, home() / "cache" / "predictions", *key), list(texts), progress, size=_PART)


def texts_cut(job: Job) -> int:
    """Return how many texts are longer than the model reads of them, or than it reads beside its question."""
    texts = [*job.dataset.texts, *job.dataset.pool_texts]
    probed = job.settings.learner == "probe" and job.settings.strategy != "zero-shot"

    def counted() -> dict[str, int]:
        bench = job.bench
        reader = bench.encoder if bench.decoder is None or probed else ask(bench.decoder, choices(job))
        cut = 0
        for start in range(0, len(texts), _PART):
            job.report(start / len(texts))
            cut += reader.truncated(texts[start : start + _PART])
        return {"texts": cut}

    return int(job.step("texts cut", ["texts cut", probed], counted)["texts"])


def choices(job: Job) -> Choices:
    """Return what the model may answer."""
    return Choices.of(job.dataset.y[job.sealing.pilot], job.dataset.classes, about=job.study.roles.label)
