"""The check-list of a data set: what is in order, what deserves a look, what stands in the way, each with a remedy."""

import collections
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from engine.data.matching import ROW_NAMES, WHOLE_SHARE, Parts, part
from engine.data.reading import Table
from engine.data.roles import Roles
from engine.data.values import (
    NUMBERS_SHARE,
    Ints,
    as_numbers,
    as_text,
    has_no_label,
    is_blank,
    kind_of,
    spelt_numbers,
    strays,
)
from engine.data.wording import count_of, counted_blank, listed, rows_of, shortened

FEWEST_LABELS = 10
FEW_LABELS = 30
FEW_OF_A_CLASS = 5
_NO_CHANCE = 0.001  # so small a p-value, and so large a share of labels in the wrong group, are gross
_MISPLACED = 0.1
MOST_CLASSES = 20


@dataclass(frozen=True)
class Check:
    """One finding and its remedy, a sentence each; the remedy of an "ok" may be empty."""

    level: Literal["error", "warning", "ok"]
    finding: str
    remedy: str


def check_data(
    labels: Table, pool: Table | None, roles: Roles, *, needs_pool: bool = True, needs_labels: bool = True
) -> list[Check]:
    """Every finding about the data under these roles: errors first, then warnings, then what is in order.

    Without a pool file, rows of the labels file without a label are the pool; `needs_pool=False` accepts that there
    is none, `needs_labels=False` that little or nothing is labelled yet, not even that there is a column for it. Faults
    of the data never raise.
    """
    checks = list(_columns(labels, pool, roles, needs_labels))
    checks += [Check("ok", remark, "") for remark in _remarks(labels, pool)]
    if not any(check.level == "error" for check in checks):
        parts = part(labels, pool, roles)
        checks += _sizes(parts, needs_pool, needs_labels)
        for examine in (_labels, _missing, _blanks, _repeats, _predictions, _weights, _groups):
            if needs_labels or examine is not _labels:
                checks += examine(parts)
    order = {"error": 0, "warning": 1, "ok": 2}
    return sorted(checks, key=lambda check: order[check.level])


def _remarks(labels: Table, pool: Table | None) -> list[str]:
    return [f"{table.name}: {remark}" for table in (labels, pool) if table is not None for remark in table.remarks]


def _columns(labels: Table, pool: Table | None, roles: Roles, needs_labels: bool) -> Iterator[Check]:
    """Columns that the roles name and the files lack, and columns that play two parts."""
    named = {role: name for role, name in roles.to_dict().items() if name is not None}
    for role, name in named.items():
        if name not in labels.frame and (role != "label" or needs_labels):
            yield _no_column(labels, role, name)
        elif pool is not None and role not in ("label", "id") and name not in pool.frame:
            yield _no_column(pool, role, name)
    twice = [name for name, count in collections.Counter(named.values()).items() if count > 1]
    for name in twice:
        played = " and ".join(role for role, column in named.items() if column == name)
        yield Check("error", f"The column '{name}' is named as {played} at once.", "Name a column of its own for each.")
    if pool is not None and roles.label in pool.frame and not has_no_label(pool.frame[roles.label]).all():
        yield Check(
            "warning",
            f"{pool.name} holds values in '{roles.label}' too; they are not used.",
            "Move rows that have a label into the labels file if they are human labels.",
        )


def _no_column(table: Table, role: str, name: str) -> Check:
    columns = [str(column) for column in table.frame if column != ROW_NAMES]
    near = difflib.get_close_matches(name.casefold(), [column.casefold() for column in columns], n=1, cutoff=0.6)
    meant = next((column for column in columns if near and column.casefold() == near[0]), None)
    shown = ", ".join(f"'{column}'" for column in columns[:20]) + (", ..." if len(columns) > 20 else "")
    remedy = f"Did you mean '{meant}'?" if meant else "Name one of these, or add the column to the file."
    return Check("error", f"{table.name} has no column '{name}' for the {role}; it has {shown}.", remedy)


def _sizes(parts: Parts, needs_pool: bool, needs_labels: bool) -> Iterator[Check]:
    n, m = len(parts.labelled), parts.pool_size
    if n < FEWEST_LABELS and needs_labels:
        finding = f"{parts.labels.name} has {count_of(n, 'labelled text')}; at least {FEWEST_LABELS} are needed."
        yield Check("error", finding, f"Label {FEWEST_LABELS - n} more, better {max(FEW_LABELS - n, 1)}.")
    elif n < FEW_LABELS and needs_labels:
        yield Check("warning", f"There are only {n} labels.", f"With {FEW_LABELS} or more the intervals become useful.")
    if m == 0 and needs_pool:
        yield _no_pool(parts)
    elif n or not needs_labels:
        counts = ([count_of(n, "label")] if n else []) + ([f"{count_of(m, 'text')} in the pool"] if m else [])
        yield Check("ok", f"{', '.join(counts)}.", "")


