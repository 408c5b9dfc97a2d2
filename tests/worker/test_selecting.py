"""Selecting in this process: why these texts, the same for the same seed, and handed to the labelling that waits."""

from __future__ import annotations

import numpy as np
import pytest
from made_studies import make_study, rows

from engine.data import Roles
from engine.learning.decoders import load_decoder
from engine.learning.dialogues import instruction
from engine.runs import (
    DEFAULT_MODEL,
    Answers,
    Question,
    RunSettings,
    RunState,
    begin_labelling,
    open_labelling,
    open_store,
    read_results,
)
from engine.worker import selecting


def unlabelled(store, count=200, **columns):
    """A study of texts without a label, or with few."""
    texts, _ = rows(count, 4)
    lines = [",".join(["text", *columns])] + [
        ",".join([text, *cells]) for text, *cells in zip(texts, *columns.values(), strict=True)
    ]
    file = store.save_file("texts.csv", "\n".join(lines).encode())
    return store.create_study("texts", file, None, Roles("text", "label"), Question())


def selected(in_process, study, **settings):
    status, run = in_process(study, "select", RunSettings(**settings))
    assert (status, run.state, run.error) == (0, RunState.FINISHED, None), run.log_tail()
    return read_results(open_store(), run).selection


def test_without_labels_and_without_a_head_texts_are_drawn_at_random_and_it_is_said_why(in_process, store):
    study = unlabelled(store)
    chosen = selected(in_process, study)
    assert len(set(chosen.rows)) == 32
    assert not chosen.by_confidence
    assert "drawn at random from the 200 of the pool" in chosen.why
    assert f"{DEFAULT_MODEL} cannot tell which texts it finds hard" in chosen.why
    texts = study.unlabelled().pool_texts
    assert chosen.texts == tuple(texts[row] for row in chosen.rows)
    assert selected(in_process, study) == chosen
    assert set(selected(in_process, study, seed=1).rows) != set(chosen.rows)


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_with_labels_the_least_sure_tenth_is_drawn_from(in_process, store, shared_bench, kind):
    study = make_study(store, kind=kind, pool=500)
    data = study.dataset()
    chosen = selected(in_process, study)
    assert chosen.by_confidence
    assert (len(chosen.rows), len(chosen.lowest), chosen.read) == (32, 50, 500)
    assert set(chosen.rows) <= set(chosen.lowest)
    head = selecting.fitted_head(shared_bench.cache.embed(list(data.texts)), data.y, len(data.classes or ()) or None)
    confidence = head.predict(shared_bench.cache.embed(list(data.pool_texts))).max(1)
    np.testing.assert_allclose(chosen.confidence, confidence[list(chosen.rows)])
    assert confidence[list(chosen.lowest)].max() <= np.delete(confidence, list(chosen.lowest)).min()
    ceiling = confidence[list(chosen.lowest)].max()
    assert set(chosen.hard_labels) == set(np.flatnonzero(head.loo.max(1) <= ceiling))
    assert "the 50 of 500 texts that the model is least sure of, by a head fitted to the 60 labels" in chosen.why
    assert f"of how far labels carry with {DEFAULT_MODEL} they tell too little to be used" in chosen.why
    assert not selected(in_process, study, draw="random").by_confidence


def test_few_labels_fit_no_head_and_are_not_chosen_again(in_process, store):
    labels = ["3" if i % 50 == 0 else "" for i in range(200)]
    study = unlabelled(store, label=labels)
    chosen = selected(in_process, study, count=196)
    assert "not enough labels" in chosen.why
    assert len(chosen.rows) == 196
    known = {text for text, label in zip(rows(200, 4)[0], labels, strict=True) if label}
    assert not known & set(chosen.texts)


def test_of_a_large_pool_a_part_is_read_and_it_is_said_so(in_process, store, monkeypatch):
    monkeypatch.setattr(selecting, "MOST_READ", 150)
    chosen = selected(in_process, make_study(store, pool=400), count=8)
    assert chosen.read == 150
    assert len(chosen.lowest) == 15
    assert "(150 drawn at random from the pool of 400 were read)" in chosen.why
    assert max(chosen.rows) > 150


def test_a_checkpoint_with_a_head_of_its_own_is_asked(in_process, store, monkeypatch):
    class Known:
        names = ("bad", "good")

        def confidence(self, texts, progress):
            progress(1.0)
            return np.array([len(text) for text in texts]) / 1000

    monkeypatch.setattr(selecting, "load_classifier", lambda _name, _keep: Known())
    chosen = selected(in_process, unlabelled(store, 400), count=10)
    assert "by the head that" in chosen.why
    assert "(bad, good)" in chosen.why
    assert max(map(len, chosen.texts)) <= sorted(map(len, rows(400, 4)[0]))[40]


