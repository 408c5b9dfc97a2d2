"""Which rows are labels and which are the pool."""

import collections
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from engine.data.reading import Table
from engine.data.roles import Roles
from engine.data.values import Ints, as_text, is_blank, says_missing, typed

# From this share on, labelled texts that stand in the pool again show that the pool file is the whole collection.
WHOLE_SHARE = 0.9
# The column that stands for the texts where the files bring none; it is no column of theirs.
ROW_NAMES = "row of the file"


@dataclass(frozen=True)
class Parts:
    """The rows of both files by the part they play, as positions in the frames.

    labelled: rows of the labels file with a text and a label; unlabelled: those with a text alone, which join the pool.
    pool_rows: rows of the pool file with a text, less those that are labelled rows of a whole collection.
    in_pool_too: how many labelled texts stand in the pool file; whole: the pool file is the whole collection.
    missing: rows of the labels file where a word for a missing label stood, such as NA; it is blank in `labels`.
    missing_words: those words, sorted.
    """

    labels: Table
    pool: Table | None
    roles: Roles
    labelled: Ints
    unlabelled: Ints
    pool_rows: Ints
    labelled_texts: tuple[str, ...]
    in_pool_too: int
    whole: bool
    blank_texts: tuple[tuple[Table, Ints], ...]
    missing: Ints
    missing_words: tuple[str, ...]

    @property
    def pool_size(self) -> int:
        """Texts in the pool, m."""
        return len(self.unlabelled) + len(self.pool_rows)

    @property
    def used(self) -> tuple[tuple[Table, Ints], ...]:
        """Each file with the positions of its rows in use."""
        own = (self.labels, np.sort(np.concatenate([self.labelled, self.unlabelled])))
        return (own,) if self.pool is None else (own, (self.pool, self.pool_rows))


def with_label_column(labels: Table, name: str) -> Table:
    """The table with a column for the label, blank where the file brings none: nothing is labelled yet."""
    if name in labels.frame:
        return labels
    return replace(labels, frame=labels.frame.assign(**{name: np.nan}))


def with_row_names(table: Table, name: str) -> Table:
    """The table with a name for each row in place of a text, which begins with that of the file's part."""
    names = [f"{name} row {table.row(position)}" for position in range(len(table.frame))]
    return replace(table, frame=table.frame.assign(**{ROW_NAMES: names}))


def part(labels: Table, pool: Table | None, roles: Roles) -> Parts:
    """Sort the rows of both files into labels and pool; no row is labelled where there is no column of the label.

    The column of the text must exist. Words for a missing label, such as NA, become blank.
    """
    labels = with_label_column(labels, roles.label)
    column = labels.frame[roles.label]
    missing = says_missing(column)
    words = tuple(sorted(set(as_text(column[missing]))))
    if words:
        # Without the words, what is left may be numbers.
        column = typed(column.astype("str").mask(missing, other=np.nan))
        labels = replace(labels, frame=labels.frame.assign(**{roles.label: column}))
    no_text = is_blank(labels.frame[roles.text])
    no_label = is_blank(labels.frame[roles.label])
    labelled, unlabelled = np.flatnonzero(~no_text & ~no_label), np.flatnonzero(~no_text & no_label)
    texts = tuple(as_text(labels.frame[roles.text].iloc[labelled]).tolist())
    blank = [(labels, np.flatnonzero(no_text & _filled(labels.frame)))]
    pool_rows, in_pool_too, whole = np.array([], dtype=np.intp), 0, False
    if pool is not None:
        pool_blank = is_blank(pool.frame[roles.text])
        blank.append((pool, np.flatnonzero(pool_blank & _filled(pool.frame))))
        own = as_text(labels.frame[roles.text].iloc[unlabelled])
        pool_rows, in_pool_too, whole = _less_known(pool, roles.text, np.flatnonzero(~pool_blank), texts, tuple(own))
    return Parts(
        labels, pool, roles, labelled, unlabelled, pool_rows, texts, in_pool_too, whole, tuple(blank),
        np.flatnonzero(missing), words,
    )  # fmt: skip


def labelled_rows(labels: Table, roles: Roles) -> Table:
    """The table without the rows that have no label or no text: they would be taken for a pool."""
    if not {roles.text, roles.label} <= set(labels.frame):
        return labels
    parts = part(labels, None, roles)
    return replace(labels, frame=parts.labels.frame.iloc[parts.labelled].reset_index(drop=True))


def _filled(frame: pd.DataFrame) -> np.ndarray:
    """Rows that hold anything at all: an entirely empty line is nobody's fault."""
    return frame.notna().any(axis=1).to_numpy(dtype=bool)


def _less_known(
    pool: Table, column: str, rows: Ints, texts: tuple[str, ...], unlabelled: tuple[str, ...]
) -> tuple[Ints, int, bool]:
    """The pool's rows; where it is the whole collection each row of the labels file removes one with its text."""
    pool_texts = as_text(pool.frame[column].iloc[rows])
    present = set(pool_texts)
    in_pool_too = sum(text in present for text in texts)
    if not in_pool_too or in_pool_too < WHOLE_SHARE * len(texts):
        return rows, in_pool_too, False
    owed = collections.Counter(texts + unlabelled)
    kept = []
    for row, text in zip(rows, pool_texts, strict=True):
        if owed[text] > 0:
            owed[text] -= 1
        else:
            kept.append(row)
    return np.array(kept, dtype=np.intp), in_pool_too, True
