"""What the cells of a column hold: blanks, texts, numbers."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Objects = NDArray[np.object_]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

Kind = Literal["numbers", "classes"]

# A column in which at least this share of the filled cells are numbers is meant to hold numbers.
NUMBERS_SHARE = 0.9

# A float keeps 15 digits: columns with longer integers are strings in a file of any format.
SIXTEEN_DIGITS = 10**15

# A line break of another system; more than one "\r" is left by programs that turn a "\n" into "\r\n" once too often.
FOREIGN_BREAK = r"\r+\n|\r"

# A CSV file spells booleans as the program that wrote it does, a file of another format as JSON does.
_BOOLEANS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}

# What programs write for a missing cell (R writes NA). None, "-" and "." may well be classes, and are not among them.
MISSING = frozenset({"NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null"})

# A number with a decimal comma, thousands separators or a per cent sign; a date or a list of codes is none.
_SPELT_NUMBER = r"[+-]?(?=[.,]?\d)\d*(?:[.,]\d{3})*(?:[.,]\d+)?\s*%?"

_LEADING_ZERO = r"[+-]?0\d"
_LONG_INTEGER = r"[+-]?\d{16,}$"
_DECIMAL_COMMA = r"[+-]?\d*,\d+$"
_THOUSANDS = r"[+-]?[1-9]\d{0,2}(?:,\d{3})+"


def as_text(column: "pd.Series[Any]") -> Objects:
    """The cells as stripped strings, "" where blank; 4.0 becomes "4", True "true".

    They are the same from a file of any format.
    """
    if pd.api.types.is_integer_dtype(column.dtype):
        return column.astype(str).where(column.notna(), "").to_numpy(dtype=object)
    if pd.api.types.is_numeric_dtype(column.dtype):
        numbers = column.to_numpy(dtype=float, na_value=np.nan)
        return np.array(["" if np.isnan(number) else f"{number:.15g}" for number in numbers], dtype=object)
    texts = column.fillna("").astype(str)
    cells: Objects = texts.str.strip().to_numpy(dtype=object)
    if any("\r" in cell or "\0" in cell for cell in cells):  # looking takes a tenth of the time of replacing
        cells = as_in_csv(texts).str.strip().to_numpy(dtype=object)
    return np.array([_BOOLEANS.get(cell, cell) for cell in cells], dtype=object)


def as_in_csv(texts: "pd.Series[str]") -> "pd.Series[str]":
    """Texts as a CSV file gives them back: every line break is "\\n", and there is no NUL, which none may hold."""
    return texts.str.replace(FOREIGN_BREAK, "\n", regex=True).str.replace("\0", "", regex=False)


def is_blank(column: "pd.Series[Any]") -> Bools:
    """True where a cell is missing or holds spaces only."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.isna().to_numpy(dtype=bool)
    return np.asarray(as_text(column) == "", dtype=bool)


def says_missing(column: "pd.Series[Any]") -> Bools:
    """True where a cell holds a word that programs write for a missing one, such as NA; to `is_blank` it is a value."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return np.zeros(len(column), dtype=bool)
    return column.astype("str").str.strip().isin(MISSING).to_numpy(dtype=bool)


def has_no_label(column: "pd.Series[Any]") -> Bools:
    """True where a cell of a column of labels is blank or says that it is missing."""
    return is_blank(column) | says_missing(column)


def as_numbers(column: "pd.Series[Any]") -> Floats:
    """The cells as floats, nan where a cell is blank or is not a number; infinities stay."""
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)


def kind_of(column: "pd.Series[Any]") -> Kind:
    """Whether labels are numbers (more than two distinct ones) or classes (two values, or words)."""
    filled = ~is_blank(column)
    finite = np.isfinite(as_numbers(column)) & filled
    if not filled.any() or finite.sum() < NUMBERS_SHARE * filled.sum():
        return "classes"
    return "numbers" if len(set(as_numbers(column)[finite])) > 2 else "classes"


def strays(column: "pd.Series[Any]", share: float = NUMBERS_SHARE) -> Ints:
    """Positions of filled cells that are no numbers in a column of which at least this share are numbers."""
    filled = ~is_blank(column)
    finite = np.isfinite(as_numbers(column)) & filled
    if finite.sum() < share * filled.sum():
        return np.array([], dtype=np.intp)
    return np.flatnonzero(filled & ~finite)


def spelt_numbers(column: "pd.Series[Any]") -> Ints:
    """Positions of cells that are numbers to people alone, such as 3,220 or 3 %, where most cells are either kind."""
    cells = pd.Series(as_text(column), dtype="str")
    finite = np.isfinite(as_numbers(column))
    spelt = cells.str.fullmatch(_SPELT_NUMBER).to_numpy(dtype=bool) & ~finite
    if 2 * (finite | spelt).sum() <= (cells != "").sum():
        return np.array([], dtype=np.intp)
    return np.flatnonzero(spelt)


def typed(column: "pd.Series[Any]", *, decimal_comma: bool = False, thousands: bool = False) -> "pd.Series[Any]":
    """A column of strings as numbers where every filled cell is one, otherwise as it is; blank cells become missing.

    Codes such as 007 and integers too long for a float stay strings. With `decimal_comma`, 1,5 is read as 1.5 in
    columns that hold numbers; with `thousands` too, not where each may as well be a thousand such as 1,200.
    """
    column = column.mask(column.str.strip() == "", other=np.nan)
    filled = column.dropna().str.strip()
    if filled.empty:
        return column
    told = filled[~filled.isin(MISSING)]
    if not _may_be_number(told.head(50)):
        return column
    if decimal_comma and _has_decimal_commas(told, thousands):
        column = column.str.replace(r"^(\s*[+-]?\d*),(\d+\s*)$", r"\1.\2", regex=True)
        filled = column.dropna().str.strip()
    if filled.str.match(_LEADING_ZERO).any() or filled.str.match(_LONG_INTEGER).any():
        return column
    numbers = pd.to_numeric(column, errors="coerce")
    whole = np.isfinite(numbers.dropna()).sum() == len(filled)
    return numbers if whole else column


def _may_be_number(cells: "pd.Series[Any]") -> bool:
    return bool(cells.str.fullmatch(r"[+-]?[\d.,]+(?:[eE][+-]?\d+)?").any())


def _has_decimal_commas(filled: "pd.Series[Any]", thousands: bool) -> bool:
    commas = filled.str.match(_DECIMAL_COMMA)
    certain = commas & ~filled.str.fullmatch(_THOUSANDS) if thousands else commas
    whole = filled.str.fullmatch(r"[+-]?\d+")
    return bool(certain.any() and (commas | whole).sum() >= NUMBERS_SHARE * len(filled))
