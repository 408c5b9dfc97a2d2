"""The boundary: whatever a caller hands in becomes clean float arrays, or one message that names every fault."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.errors import ArgumentError

Floats = NDArray[np.float64]
Value = float | Floats
Codes = NDArray[np.int64]
Alternative = Literal["two-sided", "larger", "smaller"]
Calibration = Literal["linear", "isotonic"]


@dataclass(frozen=True)
class Question:
    """How the answer is to be given; the same for every estimand.

    confidence: share of intervals that contain the truth, between 0 and 1.
    alternative: "two-sided", or the side on which a one-sided interval is open upwards ("larger") or downwards.
    power_tuning: choose lambda from the data (True) or use 1 (False).
    finite_population: labels and pool are everything one speaks of.
    null: the value that the p-value tests, or None for no test.
    """

    confidence: float = 0.95
    alternative: Alternative = "two-sided"
    power_tuning: bool = True
    finite_population: bool = False
    null: float | None = None


class Faults:
    """Collects what is wrong with the arguments, so that one message can name it all."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.broken: set[str] = set()  # arguments of unknown length: others are not measured by them

    def add(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def raise_any(self) -> None:
        """Raise ArgumentError with every sentence collected so far."""
        if self.sentences:
            raise ArgumentError(" ".join(dict.fromkeys(self.sentences)))

    def numbers(
        self,
        name: str,
        values: object,
        *,
        length: int | None = None,
        of: str = "y",
        least: int = 1,
        finite: bool = True,
    ) -> Floats:
        """A one-dimensional float array, finite unless that is left to the caller; zeros stand in for what is wrong."""
        array = self._floats(name, values)
        if array is not None and array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array is not None and array.ndim != 1:
            self.add(f"{name} must be a list of numbers, one per row; an array of shape {array.shape} was given.")
            array = None
        if array is None or not self._long_enough(name, len(array), length, of, least):
            self.broken |= {name} if array is None or length is None else set()
            return np.zeros(length or max(least, 2))
        return self.finite(name, array) if finite else array

    def finite(self, name: str, array: Floats) -> Floats:
        """The array itself where every entry is a finite number; else the first fault is noted and zeros returned."""
        # The sum is finite whenever every entry is (barring overflow), and needs no array of flags.
        with np.errstate(all="ignore"):
            if isfinite(array.sum()):
                return array
        if np.isnan(array).any():
            self._missing(name, np.asarray(np.isnan(array).reshape(len(array), -1).any(axis=1)))
        elif np.isinf(array).any():
            place = int(np.argmax(np.isinf(array).reshape(len(array), -1).any(axis=1)))
            self.add(f"{name} holds an infinite value at position {place}: remove that row.")
        else:
            self.add(f"{name} holds numbers too large to add up: rescale them.")
        return np.zeros_like(array)

    def matrix(self, name: str, values: object, *, length: int | None = None, of: str = "y") -> Floats:
        """A finite n x d float array; a one-dimensional one becomes a single column."""
        array = self._floats(name, values)
        if array is not None and array.ndim == 1:
            array = array[:, None]
        if array is None or array.ndim != 2 or array.shape[1] == 0:
            if array is not None:
                self.add(f"{name} must be a table of numbers; an array of shape {array.shape} was given.")
            self.broken.add(name)
            return np.zeros((length or 2, 1))
        if not self._long_enough(name, len(array), length, of, 1):
            return np.zeros((length or 2, array.shape[1]))
        return self.finite(name, array)

    def weights(self, name: str, values: object | None, length: int, of: str, *, least: int = 1) -> Floats | None:
        """Weights that are not negative and not all zero, at least so many of them positive, or None."""
        if values is None:
            return None
        array = self.numbers(name, values, length=length, of=of)
        if (array < 0).any():
            place = int(np.argmax(array < 0))
            self.add(f"{name} must not be negative; {array[place]:g} stands at position {place}.")
        elif not array.any() and not self.sentences:
            self.add(f"{name} are all zero: give at least some rows a positive weight.")
        elif (positive := np.count_nonzero(array)) < least and not self.sentences:
            self.add(f"{name} has {positive} positive value; at least {least} are needed: weigh more rows.")
        return array

    def marks(self, name: str, values: object | None, length: int, of: str) -> NDArray[np.object_] | None:
        """Names of strata, clusters, groups or classes as strings, or None."""
        if values is None:
            return None
        array = _raw(values)
        if array is None or array.ndim != 1:
            self.add(f"{name} must be a list with one name per row.")
            return np.full(length, "", dtype=object)
        if not self._long_enough(name, len(array), length, of, 1):
            return np.full(length, "", dtype=object)
        codes, uniques = pd.factorize(array)
        if (codes < 0).any():
            self._missing(name, codes < 0)
            return np.full(len(array), "", dtype=object)
        words = np.empty(len(uniques), dtype=object)
        words[:] = [_word(value) for value in uniques]
        return words[codes]

    def question(
        self, confidence: object, alternative: object, power_tuning: object, finite: object, null: object
    ) -> Question:
        """The settings every estimand shares."""
        level = self.share("confidence", confidence, "write 0.95 for 95 percent")
        if alternative not in ("two-sided", "larger", "smaller"):
            self.add(f"alternative must be 'two-sided', 'larger' or 'smaller'; {alternative!r} was given.")
        for name, value in (("power_tuning", power_tuning), ("finite_population", finite)):
            if not isinstance(value, bool | np.bool_):
                self.add(f"{name} must be True or False; {value!r} was given.")
        if null is not None and not _is_number(null):
            self.add(f"null must be one finite number or None; {null!r} was given.")
            null = None
        side: Alternative = (
            "larger" if alternative == "larger" else "smaller" if alternative == "smaller" else "two-sided"
        )
        return Question(level, side, bool(power_tuning), bool(finite), None if null is None else _number(null))

    def share(self, name: str, value: object, remedy: str) -> float:
        """A number strictly between 0 and 1."""
        if not _is_number(value) or not 0 < _number(value) < 1:
            self.add(f"{name} must lie between 0 and 1; {value!r} was given: {remedy}.")
            return 0.5
        return _number(value)

    def choice(self, name: str, value: object, allowed: tuple[str | None, ...]) -> None:
        """One of a few words."""
        if not any(value is None if word is None else isinstance(value, str) and value == word for word in allowed):
            words = ", ".join("None" if word is None else repr(word) for word in allowed)
            self.add(f"{name} must be one of {words}; {value!r} was given.")

    def _floats(self, name: str, values: object) -> Floats | None:
        array = _raw(values)
        if array is None:
            self.add(f"{name} must be a list of numbers; {_show(values)} was given.")
            return None
        if array.dtype.kind in "biuf":
            return np.asarray(array, dtype=np.float64)
        if array.dtype.kind == "O":
            return self._from_objects(name, array)
        self.add(f"{name} must hold numbers; it holds {_kind(array)}, such as {_first(array)}.")
        return None

    def _from_objects(self, name: str, array: NDArray[Any]) -> Floats | None:
        flat = array.ravel()
        missing = np.asarray(pd.isna(flat), dtype=bool)
        for place in np.flatnonzero(~missing):
            if not isinstance(flat[place], bool | np.bool_) and not isinstance(flat[place], int | float | np.number):
                self.add(f"{name} must hold numbers; {flat[place]!r} stands at position {place}.")
                return None
        out = np.full(flat.shape, np.nan)
        out[~missing] = flat[~missing].astype(np.float64)
        return out.reshape(array.shape)

    def _long_enough(self, name: str, found: int, length: int | None, of: str, least: int) -> bool:
        if found == 0:
            self.add(f"{name} is empty: give at least {max(least, 1)} value{'s' if least > 1 else ''}.")
            return False
        if length is not None and found != length:
            if of not in self.broken:
                rows = "row" if found == 1 else "rows"
                self.add(f"{name} has {found:,} {rows} but {of} has {length:,}: give one for each row of {of}.")
            return False
        if found < least:
            self.add(f"{name} has {found} value{'s' if found > 1 else ''}; at least {least} are needed.")
            return False
        return True

    def _missing(self, name: str, where: NDArray[np.bool_]) -> None:
        count, place = int(where.sum()), int(np.argmax(where))
        values = "a missing value" if count == 1 else f"{count:,} missing values, the first"
        self.add(f"{name} has {values} at position {place}: remove {'that row' if count == 1 else 'those rows'}.")


def quietly(compute: Callable[[], Any]) -> Any:
    """Run with numpy's floating-point warnings off in this context alone; results are checked by the caller."""
    with np.errstate(all="ignore"):
        return compute()


def at_least(values: Any, low: float) -> Any:
    """np.maximum, without its cost of a numpy call for a single number."""
    return max(values, low) if isinstance(values, float) else np.maximum(values, low)


def all_finite(values: Value) -> bool:
    """Whether no entry is infinite or nan."""
    return isfinite(values) if isinstance(values, float) else bool(np.isfinite(values).all())


def _raw(values: object) -> NDArray[Any] | None:
    """The values as an array of at least one dimension, or None where that makes no sense."""
    if isinstance(values, np.ndarray):
        return values if values.ndim else None
    if values is None or isinstance(values, str | bytes | dict | set):
        return None
    if isinstance(values, pd.Series | pd.Index | pd.DataFrame):
        plain = values.to_numpy()
        return plain if isinstance(plain, np.ndarray) else np.asarray(plain, dtype=object)
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):
        return None
    if array.dtype.kind in "US":
        array = np.asarray(values, dtype=object)  # numpy would turn [1, "a"] into two strings
    return array if array.ndim else None


