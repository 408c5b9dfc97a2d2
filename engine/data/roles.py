"""Which column is the text, which the label, and which the prediction, weight, group and identifier."""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import pandas as pd

from engine.data.reading import Table
from engine.data.values import has_no_label
from engine.errors import DataError

_WORD = r"(?:^|[\s_.-])(?:{})(?:$|[\s_.-])"
_TEXT_NAME = re.compile(_WORD.format("text|review|comment|sentence|content|body|message|answer|response|title"), re.I)
_LABEL_NAME = re.compile(
    _WORD.format("label|labels|rating|score|sentiment|stars?|y|target|class|gold|human|grade|annotation|verdict"), re.I
)
_PREDICTION_NAME = re.compile(
    r"^(?:predict\w*|pred|(?:pred|model|llm|gpt)[\s_.-].*|.*[\s_.-](?:pred|predicted|prediction))$", re.I
)
_WEIGHT_NAME = re.compile(r"^(?:weights?|w|.*[\s_.-]weight)$", re.I)
_GROUP_NAME = re.compile(
    _WORD.format("group|category|segment|product|country|genre|region|topic|domain|source|language|lang|channel"), re.I
)
_ID_NAME = re.compile(r"^(?:id|.*[\s_.-]id|uuid|key|index|row|column 1)$", re.I)
_MOST_GROUPS = 50
_TEXT_LENGTH = 20  # characters on average, from which a column may be a text whatever its name
_MUCH_LONGER = 2


@dataclass(frozen=True)
class Roles:
    """Column names by the part they play; the same names hold in the labels file and in the pool file."""

    text: str
    label: str
    prediction: str | None = None
    weight: str | None = None
    group: str | None = None
    id: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """The roles as a plain dictionary, for settings and addresses."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Roles":
        """The inverse of `to_dict`; empty strings mean that no column plays the part."""
        known = {field.name: values.get(field.name) or None for field in fields(cls)}
        if not (known["text"] and known["label"]):
            raise DataError("A column for the text and a column for the label are needed: name both.")
        return cls(**{name: None if value is None else str(value) for name, value in known.items()})  # type: ignore[arg-type]


def guess_roles(labels: Table, pool: Table | None = None) -> Roles:
    """The roles that the names and the contents of the columns suggest, for the user to confirm.

    Raises DataError where the labels file has fewer than two columns.
    """
    if labels.frame.shape[1] < 2:
        raise DataError(f"{labels.name} has one column only: a column with the text and one with the label are needed.")
    text = _guess_text(labels, pool)
    prediction = _first(labels, pool, _PREDICTION_NAME, taken={text})
    weight = _first(labels, pool, _WEIGHT_NAME, taken={text, prediction})
    identifier = _first(labels, None, _ID_NAME, taken={text, prediction, weight})
    label = _guess_label(labels, pool, text, taken={text, prediction, weight, identifier})
    group = _guess_group(labels, pool, taken={text, prediction, weight, identifier, label})
    # An identifier or a weight gives way where nothing else is left to be the label.
    parts = {"prediction": prediction, "weight": weight, "group": group, "id": identifier}
    return Roles(text, label, **{part: None if name == label else name for part, name in parts.items()})


def _guess_text(labels: Table, pool: Table | None) -> str:
    """The column of strings with the longest average, among those of the pool where there are any.

    Where that holds names or groups rather than texts, and the labels file has a column that plainly holds texts, it is
    this one: the pool spells its name otherwise, which the checks say.
    """
    strings = [name for name in labels.frame if not pd.api.types.is_numeric_dtype(labels.frame[name].dtype)]
    shared = [name for name in strings if pool is not None and name in pool.frame]
    candidates = [str(name) for name in (shared or strings or labels.frame.columns)]

    def rank(name: str) -> tuple[float, bool]:
        return _length(labels, name), bool(_TEXT_NAME.search(name))

    longest = max(candidates, key=rank)
    if _TEXT_NAME.search(longest) or not (_is_aside(longest) or _length(labels, longest) < _TEXT_LENGTH):
        return longest
    # A short column without such a name may be the text, and the longer one a note of whoever labelled it.
    least = 0.0 if _is_aside(longest) else _MUCH_LONGER * _length(labels, longest)
    plain = [str(name) for name in strings if _is_plain(labels, str(name)) and _length(labels, str(name)) > least]
    return max(plain, key=lambda name: (name in shared, rank(name)), default=longest)


def _is_aside(name: str) -> bool:
    """Whether a column names the rows or sorts them, by its own name."""
    return bool(_ID_NAME.match(name) or _GROUP_NAME.search(name))


def _is_plain(labels: Table, name: str) -> bool:
    """Whether a column of strings plainly holds texts, not what many rows have in common or what names them."""
    column = labels.frame[name]
    told = bool(_TEXT_NAME.search(name))
    if not told and (_is_aside(name) or _length(labels, name) < _TEXT_LENGTH):
        return False
    # Two or three people may have labelled each text.
    return bool(column.nunique() >= column.count() / (3 if told else 2))


def _length(labels: Table, name: str) -> float:
    """The characters of a cell on average, blank ones aside."""
    cells = labels.frame[name].dropna().astype(str)
    return float(cells.str.len().mean()) if len(cells) else 0.0


def find_text(labels: Table, pool: Table | None, taken: Collection[str | None]) -> str | None:
    """The column that plainly holds the texts of every file and plays no other part; None where there is none.

    It is for those who need no texts: rows of the files are told to be the same by it, so that a category or the like,
    which many rows have in common, must not pass for a text.
    """

    def plain(name: str) -> bool:
        column = labels.frame[name]
        if name in taken or pd.api.types.is_numeric_dtype(column.dtype) or (pool and name not in pool.frame):
            return False
        return _is_plain(labels, name)

    return max(filter(plain, map(str, labels.frame)), key=lambda name: _length(labels, name), default=None)


def _guess_label(labels: Table, pool: Table | None, text: str, taken: set[str | None]) -> str:
    """The column that the pool lacks or leaves empty, a telling name before any other."""
    columns = [str(name) for name in labels.frame]
    candidates = [name for name in columns if name not in taken] or [name for name in columns if name != text]

    def score(name: str) -> tuple[int, int]:
        column = labels.frame[name]
        absent = pool is not None and (name not in pool.frame or bool(has_no_label(pool.frame[name]).all()))
        blank = int(has_no_label(column).sum())
        partly_blank = pool is None and 0 < blank < len(column)
        filled = blank < len(column)
        named = 2 * bool(_LABEL_NAME.search(name)) - bool(_GROUP_NAME.search(name))
        return 3 * absent + 3 * partly_blank + named + 4 * filled, -int(column.nunique())

    return max(candidates, key=score)


def _first(labels: Table, pool: Table | None, pattern: re.Pattern[str], taken: set[str | None]) -> str | None:
    names = [str(name) for name in labels.frame if pattern.match(str(name)) and name not in taken]
    return next((name for name in names if pool is None or name in pool.frame), None)


def _guess_group(labels: Table, pool: Table | None, taken: set[str | None]) -> str | None:
    for name in map(str, labels.frame):
        few = 2 <= labels.frame[name].nunique() <= min(_MOST_GROUPS, max(2, len(labels.frame) // 4))
        if name not in taken and few and _GROUP_NAME.search(name) and (pool is None or name in pool.frame):
            return name
    return None
