"""Labellings: what may be answered, every answer kept at once, and the study that comes of them."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from made_studies import make_study
from sqlalchemy import update

from engine.data import Roles, prepare_pool, read_table
from engine.errors import ArgumentError, DataError, RunError
from engine.rectification import rectified_mean
from engine.runs import (
    DEFAULT_MODEL,
    Answers,
    Question,
    RunSettings,
    Selection,
    begin_labelling,
    delete_labelling,
    hand_over,
    labelled_study,
    labellings,
    now,
    open_labelling,
    open_store,
    record_answer,
    selected_table,
    selecting_run,
)
from engine.runs.schema import AnswerRow
from engine.runs.weighing import weigh

POOL = "id,text\n" + "".join(f'{i},"text number {i}, which is new"\n' for i in range(200))


@pytest.fixture
def store():
    return open_store()


@pytest.fixture
def study(store):
    """A study of which nothing is labelled."""
    return store.create_study(
        "texts", store.save_file("texts.csv", POOL.encode()), None, Roles("text", "y"), Question()
    )


def at_random(study, rows):
    texts = study.unlabelled().pool_texts
    return Selection(tuple(rows), tuple(texts[i] for i in rows), (), "These were drawn at random.")


def least_sure(study, rows, *, lowest, read, hard_labels=()):
    confidence = tuple(round(0.2 + 0.01 * i, 2) for i in range(len(rows)))
    places = (tuple(map(int, lowest)), tuple(map(int, hard_labels)))
    return Selection(tuple(rows), ("",) * len(rows), confidence, "Least sure.", read, *places)


def begin(store, study, selection, answers=None, **wishes):
    """A labelling whose texts a run has chosen."""
    begun = begin_labelling(store, study, answers or Answers(), model=DEFAULT_MODEL, **wishes)
    run = store.create_run(study.id, "select", begun.settings)
    hand_over(store, run, selection)
    store.update_run(run.id, state="finished")
    return open_labelling(store, begun.id)


# ------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("answers", "choices", "others"),
    [
        (Answers(), "1 2 3 4 5", False),
        (Answers(low=0, high=10), "0 1 2 3 4 5 6 7 8 9 10", False),
        (Answers(low=-4, high=4, whole=False), "-4 -3 -2 -1 0 1 2 3 4", True),
        (Answers(low=0, high=100), "", True),
        (Answers(low=0.5, high=1.5, whole=False), "1", True),
        (Answers(("good", "so so", "bad")), "good so so bad", False),
        (Answers(low=1, high=4, open=True), "1 2 3 4", True),
    ],
)
def test_few_answers_have_a_button_each(answers, choices, others):
    assert " ".join(answers.choices) == choices
    assert answers.others == others
    assert Answers.from_dict(answers.to_dict()) == answers


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Answers(low=5, high=1), "smaller to a larger"),
        (lambda: Answers(low=float("nan")), "smaller to a larger"),
        (lambda: Answers(low=0.5, high=5), "no whole numbers"),
        (lambda: Answers(("good",)), "at least two"),
        (lambda: Answers(("good", "good ")), "each named once"),
        (lambda: Answers(("good", " ")), "at least two"),
        (lambda: Answers(tuple(map(str, range(21)))), "merge them"),
        (lambda: Answers(("yes", "no", "n/a")), "'n/a' would count as a blank label"),
        (lambda: Answers().read("6"), "6 is not a whole number from 1 to 5"),
        (lambda: Answers().read(2.5), "whole number"),
        (lambda: Answers().read("good"), "whole number"),
        (lambda: Answers(whole=False).read("nan"), "not a number"),
        (lambda: Answers(open=True).read("inf"), "not a number"),
        (lambda: Answers(open=True).read("many"), "not a number"),
        (lambda: Answers(("a", "b")).read("c"), "none of the classes a, b"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(ArgumentError, match=sentence) as fault:
        make()
    assert str(fault.value).endswith(".")


def test_numbers_are_stored_in_one_spelling():
    assert Answers().read("4.0") == Answers().read(4) == "4"
    assert Answers(whole=False).read(2.50) == "2.5"
    assert Answers(low=1, high=4, open=True).read(5.0) == "5"
    assert Answers(("1", "01")).read("01") == "01"


def test_the_labels_at_hand_say_what_may_be_answered(store):
    assert Answers.of(make_study(store).dataset()) == Answers(low=1, high=5, open=True)
    assert Answers.of(make_study(store, kind="classes").dataset()) == Answers(("bad", "good", "middling"))
    own = store.save_file("f.csv", b"text,y\n" + b"".join(b"text %d,%.1f\n" % (i, 1.2 + i / 10) for i in range(30)))
    fractions = store.create_study("f", own, None, Roles("text", "y"), Question())
    assert Answers.of(fractions.dataset(needs_pool=False)) == Answers(low=1, high=5, whole=False, open=True)


# ----------------------------------------------------------------------- the store


def test_each_answer_is_there_for_the_next_who_opens_the_store(store, study):
    begun = begin(store, study, at_random(study, [7, 3, 150]))
    record_answer(store, begun.id, 3, 4)
    record_answer(open_store(), begun.id, 7, None)
    found = open_labelling(open_store(), begun.id)
    assert found.labels == {3: "4"}
    assert (found.count, found.left, found.next) == (3, 1, 2)
    record_answer(store, begun.id, 7, "2.0")
    assert open_labelling(store, begun.id).labels == {3: "4", 7: "2"}
    assert open_labelling(store, begun.id) == labellings(store, study.id)[0]


def test_an_answer_that_cannot_be_changes_nothing(store, study):
    begun = begin(store, study, at_random(study, [7, 3]))
    record_answer(store, begun.id, 3, 4)
    for row, answer, fault in ((3, 9, ArgumentError), (8, 2, RunError)):
        with pytest.raises(fault):
            record_answer(store, begun.id, row, answer)
    with pytest.raises(RunError, match="There is no labelling"):
        record_answer(store, "none", 3, 4)
    assert open_labelling(store, begun.id).labels == {3: "4"}


def test_a_double_click_begins_one_labelling_and_other_wishes_another(store, study):
    one = begin_labelling(store, study, Answers(), model=DEFAULT_MODEL)
    assert begin_labelling(store, study, Answers(), model=DEFAULT_MODEL) == one
    two = begin_labelling(store, study, Answers(), model=DEFAULT_MODEL, draw="random")
    assert two.settings.seed != one.settings.seed
    assert selecting_run(store, one) is None
    run = store.create_run(study.id, "select", one.settings)
    assert selecting_run(store, one) == run
    hand_over(store, run, at_random(study, [1, 2]))
    assert open_labelling(store, one.id).count == 2
    assert open_labelling(store, two.id).selection is None
    record_answer(store, one.id, 1, 1)
    assert begin_labelling(store, study, Answers(), model=DEFAULT_MODEL).id not in (one.id, two.id)


@pytest.mark.parametrize("wish", [{"count": 0}, {"count": 1001}, {"draw": "guess"}])
def test_wishes_out_of_bounds_are_refused(wish):
    with pytest.raises(ArgumentError, match=next(iter(wish))):
        RunSettings(**wish)


def test_the_pace_is_that_of_the_answers_without_the_breaks(store, study):
    begun = begin(store, study, at_random(study, range(20)))
    assert begun.seconds_each == 8
    at = now()
    for row, seconds in enumerate((0, 4, 9, 14, 3600, 3606)):
        record_answer(store, begun.id, row, 3)
        with store.session() as session, session.begin():
            session.execute(update(AnswerRow).where(AnswerRow.row == row).values(at=at + timedelta(seconds=seconds)))
    assert open_labelling(store, begun.id).seconds_each == 5


def test_deleting_takes_the_answers_along_and_a_study_its_labellings(store, study):
    begun = begin(store, study, at_random(study, [7, 3]))
    record_answer(store, begun.id, 3, 4)
    delete_labelling(store, begun.id)
    assert labellings(store, study.id) == store.runs(study.id) == ()
    again = begin(store, study, at_random(study, [7, 3]))
    record_answer(store, again.id, 3, 4)
    store.delete_study(study.id)
    with pytest.raises(RunError):
        open_labelling(store, again.id)
    with store.session() as session:
        assert session.query(AnswerRow).count() == 0


def test_a_labelling_whose_texts_are_being_chosen_is_not_deleted(store, study):
    begun = begin_labelling(store, study, Answers(), model=DEFAULT_MODEL)
    store.create_run(study.id, "select", begun.settings)
    with pytest.raises(RunError, match="still being selected"):
        delete_labelling(store, begun.id)


# ----------------------------------------------------------------------- the study


def test_answers_become_labels_and_the_rest_the_pool(store, study):
    rows = list(range(5, 37))
    begun = begin(store, study, at_random(study, rows))
    for row in rows[:-2]:
        record_answer(store, begun.id, row, 1 + row % 5)
    record_answer(store, begun.id, rows[-2], None)
    made = labelled_study(store, open_labelling(store, begun.id))
    data = made.dataset()
    assert (made.name, made.skewed, data.n, data.m) == ("texts, 30 labels", False, 30, 170)
    assert dict(zip(data.texts, data.y, strict=True)) == {
        f"text number {r}, which is new": 1 + r % 5 for r in rows[:-2]
    }
    assert set(data.texts) | set(data.pool_texts) == set(study.unlabelled().pool_texts)
    assert list(made.labels_file.read().frame) == ["id", "text", "y"]
    assert labelled_study(store, begun) == made


def test_a_second_labelling_adds_to_the_first(store, study):
    for rows in (range(12), range(12, 24)):
        begun = begin(store, study, at_random(study, rows))
        for row in rows:
            record_answer(store, begun.id, row, 1 + row % 5)
    assert labelled_study(store, begun).dataset().n == 24


def test_too_few_answers_or_all_the_same_are_refused(store, study):
    begun = begin(store, study, at_random(study, range(32)))
    for row in range(9):
        record_answer(store, begun.id, row, 3)
    with pytest.raises(DataError, match="9 labelled texts; at least 10"):
        labelled_study(store, begun)
    for row in range(9, 20):
        record_answer(store, begun.id, row, 3)
    with pytest.raises(DataError, match="every label is '3'"):
        labelled_study(store, begun)


def test_the_question_follows_what_the_labels_turn_out_to_be(store, study):
    begun = begin(store, study, at_random(study, range(20)))
    for row in range(20):
        record_answer(store, begun.id, row, 4 + row % 2)
    assert labelled_study(store, begun).question.estimand == "shares"
    classes = begin(store, study, at_random(study, range(40, 60)), Answers(("1", "2", "3")))
    for row in range(40, 60):
        record_answer(store, classes.id, row, str(1 + row % 3))
    assert labelled_study(store, classes).question.estimand == "mean"


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_labels_old_and_new_are_one_study(store, kind):
    study = make_study(store, kind=kind, labels=40, pool=100, predictions=True)
    data = study.dataset()
    answers = Answers.of(data)
    begun = begin(store, study, Selection(tuple(range(10)), data.pool_texts[:10], (), "At random."), answers)
    for row in range(10):
        record_answer(store, begun.id, row, answers.choices[row % 3])
    made = labelled_study(store, begun)
    found = made.dataset()
    assert (found.n, found.m) == (50, 90)
    assert set(found.texts) == {*data.texts, *data.pool_texts[:10]}
    assert made.roles == study.roles
    assert made.question == study.question
    assert found.classes == data.classes
    assert found.predictions.shape[0] == 50
    again = begin(store, made, Selection((0, 1), found.pool_texts[:2], (), "At random."), answers)
    for row in (0, 1):
        record_answer(store, again.id, row, answers.choices[0])
    assert labelled_study(store, again).name == f"{kind} of words, 52 labels"


def test_classes_that_look_like_numbers_keep_their_spelling(store):
    codes = ["01", "02", "x3"]
    own = "text,code\n" + "".join(f"old text {i},{codes[i % 3]}\n" for i in range(30))
    rest = "text\n" + "".join(f"new text {i}\n" for i in range(50))
    files = [store.save_file(f"{i}.csv", content.encode()) for i, content in enumerate((own, rest))]
    study = store.create_study("codes", *files, Roles("text", "code"), Question("shares"))
    data = study.dataset()
    begun = begin(store, study, Selection(tuple(range(10)), data.pool_texts[:10], (), "At random."), Answers.of(data))
    for row in range(10):
        record_answer(store, begun.id, row, codes[row % 2])
    found = labelled_study(store, begun).dataset()
    assert found.classes == tuple(codes)
    assert np.bincount(found.y).tolist() == [15, 15, 10]


def test_columns_of_numbers_here_and_words_there_are_joined(store):
    own = "text,y,id,weight\n" + "".join(f"old text {i},{i % 5},{i},{1 + i % 2}\n" for i in range(20))
    rest = "text,id,weight,more\n" + "".join(f"new text {i},p{i},1,x\n" for i in range(30))
    files = [store.save_file(f"{i}.csv", content.encode()) for i, content in enumerate((own, rest))]
    study = store.create_study("mixed", *files, Roles("text", "y", weight="weight", id="id"), Question())
    begun = begin(
        store, study, Selection((4, 9), ("new text 4", "new text 9"), (), "At random."), Answers(low=0, high=4)
    )
    record_answer(store, begun.id, 4, 2)
    record_answer(store, begun.id, 9, 3)
    made = labelled_study(store, begun)
    frame = made.labels_file.read().frame
    assert set(frame["id"]) == {*map(str, range(20)), "p4", "p9"}
    assert made.dataset().weights.tolist() == [*(1 + i % 2 for i in range(20)), 1, 1]
    assert made.dataset().m == 28


def test_the_table_to_label_has_all_columns(store, study):
    chosen = least_sure(study, [30, 2], lowest=[2, 30, 31], read=200)
    table = selected_table(study, chosen, {2: "5"})
    assert table.to_dict("list") == {
        "id": [30, 2],
        "text": ["text number 30, which is new", "text number 2, which is new"],
        "y": ["", "5"],
        "confidence": [0.2, 0.21],
    }
    other = store.save_file("c.csv", POOL.replace("id,", "confidence,", 1).encode())
    study = store.create_study("c", other, None, Roles("text", "confidence 2"), Question())
    assert list(selected_table(study, chosen, {})) == ["confidence", "text", "confidence 2", "confidence 3"]


def test_a_file_of_the_table_to_label_can_be_read_back(store, tmp_path):
    texts = [f"text{line}number {i}, which is new" for i, line in enumerate(["\r", "\r\n", "\0", "\n", '"'] * 4)]
    frame = pd.DataFrame({"id": range(20), "place": ["north\rwest"] * 20, "text": texts, "none": [None] * 20})
    frame.to_parquet(tmp_path / "texts.parquet")
    file = store.save_file("texts.parquet", tmp_path / "texts.parquet")
    study = store.create_study("texts", file, None, Roles("text", "y"), Question())
    chosen = at_random(study, range(20))
    written = tmp_path / "to label.csv"
    selected_table(study, chosen, dict.fromkeys(range(20), "5")).to_csv(written, index=False)
    back = read_table(written)
    assert back.frame["place"].unique().tolist() == ["north\nwest"]
    assert prepare_pool(back, None, Roles("text", "other")).pool_texts == chosen.texts


# --------------------------------------------------------------------- the weights


def answer_all(store, begun, answer=lambda row: 1 + row % 5):
    for row in begun.selection.rows:
        record_answer(store, begun.id, row, answer(row))
    return labelled_study(store, begun)


def test_labels_of_hard_texts_alone_are_marked_and_random_ones_mend_that(store, study):
    hard = answer_all(store, begin(store, study, least_sure(study, range(20), lowest=range(20), read=200)))
    assert hard.skewed
    assert hard.roles.weight is None
    both = answer_all(store, begin(store, study, at_random(study, range(50, 80)), draw="random"))
    assert not both.skewed
    data = both.dataset()
    assert data.weights.mean() == pytest.approx(1)
    shares = pd.Series(data.weights).groupby(
        [text.split()[2].rstrip(",") in map(str, range(20)) for text in data.texts]
    )
    assert (shares.sum() / data.weights.sum()).tolist() == pytest.approx([0.9, 0.1])


def test_more_labels_of_hard_texts_alone_stay_marked(store, study):
    hard = answer_all(store, begin(store, study, least_sure(study, range(20), lowest=range(20), read=200)))
    texts = hard.dataset().pool_texts
    more = Selection(tuple(range(8)), texts[:8], (0.3,) * 8, "Least sure.", 180, tuple(range(18)), ())
    assert answer_all(store, begin(store, hard, more)).skewed
    drawn = Selection(tuple(range(30, 50)), texts[30:50], (), "At random.")
    mended = answer_all(store, begin(store, hard, drawn, draw="random"))
    assert not mended.skewed
    weights = mended.dataset().weights
    assert (weights[:20] == 0).all()
    assert len(np.unique(weights[20:])) <= 2


@pytest.mark.parametrize("read", [500, 250])
def test_weights_make_up_for_the_draw(store, read):
    """Hard texts have another mean; with their weights the labels still speak for all texts."""
    rng = np.random.default_rng(3)
    truth = np.concatenate([rng.normal(1, 0.5, 60), rng.normal(4, 0.5, 540)]).round(2)
    chance = rng.permutation(600)
    hard = np.arange(600) < 60
    first, rest = chance[:100], np.sort(chance[100:])
    frames = [pd.DataFrame({"text": [f"text {i}" for i in rows]}) for rows in (first, rest)]
    files = [
        store.save_file("l.csv", frames[0].assign(y=truth[first]).to_csv(index=False).encode()),
        store.save_file("p.csv", frames[1].to_csv(index=False).encode()),
    ]
    study = store.create_study("strata", *files, Roles("text", "y"), Question())
    lowest = np.flatnonzero(hard[rest] & np.isin(np.arange(500), rng.permutation(500)[:read]))
    rows = rng.permutation(lowest)[:32].tolist()
    chosen = least_sure(study, rows, lowest=lowest, read=read, hard_labels=np.flatnonzero(hard[first]))
    begun = begin(store, study, chosen, Answers(low=-5, high=10, whole=False))
    data = answer_all(store, begun, lambda row: truth[rest[row]]).dataset()
    whole = np.concatenate([data.weights, data.pool_weights])
    assert np.average(data.y, weights=data.weights) == pytest.approx(truth.mean(), abs=0.1)
    assert data.y.mean() < truth.mean() - 0.4
    flat = {"weights": data.weights, "pool_weights": data.pool_weights, "finite_population": True}
    found = rectified_mean(data.y, np.zeros(data.n), np.zeros(data.m), **flat)
    assert found.ci_low <= truth.mean() <= found.ci_high
    assert (whole > 0).all()


def drawn(rng, easy, old, read, models, random):
    """Draw from a pool by the confidence of each model in a random part of it, 32 texts each, then at random."""
    m = easy.shape[1] - old
    chosen, draws = np.zeros(m, dtype=bool), []
    for model in [*models, None]:
        part = rng.permutation(m)[:read]
        lowest = np.arange(m) if model is None else part[easy[model, old:][part] < -1.3]
        rows = rng.permutation(lowest[~chosen[lowest]])[: random if model is None else 32]
        chosen[rows] = True
        selection = Selection(tuple(rows), (), (), "At random.")
        if model is not None:
            judged = np.flatnonzero(easy[model, :old] < -1.3) if old > 9 else ()
            selection = least_sure(None, rows, lowest=lowest, read=read, hard_labels=judged)
        draws.append((selection, len(rows)))
    return draws, np.flatnonzero(chosen), np.flatnonzero(~chosen)


@pytest.mark.parametrize(
    ("old", "read", "models", "random"),
    [
        (0, 2000, [0], 120),  # the model reads the whole pool
        (150, 2000, [0, 0], 0),
        (0, 500, [0], 120),  # or a quarter of it
        (0, 500, [0, 0], 120),
        (150, 500, [0], 120),
        (150, 500, [0, 0], 0),
        (150, 500, [0, 1, 0], 120),  # another model finds other texts hard
        (0, 2000, [0, 1], 120),
        (9, 500, [0, 0], 120),  # so few old labels fit no head: nobody knows which are hard
    ],
)
def test_with_their_weights_labels_of_any_draws_speak_for_all_texts(old, read, models, random):
    """Over repeated draws the weighted mean of made-up answers errs by nothing, and intervals hold the truth."""
    rng, errors, held, gaps = np.random.default_rng(6), [], [], []
    for _ in range(300):
        easy = rng.normal(0, 1, (2, old + 2000))
        truth = 4 - 1.5 * (easy < -1.3).sum(0) + rng.normal(0, 0.8, old + 2000)
        draws, answered, rest = drawn(rng, easy, old, read, models, random)
        y = np.concatenate([truth[:old], truth[old:][answered]])
        before = np.ones(len(y)), np.ones(len(rest))
        weights, left = weigh(draws, before, answered, rest, old="judged" if old > 9 else "random")
        flat = {"weights": weights, "pool_weights": left, "finite_population": True}
        found = rectified_mean(y, np.zeros(len(y)), np.zeros(len(rest)), **flat)
        errors.append(found.estimate - truth.mean())
        held.append(found.ci_low <= truth.mean() <= found.ci_high)
        gaps.append(np.average(truth[old:][rest], weights=left) - truth[old:].mean())
    for several in (errors, gaps):
        assert abs(np.mean(several)) < 3.5 * np.std(several) / 300**0.5
    assert 0.91 <= np.mean(held) <= 0.985


def test_weights_that_the_rows_had_before_count_in_what_they_stand_for():
    """Old labels of hard texts weigh little where an earlier draw was of such; all texts like them keep their share."""
    before = np.concatenate([np.full(20, 0.25), np.full(80, 1.1875), np.ones(30)]), np.ones(970)
    chosen = least_sure(None, range(30), lowest=range(100), read=1000, hard_labels=range(20))
    weights, left = weigh([(chosen, 30)], before, np.arange(30), np.arange(30, 1000), old="judged")
    hard = np.isin(np.arange(130), [*range(20), *range(100, 130)])
    assert weights[hard].sum() / weights.sum() == pytest.approx((20 * 0.25 + 100) / 1100)
    assert left[:70].sum() / left.sum() == pytest.approx(0.1)
