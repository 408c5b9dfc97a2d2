"""Predictions of a pool of any size, from Parquet to Parquet, in shards.

A shard holds the rows as they came and their predictions. It is written under another name and then renamed, so that a
shard is there in full or not at all, and it carries a hash of the predictor, of its rows and of the name of the text
column: a run that was interrupted goes on after its last shard. Shards of other rows or texts or of another predictor,
and files that are none of ours, are replaced only where that is asked for; the file that is read never is.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from engine.data.values import as_text
from engine.errors import ArgumentError, DataError
from engine.learning.models import Progress, silent

_MARK = b"labelwise"
_READERS = {
    ".csv": "read_csv({})",
    ".tsv": "read_csv({}, sep='\\t')",
    ".xlsx": "read_excel({})",
    ".json": "read_json({})",
    ".jsonl": "read_json({}, lines=True)",
}


class Keyed(Protocol):
    """A predictor with a hash that tells it from others."""

    @property
    def key(self) -> str:
        """The hash."""

    def predict(self, texts: list[str], progress: Progress = silent) -> NDArray[np.float64]:
        """Return predictions, shape (len(texts), k)."""


@dataclass(frozen=True)
class Streamed:
    """What came of a pool.

    Attributes:
        shards: The files, in the order of the rows.
        rows: Rows in all.
        missing: Rows without a text, whose prediction is missing too.
        computed: Shards computed now; the others were there.
    """

    shards: list[Path]
    rows: int
    missing: int
    computed: int


def predict_parquet(
    predictor: Keyed,
    source: Path,
    target: Path,
    *,
    text: str,
    classes: Sequence[str] = (),
    shard_rows: int = 20_000,
    force: bool = False,
    progress: Progress = silent,
) -> Streamed:
    """Predict every row of a Parquet file into a folder of Parquet files; no more than a shard is held in memory.

    Args:
        predictor: What predicts.
        source: A Parquet file.
        target: Folder of the shards, part-00000.parquet and so on; made if it is not there. The source must not lie
            in it.
        text: Column with the text, which is read as a run reads it: blanks around it do not count, and a cell without
            anything else is missing and has no prediction.
        classes: Names of the classes; their probabilities are columns "probability of NAME". Empty for numbers,
            whose column is "prediction".
        shard_rows: Rows of a shard.
        force: Replace what the folder holds of other predictions or other programs, where it is in the way.
        progress: Called with the share of rows done.

    Raises:
        DataError: The file or its columns do not serve.
        ArgumentError: The folder cannot be written, or holds what must not be replaced unawares; nothing in it is
            touched then. Or the classes are not the predictor's.
    """
    columns = [f"probability of {name}" for name in classes] or ["prediction"]
    with _reading(source):
        file = pq.ParquetFile(source, pre_buffer=False)
    with file:
        _check(file.schema_arrow, source.name, text, columns)
        _keep_source(source, target)
        if not force:
            _keep_parts(predictor.key, file, source, target, text, columns, shard_rows)
        return _predict_all(predictor, file, source, target, text, columns, shard_rows, progress)


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Turn what goes wrong while the pool is read into a DataError."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"There is no file {source}: check the name and the folder.") from None
    except (OSError, pa.ArrowException, UnicodeDecodeError) as fault:
        if source.is_dir():
            raise DataError(f"{source} is a folder: name a Parquet file in it.") from None
        # Of a fault of the disk there is a number; Arrow has none of damaged content.
        if isinstance(fault, OSError) and fault.errno is not None:
            why = os.strerror(fault.errno)
            raise DataError(f"{source} cannot be read ({why}): check the name and who may read it.") from None
        if reader := _READERS.get(source.suffix.lower()):
            line = f"pandas.{reader.format(repr(str(source)))}.to_parquet({str(source.with_suffix('.parquet'))!r})"
            words = f"{source.name} is no Parquet file, which a pool to be predicted must be: {line} writes one."
            raise DataError(words) from None
        raise DataError(f"{source.name} cannot be read as Parquet: export it again.") from None


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turn what goes wrong while shards are written into an ArgumentError."""
    try:
        yield
    except OSError as fault:
        where = fault.filename or target
        raise ArgumentError(f"{where} cannot be written ({fault.strerror or fault}); name another folder.") from None


def _check(schema: Any, name: str, text: str, columns: list[str]) -> None:
    if text not in schema.names:
        there = ", ".join(f"'{title}'" for title in schema.names)
        raise DataError(f"{name} has no column '{text}'; it has {there}.")
    if schema.names.count(text) > 1:
        raise DataError(f"{name} has more than one column called '{text}': give each column its own name.")
    kind = schema.field(text).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise DataError(f"{name}, column '{text}' holds {kind}, not text; name the column with the text.")
    if taken := [column for column in columns if column in schema.names]:
        raise DataError(f"{name} has a column '{taken[0]}' already, where a prediction would stand; rename it.")


def _keep_source(source: Path, target: Path) -> None:
    """Refuse a folder in which the source lies, itself or as a link."""
    places = [*source.resolve().parents, *(source.parent.resolve() / source.name).parents]
    if target.is_dir() and any(target.samefile(place) for place in places):
        raise ArgumentError(
            f"{source} lies in the folder {target}, into which its predictions would go; name another folder with -o."
        )


