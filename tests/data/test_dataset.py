"""From tables to arrays."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.data import Dataset, Roles, Table, prepare, prepare_pool, read_table
from engine.errors import DataError

ROLES = Roles("text", "label")


def labels(n: int = 60, **columns: Any) -> Table:
    frame = {"text": [f"text {number}" for number in range(n)], "label": [number % 5 + 1 for number in range(n)]}
    return Table(pd.DataFrame({**frame, **columns}), "labels.csv")


def pool(m: int = 100, **columns: Any) -> Table:
    return Table(pd.DataFrame({"text": [f"pool text {number}" for number in range(m)], **columns}), "pool.csv")


def test_numbers() -> None:
    data = prepare(labels(), pool(), ROLES)
    assert (data.n, data.m, data.classes) == (60, 100, None)
    assert data.y.dtype == float
    assert data.y[:5].tolist() == [1, 2, 3, 4, 5]
    assert data.predictions is data.pool_predictions is data.weights is data.groups is None


def test_identifiers_go_with_their_rows_and_a_pool_may_lack_them() -> None:
    table = labels(label=[1, 2, 3, 4, None, None] * 10, no=range(2**60, 2**60 + 60))
    roles = Roles("text", "label", id="no")
    data = prepare(table, pool(m=2, no=["a", None]), roles)
    assert data.ids is not None
    assert data.pool_ids is not None
    assert data.ids[:5].tolist() == [str(2**60 + i) for i in (0, 1, 2, 3, 6)]
    assert data.pool_ids[-4:].tolist() == [str(2**60 + 58), str(2**60 + 59), "a", ""]
    without = prepare(table, pool(m=2), roles)
    assert without.pool_ids is not None
    assert without.pool_ids[-2:].tolist() == ["", ""]
    assert without.key == data.key == prepare(table, pool(m=2), ROLES).key


@pytest.mark.parametrize(
    ("values", "classes", "codes"),
    [
        (["yes", "no"], ("no", "yes"), [1, 0]),
        ([0, 1], ("0", "1"), [0, 1]),
        ([1.0, 0.0], ("0", "1"), [1, 0]),
        (["b", "a", "c"], ("a", "b", "c"), [1, 0, 2]),
        ([-1, 7], ("-1", "7"), [0, 1]),
    ],
)
def test_classes(values: list[Any], classes: tuple[str, ...], codes: list[int]) -> None:
    data = prepare(labels(label=(values * 60)[:60]), pool(), ROLES)
    assert data.classes == classes
    assert data.y[: len(codes)].tolist() == codes
    assert np.issubdtype(data.y.dtype, np.integer)


def test_rows_without_a_label_are_the_pool_where_no_file_is_given() -> None:
    data = prepare(labels(label=[1, 2, 3, 4, None, None] * 10), None, ROLES)
    assert (data.n, data.m) == (40, 20)
    assert data.pool_texts[:2] == ("text 4", "text 5")
    assert "labels.csv: 20 rows without a label joined the pool." in data.remarks


@pytest.mark.parametrize("ending", ["csv", "xlsx", "parquet"])
def test_words_for_a_missing_label_are_blank_in_files_of_all_formats(tmp_path: Path, ending: str) -> None:
    values = ["4", "NA", "2.5", "1"] * 15
    texts = ["NA", *(f"text {number}" for number in range(59))]
    frame = pd.DataFrame({"text": texts, "label": values, "g": ["NA", "b"] * 30})
    path = tmp_path / f"labels.{ending}"
    if ending == "csv":
        frame.to_csv(path, index=False)
    elif ending == "xlsx":
        frame.assign(label=[4, "#N/A", 2.5, 1] * 15).to_excel(path, index=False)
    else:
        frame.to_parquet(path)
    data = prepare(read_table(path), None, replace(ROLES, group="g"))
    assert (data.n, data.m, data.classes) == (45, 15, None)
    assert data.y[:3].tolist() == [4, 2.5, 1]
    assert data.texts[0] == "NA"
    assert data.groups is not None
    assert data.groups.tolist()[:3] == ["NA", "NA", "b"]
    assert any("15 rows hold" in remark and "count as blank." in remark for remark in data.remarks)


def test_classes_beside_words_for_missing_are_those_of_the_same_file_with_blanks() -> None:
    words, blanks = (prepare(labels(label=["0.0", "1.0", gap] * 20), pool(), ROLES) for gap in ("NA", ""))
    assert words.classes == ("0", "1")
    assert words.n == blanks.n == 40


def test_rows_without_a_label_join_the_pool_file_with_all_their_columns() -> None:
    table = labels(label=[1, 2, 3, 4, None, None] * 10, f=range(60), w=2.0, g="x")
    roles = Roles("text", "label", prediction="f", weight="w", group="g")
    data = prepare(table, pool(f=range(100, 200), w=1.0, g=None), roles)
    assert data.pool_predictions is not None
    assert data.pool_weights is not None
    assert data.pool_groups is not None
    assert data.pool_predictions[[0, 1, 20]].tolist() == [4, 5, 100]
    assert data.pool_weights[[0, 20]].tolist() == [2, 1]
    assert data.pool_groups[[0, 20]].tolist() == ["x", "(blank)"]
    assert len(data.pool_predictions) == len(data.pool_weights) == len(data.pool_groups) == data.m == 120


def test_rows_without_a_text_are_left_out() -> None:
    texts = [f"text {number}" for number in range(59)] + [" "]
    data = prepare(labels(text=texts), pool(text=[None] * 10 + ["a text"] * 90, id=range(100)), ROLES)
    assert (data.n, data.m) == (59, 90)
    assert "labels.csv: 1 row without a text left out." in data.remarks
    assert "pool.csv: 10 rows without a text left out." in data.remarks


def test_the_whole_collection_loses_one_row_for_each_label() -> None:
    texts = [f"text {number}" for number in range(60)] * 2 + ["other"] * 10
    data = prepare(labels(), pool(130, text=texts), ROLES)
    assert data.m == 70
    assert sorted(data.pool_texts)[-60:] == sorted(f"text {number}" for number in range(60))
    assert any("whole collection" in remark for remark in data.remarks)


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "xlsx"])
def test_texts_are_the_same_from_files_of_all_formats(tmp_path: Path, ending: str) -> None:
    breaks = ["\r\n", "\r", "\r\r\n", "\n" if ending == "xlsx" else "\n\0"]
    texts = [f"line {number}{breaks[number % 4]}a further, last line\r\n" for number in range(40)]
    everything = pd.DataFrame({"text": texts})
    path = tmp_path / f"pool.{ending}"
    if ending == "parquet":
        everything.to_parquet(path)
    elif ending == "jsonl":
        everything.to_json(path, orient="records", lines=True)
    else:
        everything.to_excel(path, index=False)
    labelled = everything[:20].assign(label=[number % 5 for number in range(20)])
    labelled["text"] = labelled["text"].str.replace("\0", "")
    (tmp_path / "labels.csv").write_bytes(labelled.to_csv(index=False, quoting=csv.QUOTE_ALL).encode())
    data = prepare(read_table(tmp_path / "labels.csv"), read_table(path), ROLES)
    assert (data.n, data.m) == (20, 20)
    assert {*data.texts, *data.pool_texts} == {f"line {number}\na further, last line" for number in range(40)}


@pytest.mark.parametrize("other", [[], ["?"]])
@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl", "xlsx"])
def test_booleans_are_the_same_from_files_of_all_formats(tmp_path: Path, ending: str, other: list[str]) -> None:
    cells = pd.Series([True, False, *other] * 20, dtype=object)
    frame = pd.DataFrame({"text": [f"text {number}" for number in range(len(cells))], "f": cells})
    frame.assign(label=cells).to_csv(tmp_path / "labels.csv", index=False)
    frame["text"] = "pool " + frame["text"]
    path = tmp_path / f"pool.{ending}"
    if ending == "csv":
        frame.astype(str).assign(f=cells.astype(str).str.upper()).to_csv(path, index=False)
    elif ending == "parquet":
        frame.assign(f=cells.astype(str).str.lower() if other else cells.astype(bool)).to_parquet(path)
    elif ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_excel(path, index=False)
    data = prepare(read_table(tmp_path / "labels.csv"), read_table(path), replace(ROLES, prediction="f"))
    assert data.classes == (*other, "false", "true")
    assert data.pool_predictions is not None
    assert data.pool_predictions.sum(1).tolist() == [1] * len(cells)
    assert [data.classes[code] for code in data.pool_predictions.argmax(1)[:2]] == ["true", "false"]


def test_the_same_file_as_labels_and_as_pool_counts_each_row_once() -> None:
    both = labels(label=[1, 2, 3, 4, None, None] * 10)
    data = prepare(both, Table(both.frame[["text"]], "pool.csv"), ROLES)
    assert (data.n, data.m) == (40, 20)
    assert len({*data.texts, *data.pool_texts}) == 60


def test_a_small_overlap_stays() -> None:
    data = prepare(labels(), pool(text=[f"text {number}" for number in range(50, 150)]), ROLES)
    assert data.m == 100
    assert any("found in the pool again" in remark for remark in data.remarks)


def test_predicted_classes_become_one_hot() -> None:
    table = labels(label=["a", "b", "c"] * 20, f=["a", "a", "b"] * 20)
    data = prepare(table, pool(f=["c", "other"] * 50), Roles("text", "label", prediction="f"))
    assert data.predictions is not None
    assert data.pool_predictions is not None
    assert data.predictions[:3].tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert data.pool_predictions[:2].tolist() == [[0, 0, 1], [0, 0, 0]]


def test_numbers_from_0_to_1_are_probabilities_of_the_second_class() -> None:
    table = labels(label=["no", "yes"] * 30, f=[0.25, 1.0] * 30)
    data = prepare(table, pool(f=0.0), Roles("text", "label", prediction="f"))
    assert data.predictions is not None
    assert data.pool_predictions is not None
    assert data.predictions[:2].tolist() == [[0.75, 0.25], [0, 1]]
    assert data.pool_predictions[0].tolist() == [1, 0]


def test_every_fault_is_named_at_once() -> None:
    table = labels(label=[*range(1, 60), "many"], w=-1)
    with pytest.raises(DataError) as caught:
        prepare(table, None, Roles("text", "label", weight="w"))
    message = str(caught.value)
    assert "row 61 holds 'many'" in message
    assert "row 2 holds '-1'" in message
    assert "There is no pool" in message
    assert "\n" not in message


def test_a_data_set_without_a_pool_on_request() -> None:
    assert prepare(labels(), None, ROLES, needs_pool=False).m == 0


@pytest.mark.parametrize("marked", [{}, {"label": [None] * 60}, {"label": [None] * 55 + [4] * 5}])
def test_the_pool_alone_as_long_as_too_little_is_labelled(marked: dict[str, Any]) -> None:
    frame = labels().frame.drop(columns="label").assign(**marked)
    data = prepare_pool(Table(frame, "texts.csv"), None, ROLES)
    left = 55 if any(marked.get("label", [])) else 60
    assert (data.n, data.m, data.y.shape, data.classes) == (0, left, (0,), None)
    assert data.pool_texts == tuple(frame["text"][:left])


def test_a_pool_alone_must_hold_a_text() -> None:
    with pytest.raises(DataError, match=r"texts\.csv holds no text in 'text'"):
        prepare_pool(Table(pd.DataFrame({"text": [None, " "], "n": [1, 2]}), "texts.csv"), None, ROLES)
    with pytest.raises(DataError, match="no column 'text' for the text; it has 'n'"):
        prepare_pool(Table(pd.DataFrame({"n": [1, 2]}), "texts.csv"), None, ROLES)
    with pytest.raises(DataError, match=r"every row of labels\.csv has a label"):
        prepare_pool(labels(), None, ROLES)


def test_the_key_follows_the_contents_and_nothing_else() -> None:
    data = prepare(labels(), pool(), ROLES)
    again = prepare(replace(labels(), name="renamed.csv", remarks=("read otherwise",)), pool(), ROLES)
    assert data.key == again.key
    assert len(data.key) == 64
    others: list[Dataset] = [
        replace(data, y=data.y + 1),
        replace(data, texts=("another", *data.texts[1:])),
        replace(data, pool_texts=data.pool_texts[:-1]),
        replace(data, weights=np.ones(60)),
        replace(data, pool_weights=np.ones(60)),
        replace(data, predictions=np.ones(60)),
        replace(data, groups=np.array(["a"] * 60, dtype=object)),
    ]
    assert len({data.key, *(other.key for other in others)}) == 8


def test_the_key_is_the_same_on_every_machine() -> None:
    data = Dataset("x", ("a", "ü"), np.array([1.0, 2.5]), None, ("b",))
    assert data.key == "a82e7556d3ccad1821e855cec02f382620e33b7f7e2d8447d7a639e7cc3b5eab"


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7, 2.2])
@pytest.mark.parametrize("n", [60, 199, 300])
def test_equal_weights_change_no_variance(n: int, value: float) -> None:
    effect = prepare(labels(n, w=value), pool(w=value), replace(ROLES, weight="w")).design_effect
    assert effect == pytest.approx(1)
    assert effect >= 1  # a plan refuses less


def test_the_design_effect_is_that_of_kish() -> None:
    weights = np.random.default_rng(0).lognormal(size=60)
    data = prepare(labels(w=weights), pool(w=1.0), replace(ROLES, weight="w"))
    assert data.design_effect == pytest.approx(1 + (weights.std() / weights.mean()) ** 2)
    assert data.unit_share == pytest.approx((weights**2).sum() ** 2 / (weights**4).sum() / 60)
    assert prepare(labels(), pool(), ROLES).design_effect == prepare(labels(), pool(), ROLES).unit_share == 1


def test_labels_of_one_text_count_as_one() -> None:
    twice = Table(pd.concat([labels(30).frame] * 2, ignore_index=True), "labels.csv")
    data = prepare(twice, pool(), ROLES)
    assert data.clusters is not None
    np.testing.assert_array_equal(data.clusters[:30], data.clusters[30:])
    assert (data.design_effect, data.unit_share) == (2.0, 0.5)
    assert any("30 labels of a text that has another one" in remark for remark in data.remarks)
    assert prepare(labels(), pool(), ROLES).clusters is None