def _no_pool(parts: Parts) -> Check:
    if parts.pool is None and not len(parts.labelled):
        finding = f"There is no pool: {parts.labels.name} holds no text in '{parts.roles.text}'."
    elif parts.pool is None:
        finding = f"There is no pool: no pool file is given, and every row of {parts.labels.name} has a label."
    elif parts.in_pool_too and parts.whole:
        finding = f"There is no pool: every text of {parts.pool.name} is labelled already."
    else:
        finding = f"There is no pool: {parts.pool.name} holds no text in '{parts.roles.text}'."
    return Check("error", finding, "Give a file of unlabelled texts, or add such rows with the label left blank.")


def _labels(parts: Parts) -> Iterator[Check]:
    column = parts.labels.frame[parts.roles.label].iloc[parts.labelled]
    if not len(column):
        return
    where = f"{parts.labels.name}, column '{parts.roles.label}'"
    odd = _odd_ones(parts, where, column)
    if odd and strays(column).size:
        yield _refused(odd)
        return
    values = collections.Counter(as_text(column).tolist())
    if len(values) == 1:
        finding = f"{where}: every label is '{shortened(next(iter(values)))}', so there is nothing to estimate."
        respelt = f", or spell {listed(parts.missing_words)} otherwise if it is a class" if parts.missing_words else ""
        remedy = f"Choose the column of the human labels, or label texts that differ{respelt}."
        yield Check("error", finding, remedy)
    elif kind_of(column) == "numbers":
        numbers = as_numbers(column)
        finding = (
            f"The labels are numbers from {numbers.min():g} to {numbers.max():g}, {numbers.mean():.3g} on average."
        )
        yield Check("ok", finding, "")
    else:
        yield from _classes(where, values, odd)


def _refused(odd: tuple[str, str]) -> Check:
    return Check("error", f"{odd[0]}.", odd[1].capitalize())


def _missing(parts: Parts) -> Iterator[Check]:
    """Words for a missing label, which are no class."""
    if parts.missing.size:
        finding = counted_blank(parts.labels, parts.roles.label, parts.missing, parts.missing_words)
        yield Check("warning", finding, "Spell it otherwise if it is a class.")


def _odd_ones(parts: Parts, where: str, column: "pd.Series[Any]") -> tuple[str, str] | None:
    """What is not read as a number among labels of which most are meant as such, and the cure; None where few are."""
    spelt = spelt_numbers(column)
    # Of two values neither belongs to a scale, unless nearly all cells are a number.
    odd = spelt if spelt.size else strays(column, 0.5 if column.nunique() > 2 else NUMBERS_SHARE)
    if not odd.size:
        return None
    value = shortened(as_text(column.iloc[[odd[0]]])[0])
    others = f" ({odd.size - 1:,} more like it)" if odd.size > 1 else ""
    finding = f"{where}: row {parts.labels.row(parts.labelled[odd[0]]):,} holds '{value}'{others}"
    if spelt.size:
        cure = "write numbers with a decimal point, and without thousands separators or %."
        return f"{finding}, which is not read as a number", cure
    return f"{finding} where the others hold numbers", "write a number there, or leave the cell blank."


def _classes(where: str, values: "collections.Counter[str]", odd: tuple[str, str] | None) -> Iterator[Check]:
    n = sum(values.values())
    if len(values) > MOST_CLASSES or len(values) > max(n / 5, 2):
        finding = f"{where} holds {len(values)} different values in {n:,} rows, which looks like free text."
        free = Check("error", finding, "Choose the column of the labels, or merge the values into a few classes.")
        yield _refused(odd) if odd else free
        return
    if odd:
        yield Check("warning", f"{odd[0]}; every value counts as a class.", f"If the labels are numbers, {odd[1]}")
    shown = ", ".join(f"{shortened(name)} {count:,}" for name, count in sorted(values.items()))
    yield Check("ok", f"The labels are {len(values)} classes: {shown}.", "")
    rare = sorted(name for name, count in values.items() if count < FEW_OF_A_CLASS)
    if rare:
        finding = f"{where}: fewer than {FEW_OF_A_CLASS} labels for {listed(rare)}."
        yield Check("warning", finding, "Label more of these, or merge them with a neighbouring class.")
    folded = collections.Counter(name.casefold() for name in values)
    alike = sorted(name for name in values if folded[name.casefold()] > 1)
    if alike:
        yield Check("warning", f"{where}: {listed(alike)} differ in capitals only.", "Spell each class in one way.")


