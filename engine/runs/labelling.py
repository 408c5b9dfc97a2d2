"""What may be answered about a text, which texts were chosen to be labelled, and how far a labelling is."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Any, Self

from engine.data import Dataset
from engine.errors import ArgumentError
from engine.runs.states import RunSettings

MOST_CHOICES = 20
_MOST_WHOLE = 11
_SECONDS_EACH = 8.0  # until the pace is known
_LONGEST_PAUSE = 120.0  # a longer one was spent on something else
_GAPS_TO_KNOW = 3


@dataclass(frozen=True)
class Answers:
    """What may be answered about a text: one of `classes` or, where there are none, a number.

    Attributes:
        classes: Names of the classes.
        low: Smallest number.
        high: Largest number.
        whole: Whether only whole numbers are meant.
    """

    classes: tuple[str, ...] = ()
    low: float = 1.0
    high: float = 5.0
    whole: bool = True

    def __post_init__(self) -> None:
        if self.classes:
            self._check_classes()
        elif not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ArgumentError(f"A rating goes from a smaller to a larger number, not from {self.low} to {self.high}.")
        elif self.whole and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise ArgumentError(f"{self.low:g} to {self.high:g} are no whole numbers; allow fractions, or round them.")

    def _check_classes(self) -> None:
        names = {name.strip() for name in self.classes}
        if len(names) < max(len(self.classes), 2) or "" in names:
            raise ArgumentError(f"The classes are {', '.join(self.classes)}; name at least two, each of them once.")
        if len(names) > MOST_CHOICES:
            raise ArgumentError(f"There are {len(names)} classes; merge them to {MOST_CHOICES} or fewer.")

    @classmethod
    def of(cls, data: Dataset) -> Self:
        """Return what was answered about the texts labelled already."""
        if data.classes:
            return cls(data.classes)
        whole = all(float(value).is_integer() for value in data.y)
        return cls(low=math.floor(data.y.min()), high=math.ceil(data.y.max()), whole=whole)

    @property
    def choices(self) -> tuple[str, ...]:
        """The answers that have a button each: the classes, or whole numbers where they are few."""
        if self.classes:
            return self.classes
        low, high = math.ceil(self.low), math.floor(self.high)
        return tuple(str(number) for number in range(low, high + 1)) if high - low < _MOST_WHOLE else ()

    @property
    def others(self) -> bool:
        """Whether there are answers without a button, to be typed."""
        return not self.classes and not (self.whole and self.choices)

    def read(self, answer: str | float) -> str:
        """Return an answer as it is stored.

        Raises:
            ArgumentError: It is not one of those that may be given.
        """
        if self.classes:
            if answer not in self.classes:
                raise ArgumentError(f"{answer!r} is none of the classes {', '.join(self.classes)}.")
            return str(answer)
        try:
            number = float(answer)
        except ValueError:
            number = math.nan
        if not self.low <= number <= self.high or (self.whole and not number.is_integer()):
            kind = "a whole number" if self.whole else "a number"
            raise ArgumentError(f"{answer} is not {kind} from {self.low:g} to {self.high:g}.")
        return f"{number:.15g}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary fit for JSON."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild the answers from `to_dict`."""
        return cls(**{**values, "classes": tuple(values["classes"])})


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
        answers: What may be answered.
        settings: How the texts are selected: model, number, draw, seed.
        selection: The chosen texts; None until the run that selects them is finished.
        given: The answers by row of the pool.
        created: When it was begun.
    """

    id: str
    study_id: str
    answers: Answers
    settings: RunSettings
    selection: Selection | None
    given: dict[int, Given] = field(default_factory=dict)
    created: datetime = datetime.min

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
