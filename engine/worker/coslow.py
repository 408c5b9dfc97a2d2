"""CoS-Low of a run's labels and the curve that it predicts, for encoders and for decoders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from engine.efficiency import efficiency
from engine.efficiency.scale import ACCURACY, EXPLAINED_VARIANCE
from engine.learning.decoders import Decoder
from engine.learning.decoders import cos_low as cos_low_of_decoder
from engine.learning.dialogues import answers, instruction
from engine.learning.gradients import EXAMPLES, cos_low
from engine.runs.calibrations import calibration_of
from engine.worker.job import COSLOW, Job


def measure_coslow(job: Job) -> float | None:
    """CoS-Low of the pilot's labels, and the curve it predicts; nothing is trained for it."""
    job.report.stage(COSLOW)
    measured = job.step("details coslow", ["coslow", len(job.sealing.pilot)], lambda: _measured(job))
    # Without training an encoder explains nothing; a decoder answers already.
    scores = {0: measured.get("zero_shot", 0.0)}
    kind = ACCURACY if job.can_be_asked else EXPLAINED_VARIANCE
    family = calibration_of(job.settings.model, job.settings.learner, kind)
    curve = efficiency(measured["coslow"], family=family, scores=scores, test_size=_texts(job))
    job.record("efficiency", curve.to_dict())
    job.record("details calibration", {"calibration": family.summary()})
    print(f"         {family.summary()}")
    return measured["coslow"]  # type: ignore[no-any-return]


def record_curve(job: Job, coslow: float | None, trials: pd.DataFrame) -> None:
    """Store the curve conditioned on the trials so far, so that it is seen to move as they are made."""
    scores = {int(size): float(score) for size, score in trials.groupby("size")["score"].mean().items()}  # type: ignore[call-overload]
    family = calibration_of(job.settings.model, job.settings.learner, EXPLAINED_VARIANCE)
    curve = efficiency(coslow, family=family, scores={0: 0.0, **scores}, test_size=_texts(job))
    job.record("efficiency", curve.to_dict())


def _texts(job: Job) -> int:
    # Over its seeds a trial of the pilot is scored on every label of it.
    return len(job.sealing.pilot)


def _measured(job: Job) -> dict[str, Any]:
    decoder = job.bench.decoder
    return _encoder(job) if decoder is None else _decoder(job, decoder)


def _encoder(job: Job) -> dict[str, Any]:
    rows, data = job.sealing.pilot, job.dataset
    texts, y = [data.texts[i] for i in rows], data.y[rows]
    vectors, seed = job.bench.cache.embed(texts), job.settings.seed
    value = cos_low(job.bench.encoder, texts, y, vectors, classes=job.classes, seed=seed, progress=job.report)
    return {"coslow": value, "examples": min(EXAMPLES, len(rows))}


def _decoder(job: Job, decoder: Decoder) -> dict[str, Any]:
    rows, data = job.sealing.pilot, job.dataset
    texts, y = [data.texts[i] for i in rows], data.y[rows]
    asked, expected = instruction(y, data.classes), answers(y, data.classes)
    said = decoder.answer(texts, asked, lambda share: job.report(share / 2))
    value = cos_low_of_decoder(
        decoder,
        texts,
        expected,
        said.confidences,
        instruction=asked,
        seed=job.settings.seed,
        progress=lambda share: job.report((1 + share) / 2),
    )
    zero_shot = float(np.mean(said.correct(expected)))
    return {"coslow": value, "examples": min(EXAMPLES, len(rows)), "zero_shot": zero_shot, "instruction": asked}
