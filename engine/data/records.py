"""Tables that are no delimited text: Excel workbooks, JSON and JSONL records, Parquet files."""

import datetime as dt
import io
import itertools
import json
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.data.encodings import decode
from engine.data.values import SIXTEEN_DIGITS
from engine.errors import DataError

# A workbook that unpacks to more than this would fill the memory; such a table belongs in Parquet.
_UNPACKED_LIMIT = 2 * 1024**3
_BATCH_ROWS = 65_536

Read = tuple[pd.DataFrame, int, list[str]]


def read_excel(data: bytes, name: str) -> Read:
    """The first sheet that holds anything; the header is its first filled row. Raises DataError."""
    _refuse_bomb(data, name)
    title, others, rows = _first_sheet(data, name)
    rows = list(rows)
    header_row = next(position for position, row in enumerate(rows) if not _is_empty(row))
    header = ["" if cell is None else str(cell) for cell in rows[header_row]]
    body = pd.DataFrame([[_cell(cell) for cell in row] for row in rows[header_row + 1 :]], dtype=object)
    body = body.reindex(columns=range(len(header)))
    frame = pd.DataFrame({position: settled(body[position]) for position in body.columns})
    frame.columns = pd.Index(header)
    remarks = [f"Read the sheet '{title}'; {others} more were left alone."] if others else []
    if rounded := [title for place, title in enumerate(header) if _is_rounded(body[place])]:
        listed = ", ".join(f"'{' '.join(title.split())}'" for title in rounded)
        remarks.append(f"Excel keeps 15 digits of a number; those in {listed} may have lost some: keep them as text.")
    return frame, header_row + 1, remarks


def read_jsonl(data: bytes, name: str) -> Read:
    """One JSON object a line. Raises DataError naming the line at fault."""
    text, remark = decode(data, name)
    records: list[dict[str, Any]] = []
    for line, content in enumerate(text.rstrip().split("\n"), start=1):
        record = _object(content, name, line) if content.strip() else {}
        records.append(record)
    return _from_records(records, name), 0, [remark] if remark else []


def read_json(data: bytes, name: str) -> Read:
    """A list of records; a file of one object a line is read as JSONL. Raises DataError."""
    text, remark = decode(data, name)
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as fault:
        if text.lstrip().startswith("{") and getattr(fault, "msg", "") == "Extra data":
            return read_jsonl(data, name)
        line = getattr(fault, "lineno", 1)
        raise DataError(f"{name} is not valid JSON (line {line:,}): export it again as JSONL or CSV.") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(f"{name} is JSON but not a list of records: write it as [{{...}}, {{...}}] or as JSONL.")
    return _from_records(records, name), 0, [remark] if remark else []


def read_parquet(data: bytes, name: str) -> Read:
    """Every column of a Parquet file; nested values become JSON text. Raises DataError."""
    try:
        table = pq.read_table(io.BytesIO(data))
        table.validate(full=True)  # a string that is not UTF-8 would be met only where it is looked at
    except (pa.ArrowException, OSError, ValueError):
        raise _unreadable(name) from None
    kept = [position for position, title in enumerate(table.column_names) if not title.startswith("__index_level_")]
    columns = {position: _settled_arrow(table.column(kept[position])) for position in range(len(kept))}
    frame = pd.DataFrame(columns)
    frame.columns = pd.Index([table.column_names[position] for position in kept])
    return frame, 0, []


def first_rows(path: Path, rows: int) -> bytes:
    """The first rows of a Parquet file as a Parquet file of their own. Raises DataError."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            batch = next(file.iter_batches(batch_size=rows), None)
            table = file.schema_arrow.empty_table() if batch is None else pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError, ValueError):
        raise _unreadable(path.name) from None
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def column_batches(path: Path, name: str) -> "Iterator[pd.Series[Any]]":
    """One column of a Parquet file, batch by batch, each as `read_parquet` reads it. Raises DataError."""
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[name]):
                yield _settled_arrow(pa.chunked_array([batch.column(0)]))
    except (pa.ArrowException, OSError, ValueError):
        raise _unreadable(path.name) from None


def _unreadable(name: str) -> DataError:
    return DataError(f"{name} is not a Parquet file that can be read: write it again, or export it as CSV.")


def settled(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column of mixed Python values as numbers where all are numbers, otherwise as strings; blanks are missing.

    Integers too long for a float make it one of strings.
    """
    missing = column.isna()
    filled = column[~missing]
    numeric = filled.map(
        lambda cell: isinstance(cell, int | float | np.number) and not isinstance(cell, bool | np.bool_)
    )
    long = filled.map(lambda cell: isinstance(cell, int) and abs(cell) >= SIXTEEN_DIGITS)
    if len(filled) and numeric.all() and not long.any() and np.isfinite(filled.astype(float)).all():
        return pd.to_numeric(column.where(~missing, np.nan))
    texts = filled.map(_as_string).reindex(column.index)
    return texts.astype("str").mask(texts.isna() | (texts == ""), other=np.nan)


