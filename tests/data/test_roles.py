"""Guessing the parts that columns play."""

import pandas as pd
import pytest

from engine.data import Roles, Table, check_data, find_text, guess_roles
from engine.errors import DataError

TEXTS = [f"this is the long review number {number}, rather wordy" for number in range(40)]


def table(**columns: object) -> Table:
    return Table(pd.DataFrame(columns), "labels.csv")


def test_all_parts_at_once() -> None:
    frame = {
        "id": range(40), "review": TEXTS, "country": ["at", "pt"] * 20, "stars": [1, 2, 3, 4] * 10,
        "gpt_stars": [2.0] * 40, "weight": [1.0] * 40,
    }  # fmt: skip
    expected = Roles("review", "stars", "gpt_stars", "weight", "country", "id")
    assert guess_roles(table(**frame)) == expected
    pool = Table(pd.DataFrame(frame).drop(columns="stars"), "pool.csv")
    assert guess_roles(table(**frame), pool) == expected


def test_the_label_is_what_the_pool_lacks() -> None:
    labels = table(text=TEXTS, rating=[1, 2] * 20, verdict_of_jury=[3, 4] * 20)
    pool = table(text=TEXTS, rating=[1, 2] * 20)
    assert guess_roles(labels, pool).label == "verdict_of_jury"


def test_the_label_may_stand_empty_in_the_pool() -> None:
    labels = table(text=TEXTS, a=[1, 2] * 20, b=[3, 4] * 20)
    pool = table(text=TEXTS, a=[1, 2] * 20, b=[None] * 40)
    assert guess_roles(labels, pool).label == "b"


def test_the_label_is_the_column_with_blanks_where_there_is_no_pool() -> None:
    assert guess_roles(table(text=TEXTS, year=[1, 2] * 20, x=[3.0, None] * 20)).label == "x"


def test_words_for_a_missing_label_are_blanks_that_tell_the_label() -> None:
    assert guess_roles(table(text=TEXTS, year=[1, 2] * 20, x=["3", "NA"] * 20)).label == "x"
    labels, pool = table(text=TEXTS, a=[1, 2] * 20, b=[3, 4] * 20), table(text=TEXTS, a=[1, 2] * 20, b=["NA"] * 40)
    assert guess_roles(labels, pool).label == "b"


def test_a_class_label_named_category_is_not_taken_for_a_group() -> None:
    assert guess_roles(table(text=TEXTS, category=["a", "b"] * 20)) == Roles("text", "category")


def test_a_prediction_that_the_pool_lacks_is_none() -> None:
    labels = table(text=TEXTS, score=[1, 2] * 20, pred=[1, 2] * 20)
    assert guess_roles(labels, table(text=TEXTS)) == Roles("text", "score")


@pytest.mark.parametrize(
    "name", ["prediction", "Predicted", "pred_llama", "model_rating", "llm_score", "gpt_4", "y_pred"]
)
def test_names_of_predictions(name: str) -> None:
    assert guess_roles(table(text=TEXTS, y=[1, 2] * 20, **{name: [1, 2] * 20})).prediction == name


def test_the_text_is_the_longest_column_of_those_in_the_pool() -> None:
    labels = table(notes=[text * 2 for text in TEXTS], text=TEXTS, y=[1, 2] * 20)
    assert guess_roles(labels, table(text=TEXTS)).text == "text"


@pytest.mark.parametrize("name", ["id", "user_id", "country", "sku"])
def test_what_names_or_sorts_the_rows_is_no_text_though_the_pool_has_nothing_else_of_the_labels(name: str) -> None:
    names = [f"{number:05d}-x" for number in range(40)]
    labels, pool = (
        table(**{name: names, "Text": TEXTS, "verdict": ["a", "b"] * 20}),
        table(**{name: names, "text": TEXTS}),
    )
    roles = guess_roles(labels, pool)
    assert (roles.text, roles.label) == ("Text", "verdict")
    said = [check.finding + check.remedy for check in check_data(labels, pool, roles) if check.level == "error"]
    assert len(said) == 1
    assert "has no column 'Text' for the text" in said[0]
    assert said[0].endswith("Did you mean 'text'?")


def test_a_long_identifier_is_no_text_beside_one() -> None:
    columns = {"uuid": [f"{number:090d}" for number in range(40)], "text": TEXTS}
    assert guess_roles(table(**columns, y=[1, 2] * 20), table(**columns)) == Roles("text", "y", id="uuid")


def test_short_texts_of_the_pool_go_before_a_note_or_an_answer_that_it_lacks() -> None:
    heads = [f"short head {number}" for number in range(40)]
    labels = table(headline=heads, comment=[f"not sure of row {number}" for number in range(40)], y=["no", "yes"] * 20)
    assert guess_roles(labels, table(headline=heads)).text == "headline"
    ids = [f"r{number}" for number in range(40)]
    assert guess_roles(table(id=ids, answer=["no", "yes"] * 20), table(id=ids)) == Roles("id", "answer")


def test_an_identifier_gives_way_where_nothing_else_can_be_the_label() -> None:
    assert guess_roles(table(text=TEXTS, id=[1, 2] * 20)) == Roles("text", "id")


def test_one_column_is_too_few() -> None:
    with pytest.raises(DataError, match="one column only"):
        guess_roles(table(text=TEXTS))


def test_roles_travel_as_a_dictionary() -> None:
    roles = Roles("t", "y", group="g")
    assert Roles.from_dict(roles.to_dict()) == roles
    assert Roles.from_dict({"text": "t", "label": "y", "weight": "", "unknown": 3}) == Roles("t", "y")
    with pytest.raises(DataError, match="name both"):
        Roles.from_dict({"text": "t"})


def test_what_many_rows_have_in_common_or_names_them_is_no_text() -> None:
    shops = ["the shop that lies in the east", "the shop that lies in the west"] * 20
    known = {"shop": shops, "user_id": [f"{number:030d}" for number in range(40)], "remark": TEXTS, "n": range(40)}
    labels, short = table(**known), table(**{"verdict": ["yes", "no"] * 20, "title": list("abcdefghij") * 4})
    assert find_text(labels, None, set()) == find_text(labels, labels, {"shop", None}) == "remark"
    assert find_text(labels, None, {"remark"}) is None
    assert find_text(labels, short, set()) is None
    assert find_text(short, None, set()) is None
    assert find_text(table(title=[str(number) + "?" for number in range(40)]), None, set()) == "title"