def booleans_as_numbers(parts: Sequence[object]) -> list[Any]:
    """The lists of names as they came; where some hold numbers, booleans among them become 0 and 1."""
    kinds = [_kinds(_raw(part)) for part in parts]
    if not {"number", "boolean"} <= set().union(*kinds):
        return list(parts)
    return [_whole(part) if "boolean" in held else part for part, held in zip(parts, kinds, strict=True)]


def _kinds(array: NDArray[Any] | None) -> set[str]:
    """Which of numbers and booleans a list holds; nothing is said of tables."""
    if array is None or array.ndim != 1 or not len(array):
        return set()
    types = set(map(type, array.tolist())) if array.dtype.kind == "O" else {array.dtype.type}
    booleans = {kind for kind in types if issubclass(kind, bool | np.bool_)}
    numbers = {kind for kind in types - booleans if issubclass(kind, int | float | np.number)}
    return ({"boolean"} if booleans else set()) | ({"number"} if numbers else set())


def _whole(values: object) -> NDArray[Any]:
    array = _raw(values)
    assert array is not None
    if array.dtype.kind == "b":
        return array.astype(np.int64)
    whole = np.empty(len(array), dtype=object)
    whole[:] = [int(value) if isinstance(value, bool | np.bool_) else value for value in array]
    return whole


def _word(value: object) -> str:
    """A name as the user would write it: 3.0 and 3 are the same class."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))


def _number(value: object) -> float:
    return float(value)  # type: ignore[arg-type]


def _kind(array: NDArray[Any]) -> str:
    return {"c": "complex numbers", "M": "dates", "m": "durations"}.get(array.dtype.kind, "text")


def _first(array: NDArray[Any]) -> str:
    return repr(array.ravel()[0].item()) if array.size else "nothing"


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"