def test_a_model_that_writes_is_asked_what_may_be_answered(in_process, store, writer):
    study = unlabelled(store, 60)
    status, run = in_process(study, "select", RunSettings(model=writer, count=4))
    assert (status, run.state) == (1, RunState.FAILED)
    assert "say what may be answered, such as --rating 1:5" in run.error
    chosen = selected(in_process, study, model=writer, count=4, answers=Answers())
    assert (chosen.read, len(chosen.lowest), len(chosen.rows)) == (40, 4, 4)
    assert "by the answers that it writes: hard texts tell best how far labels carry" in chosen.why
    texts = study.unlabelled().pool_texts
    sure = load_decoder(writer).answer(chosen.texts, instruction(np.array([1, 5]), None)).confidences
    np.testing.assert_allclose(chosen.confidence, sure, rtol=1e-4)
    assert set(chosen.texts) <= set(texts)
    assert selected(in_process, study, model=writer, count=4, answers=Answers(("good", "bad"))).by_confidence


def test_with_labels_a_model_that_writes_is_asked_for_such(in_process, store, writer):
    study = make_study(store, labels=30, pool=60)
    chosen = selected(in_process, study, model=writer, count=3)
    said = load_decoder(writer).answer(study.dataset().texts, instruction(study.dataset().y, None)).confidences
    assert set(chosen.hard_labels) == set(np.flatnonzero(said <= max(chosen.confidence) + 1e-6))


def test_the_labelling_that_waits_gets_the_texts_and_the_next_gets_others(in_process, store):
    study = unlabelled(store, 50)
    taken = set()
    for count in (32, 18):
        begun = begin_labelling(
            store, study, Answers(), model=DEFAULT_MODEL, count=32, draw="random" if taken else "confidence"
        )
        status, run = in_process(study, "select", begun.settings)
        assert status == 0
        store.delete_run(run.id)
        found = open_labelling(store, begun.id)
        assert found.count == count
        assert not taken & set(found.selection.rows)
        taken |= set(found.selection.rows)
    status, run = in_process(study, "select", RunSettings(seed=9))
    assert (status, run.state) == (1, RunState.FAILED)
    assert "none left to label" in run.error


def test_a_study_without_a_pool_fails_in_a_sentence(in_process, store):
    full = ["3"] * 30
    status, run = in_process(unlabelled(store, 30, label=full), "select", RunSettings())
    assert (status, run.state) == (1, RunState.FAILED)
    assert "There is no pool" in run.error


def test_without_a_pool_every_label_is_used_for_the_curve(in_process, store):
    labels = [str(1 + i % 5) for i in range(32)]
    for study, used in ((unlabelled(store, 32, label=labels), 32), (make_study(store, labels=32), 16)):
        status, run = in_process(study, "efficiency", RunSettings())
        assert (status, run.error) == (0, None)
        results = read_results(store, run)
        assert results.details["pilot_labels"] == used
        assert -1 <= results.details["coslow"] <= 1


def test_an_estimate_from_hard_texts_alone_says_so(in_process, store):
    study = make_study(store)
    parts, other = (study.labels_file, study.pool_file, study.roles), Question(confidence=0.9)
    hard = store.create_study("hard", *parts, other, skewed=True)
    status, run = in_process(hard, "run", RunSettings(strategy="labels-only"))
    assert status == 0, run.error
    assert hard.caution in read_results(store, run).estimate.summary()
    assert study.caution is None


def test_how_far_labels_carry_with_a_model_that_writes(in_process, store, writer):
    labels = [str(1 + i % 5) for i in range(36)]
    status, run = in_process(unlabelled(store, 36, label=labels), "efficiency", RunSettings(model=writer))
    assert (status, run.error) == (0, None)
    results = read_results(store, run)
    assert -1 <= results.details["coslow"] <= 1
    assert "from 1 to 5" in results.details["instruction"]
    # It answers untrained: the curve begins at how often it is right, and holds accuracies.
    assert results.efficiency.scores == {0: results.details["zero_shot"]}
    assert (results.efficiency.kind, results.efficiency.measured) == ("accuracy", False)
    assert "not tried on this model" in results.details["calibration"]
