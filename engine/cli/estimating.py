"""The command estimate: the user's own predictions, rectified; a Parquet pool need not fit into memory."""

from __future__ import annotations

import json
import sys
from argparse import Namespace as Arguments

from engine.cli.studies import chosen_question, chosen_roles, told
from engine.data import Dataset, Table, find_text, guess_roles, prepare, read_parquet_start, read_table
from engine.data.matching import ROW_NAMES, with_row_names
from engine.data.records import column_batches
from engine.data.values import as_text
from engine.errors import ArgumentError
from engine.rectification import PoolSummary
from engine.rectification.dataset import rectify_dataset
from engine.runs import Question


def estimate(options: Arguments) -> None:
    """Rectify predictions that came with the files."""
    labels = read_table(options.labels)
    streamed = _may_stream(options)
    pool = _pool(options, streamed)
    data, question = _prepared(options, labels, pool, streamed)
    if streamed and (question.estimand != "mean" or _compared(options, labels, pool)):
        streamed, pool = False, _pool(options, streamed=False)
        data, question = _prepared(options, labels, pool, streamed)
    assert data.predictions is not None
    assert data.pool_predictions is not None
    answer = rectify_dataset(
        data,
        data.predictions,
        _summed(options, data, pool) if streamed and pool else data.pool_predictions,
        population=question.population,
        confidence=question.confidence,
        estimand=question.estimand,
        q=question.q,
    )
    print(json.dumps(answer.to_dict()) if options.json else told(answer, question, data.classes))
    for remark in data.remarks:
        print(remark, file=sys.stderr if options.json else sys.stdout)


def _may_stream(options: Arguments) -> bool:
    """Whether the pool can be summed batch by batch: a mean needs its sums alone where no rows are compared."""
    parquet = options.pool is not None and options.pool.suffix.lower() in (".parquet", ".pq")
    compared = options.text or options.group or _one_file(options)
    return parquet and options.estimand in (None, "mean") and not compared


def _one_file(options: Arguments) -> bool:
    """Whether the labels file is the pool as well, so that its rows are the same rows."""
    return options.pool is not None and bool(options.labels.resolve() == options.pool.resolve())


def _pool(options: Arguments, streamed: bool) -> Table | None:
    """The pool; of one that is to be summed, its first rows."""
    if options.pool is None:
        return None
    return read_parquet_start(options.pool) if streamed else read_table(options.pool)


def _compared(options: Arguments, labels: Table, pool: Table | None) -> bool:
    """Whether the texts matter: some have several labels or none, or stand in the pool that is to be summed too."""
    text = _text(options, labels, pool)
    if text is None:
        return False
    column = as_text(labels.frame[text])
    texts = set(column)
    sought = texts | {""}
    return (
        "" in texts
        or len(texts) < len(column)
        or any(not sought.isdisjoint(as_text(cells)) for cells in column_batches(options.pool, text))
    )


def _prepared(options: Arguments, labels: Table, pool: Table | None, streamed: bool) -> tuple[Dataset, Question]:
    options.prediction = options.prediction or guess_roles(labels, pool).prediction
    if options.prediction is None:
        raise ArgumentError("Name the column with your predictions: --prediction COLUMN.")
    text = None if streamed else _text(options, labels, pool)
    named = Arguments(**{**vars(options), "text": text or ROW_NAMES})
    if text is None:
        # Predictions can be rectified without the texts they were made for.
        labels = with_row_names(labels, "labels")
        pool = pool and with_row_names(pool, "labels" if _one_file(options) else "pool")
    data = prepare(labels, pool, chosen_roles(named, labels, pool))
    return data, chosen_question(options, data)


def _text(options: Arguments, labels: Table, pool: Table | None) -> str | None:
    """The column of the texts, by which rows that are in both files are known; None where they have none."""
    if options.text is not None:
        return str(options.text)
    label = options.label or guess_roles(labels, pool).label
    return find_text(labels, pool, {label, options.prediction, options.weight, options.group})


def _summed(options: Arguments, data: Dataset, start: Table) -> PoolSummary:
    """The sums over the whole Parquet file and over the rows without a label in the labels file, which come first."""
    total = PoolSummary.from_parquet(options.pool, options.prediction, weight=options.weight)
    own = data.m - len(start.frame)
    if own == 0:
        return total
    assert data.pool_predictions is not None
    weights = None if data.pool_weights is None else data.pool_weights[:own]
    return PoolSummary.from_array(data.pool_predictions[:own], weights).merge(total)
