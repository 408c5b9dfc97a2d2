"""The data as arrays, ready for the mathematics: labels, pool, and what goes with each text."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.data.checks import Check, check_data
from engine.data.matching import Parts, part
from engine.data.reading import Table
from engine.data.roles import Roles
from engine.data.values import Floats, Objects, as_numbers, as_text, kind_of
from engine.data.wording import count_of, counted_blank
from engine.errors import DataError


@dataclass(frozen=True, eq=False)
class Dataset:
    """n labels and a pool of m texts.

    texts (n), pool_texts (m): stripped strings, none blank.
    y (n,): floats where the labels are numbers; where they are classes, integer codes into `classes` (sorted names).
    predictions (n,), pool_predictions (m,): the user's own, for numbers; for classes (n, k) and (m, k), one-hot, or
        probabilities where the column holds numbers from 0 to 1 for two classes; a row of zeros is none of the classes.
    weights (n,), pool_weights (m,): finite, 0 or more. groups (n,), pool_groups (m,): strings.
    remarks: what was done to the rows, one sentence each.
    ids (n,), pool_ids (m,): the rows' own names as strings, "" where there is none; no part of the key.
    """

    name: str
    texts: tuple[str, ...]
    y: NDArray[Any]
    classes: tuple[str, ...] | None
    pool_texts: tuple[str, ...]
    predictions: Floats | None = None
    pool_predictions: Floats | None = None
    weights: Floats | None = None
    pool_weights: Floats | None = None
    groups: Objects | None = None
    pool_groups: Objects | None = None
    remarks: tuple[str, ...] = ()
    ids: Objects | None = None
    pool_ids: Objects | None = None

    @property
    def n(self) -> int:
        """How many labels there are."""
        return len(self.texts)

    @property
    def m(self) -> int:
        """How many texts the pool holds."""
        return len(self.pool_texts)

    @cached_property
    def clusters(self) -> NDArray[np.intp] | None:
        """Codes of the labels by their texts, (n,), where some text has several: they vary together. None elsewhere."""
        codes, texts = pd.factorize(np.array(self.texts, dtype=object))
        return codes if len(texts) < self.n else None

    @property
    def design_effect(self) -> float:
        """How many times as large weights, and several labels of a text, make the variance of a mean (Kish).

        1 without them. The labels of a text count as one: how far they agree is told by their sums' variance.
        """
        totals = self._totals
        # Equal weights give 1, which rounding may miss from below.
        return max(float(self.n * (totals**2).sum() / totals.sum() ** 2), 1.0)

    @property
    def unit_share(self) -> float:
        """The share of labels that vary independently where some count more, or are of one text; 1 elsewhere.

        It is (sum w^2)^2 / (n sum w^4) of the texts' weights: the labels' variance is known as well as that of so many.
        """
        squares = (self._totals / self._totals.max()) ** 2
        return min(float(squares.sum() ** 2 / (self.n * (squares**2).sum())), 1.0)

    @property
    def _totals(self) -> Floats:
        """The weight of each labelled text, of all its labels together."""
        weights = np.ones(self.n) if self.weights is None or not self.weights.any() else self.weights
        return weights if self.clusters is None else np.bincount(self.clusters, weights).astype(float)

    @cached_property
    def key(self) -> str:
        """SHA-256 of the contents, the file names aside: equal data have equal keys on any machine."""
        digest = hashlib.sha256()
        for field in (self.texts, self.classes, self.pool_texts, self.groups, self.pool_groups):
            _digest_strings(digest, field)
        arrays = (self.y, self.predictions, self.pool_predictions, self.weights, self.pool_weights)
        for array in arrays:
            _digest_numbers(digest, array)
        return digest.hexdigest()


def prepare(labels: Table, pool: Table | None, roles: Roles, *, needs_pool: bool = True) -> Dataset:
    """The data under these roles, ready for the mathematics.

    Rows of the labels file without a label join the pool, also those with a word for a missing one such as NA; rows
    without a text are left out. Where at least nine tenths of the labelled texts stand in the pool file again, it is
    the whole collection, and each label removes one row with its text. `needs_pool=False` accepts a data set without a
    pool.

    Raises DataError with every fault that `check_data` calls an error.
    """
    _refuse_faults(check_data(labels, pool, roles, needs_pool=needs_pool))
    parts = part(labels, pool, roles)
    label_column = parts.labels.frame[roles.label].iloc[parts.labelled]
    y, classes = _coded(label_column)
    predictions = _pair(parts, roles.prediction, lambda column: _predicted(column, classes))
    weights = _pair(parts, roles.weight, as_numbers)
    groups = _pair(parts, roles.group, lambda column: np.where(as_text(column) == "", "(blank)", as_text(column)))
    texts = _pair(parts, roles.text, as_text)
    ids = _pair(parts, roles.id, as_text)
    return Dataset(
        labels.name, tuple(texts[0]), y, classes, tuple(texts[1]), *predictions, *weights, *groups, _remarks(parts),
        *ids,
    )  # fmt: skip


def prepare_pool(labels: Table, pool: Table | None, roles: Roles) -> Dataset:
    """The pool alone, as long as nothing, or too little, is labelled; there need be no column for the label yet.

    Raises DataError where there is no pool.
    """
    _refuse_faults(check_data(labels, pool, roles, needs_labels=False))
    parts = part(labels, pool, roles)
    texts = _pair(parts, roles.text, as_text)[1]
    return Dataset(labels.name, (), np.empty(0), None, tuple(texts), remarks=_remarks(parts))


def _refuse_faults(checks: list[Check]) -> None:
    faults = [f"{check.finding} {check.remedy}" for check in checks if check.level == "error"]
    if faults:
        raise DataError(" ".join(faults))


def _coded(column: "pd.Series[Any]") -> tuple[NDArray[Any], tuple[str, ...] | None]:
    if kind_of(column) == "numbers":
        return as_numbers(column), None
    names = as_text(column)
    classes = tuple(sorted(set(names)))
    code = {name: position for position, name in enumerate(classes)}
    return np.array([code[name] for name in names], dtype=np.int64), classes


def _pair(
    parts: Parts, name: str | None, values: "Callable[[pd.Series[Any]], NDArray[Any]]"
) -> tuple[Any, Any]:  # fmt: skip
    """A column's values for the labels and for the pool; unlabelled rows of the labels file open the pool."""
    if name is None:
        return None, None
    column = parts.labels.frame[name]
    rest = [column.iloc[parts.unlabelled]]
    if parts.pool is not None:
        # A pool may lack the identifier, and that alone.
        rest.append(parts.pool.frame.reindex(columns=[name])[name].iloc[parts.pool_rows])
    pool = np.concatenate([values(cells) for cells in rest])
    return values(column.iloc[parts.labelled]), pool


