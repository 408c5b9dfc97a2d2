"""Which texts were chosen to be labelled, and how far their labelling is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any, Self

from engine.runs.answers import Answers
from engine.runs.states import RunSettings

_SECONDS_EACH = 8.0  # until the pace is known
_LONGEST_PAUSE = 120.0  # a longer one was spent on something else
_GAPS_TO_KNOW = 3


@dataclass(frozen=True)
class Selection:
    """Texts of a pool chosen to be labelled.

    Attributes:
        rows: Their places among the pool's texts, in the order in which to label them, shape (k,).
        texts: The texts themselves, (k,).
        confidence: The model's confidence in each, between 0 and 1, (k,); empty where they were drawn at random.
        why: Why these, in one sentence.
        read: How many of the pool's texts the model read; 0 where they were drawn at random.
        lowest: Places of all texts among which they were drawn by confidence, the tenth where it is lowest.
        hard_labels: Which of the labels at hand are of such texts too, by the labels' own order.
    """

    rows: tuple[int, ...]
    texts: tuple[str, ...]
    confidence: tuple[float, ...]
    why: str
    read: int = 0
    lowest: tuple[int, ...] = ()
    hard_labels: tuple[int, ...] = ()

    @property
    def by_confidence(self) -> bool:
        """Whether the model's confidence decided; otherwise the texts are a random sample of the pool."""
        return bool(self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary fit for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild a selection from `to_dict`."""
        known: dict[str, Any] = {}
        for entry in fields(cls):
            value = values[entry.name]
            known[entry.name] = tuple(value) if isinstance(value, list) else value
        return cls(**known)


@dataclass(frozen=True)
class Given:
    """An answer as it was given: None where the text was skipped, and when."""

    answer: str | None
    at: datetime


@dataclass(frozen=True)
class Labelling:
    """Texts of a study's pool that someone labels, and the answers so far.

    Attributes:
        id: Its name in the store.
        study_id: The study whose pool the texts come from.
        settings: How the texts are selected: model, number, draw, seed; and what may be answered.
        selection: The chosen texts; None until the run that selects them is finished.
        given: The answers by row of the pool.
        created: When it was begun.
    """

    id: str
    study_id: str
    settings: RunSettings
    selection: Selection | None
    given: dict[int, Given] = field(default_factory=dict)
    created: datetime = datetime.min

    @property
    def answers(self) -> Answers:
        """What may be answered."""
        return self.settings.answers or Answers()

    @property
    def count(self) -> int:
        """How many texts were chosen, or are to be."""
        return len(self.selection.rows) if self.selection else self.settings.count

    @property
    def labels(self) -> dict[int, str]:
        """The labels so far, by row of the pool."""
        return {row: given.answer for row, given in self.given.items() if given.answer is not None}

    @property
    def left(self) -> int:
        """How many texts are neither labelled nor skipped yet."""
        return self.count - len(self.given)

    @property
    def next(self) -> int:
        """Position of the first text without an answer; the number of texts where all have one."""
        rows = self.selection.rows if self.selection else ()
        return next((place for place, row in enumerate(rows) if row not in self.given), len(rows))

    @property
    def seconds_each(self) -> float:
        """Seconds that one text takes: the median time between answers, or 8 before there are four."""
        times = sorted(given.at for given in self.given.values())
        gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
        known = [gap for gap in gaps if gap <= _LONGEST_PAUSE]
        return median(known) if len(known) >= _GAPS_TO_KNOW else _SECONDS_EACH
