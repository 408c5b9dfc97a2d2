"""How findings name rows, counts and values."""

from collections.abc import Sequence

from engine.data.reading import Table
from engine.data.values import Ints


def rows_of(table: Table, positions: Ints) -> str:
    """The first three of these rows, as the file counts them."""
    shown = ", ".join(f"{table.row(position):,}" for position in positions[:3])
    return f"row{'s' if len(positions) > 1 else ''} {shown}{', ...' if len(positions) > 3 else ''}"


def counted_blank(table: Table, column: str, positions: Ints, words: Sequence[str]) -> str:
    """A sentence on these rows of a column, which hold words for a missing cell."""
    one = len(positions) == 1
    return (
        f"{table.name}, column '{column}': {count_of(len(positions), 'row')} {'holds' if one else 'hold'} "
        f"{listed(words)} ({rows_of(table, positions)}) and {'counts' if one else 'count'} as blank."
    )


def count_of(number: int, noun: str) -> str:
    """A number with its noun, in the plural unless the number is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def shortened(value: str) -> str:
    """A cell's value on one line of at most 40 characters."""
    line = " ".join(value.split())
    return line if len(line) <= 40 else line[:37] + "..."


def listed(names: Sequence[str]) -> str:
    """Up to five names in quotation marks, and how many more there are."""
    shown = ", ".join(f"'{shortened(name)}'" for name in names[:5])
    return shown + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