def _predicted(column: "pd.Series[Any]", classes: tuple[str, ...] | None) -> Floats:
    if classes is None:
        return as_numbers(column)
    names = as_text(column)
    numbers = as_numbers(column)
    if len(classes) == 2 and not set(names) <= set(classes) and np.all((numbers >= 0) & (numbers <= 1)):
        return np.column_stack([1 - numbers, numbers])
    return np.column_stack([(names == name).astype(float) for name in classes])


def _remarks(parts: Parts) -> tuple[str, ...]:
    done = [
        f"{table.name}: {count_of(len(blank), 'row')} without a text left out."
        for table, blank in parts.blank_texts
        if len(blank)
    ]
    if parts.missing.size:
        done.append(counted_blank(parts.labels, parts.roles.label, parts.missing, parts.missing_words))
    if len(parts.unlabelled):
        done.append(f"{parts.labels.name}: {count_of(len(parts.unlabelled), 'row')} without a label joined the pool.")
    if parts.whole and parts.pool is not None:
        done.append(f"{parts.pool.name} is the whole collection: the labelled rows were taken out of the pool.")
    elif parts.in_pool_too:
        done.append(f"{count_of(parts.in_pool_too, 'labelled text')} found in the pool again.")
    if repeated := len(parts.labelled_texts) - len(set(parts.labelled_texts)):
        done.append(
            f"{parts.labels.name}: {count_of(repeated, 'label')} of a text that has another one; the labels of a text "
            "stay together, and the interval takes them for drawn together."
        )
    files = (parts.labels,) if parts.pool is None else (parts.labels, parts.pool)
    return (*(f"{table.name}: {remark}" for table in files for remark in table.remarks), *done)


def _digest_strings(digest: Any, strings: Any) -> None:
    if strings is None:
        digest.update(b"none;")
        return
    digest.update(f"strings {len(strings)};".encode())
    for string in strings:
        content = str(string).encode("utf-8", errors="surrogatepass")
        digest.update(f"{len(content)};".encode() + content)


def _digest_numbers(digest: Any, array: Any) -> None:
    if array is None:
        digest.update(b"none;")
        return
    plain = np.ascontiguousarray(array, dtype="<f8")
    digest.update(f"numbers {plain.shape};".encode() + plain.tobytes())