def _blanks(parts: Parts) -> Iterator[Check]:
    for table, blank in parts.blank_texts:
        if len(blank):
            rows = rows_of(table, blank)
            finding = f"{table.name}: {count_of(len(blank), 'row')} without a text ({rows}) left out."
            yield Check("warning", finding, f"Fill the column '{parts.roles.text}' there, or delete the rows.")
    unlabelled = parts.unlabelled
    if not len(unlabelled) or not len(parts.labelled):
        return
    finding = f"{parts.labels.name}: {count_of(len(unlabelled), 'row')} without a label "
    finding += "join the pool." if len(unlabelled) > 1 else "joins the pool."
    level: Literal["ok", "warning"] = "ok" if parts.pool is None else "warning"
    yield Check(
        level, finding, "" if level == "ok" else "Label them if that was forgotten; otherwise nothing is needed."
    )


def _repeats(parts: Parts) -> Iterator[Check]:
    texts = parts.labelled_texts
    first: dict[str, int] = {}
    twice = [place for place, text in enumerate(texts) if first.setdefault(text, place) != place]
    if twice:
        pair = sorted((first[texts[twice[0]]], twice[0]))
        rows = " and ".join(f"{parts.labels.row(parts.labelled[place]):,}" for place in pair)
        finding = f"{parts.labels.name}: {count_of(len(twice), 'text')} stood in an earlier row (such as rows {rows})."
        yield Check("warning", finding, "Keep one row per text unless the repetition is meant.")
    if not parts.in_pool_too:
        return
    known = f"{parts.in_pool_too:,} of {count_of(len(texts), 'labelled text')} found in the pool again"
    if parts.whole:
        yield Check("ok", f"{known}: the pool file is the whole collection, and labelled rows are taken out of it.", "")
    else:
        remedy = f"Take them out of the pool file, or give the whole collection ({WHOLE_SHARE:.0%} or more of them)."
        yield Check("warning", f"{known}.", remedy)


def _predictions(parts: Parts) -> Iterator[Check]:
    name = parts.roles.prediction
    if name is None or not len(parts.labelled):
        return
    numbers = kind_of(parts.labels.frame[parts.roles.label].iloc[parts.labelled]) == "numbers"
    for table, positions in parts.used:
        column = table.frame[name].iloc[positions]
        bad = ~np.isfinite(as_numbers(column)) if numbers else is_blank(column)
        if bad.any():
            yield _bad_cell(table, name, positions, bad, "prediction", "a number" if numbers else "a class")
    if not numbers:
        yield from _foreign_predictions(parts, name)


def _foreign_predictions(parts: Parts, name: str) -> Iterator[Check]:
    """Predicted classes that no label has; where most of a file's predictions are such, they say next to nothing."""
    classes = set(as_text(parts.labels.frame[parts.roles.label].iloc[parts.labelled]))
    spell = f"Spell the predicted classes like the labels, {listed(sorted(classes))}"
    for table, positions in parts.used:
        column = table.frame[name].iloc[positions]
        numbers = as_numbers(column)
        if len(classes) == 2 and np.all((numbers >= 0) & (numbers <= 1)):
            continue
        cells = [cell for cell in as_text(column) if cell not in classes and cell]
        foreign = sorted(set(cells))
        where, other = f"{table.name}, column '{name}'", "or choose another column for the prediction, or none."
        finding = f"{where} predicts {listed(foreign)}, which no label says, in {len(cells):,} of {len(column):,} rows."
        if len(classes) == 2 and len(foreign) > 2 and np.isfinite(numbers).all():
            finding = f"{where} holds numbers from {numbers.min():g} to {numbers.max():g}, which are no probabilities."
            yield Check("error", finding, f"Give probabilities of '{shortened(max(classes))}' from 0 to 1, {other}")
        elif 2 * len(cells) > len(column):
            yield Check("error", finding, f"{spell}, {other}")
        elif foreign:
            yield Check("warning", finding, f"{spell}; others count as none of them.")


