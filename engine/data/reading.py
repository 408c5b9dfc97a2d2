"""Any table a user has, read into one shape: named columns of strings or numbers, and remarks on what was done."""

import collections
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from engine.data.delimited import read_delimited
from engine.data.records import Read, first_rows, read_excel, read_json, read_jsonl, read_parquet
from engine.errors import DataError

_DELIMITED = (".csv", ".tsv", ".tab", ".txt")
_ALIKE = {".txt": ".csv", ".tab": ".tsv", ".xlsm": ".xlsx", ".ndjson": ".jsonl", ".pq": ".parquet"}
_READABLE = "CSV, TSV, Excel (.xlsx), JSONL, JSON or Parquet"
_SIGNATURES = (
    (b"PAR1", "a Parquet file", (".parquet", ".pq")),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", (".xlsx", ".xlsm")),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", (".xls",)),
    (b"%PDF", "a PDF document", ()),
    (b"\x1f\x8b", "a gzip archive", ()),
    (b"\x89PNG", "a picture", ()),
    (b"\xff\xd8\xff", "a picture", ()),
    (b"SQLite format 3", "an SQLite database", ()),
)


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    frame: columns of numbers, or of strings with missing cells; names are stripped strings; the index is 0, 1, ...
    name: the file's name as the user knows it.
    remarks: what was done to read the file, one sentence each.
    header_row: the row of the header in the file, counted from 1; 0 for formats without one.
    """

    frame: pd.DataFrame
    name: str
    remarks: tuple[str, ...] = ()
    header_row: int = 1

    def row(self, position: int) -> int:
        """The row of the file, as a spreadsheet counts, that holds the frame's row at this position."""
        return self.header_row + 1 + int(position)


def read_table(path: str | os.PathLike[str], *, name: str | None = None) -> Table:
    """Read CSV (any usual delimiter and encoding), TSV, Excel .xlsx, JSONL, JSON or Parquet.

    `name` is what messages call the file; the path's last part by default. Raises DataError with one sentence that
    says what is wrong with the file, where, and what to do.
    """
    path = Path(path)
    name = name or path.name
    data = _content(path, name)
    frame, header_row, remarks = _read(data, name, (path.suffix or Path(name).suffix).lower())
    frame, header_remarks = _with_clean_header(frame, name)
    frame = _without_trailing_blanks(frame)
    if frame.empty:
        raise DataError(f"{name} has a header and no row below it: add one row per text.")
    return Table(frame, name, (*remarks, *header_remarks), header_row)


def ending_of(name: str) -> str:
    """The ending by which a file of this name is read, in lower case; of endings that are read alike the usual one."""
    suffix = Path(name).suffix.lower()
    return _ALIKE.get(suffix, suffix)


def read_parquet_start(path: str | os.PathLike[str], rows: int = 1000) -> Table:
    """The first rows of a Parquet file, which tell the columns and kinds of one too large to read as a whole.

    Raises DataError as `read_table` does.
    """
    path = Path(path)
    if not path.is_file():
        return read_table(path)  # which says what is wrong
    frame, header_row, _ = read_parquet(first_rows(path, rows), path.name)
    return Table(frame, path.name, (), header_row)


def _content(path: Path, name: str) -> bytes:
    if path.is_dir():
        raise DataError(f"{name} is a folder: name a file inside it.")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"There is no file {path}: check the name and the folder.") from None
    except OSError as fault:
        raise DataError(f"{name} cannot be read ({fault.strerror or 'input error'}): check its permissions.") from None
    if not data:
        raise DataError(f"{name} is empty (0 bytes): export it again with a header and one row per text.")
    return data


def _read(data: bytes, name: str, suffix: str) -> Read:
    if suffix == ".xls":
        raise DataError(f"{name} is in the old Excel format: open it and save it as .xlsx or as CSV (UTF-8).")
    _refuse_disguise(data, name, suffix)
    if suffix in _DELIMITED:
        return read_delimited(data, name, tabs=suffix in (".tsv", ".tab"))
    readers = {
        ".xlsx": read_excel, ".xlsm": read_excel, ".jsonl": read_jsonl, ".ndjson": read_jsonl, ".json": read_json,
        ".parquet": read_parquet, ".pq": read_parquet,
    }  # fmt: skip
    if suffix not in readers:
        ending = f"ends in {suffix}" if suffix else "has no ending"
        raise DataError(f"{name} {ending}, which tells no table format: save it as {_READABLE}.")
    return readers[suffix](data, name)


def _refuse_disguise(data: bytes, name: str, suffix: str) -> None:
    """Refuse a file whose first bytes are those of another format than its ending says."""
    for signature, words, endings in _SIGNATURES:
        if data.startswith(signature) and suffix not in endings:
            step = f"rename it to end in {endings[0]}" if endings else f"export the table inside as {_READABLE}"
            if endings == (".xls",):
                step = "open it and save it as .xlsx"
            raise DataError(f"{name} is {words} by its content, whatever its ending says: {step}.")


def _with_clean_header(frame: pd.DataFrame, name: str) -> tuple[pd.DataFrame, list[str]]:
    raw = [str(title) for title in frame.columns]
    clean = [" ".join(title.replace("\ufeff", "").replace("\u200b", "").split()) for title in raw]
    remarks = []
    if changed := [new for old, new in zip(raw, clean, strict=True) if old != new and new]:
        remarks.append(f"Spaces or line breaks around the header were taken off: {_listed(changed)}.")
    kept = [place for place, title in enumerate(clean) if title or frame.iloc[:, place].notna().any()]
    clean = [clean[place] or f"column {place + 1}" for place in kept]
    if unnamed := [f"column {place + 1}" for place in kept if not raw[place].strip()]:
        remarks.append(f"A column without a name is called {_listed(unnamed)}.")
    if twice := [title for title, count in collections.Counter(clean).items() if count > 1]:
        raise DataError(f"{name} has more than one column called {_listed(twice)}: give each column its own name.")
    frame = frame.iloc[:, kept]
    frame.columns = pd.Index(clean)
    return frame, remarks


def _without_trailing_blanks(frame: pd.DataFrame) -> pd.DataFrame:
    filled = np.flatnonzero(frame.notna().any(axis=1).to_numpy())
    return frame.iloc[: filled[-1] + 1].reset_index(drop=True) if filled.size else frame.iloc[:0]


def _listed(titles: list[str]) -> str:
    return ", ".join(f"'{title}'" for title in titles)