def _settled_arrow(column: Any) -> "pd.Series[Any]":
    if pa.types.is_integer(column.type) and _is_long(column):
        column = column.cast(pa.string())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return pd.Series(column.to_pandas())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        texts = pd.Series(column.to_pandas()).astype("str")
        return texts.mask(texts.str.strip() == "", other=np.nan)
    return settled(pd.Series(column.to_pylist(), dtype=object))


def _is_long(column: Any) -> bool:
    ends = pc.min_max(column).as_py()
    return any(abs(end) >= SIXTEEN_DIGITS for end in ends.values() if end is not None)


def _as_string(cell: Any) -> str:
    if isinstance(cell, str):
        return _whole(cell).strip()
    if isinstance(cell, bool | np.bool_):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return f"{cell:.15g}"
    if isinstance(cell, dict | list):
        return _whole(json.dumps(cell, ensure_ascii=False, default=str))
    return cell.isoformat() if isinstance(cell, dt.date | dt.time) else str(cell)


def _whole(text: str) -> str:
    """A string with "?" for every half of a surrogate pair, which JSON can spell but no file or database can hold."""
    return text.encode("utf-8", "replace").decode()


def _cell(cell: Any) -> Any:
    return None if isinstance(cell, str) and not cell.strip() else cell


def _is_empty(row: tuple[Any, ...]) -> bool:
    return all(_cell(cell) is None for cell in row)


def _refuse_bomb(data: bytes, name: str) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            unpacked = sum(part.file_size for part in parts.infolist())
    except zipfile.BadZipFile:
        raise _no_workbook(name) from None
    if unpacked > _UNPACKED_LIMIT:
        raise DataError(f"{name} unpacks to more than 2 GB: export it as CSV or Parquet instead.")


def _no_workbook(name: str) -> DataError:
    return DataError(f"{name} is no Excel workbook that can be opened: save it again as .xlsx, or export it as CSV.")


def _first_sheet(data: bytes, name: str) -> tuple[str, int, list[tuple[Any, ...]]]:
    with warnings.catch_warnings():
        # openpyxl warns of styles and extensions that have no bearing on the cells.
        warnings.simplefilter("ignore", UserWarning)
        try:
            book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
            for sheet in book.worksheets:
                sheet.reset_dimensions()
                rows = list(sheet.iter_rows(values_only=True))
                if any(not _is_empty(row) for row in rows):
                    return sheet.title, len(book.worksheets) - 1, _evened(rows)
        except Exception as fault:  # openpyxl raises whatever its XML reader meets in a damaged workbook
            raise _no_workbook(name) from fault
    raise DataError(f"{name} is empty: its sheets hold no cell; save it again with a header and one row per text.")


def _is_rounded(column: "pd.Series[Any]") -> bool:
    """Whether numbers of 16 digits or more are all such as a workbook has from rounding: floats, or with a last 0."""
    long = [cell for cell in column if isinstance(cell, int | float) and abs(cell) >= SIXTEEN_DIGITS]
    return bool(long) and all(isinstance(cell, float) or cell % 10 == 0 for cell in long)


def _evened(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    width = max(len(row) for row in rows)
    return [(*map(_with_breaks, row), *itertools.repeat(None, width - len(row))) for row in rows]


def _with_breaks(cell: Any) -> Any:
    """A cell with its "\\r", which a workbook can only spell by its code; openpyxl leaves that as it is."""
    return cell.replace("_x000D_", "\r") if isinstance(cell, str) else cell


def _object(content: str, name: str, line: int) -> dict[str, Any]:
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):  # Python reads no number of 4,301 digits
        raise DataError(f"{name}, line {line:,} is not valid JSON: each line must be one object like "
                        f'{{"text": "...", "label": 4}}.') from None  # fmt: skip
    if not isinstance(record, dict):
        raise DataError(f"{name}, line {line:,} is not a JSON object: each line must be one object like "
                        f'{{"text": "...", "label": 4}}.')  # fmt: skip
    return record


def _from_records(records: list[dict[str, Any]], name: str) -> pd.DataFrame:
    header = list(dict.fromkeys(itertools.chain.from_iterable(records)))
    if not header:
        raise DataError(f"{name} is empty: it holds no record with a field; export it again.")
    columns = {
        position: settled(pd.Series([_cell(record.get(field)) for record in records], dtype=object))
        for position, field in enumerate(header)
    }
    frame = pd.DataFrame(columns)
    frame.columns = pd.Index([_whole(title) for title in header])
    return frame
