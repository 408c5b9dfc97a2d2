"""Selecting what to label: the model's confidence in the pool where it has one, else a draw at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.data.sealing import Rows, generator
from engine.efficiency.scale import ACCURACY, EXPLAINED_VARIANCE
from engine.errors import ArgumentError, DataError
from engine.learning.dialogues import instruction
from engine.learning.selection import draw_low, fitted_head, load_classifier
from engine.runs import Selection, hand_over, labellings
from engine.runs.calibrations import calibration_of
from engine.worker.job import LOADING, READING, Job

MOST_READ = 5000  # of a larger pool, so many texts drawn at random are read

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """How sure the model is of texts.

    Attributes:
        read: Which of the pool's texts it read, in ascending order, shape (r,).
        confidence: In each of them, (r,).
        source: Whose probabilities these are, to follow "by".
        labelled: Confidence in the labelled texts, each left out of its own fit, (n,); empty where there are none.
    """

    read: Rows
    confidence: Floats
    source: str
    labelled: Floats


def select(job: Job) -> Selection:
    """Choose texts of the pool to be labelled, store them, and hand them to the labelling that waits for them.

    Raises:
        ArgumentError: A model that writes cannot be asked, as long as it is not said what may be answered.
        DataError: No text is left to be chosen.
        ModelError: The model cannot be found, loaded or trusted.
    """
    data, settings = job.dataset, job.settings
    rng = generator(data.key, settings.seed)
    barred = np.zeros(data.m, dtype=bool)
    barred[_chosen_before(job)] = True
    if barred.all():
        raise DataError(f"All {data.m:,} texts of the pool were chosen before; there is none left to label.")
    judged = "as was asked" if settings.draw == "random" else _judge(job, rng.permutation(data.m))
    if isinstance(judged, str):
        rows = rng.permutation(np.flatnonzero(~barred))[: settings.count]
        chosen = _chosen(job, rows, f"drawn at random from the {data.m:,} of the pool, {judged}")
    else:
        chosen = _least_sure(job, judged, barred, rng)
    print(f"         {chosen.why}")
    job.record("selection", chosen.to_dict())
    hand_over(job.store, job.run, chosen)
    return chosen


def _chosen_before(job: Job) -> list[int]:
    every = labellings(job.store, job.study.id)
    return [row for known in every if known.selection is not None for row in known.selection.rows]


def _least_sure(job: Job, judged: Judgement, barred: NDArray[np.bool_], rng: np.random.Generator) -> Selection:
    read = judged.read
    same = np.asarray(pd.factorize(np.array(_texts(job, read), dtype=object))[0], dtype=np.intp)
    drawn, lowest = draw_low(judged.confidence, job.settings.count, rng, barred=barred[read], same=same)
    if not len(drawn):
        raise DataError("Every text that the model read was chosen before; there is none left to label.")
    among = f"the {len(lowest):,} of {len(read):,} texts that the model is least sure of"
    if len(read) < job.dataset.m:
        among += f" ({len(read):,} drawn at random from the pool of {job.dataset.m:,} were read)"
    return _chosen(
        job,
        read[drawn],
        f"drawn at random from {among}, by {judged.source}: {_worth_of_hard_texts(job)}",
        confidence=tuple(judged.confidence[drawn].tolist()),
        read=len(read),
        lowest=tuple(read[lowest].tolist()),
        hard_labels=tuple(np.flatnonzero(judged.labelled <= judged.confidence[lowest].max()).tolist()),
    )


def _worth_of_hard_texts(job: Job) -> str:
    """What labels of hard texts are good for: of some models CoS-Low tells too little of the curve to be used."""
    kind = ACCURACY if job.can_be_asked else EXPLAINED_VARIANCE
    if calibration_of(job.settings.model, job.settings.learner, kind).link.coefficients:
        return "hard texts tell best how far labels carry"
    return (
        f"of how far labels carry with {job.settings.model} they tell too little to be used, so draw at random instead"
    )


def _chosen(job: Job, rows: Rows, why: str, confidence: tuple[float, ...] = (), **facts: object) -> Selection:
    count = f"These {len(rows):,} texts were" if len(rows) > 1 else "This text was"
    texts = tuple(_texts(job, rows))
    return Selection(tuple(rows.tolist()), texts, confidence, f"{count} {why}.", **facts)  # type: ignore[arg-type]


def _texts(job: Job, rows: Rows) -> list[str]:
    return [job.dataset.pool_texts[i] for i in rows]


# ------------------------------------------------------------------ the confidence


def _judge(job: Job, order: Rows) -> Judgement | str:
    """The model's confidence in the first texts of an order, or the reason why it has none."""
    job.report.stage(LOADING)
    if job.can_be_asked:
        return _by_writing(job, order)
    read = np.sort(order[:MOST_READ])
    return _by_labels(job, read) if job.dataset.n else _by_own_head(job, read)


def _by_writing(job: Job, order: Rows) -> Judgement:
    asked, decoder = _instruction(job), job.bench.decoder
    assert decoder is not None
    # Without a GPU a text takes a second or more: no more are read than a tenth of which is as many as are asked for.
    read = np.sort(order[: MOST_READ if decoder.device.type == "cuda" else 10 * job.settings.count])
    job.report.stage(READING)
    sure = decoder.answer([*_texts(job, read), *job.dataset.texts], asked, job.report).confidences
    return Judgement(read, sure[: len(read)], "the answers that it writes", sure[len(read) :])


def _instruction(job: Job) -> str:
    data, may = job.dataset, job.settings.answers
    if data.n:
        return instruction(data.y, data.classes)
    if may is None:
        raise ArgumentError(
            f"{job.settings.model} writes its answers, so say what may be answered, such as --rating 1:5 or --classes "
            "praise,complaint; or give labels at hand."
        )
    between = [] if may.whole else [may.low + min(0.5, (may.high - may.low) / 2)]
    return instruction(np.array([may.low, may.high, *between]), may.classes or None)


def _by_labels(job: Job, read: Rows) -> Judgement:
    data, cache = job.dataset, job.bench.cache
    head = fitted_head(cache.embed(list(data.texts)), data.y, job.classes)
    job.report.stage(READING)
    confidence = head.predict(cache.embed(_texts(job, read), job.report)).max(1)
    return Judgement(read, confidence, f"a head fitted to the {data.n:,} labels", head.loo.max(1))


def _by_own_head(job: Job, read: Rows) -> Judgement | str:
    model = job.settings.model
    classifier = load_classifier(model, job.settings.keep)
    if classifier is None:
        return (
            f"because {model} cannot tell which texts it finds hard: it brings no head for that, and there are not "
            "enough labels to fit one"
        )
    job.report.stage(READING)
    confidence = classifier.confidence(_texts(job, read), job.report)
    source = f"the head that {model} brings ({', '.join(classifier.names)})"
    return Judgement(read, confidence, source, np.empty(0))
