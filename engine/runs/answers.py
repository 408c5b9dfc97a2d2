"""What may be answered about a text."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

from engine.data import Dataset
from engine.data.values import MISSING
from engine.errors import ArgumentError

_MOST_CLASSES = 20
_MOST_WHOLE = 11


@dataclass(frozen=True)
class Answers:
    """What may be answered about a text: one of `classes` or, where there are none, a number.

    Attributes:
        classes: Names of the classes.
        low: Smallest number.
        high: Largest number.
        whole: Whether only whole numbers are meant.
        open: Whether the scale may go on beyond `low` and `high`, which were only seen so far: any number may be given.
    """

    classes: tuple[str, ...] = ()
    low: float = 1.0
    high: float = 5.0
    whole: bool = True
    open: bool = False

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
            named = ", ".join(self.classes)
            raise ArgumentError(f"The classes named are {named}; there must be at least two, each named once.")
        if blank := sorted(names & MISSING):
            raise ArgumentError(f"The class {blank[0]!r} would count as a blank label; spell it otherwise.")
        if len(names) > _MOST_CLASSES:
            raise ArgumentError(f"There are {len(names)} classes; merge them to {_MOST_CLASSES} or fewer.")

    @classmethod
    def of(cls, data: Dataset) -> Self:
        """Return what was answered about the texts labelled already; numbers may go on beyond it."""
        if data.classes:
            return cls(data.classes)
        whole = all(float(value).is_integer() for value in data.y)
        return cls(low=math.floor(data.y.min()), high=math.ceil(data.y.max()), whole=whole, open=True)

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
        return not self.classes and (self.open or not (self.whole and self.choices))

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
        if self.open:
            if not math.isfinite(number):
                raise ArgumentError(f"{answer} is not a number.")
        elif not self.low <= number <= self.high or (self.whole and not number.is_integer()):
            kind = "a whole number" if self.whole else "a number"
            said = answer if math.isnan(number) else f"{number:g}"
            raise ArgumentError(f"{said} is not {kind} from {self.low:g} to {self.high:g}.")
        return f"{number:.15g}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary fit for JSON."""
        return {**asdict(self), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Rebuild the answers from `to_dict`."""
        return cls(**{**values, "classes": tuple(values["classes"])})