def _keep_parts(
    key: str, file: Any, source: Path, target: Path, text: str, columns: list[str], shard_rows: int
) -> None:
    """Refuse a folder with a part that is none of this prediction; as far as this one came, its own may be there."""
    marks = {path.name: _marked(path) for path in _parts(target)}
    remedy = "name another folder with -o, or add --force to replace what is in the way"
    if foreign := [name for name, mark in marks.items() if mark is None]:
        raise ArgumentError(f"{target / foreign[0]} was not written by Labelwise, or is damaged; {remedy}.")
    others = ArgumentError(
        f"The folder {target} holds predictions of other rows or texts, or by other models; {remedy}."
    )
    for number, table in enumerate(_shards(file, source, shard_rows) if marks else ()):
        mark = marks.pop(_name(number), None)
        if mark is not None and mark != _mark(key, text, columns, table):
            raise others
        if not marks:  # what follows was not begun
            return
    if marks:
        raise others


def _parts(target: Path) -> list[Path]:
    """The parts that a folder holds, whoever wrote them."""
    if not target.is_dir():
        return []
    with _writing(target):
        return sorted(path for path in target.iterdir() if path.match("part-*.parquet"))


def _name(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _predict_all(
    predictor: Keyed,
    file: Any,
    source: Path,
    target: Path,
    text: str,
    columns: list[str],
    shard_rows: int,
    progress: Progress,
) -> Streamed:
    with _writing(target):
        target.mkdir(parents=True, exist_ok=True)
        _remove_begun(target)
    rows, total, missing, computed = 0, max(file.metadata.num_rows, 1), 0, 0
    shards: list[Path] = []
    for table in _shards(file, source, shard_rows):
        with _reading(source):
            texts = as_text(pd.Series(table.column(text).to_pylist(), dtype="str")).tolist()
        missing += texts.count("")
        path = target / _name(len(shards))
        mark = _mark(predictor.key, text, columns, table)
        if _marked(path) != mark:

            def part(share: float, rows: int = rows, size: int = len(texts)) -> None:
                progress((rows + share * size) / total)

            predicted = _with_predictions(table, texts, predictor, columns, part)
            with _writing(target):
                _write(path, predicted, mark)
            computed += 1
        shards.append(path)
        rows += len(texts)
        progress(rows / total)
    _remove_later(target, len(shards))
    return Streamed(shards, rows, missing, computed)


def _shards(file: Any, source: Path, rows: int) -> Iterator[Any]:
    """Tables of so many rows, but for the last; batches end with row groups, shards do not."""
    waiting: list[Any] = []
    count = 0
    for batch in _batches(file, source, rows):
        while len(batch):
            piece = batch.slice(0, rows - count)
            batch = batch.slice(len(piece))
            waiting.append(piece)
            count += len(piece)
            if count == rows:
                yield pa.Table.from_batches(waiting).combine_chunks()
                waiting, count = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _batches(file: Any, source: Path, rows: int) -> Iterator[Any]:
    """Batches of at most so many rows, as they come."""
    with _reading(source):  # what goes wrong with a batch once it is handed on does not pass through here
        yield from file.iter_batches(batch_size=rows)


def _mark(key: str, text: str, columns: list[str], table: Any) -> bytes:
    content = pa.BufferOutputStream()
    table = table.replace_schema_metadata(None)  # where pandas notes how many rows the whole file has
    with pa.ipc.new_stream(content, table.schema) as stream:
        stream.write_table(table)
    digest = hashlib.sha256("\0".join([key, text, *columns]).encode())
    digest.update(content.getvalue())
    return digest.hexdigest().encode()


def _marked(path: Path) -> bytes | None:
    """The mark of a shard; None where there is none that can be read."""
    try:
        return dict(pq.read_metadata(path).metadata or {}).get(_MARK)
    except (OSError, pa.ArrowException):
        return None


def _with_predictions(table: Any, texts: list[str], predictor: Keyed, columns: list[str], progress: Progress) -> Any:
    there = [i for i, text in enumerate(texts) if text]
    values = np.full((len(texts), len(columns)), np.nan)
    if there:
        predictions = predictor.predict([texts[i] for i in there], progress)
        if predictions.shape[1] != len(columns):
            raise ArgumentError(f"The model predicts {predictions.shape[1]} columns, but {len(columns)} are named.")
        values[there] = predictions
    for name, column in zip(columns, values.T, strict=True):
        table = table.append_column(name, pa.array(column, from_pandas=True))  # a missing number, not nan
    return table


def _write(path: Path, table: Any, mark: bytes) -> None:
    # What reads the folder as a whole passes over names that begin with a dot.
    part = path.with_name(f".{path.stem}.{os.getpid()}.part")
    try:
        pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), _MARK: mark}), part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _remove_begun(target: Path) -> None:
    """Remove what processes that were killed had begun to write; earlier versions put no dot before the name."""
    for path in target.iterdir():
        begun = re.fullmatch(r"\.?part-\d+\.(\d{1,9})\.part", path.name)
        if begun and (int(begun[1]) == os.getpid() or not psutil.pid_exists(int(begun[1]))):
            path.unlink(missing_ok=True)


def _remove_later(target: Path, count: int) -> None:
    """Remove our own shards beyond the last, which an earlier, larger pool left."""
    for path in _parts(target):
        number = path.stem.removeprefix("part-")
        if number.isdecimal() and int(number) >= count and _marked(path) is not None:
            with _writing(target):
                path.unlink()
