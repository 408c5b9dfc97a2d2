"""The check-list names what it found, where, and what to do."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.data import Check, Roles, Table, check_data, prepare
from engine.errors import DataError

ROLES = Roles("text", "label")


def labels(n: int = 60, **columns: Any) -> Table:
    frame = {"text": [f"text {number}" for number in range(n)], "label": [number % 5 + 1 for number in range(n)]}
    return Table(pd.DataFrame({**frame, **columns}), "labels.csv")


def pool(m: int = 100, **columns: Any) -> Table:
    return Table(pd.DataFrame({"text": [f"pool text {number}" for number in range(m)], **columns}), "pool.csv")


def found(level: str, checks: list[Check]) -> str:
    return " ".join(f"{check.finding} {check.remedy}" for check in checks if check.level == level)


def errors(table: Table, other: Table | None = None, roles: Roles = ROLES) -> str:
    return found("error", check_data(table, other, roles))


def warnings(table: Table, other: Table | None = None, roles: Roles = ROLES) -> str:
    return found("warning", check_data(table, other, roles))


def changed(table: Table, column: str, row: int, value: Any) -> Table:
    """The table with another value in a row of the file (the header is row 1)."""
    frame = table.frame.astype({column: object})
    frame.loc[row - 2, column] = value
    frame[column] = (
        frame[column] if any(isinstance(cell, str) for cell in frame[column]) else frame[column].astype(float)
    )
    return Table(frame, table.name, table.remarks, table.header_row)


def test_what_is_in_order_is_said_with_its_numbers() -> None:
    checks = check_data(labels(400), pool(4000), ROLES)
    assert {check.level for check in checks} == {"ok"}
    assert "400 labels, 4,000 texts in the pool." in [check.finding for check in checks]
    assert "The labels are numbers from 1 to 5, 3 on average." in [check.finding for check in checks]


def test_remarks_of_the_reading_are_in_the_list() -> None:
    table = Table(labels().frame, "labels.csv", ("The delimiter is the semicolon.",))
    assert "labels.csv: The delimiter is the semicolon." in found("ok", check_data(table, pool(), ROLES))


def test_an_unknown_column_names_those_there_are_and_the_nearest() -> None:
    message = errors(labels(), pool(), Roles("text", "Lable"))
    assert message == "labels.csv has no column 'Lable' for the label; it has 'text', 'label'. Did you mean 'label'?"
    assert "Name one of these" in errors(labels(), pool(), Roles("text", "qqqqq"))


def test_the_pool_lacks_the_text_and_the_group() -> None:
    table = labels(kind=["a", "b"] * 30)
    message = errors(table, Table(pd.DataFrame({"txt": ["a"]}), "pool.csv"), Roles("text", "label", group="kind"))
    assert "pool.csv has no column 'text' for the text; it has 'txt'. Did you mean 'txt'?" in message
    assert "pool.csv has no column 'kind' for the group" in message


def test_one_column_cannot_play_two_parts() -> None:
    assert "'label' is named as label and group at once" in errors(
        labels(), None, Roles("text", "label", group="label")
    )


def test_a_word_among_numbers_is_named_with_its_row() -> None:
    message = errors(changed(labels(), "label", 17, "many"), pool())
    assert message.startswith("labels.csv, column 'label': row 17 holds 'many' where the others hold numbers.")


def test_infinite_labels_are_no_numbers() -> None:
    assert "row 5 holds 'inf'" in errors(changed(labels(), "label", 5, np.inf), pool())


def test_words_in_a_tenth_or_more_of_the_rows_make_classes() -> None:
    table = labels(label=["1", "2"] * 25 + ["none"] * 10)
    assert errors(table, pool()) == ""
    assert "3 classes: 1 25, 2 25, none 10" in found("ok", check_data(table, pool(), ROLES))


def test_the_row_counts_from_the_header_of_the_file() -> None:
    table = changed(labels(), "label", 17, "many")
    assert "row 19 holds" in errors(Table(table.frame, "labels.csv", (), 3), pool())


@pytest.mark.parametrize(
    ("n", "words"), [(9, "has 9 labelled texts; at least 10"), (1, "has 1 labelled text;"), (10, "")]
)
def test_too_few_labels(n: int, words: str) -> None:
    assert words in errors(labels(n, label=[1, 2, 3, 4, 5, 1, 2, 3, 4, 5][:n]), pool())


def test_few_labels() -> None:
    assert "only 29 labels" in warnings(labels(29), pool())
    assert warnings(labels(30), pool()) == ""


def test_constant_labels() -> None:
    assert "every label is '4'" in errors(labels(label=4), pool())


def test_free_text_in_place_of_classes() -> None:
    table = labels(label=[f"opinion {number}" for number in range(60)])
    assert "60 different values in 60 rows, which looks like free text" in errors(table, pool())


@pytest.mark.parametrize("spelling", ["{:,}.0", "{}%", "{} %", "-{},5", "{}.000.000"])
def test_numbers_that_are_spelt_for_people_are_no_free_text(spelling: str) -> None:
    cells = [str(number) if number % 3 else spelling.format(3220 + number) for number in range(60)]
    cells[30:] = [spelling.format(1100 + 7 * number) for number in range(30)]
    first = spelling.format(3220)
    assert errors(labels(label=cells), pool()) == (
        f"labels.csv, column 'label': row 2 holds '{first}' (39 more like it), which is not read as a number. "
        "Write numbers with a decimal point, and without thousands separators or %."
    )


@pytest.mark.parametrize("cell", ["2024-05-12", "12.05.2024", "1,2,5", "A-12", "v1.2"])
def test_dates_and_codes_are_no_numbers(cell: str) -> None:
    table = labels(label=[f"{cell}{number % 10}" for number in range(60)], text=[f"t{number}" for number in range(60)])
    assert "not read as a number" not in warnings(table, pool())
    free = labels(label=[f"{cell}{number}" if number % 2 else f"{cell} or {number}" for number in range(60)])
    assert "looks like free text" in errors(free, pool())


def test_many_words_among_numbers_are_no_free_text_either() -> None:
    cells = ["don't know" if number % 3 == 0 else str(number) for number in range(60)]
    message = errors(labels(label=cells), pool())
    assert message == (
        "labels.csv, column 'label': row 2 holds 'don't know' (19 more like it) where the others hold numbers. "
        "Write a number there, or leave the cell blank."
    )
    spelt = [f"{number:,}" for number in range(60, 1200, 19)]
    assert "row 52 holds '1,010' (9 more like it), which is not read as" in errors(labels(label=spelt), pool())


@pytest.mark.parametrize(
    ("values", "first", "cure"),
    [
        (["1,000", "2,000"], "row 2 holds '1,000' (59 more like it), which is not read as a number", "write numbers"),
        (["20", "20", "100%", "20%"], "row 4 holds '100%' (29 more like it), which is not", "or %."),
        (["2", "3", "3", "don't know"], "row 5 holds 'don't know' (14 more like it) where", "write a number there"),
    ],
)
def test_few_values_that_may_be_numbers_are_classes_with_a_warning(values: list[str], first: str, cure: str) -> None:
    table = labels(label=(values * 30)[:60])
    message = warnings(table, pool())
    assert errors(table, pool()) == ""
    assert f"labels.csv, column 'label': {first}" in message
    assert "; every value counts as a class. If the labels are numbers, " in message
    assert cure in message


def test_two_classes_of_which_one_is_a_number_are_classes() -> None:
    assert warnings(labels(label=["1", "none"] * 30), pool()) == ""


def test_rare_classes_are_named() -> None:
    table = labels(label=["good"] * 40 + ["bad"] * 16 + ["odd"] * 4)
    assert "fewer than 5 labels for 'odd'." in warnings(table, pool())


def test_classes_that_differ_in_capitals() -> None:
    assert "'Yes', 'yes' differ in capitals only" in warnings(labels(label=["yes", "Yes", "no"] * 20), pool())


def test_blank_texts_and_blank_labels() -> None:
    table = changed(changed(labels(), "text", 4, "  "), "label", 9, None)
    message = warnings(table, pool())
    assert "labels.csv: 1 row without a text (row 4) left out." in message
    assert "labels.csv: 1 row without a label joins the pool." in message


@pytest.mark.parametrize("word", ["NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null"])
def test_words_for_a_missing_label_count_as_blank_and_are_told(word: str) -> None:
    table = labels(label=["no", word, "yes", "yes"] * 15)
    checks = check_data(table, None, ROLES)
    said = f"labels.csv, column 'label': 15 rows hold '{word}' (rows 3, 7, 11, ...) and count as blank."
    assert f"{said} Spell it otherwise if it is a class." in found("warning", checks)
    assert "45 labels, 15 texts in the pool." in found("ok", checks)
    assert "The labels are 2 classes: no 15, yes 30." in found("ok", checks)
    assert "1 row holds 'NA' (row 17) and counts as blank." in warnings(changed(labels(), "label", 17, "NA"), pool())


@pytest.mark.parametrize("word", ["None", "none", "-", ".", "na"])
def test_words_that_may_well_be_classes_are_classes(word: str) -> None:
    checks = check_data(labels(label=["no", word, "yes", "yes"] * 15), pool(), ROLES)
    assert found("warning", checks) == ""
    assert "3 classes" in found("ok", checks)


def test_where_one_class_is_left_beside_a_word_for_missing_the_cure_is_told() -> None:
    message = errors(labels(label=["spam", "NA"] * 30), pool())
    assert "every label is 'spam'" in message
    assert "or spell 'NA' otherwise if it is a class." in message


def test_duplicate_texts() -> None:
    message = warnings(changed(labels(), "text", 12, "text 0"), pool())
    assert "1 text stood in an earlier row (such as rows 2 and 12)" in message


def test_overlap_with_the_pool() -> None:
    shared = pool(text=[f"text {number}" for number in range(55, 155)])
    assert "5 of 60 labelled texts found in the pool again." in warnings(labels(), shared)
    whole = pool(160, text=[f"text {number}" for number in range(160)])
    checks = check_data(labels(), whole, ROLES)
    assert "the pool file is the whole collection" in found("ok", checks)
    assert "60 labels, 100 texts in the pool." in found("ok", checks)


def test_no_pool() -> None:
    assert "no pool file is given, and every row of labels.csv has a label" in errors(labels())
    assert found("error", check_data(labels(), None, ROLES, needs_pool=False)) == ""
    assert "every text of pool.csv is labelled already" in errors(labels(), Table(labels().frame[["text"]], "pool.csv"))
    assert "pool.csv holds no text in 'text'" in errors(labels(), pool(3, text=["", " ", None]))


def test_labels_in_the_pool_file_are_pointed_out() -> None:
    assert "pool.csv holds values in 'label' too" in warnings(labels(), pool(label=1))


def test_predictions_must_be_numbers_for_numbers() -> None:
    roles = Roles("text", "label", prediction="f")
    predictions = ["1.5"] * 100
    predictions[7] = "good"
    message = errors(labels(f=2.0), pool(f=predictions), roles)
    assert message.startswith("pool.csv, column 'f': row 9 holds 'good', where a prediction is a number.")
    predictions[3] = ""
    assert "row 5 is blank (1 more like it)" in errors(labels(f=2.0), pool(f=predictions), roles)


def test_predicted_classes_that_no_label_has() -> None:
    roles = Roles("text", "label", prediction="f")
    table = labels(label=["good", "bad", "so"] * 20, f="good")
    said = "predicts 'Good', which no label says, in 50 of 100 rows."
    assert said in warnings(table, pool(f=["Good", "good"] * 50), roles)
    assert errors(table, pool(f=["Good", "good"] * 50), roles) == ""
    assert "in 51 of 100 rows." in errors(table, pool(f=["Good", "good"] * 49 + ["Good"] * 2), roles)
    assert errors(table, pool(f="Good"), roles) == (
        "pool.csv, column 'f' predicts 'Good', which no label says, in 100 of 100 rows. "
        "Spell the predicted classes like the labels, 'bad', 'good', 'so', "
        "or choose another column for the prediction, or none."
    )
    with pytest.raises(DataError, match="which no label says"):
        prepare(table, pool(f="Good"), roles)


@pytest.mark.parametrize("zeros", [0, 5, 60])
@pytest.mark.parametrize("values", [[0, 1], ["no", "yes"]])
def test_probabilities_from_0_to_100_are_refused_though_some_are_0(values: list[Any], zeros: int) -> None:
    roles = Roles("text", "label", prediction="f")
    scores = [0.0] * zeros + [float(number + 1) for number in range(100 - zeros - 1)] + [100.0]
    table = labels(label=values * 30, f=[0.25, 0.75] * 30)
    assert errors(table, pool(f=scores), roles) == (
        f"pool.csv, column 'f' holds numbers from {min(scores):g} to 100, which are no probabilities. "
        f"Give probabilities of '{values[1]}' from 0 to 1, or choose another column for the prediction, or none."
    )


def test_a_third_answer_beside_two_numbered_classes_is_no_probability() -> None:
    roles = Roles("text", "label", prediction="f")
    table, other = labels(label=[0, 1] * 30, f=[0, 1] * 30), pool(f=[0, 1, 0, 1, 9] * 20)
    assert errors(table, other, roles) == ""
    assert "predicts '9', which no label says, in 20 of 100 rows." in warnings(table, other, roles)


@pytest.mark.parametrize(("value", "words"), [(-1.0, "holds '-1'"), (np.inf, "holds 'inf'"), (np.nan, "is blank")])
def test_weights(value: float, words: str) -> None:
    weights = np.ones(60)
    weights[3] = value
    message = errors(labels(w=weights), pool(w=1), Roles("text", "label", weight="w"))
    assert f"labels.csv, column 'w': row 5 {words}, where a weight is a number of 0 or more." in message


def test_weights_that_are_all_zero() -> None:
    assert "every weight is 0" in errors(labels(w=0), pool(w=1), Roles("text", "label", weight="w"))


def test_labels_that_count_for_nothing() -> None:
    roles = Roles("text", "label", weight="w", group="g")
    table = labels(62, label=[1, 2] * 30 + [None] * 2, w=[0.0] * 59 + [1.0] * 3, g=["a", "b"] * 31)
    assert "column 'w': the weight is above 0 for 1 of 60 labels." in errors(table, pool(w=1, g="a"), roles)
    half = labels(w=[1, 0] * 30, g=["a", "b"] * 30)
    assert errors(half, pool(w=1, g="a"), roles) == ""
    assert "fewer than 5 labels of positive weight for 'b'." in warnings(half, pool(w=1, g="a"), roles)


def test_groups_with_few_labels() -> None:
    table = labels(g=["a"] * 30 + ["b"] * 27 + ["c"] * 3)
    message = warnings(table, pool(g=["a", "d"] * 50), Roles("text", "label", group="g"))
    assert "fewer than 5 labels for 'c', 'd'." in message


def test_too_many_groups() -> None:
    roles = Roles("text", "label", group="g")
    assert "holds 160 groups" in warnings(labels(g=range(60)), pool(g=range(100, 200)), roles)


def test_labels_that_are_no_random_draw_of_the_groups() -> None:
    roles, said = Roles("text", "label", group="g"), "do not look like a random draw"
    table, weighted = labels(g=["a", "a", "b"] * 20, w=1), Roles("text", "label", group="g", weight="w")
    message = warnings(table, pool(g=["a", "b", "b", "b"] * 25, w=1), roles)
    assert f"The labels {said}: 'g' is 'a' for 67% of them and for 25% of the pool." in message
    assert said not in warnings(table, pool(g=["a", "b", "b", "b"] * 25, w=1), weighted)
    assert said in warnings(table, pool(g="b", w=1), roles)
    for alike in (pool(g=["a", "a", "b", "b"] * 25), pool(4000, g=["a", "b", *["a", "c"] * 1999])):
        few = labels(12, g=["a", "c"] * 5 + ["a", "b"])
        assert said not in warnings(few, alike, roles)
    assert said not in warnings(table, pool(g=["a", "b"] * 50), roles)
    whole = labels(200, label=[1, 2, *[None] * 3] * 40, g=["a", "a", "b", "b", "b"] * 40)
    assert said in warnings(whole, None, roles)


def test_errors_come_first_and_each_has_a_remedy() -> None:
    checks = check_data(changed(labels(20), "label", 3, "?"), None, ROLES)
    levels = [check.level for check in checks]
    assert levels == sorted(levels, key=["error", "warning", "ok"].index)
    assert all(check.remedy for check in checks if check.level != "ok")
    assert all("\n" not in check.finding + check.remedy for check in checks)