def _weights(parts: Parts) -> Iterator[Check]:
    name = parts.roles.weight
    for table, positions in parts.used if name is not None else ():
        weights = as_numbers(table.frame[name].iloc[positions])
        bad = ~(np.isfinite(weights) & (weights >= 0))
        if bad.any():
            yield _bad_cell(table, str(name), positions, bad, "weight", "a number of 0 or more")
        elif len(weights) and not weights.any():
            finding = f"{table.name}, column '{name}': every weight is 0."
            yield Check("error", finding, "Choose another column for the weight, or none.")
        elif table is parts.labels and (weighed := int(_counting(parts).sum())) < 2 <= (n := len(parts.labelled)):
            finding = f"{table.name}, column '{name}': the weight is above 0 for {weighed} of {n:,} labels."
            yield Check(
                "error", finding, "Choose another column for the weight, or none; at least 2 labels must count."
            )


def _counting(parts: Parts) -> np.ndarray:
    """Which labels count: those of positive weight, all without weights."""
    name = parts.roles.weight
    if name is None:
        return np.ones(len(parts.labelled), dtype=bool)
    return as_numbers(parts.labels.frame[name].iloc[parts.labelled]) > 0


def _groups(parts: Parts) -> Iterator[Check]:
    name = parts.roles.group
    if name is None:
        return
    counts = collections.Counter(as_text(parts.labels.frame[name].iloc[parts.labelled[_counting(parts)]]).tolist())
    everywhere = {group for table, positions in parts.used for group in as_text(table.frame[name].iloc[positions])}
    where = f"column '{name}'"
    if len(everywhere) > MOST_CLASSES:
        finding = f"The {where} holds {len(everywhere):,} groups."
        yield Check("warning", finding, "Choose a column with fewer groups, or merge small ones.")
        return
    few = sorted(group or "(blank)" for group in everywhere if counts[group] < FEW_OF_A_CLASS)
    if few:
        weighed = "" if parts.roles.weight is None else " of positive weight"
        finding = f"The {where} has fewer than {FEW_OF_A_CLASS} labels{weighed} for {listed(few)}."
        yield Check("warning", finding, "Label more texts of these groups, or merge them.")
    else:
        yield Check(
            "ok", f"{len(everywhere)} groups in '{name}', each with {min(counts.values()):,} labels or more.", ""
        )
    yield from _random_draw(parts, name)


def _random_draw(parts: Parts, name: str) -> Iterator[Check]:
    """Labels whose groups differ grossly from the pool's; weights may mend that."""
    own = as_text(parts.labels.frame[name].iloc[parts.labelled])
    rest = [as_text(parts.labels.frame[name].iloc[parts.unlabelled])]
    if parts.pool is not None:
        rest.append(as_text(parts.pool.frame[name].iloc[parts.pool_rows]))
    groups, places = np.unique(np.concatenate([own, *rest]), return_inverse=True)
    counts = np.array([np.bincount(part, minlength=len(groups)) for part in np.split(places, [len(own)])])
    usual = counts.sum(0) * len(own) >= FEW_OF_A_CLASS * counts.sum()  # chi-square does not hold for rarer groups
    common = counts[:, usual]
    if parts.roles.weight is not None or usual.sum() < 2 or not common.any(1).all():
        return
    shares = counts / counts.sum(1, keepdims=True)
    gap = np.where(usual, shares[0] - shares[1], 0.0)
    if np.abs(gap).sum() / 2 > _MISPLACED and stats.chi2_contingency(common).pvalue < _NO_CHANCE:
        worst = int(gap.argmax())
        finding = (
            f"The labels do not look like a random draw: '{name}' is '{shortened(groups[worst])}' for "
            f"{shares[0, worst]:.0%} of them and for {shares[1, worst]:.0%} of the pool."
        )
        yield Check("warning", finding, "Label texts drawn at random from all, or give sampling weights.")


def _bad_cell(table: Table, name: str, positions: Ints, bad: np.ndarray, role: str, wanted: str) -> Check:
    position = positions[np.flatnonzero(bad)[0]]
    value = shortened(as_text(table.frame[name].iloc[[position]])[0])
    held = f"holds '{value}'" if value else "is blank"
    others = f" ({int(bad.sum()) - 1:,} more like it)" if bad.sum() > 1 else ""
    finding = f"{table.name}, column '{name}': row {table.row(position):,} {held}{others}, where a {role} is {wanted}."
    return Check("error", finding, f"Write {wanted} there, or choose no column for the {role}.")
