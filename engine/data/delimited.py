"""CSV and its relatives: the delimiter, the rows, and the row at fault where they do not fit."""

import csv
import io
import itertools
import re
from collections.abc import Iterator

import pandas as pd

from engine.data.encodings import decode
from engine.data.values import FOREIGN_BREAK, typed
from engine.errors import DataError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_NO_DELIMITER = "\x1f"
_ROWS_LOOKED_AT = 200


def read_delimited(data: bytes, name: str, *, tabs: bool = False) -> tuple[pd.DataFrame, int, list[str]]:
    """The cells below the header, the row of the header in the file, and what was done to read them.

    Columns are numbers where every filled cell is one, otherwise strings; blank cells are missing.
    Raises DataError.
    """
    text, remark = decode(data, name)
    remarks = [remark] if remark else []
    text, header_row, delimiter = _body(_unix_lines(text))
    if not text.strip():
        raise DataError(f"{name} is empty: export it again with a header and one row per text.")
    delimiter = delimiter or _sniff(text, "\t" if tabs else None)
    cells = _parse(text, delimiter, name, header_row)
    remarks += _said_of(delimiter)
    header = cells.iloc[0].fillna("").astype(str).tolist()
    body = cells.iloc[1:].reset_index(drop=True)
    # A semicolon leaves the comma to the decimals; a tab stands beside 1,5 and beside 1,200.
    frame, commas = _typed(body, decimal_comma=delimiter in (";", "\t"), thousands=delimiter == "\t")
    frame.columns = pd.Index(header)
    if commas:
        listed = ", ".join(f"'{' '.join(header[position].split())}'" for position in commas)
        remarks.append(f"Decimal commas were read as decimal points in {listed}.")
    return frame, header_row, remarks


def _unix_lines(text: str) -> str:
    return re.sub(FOREIGN_BREAK, "\n", text) if "\r" in text else text


def _body(text: str) -> tuple[str, int, str | None]:
    """The text from its header on, the header's row, and the delimiter where a line sep=; names it."""
    body = text.lstrip("\n\ufeff")
    header_row = text[: len(text) - len(body)].count("\n") + 1
    named = re.match(r"sep=(.)\n", body)
    if named and named[1] in DELIMITERS:
        return body[named.end() :], header_row + 1, named[1]
    return body, header_row, None


def _said_of(delimiter: str) -> list[str]:
    if delimiter == ",":
        return []
    if delimiter == _NO_DELIMITER:
        return ["Read as one column, one row per line."]
    return [f"The delimiter is the {DELIMITERS[delimiter]}."]


def _sniff(text: str, preferred: str | None) -> str:
    """The delimiter that splits the header and cuts the most rows into as many fields as the header."""
    candidates = [preferred] if preferred else list(DELIMITERS)
    scores = {delimiter: _fit(text, delimiter) for delimiter in candidates}
    best = max(scores, key=lambda delimiter: scores[delimiter])
    if scores[best][0] > 0:
        return best
    return _sniff(text, None) if preferred else _NO_DELIMITER


def _fit(text: str, delimiter: str) -> tuple[float, int]:
    widths = [len(record) for record in itertools.islice(_records(text, delimiter), _ROWS_LOOKED_AT) if record]
    if not widths or widths[0] < 2:
        return 0.0, 0
    return sum(width == widths[0] for width in widths) / len(widths), widths[0]


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    """The records of the file up to the first that the csv module refuses (a cell beyond its size limit)."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    while True:
        try:
            yield next(reader)
        except (StopIteration, csv.Error):
            return


def _parse(text: str, delimiter: str, name: str, header_row: int) -> pd.DataFrame:
    try:
        cells = pd.read_csv(
            io.StringIO(text), sep=delimiter, header=None, dtype=str, keep_default_na=False, skip_blank_lines=False,
            engine="c", low_memory=False,
        )  # fmt: skip
    except (pd.errors.ParserError, ValueError) as fault:
        raise _row_at_fault(text, delimiter, name, header_row, str(fault)) from None
    _refuse_short_rows(cells, text, delimiter, name, header_row)
    return cells


def _refuse_short_rows(cells: pd.DataFrame, text: str, delimiter: str, name: str, header_row: int) -> None:
    # pandas fills the cells of a short row with nan or "" alike, so only rows with a blank last cell are suspects.
    last = cells.iloc[:, -1]
    if cells.shape[1] < 2 or not (last.isna() | (last == "")).any():
        return
    fault = _ragged(text, delimiter, name, header_row)
    if fault:
        raise fault


def _row_at_fault(text: str, delimiter: str, name: str, header_row: int, reason: str) -> DataError:
    opened = re.search(r"EOF inside string starting at row (\d+)", reason)
    if opened:
        row = int(opened[1]) + header_row
        return DataError(f"{name}, row {row:,}: a quotation mark opens and never closes; close it or double it.")
    return _ragged(text, delimiter, name, header_row) or DataError(
        f"{name} cannot be split into columns: export it again as CSV (UTF-8) with texts in quotation marks."
    )


def _ragged(text: str, delimiter: str, name: str, header_row: int) -> DataError | None:
    records = _records(text, delimiter)
    width = len(next(records, []))
    for row, record in enumerate(records, start=header_row + 1):
        if record and len(record) != width:
            return DataError(
                f"{name}, row {row:,} has {len(record)} fields where the header has {width}: put texts that hold the "
                f"delimiter ({DELIMITERS.get(delimiter, 'none')}) or a line break in quotation marks."
            )
    return None


def _typed(body: pd.DataFrame, *, decimal_comma: bool, thousands: bool) -> tuple[pd.DataFrame, list[int]]:
    columns = {
        position: typed(body[position], decimal_comma=decimal_comma, thousands=thousands)
        for position in range(body.shape[1])
    }
    commas = [
        position for position, column in columns.items() if decimal_comma and _lost_commas(body[position], column)
    ]
    return pd.DataFrame(columns), commas


def _lost_commas(before: "pd.Series[str]", after: "pd.Series[str]") -> bool:
    if pd.api.types.is_numeric_dtype(after.dtype):
        return bool(before.str.contains(",", regex=False).fillna(False).any())
    return bool((before.str.count(",").sum() or 0) > (after.str.count(",").sum() or 0))
