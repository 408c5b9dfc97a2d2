"""The pool's predictions, reduced to the few sums that a mean needs; a pool of any size fits in a summary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import ArgumentError, DataError
from engine.rectification.inputs import Floats

ROW = 8_192
CHUNK = 65_536  # rows a pass; half a megabyte of float64 stays in the processor's cache


@dataclass(frozen=True)
class PoolSummary:
    """Predictions of the pool as running sums, exact under merging (Chan, Golub & LeVeque 1983).

    count: rows. weight: sum of the weights v (count without weights). mean: weighted mean of each column, (d,).
    weight_squares: sum of v^2. scatter: sum of v^2 (f - mean)^2, (d,). tilt: sum of v^2 (f - mean), (d,).
    """

    count: int
    weight: float
    mean: Floats
    weight_squares: float
    scatter: Floats
    tilt: Floats

    @classmethod
    def empty(cls, columns: int) -> "PoolSummary":
        """No rows yet."""
        zero = np.zeros(columns)
        return cls(0, 0.0, zero, 0.0, zero, zero)

    @classmethod
    def from_array(cls, predictions: object, weights: object | None = None) -> "PoolSummary":
        """Summarise m or m x d predictions, with m weights or none.

        Raises: ArgumentError for values that are not finite numbers.
        """
        values = np.asarray(predictions, dtype=np.float64)
        columns = values[:, None] if values.ndim == 1 else values
        v = None if weights is None else np.asarray(weights, dtype=np.float64)
        summary = summarise(columns, v)
        if not (np.isfinite(summary.mean).all() and np.isfinite(summary.scatter).all()):
            raise ArgumentError("The pool's predictions hold missing or infinite values: remove those rows.")
        return summary

    @classmethod
    def from_batches(cls, batches: Iterable[object]) -> "PoolSummary":
        """Summarise arrays of predictions one after another, in constant memory.

        Raises: ArgumentError where a batch is not finite, or there is none.
        """
        total: PoolSummary | None = None
        for batch in batches:
            part = cls.from_array(batch)
            total = part if total is None else total.merge(part)
        if total is None:
            raise ArgumentError("The pool has no batches of predictions: give at least one.")
        return total

    @classmethod
    def from_parquet(
        cls, path: str | Path, column: str | Sequence[str], *, weight: str | None = None, batch_rows: int = 262_144
    ) -> "PoolSummary":
        """Summarise one column (or several, as for class probabilities) of a Parquet file, batch by batch.

        Raises: DataError where the file, a column or a value is at fault.
        """
        import pyarrow.parquet as parquet

        wanted = [column] if isinstance(column, str) else list(column)
        names = wanted + ([weight] if weight else [])
        try:
            file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        except (OSError, ValueError) as fault:
            raise DataError(f"{path} cannot be read as Parquet ({fault}): check the path and the format.") from None
        absent = [name for name in names if name not in file.schema_arrow.names]
        if absent:
            raise DataError(
                f"{path} has no column {absent[0]!r}; its columns are {', '.join(file.schema_arrow.names[:12])}."
            )
        total = cls.empty(len(wanted))
        with file:
            # One row group at a time: read as a whole, pyarrow keeps every group that it has passed.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(batch_size=batch_rows, row_groups=[group], columns=names):
                    total = total.merge(_read(batch, wanted, weight, str(path), total.count))
        if total.count == 0:
            raise DataError(f"{path} has no rows: give a pool of predictions.")
        return total

    def merge(self, other: "PoolSummary") -> "PoolSummary":
        """The summary of both sets of rows."""
        weight = self.weight + other.weight
        if self.count == 0 or other.count == 0 or weight == 0:
            return other if self.count == 0 else replace(self, count=self.count + other.count)
        mean = (self.weight * self.mean + other.weight * other.mean) / weight
        a, b = self.about(mean), other.about(mean)
        squares = self.weight_squares + other.weight_squares
        return PoolSummary(self.count + other.count, weight, mean, squares, a.scatter + b.scatter, a.tilt + b.tilt)

    def about(self, centre: Floats) -> "PoolSummary":
        """The same sums taken about another centre."""
        gap = self.mean - centre
        scatter = self.scatter + 2 * gap * self.tilt + gap**2 * self.weight_squares
        return replace(self, mean=centre, scatter=scatter, tilt=self.tilt + gap * self.weight_squares)

    @property
    def variance_of_mean(self) -> Floats:
        """Variance of the weighted mean by linearisation: m/(m-1) sum (v (f - mean) / sum v)^2, (d,)."""
        if self.count < 2 or self.weight == 0:
            return np.zeros_like(self.mean)
        return np.asarray(np.maximum(self.scatter, 0.0) * (self.count / (self.count - 1) / self.weight**2))


def summarise(values: Floats, weights: Floats | None = None) -> PoolSummary:
    """Sums over an m x d array, in chunks that stay in the cache."""
    m, columns = values.shape
    if m == 0:
        return PoolSummary.empty(columns)
    if weights is None:
        return _summarise_alike(values)
    weight, squares = float(weights.sum()), float(weights @ weights)
    mean = weights @ values / weight if weight else values.mean(axis=0)
    scatter, tilt = np.zeros(columns), np.zeros(columns)
    for start in range(0, m, CHUNK):
        gap = values[start : start + CHUNK] - mean
        squared = weights[start : start + CHUNK] ** 2
        scatter += squared @ (gap * gap)
        tilt += squared @ gap
    return PoolSummary(m, weight, np.asarray(mean), squares, scatter, tilt)


def _summarise_alike(values: Floats) -> PoolSummary:
    """Without weights, in one pass: deviations from the mean of the first rows leave no cancellation to speak of."""
    m, columns = values.shape
    if columns == 1:  # numpy adds up a plain row several times faster than a table of one column
        return _summarise_one(values[:, 0])
    centre = values[:CHUNK].mean(axis=0)
    gaps, squares = np.zeros(columns), np.zeros(columns)
    for start in range(0, m, CHUNK):
        gap = values[start : start + CHUNK] - centre
        gaps += gap.sum(axis=0)
        squares += np.einsum("ij,ij->j", gap, gap)
    scatter = np.maximum(squares - gaps**2 / m, 0)
    return PoolSummary(m, float(m), centre + gaps / m, float(m), scatter, np.zeros(columns))


def _summarise_one(values: Floats) -> PoolSummary:
    """One column: plain sums where the spread is large enough to lose nothing by them, deviations elsewhere."""
    m = len(values)
    # Rows short enough for a product to stay on one thread: helpers are waited for longer than they work.
    whole = m - m % ROW
    table, rest = values[:whole].reshape(-1, ROW), values[whole:]
    total = float(np.einsum("ij->i", table).sum() + rest.sum())
    raw = float(np.vecdot(table, table).sum() + np.vecdot(rest, rest))
    if raw - total * total / m > 1e-6 * raw:
        scatter = np.array([raw - total * total / m])
        return PoolSummary(m, float(m), np.array([total / m]), float(m), scatter, np.zeros(1))
    centre = float(values[:CHUNK].mean())
    gaps, squares = 0.0, 0.0
    for start in range(0, m, CHUNK):
        gap = values[start : start + CHUNK] - centre
        gaps += float(gap.sum())
        squares += float(gap @ gap)
    scatter = np.array([max(squares - gaps * gaps / m, 0.0)])
    return PoolSummary(m, float(m), np.array([centre + gaps / m]), float(m), scatter, np.zeros(1))


def _read(batch: object, names: list[str], weight: str | None, path: str, before: int) -> PoolSummary:
    """One record batch as a summary; a value at fault is named by its row."""
    columns = [_column(batch, name, path, before) for name in names]
    v = None if weight is None else _column(batch, weight, path, before)
    if v is not None and (v < 0).any():
        raise DataError(f"{path}, column {weight!r}: row {before + int(np.argmax(v < 0)) + 1} has a negative weight.")
    return summarise(np.column_stack(columns), v)


def _column(batch: object, name: str, path: str, before: int) -> Floats:
    array = batch.column(name)  # type: ignore[attr-defined]
    try:
        values: NDArray[np.float64] = np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{path}, column {name!r} must hold numbers; it holds {array.type}.") from None
    if not np.isfinite(values).all():
        row = before + int(np.argmax(~np.isfinite(values))) + 1
        raise DataError(f"{path}, column {name!r}, row {row:,} is missing or infinite: remove that row.")
    return values
