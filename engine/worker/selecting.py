"""Selecting what to label: the model's confidence in the pool where it has one, else a draw at random."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.data.sealing import Rows, generator
from engine.errors import DataError
from engine.learning.selection import draw_low, fitted_head, load_classifier
from engine.runs import Selection, hand_over, labellings
from engine.worker.job import LOADING, READING, Job

MOST_READ = 5000  # of a larger pool, so many texts drawn at random are read

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judgement:
    """How sure the model is of texts.

    Attributes:
        confidence: Of the pool's texts that were read, shape (r,).
        source: Whose probabilities these are, to follow "by".
        labelled: Confidence in the labelled texts, each left out of its own fit, (n,); empty where there are none.
    """

    confidence: Floats
    source: str
    labelled: Floats


def select(job: Job) -> Selection:
    """Choose texts of the pool to be labelled, store them, and hand them to the labelling that waits for them.

    Raises:
        DataError: No text is left to be chosen.
    """
    data, settings = job.dataset, job.settings
    rng = generator(data.key, settings.seed)
    barred = np.zeros(data.m, dtype=bool)
    barred[_chosen_before(job)] = True
    if barred.all():
        raise DataError(f"All {data.m:,} texts of the pool were chosen before; there is none left to label.")
    read = np.sort(rng.permutation(data.m)[:MOST_READ])
    judged = "as was asked" if settings.draw == "random" else _judge(job, [data.pool_texts[i] for i in read])
    if isinstance(judged, str):
        rows = rng.permutation(np.flatnonzero(~barred))[: settings.count]
        chosen = _chosen(job, rows, f"drawn at random from the {data.m:,} of the pool, {judged}")
    else:
        chosen = _least_sure(job, judged, read, barred, rng)
    print(f"         {chosen.why}")
    job.record("selection", chosen.to_dict())
    hand_over(job.store, job.run, chosen)
    return chosen


def _chosen_before(job: Job) -> list[int]:
    every = labellings(job.store, job.study.id)
    return [row for known in every if known.selection is not None for row in known.selection.rows]


def _least_sure(
    job: Job, judged: Judgement, read: Rows, barred: NDArray[np.bool_], rng: np.random.Generator
) -> Selection:
    texts = [job.dataset.pool_texts[i] for i in read]
    same = np.asarray(pd.factorize(np.array(texts, dtype=object))[0], dtype=np.intp)
    drawn, lowest = draw_low(judged.confidence, job.settings.count, rng, barred=barred[read], same=same)
    if not len(drawn):
        raise DataError("Every text that the model read was chosen before; there is none left to label.")
    among = f"the {len(lowest):,} of {len(read):,} texts that the model is least sure of"
    part = (
        f" ({len(read):,} drawn at random from the pool of {job.dataset.m:,} were read)"
        if len(read) < job.dataset.m
        else ""
    )
    why = f"drawn at random from {among}{part}, by {judged.source}: hard texts tell best how far labels carry"
    ceiling = judged.confidence[lowest].max()
    return _chosen(
        job,
        read[drawn],
        why,
        confidence=tuple(judged.confidence[drawn].tolist()),
        read=len(read),
        lowest=tuple(read[lowest].tolist()),
        hard_labels=tuple(np.flatnonzero(judged.labelled <= ceiling).tolist()),
    )


def _chosen(job: Job, rows: Rows, why: str, confidence: tuple[float, ...] = (), **facts: object) -> Selection:
    texts = tuple(job.dataset.pool_texts[i] for i in rows)
    count = f"These {len(rows):,} texts were" if len(rows) > 1 else "This text was"
    return Selection(tuple(rows.tolist()), texts, confidence, f"{count} {why}.", **facts)  # type: ignore[arg-type]


def _judge(job: Job, texts: list[str]) -> Judgement | str:
    """The model's confidence in texts, or the reason why it has none."""
    if job.dataset.n:
        return _by_labels(job, texts)
    job.report.stage(LOADING)
    classifier = load_classifier(job.settings.model)
    if classifier is None:
        return (
            f"because {job.settings.model} cannot tell which texts it finds hard: it brings no head for that, and "
            "there are not enough labels to fit one"
        )
    job.report.stage(READING)
    source = f"the head that {job.settings.model} brings ({', '.join(classifier.names)})"
    return Judgement(classifier.confidence(texts, job.report), source, np.empty(0))


def _by_labels(job: Job, texts: list[str]) -> Judgement:
    data = job.dataset
    job.report.stage(LOADING)
    cache = job.bench.cache
    head = fitted_head(cache.embed(list(data.texts)), data.y, job.classes)
    job.report.stage(READING)
    confidence = head.predict(cache.embed(texts, job.report)).max(1)
    return Judgement(confidence, f"a head fitted to the {data.n:,} labels", head.loo.max(1))
