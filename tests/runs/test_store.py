"""The store on real SQLite: files and studies once, deletion with sharing, states that change atomically."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from engine.data import Roles
from engine.errors import ArgumentError, DataError, RunError
from engine.runs import DEFAULT_MODEL, Question, RunSettings, RunState, fingerprint, now, open_store

CSV = b"text,label\n" + b"".join(b"text %d,%d\n" % (i, i % 5) for i in range(30))


@pytest.fixture
def store():
    return open_store()


def study_of(store, name="A study", content=CSV, pool=None, **question):
    labels = store.save_file("labels.csv", content)
    return store.create_study(name, labels, pool, Roles("text", "label"), Question(**question))


def test_the_same_content_is_kept_once(store, labelwise_home, tmp_path):
    one = store.save_file("labels.csv", CSV)
    (tmp_path / "copy.txt").write_bytes(CSV)
    two = store.save_file("copy.txt", tmp_path / "copy.txt")
    assert one == two == store.file(one.hash)
    assert [path.name for path in (labelwise_home / "files").iterdir()] == [f"{one.hash}.csv"]
    assert one.path.read_bytes() == CSV
    assert len(one.read().frame) == 30


def test_content_under_an_ending_that_is_read_otherwise_is_a_file_of_its_own(store):
    lines = b"".join(b'{"text": "text %d", "label": %d}\n' % (i, i % 5) for i in range(30))
    wrong = store.save_file("labels.csv", lines)
    assert wrong.hash == wrong.sha256  # as all files were once kept
    right = store.save_file("labels.jsonl", lines)
    assert right == store.save_file("the same.NDJSON", lines) == store.file(right.hash)
    assert list(right.read().frame.columns) == ["text", "label"]
    assert (right.sha256, right.path.read_bytes()) == (wrong.sha256, lines)
    assert len({wrong.path, right.path}) == len({wrong.short, right.short}) == 2
    studies = [store.create_study("A study", file, None, Roles("text", "label"), Question()) for file in (wrong, right)]
    store.delete_study(studies[0].id)
    assert not wrong.path.exists()
    assert store.save_file("labels.jsonl", lines) == right
    assert store.study(studies[1].id).dataset(needs_pool=False).n == 30


def test_a_file_lost_from_the_disk_comes_back_with_the_next_upload(store):
    one = store.save_file("labels.csv", CSV)
    one.path.unlink()
    assert store.save_file("labels.csv", CSV).path.read_bytes() == CSV


def test_faults_are_said_in_a_sentence(store, tmp_path):
    with pytest.raises(DataError, match=r"nothing\.csv cannot be read"):
        store.save_file("nothing.csv", tmp_path / "nothing.csv")
    for wrong in (lambda: store.file("0" * 64), lambda: store.study("none"), lambda: store.run("none")):
        with pytest.raises(RunError) as fault:
            wrong()
        assert str(fault.value).endswith(".")


def test_a_disk_without_room_is_said_and_nothing_is_left_of_the_file(store, labelwise_home, monkeypatch):
    def write(path, data):
        with path.open("wb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write)
        with pytest.raises(RunError, match=r"labels\.csv cannot be kept in .* \(No space left on device\); make room"):
            store.save_file("labels.csv", CSV)
    assert list((labelwise_home / "files").iterdir()) == []
    assert store.save_file("labels.csv", CSV).path.read_bytes() == CSV


def test_pilots_of_the_same_data_and_seed_have_opened_the_same_labels(store):
    study = study_of(store)

    def pilot(name, *, of=study, **settings):
        run = store.create_run(of.id, "plan", RunSettings(**settings))
        store.save_step_result(run.id, name, f"{run.id} {name}", {"size": 8})

    assert store.opened_labels(study, 0) == 0
    pilot("trial probe 00007 00006 0")
    pilot("trial lora 00015 00012 3", learner="lora", model="another")
    pilot("trial probe 00050 0")  # of a calibration, which plans nothing
    assert store.opened_labels(study, 0) == 15
    assert store.opened_labels(study, 1) == 0
    about_the_same = study_of(store, confidence=0.9)
    assert store.opened_labels(about_the_same, 0) == 15
    files = (study.labels_file, study.pool_file)
    named = store.create_study("named", *files, Roles("text", "label", id="row"), study.question)
    assert store.opened_labels(named, 0) == 15
    grouped = store.create_study("grouped", *files, Roles("text", "label", group="row"), study.question)
    assert store.opened_labels(grouped, 0) == 0
    more = study_of(store, content=CSV + b"text 30,1\n")
    assert store.opened_labels(more, 0) == 0
    pilot("trial probe 00014 00012 0", of=about_the_same, seed=1)
    assert store.opened_labels(study, 1) == 14


def test_the_same_study_is_stored_once_and_another_question_is_another_study(store):
    one, two = study_of(store), study_of(store, "Another name")
    assert one == two
    other = study_of(store, confidence=0.9)
    assert other.id != one.id
    assert {study.id for study in store.studies()} == {one.id, other.id}
    store.rename_study(one.id, "New name")
    assert store.study(one.id).name == "New name"


def test_another_question_about_labels_of_hard_texts_has_the_same_caution(store):
    labels = store.save_file("labels.csv", CSV)
    hard = store.create_study("Hard", labels, None, Roles("text", "label"), Question(), skewed=True)
    other = study_of(store, confidence=0.9)
    assert other.id != hard.id
    assert other.caution == hard.caution is not None
    assert not study_of(store, content=CSV + b"text 30,1\n").skewed


def test_many_threads_storing_the_same_do_not_collide(store):
    with ThreadPoolExecutor(8) as threads:
        studies = list(threads.map(lambda _: study_of(store), range(24)))
        run = store.create_run(studies[0].id, "plan", RunSettings())
        save = lambda i: store.save_step_result(run.id, f"step {i % 3}", f"key {i % 2}", {"value": i % 2})  # noqa: E731
        list(threads.map(save, range(24)))
    assert len({study.id for study in studies}) == 1
    assert set(store.step_results(run.id)) == {"step 0", "step 1", "step 2"}


def test_deleting_a_study_keeps_what_another_needs(store):
    pool = store.save_file("pool.csv", b"text\none\ntwo\n")
    one, two = study_of(store, pool=pool), study_of(store, pool=pool, confidence=0.9)
    run = store.create_run(one.id, "plan", RunSettings())
    finished = store.create_run(one.id, "run", RunSettings())  # newer than the run that is under way
    store.update_run(finished.id, state=RunState.FINISHED.value)
    with pytest.raises(RunError, match=f"Run {run.id} is still under way"):
        store.delete_study(one.id)
    assert store.study(one.id) == one
    assert {known.id for known in store.runs(one.id)} == {run.id, finished.id}
    assert finished.folder.exists()
    store.update_run(run.id, state=RunState.FINISHED.value)
    store.delete_study(one.id)
    assert [study.id for study in store.studies()] == [two.id]
    assert store.runs() == ()
    assert not run.folder.exists()
    assert pool.path.exists()
    assert two.labels_file.path.exists()
    store.delete_study(two.id)
    assert not pool.path.exists()
    assert not two.labels_file.path.exists()
    with pytest.raises(RunError):
        store.file(pool.hash)


def test_deleting_a_run_keeps_the_results_that_another_shares(store):
    study = study_of(store)
    one, two = (store.create_run(study.id, "plan", RunSettings(seed=seed)) for seed in (0, 1))
    for run in (one, two):
        store.save_step_result(run.id, "shared", "key of both", {"value": 1})
        store.save_step_result(run.id, "own", f"key of {run.id}", {"value": 2})
        store.update_run(run.id, state=RunState.FINISHED.value)
    store.delete_run(one.id)
    assert store.step_result("key of both") == {"value": 1}
    assert store.step_result(f"key of {one.id}") is None
    assert store.step_results(two.id) == {"shared": {"value": 1}, "own": {"value": 2}}
    store.delete_run(two.id)
    assert store.step_result("key of both") is None


def test_a_step_is_stored_once_and_its_link_can_move(store):
    run = store.create_run(study_of(store).id, "plan", RunSettings())
    store.save_step_result(run.id, "law", "a", {"value": 1})
    store.save_step_result(run.id, "law", "a", {"value": 99})
    assert store.step_results(run.id) == {"law": {"value": 1}}
    store.save_step_result(run.id, "law", "b", {"value": 2})
    assert store.step_results(run.id) == {"law": {"value": 2}}


def test_only_one_run_gets_the_machine(store):
    study = study_of(store)
    ids = [store.create_run(study.id, "plan", RunSettings(seed=seed)).id for seed in range(12)]
    with ThreadPoolExecutor(6) as threads:
        won = list(threads.map(store.claim_machine, ids * 2))
    assert sum(won) == 1
    winner = (ids * 2)[won.index(True)]
    assert [run.id for run in store.runs() if run.state is RunState.RUNNING] == [winner]
    store.update_run(winner, state=RunState.STOPPING.value)
    assert not any(store.claim_machine(other) for other in ids)
    store.update_run(winner, state=RunState.STOPPED.value)
    assert store.claim_machine(next(other for other in ids if other != winner))


def test_a_state_moves_only_from_where_it_is(store):
    run = store.create_run(study_of(store).id, "plan", RunSettings())
    assert not store.move_run(run.id, frm=(RunState.RUNNING,), to=RunState.FINISHED)
    assert store.run(run.id).state is RunState.QUEUED
    with ThreadPoolExecutor(6) as threads:
        move = lambda _: store.move_run(run.id, frm=(RunState.QUEUED,), to=RunState.RUNNING)  # noqa: E731
        assert sum(threads.map(move, range(12))) == 1


def test_the_folder_of_a_model_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own", "model").mkdir(parents=True)
    for written in ("own/model", "./own/model/", str(tmp_path / "own" / "model")):
        assert RunSettings(model=written).model == str(tmp_path / "own" / "model")
    for name in (DEFAULT_MODEL, "hub/model", "", "long" * 99):
        Path(DEFAULT_MODEL).mkdir(parents=True, exist_ok=True)
        assert RunSettings(model=name).model == name


def test_runs_come_newest_first_and_keep_their_settings(store):
    study, settings = study_of(store), RunSettings(learner="lora", half_width=0.1, folds=5)
    runs = [store.create_run(study.id, "run", settings) for _ in range(3)]
    assert [run.id for run in store.runs(study.id)] == [run.id for run in reversed(runs)]
    assert store.runs("another") == ()
    assert store.run(runs[0].id).settings == settings
    assert RunSettings.from_dict({**settings.to_dict(), "a later field": 1}) == settings


def test_the_pace_tells_the_seconds_left(store):
    run = store.create_run(study_of(store).id, "run", RunSettings())
    assert run.seconds_left is None
    start = now()
    changes = {"state": "running", "started": start, "heartbeat": start + timedelta(seconds=30)}
    store.update_run(run.id, progress=0.25, **changes)
    assert store.run(run.id).seconds_left == pytest.approx(90)


def test_what_a_resumed_run_worked_before_counts_in_its_pace(store):
    run = store.create_run(study_of(store).id, "run", RunSettings())
    assert store.claim_machine(run.id)
    assert store.run(run.id).started == store.run(run.id).heartbeat
    store.update_run(run.id, state="queued")
    assert store.claim_machine(run.id, timedelta(seconds=90))
    store.update_run(run.id, progress=0.75)
    assert store.run(run.id).seconds_left == pytest.approx(30)


def test_the_log_shows_its_end_and_the_last_of_a_progress_bar(store):
    run = store.create_run(study_of(store).id, "run", RunSettings())
    assert run.log_tail() == ""
    run.log.write_bytes(b"first\n10%\r50%\r100%\n\xff last\n")
    assert run.log_tail(2).splitlines() == ["100%", "\ufffd last"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Question(estimand="median"), "estimand"),
        (lambda: Question(population="all"), "population"),
        (lambda: Question(confidence=95), "confidence"),
        (lambda: Question(confidence=float("nan")), "confidence"),
        (lambda: RunSettings(learner="gpt"), "probe, lora, full"),
        (lambda: RunSettings(folds=1), "folds is 1"),
        (lambda: RunSettings(keep="middle"), "beginning, end"),
        (lambda: RunSettings(finetune=-1), "finetune is -1"),
        (lambda: RunSettings(cost_per_label=float("nan")), "cost_per_label"),
        (lambda: RunSettings(cost_per_gpu_hour=-1), "cost_per_gpu_hour"),
        (lambda: RunSettings(cost_per_thousand=float("inf")), "cost_per_thousand"),
        (lambda: RunSettings(half_width=0), "half_width"),
        (lambda: RunSettings(half_width=float("inf")), "half_width"),
        (lambda: RunSettings(strategy="guess"), "strategy"),
        (lambda: RunSettings(objective="loss"), "objective"),
    ],
)
def test_contradictory_settings_are_refused(make, sentence):
    with pytest.raises(ArgumentError, match=sentence):
        make()


def test_the_question_in_words():
    roles = Roles("review", "star_rating")
    assert Question().sentence(roles, 4400) == "What is the mean star rating of these 4,400 texts?"
    assert "all texts like these 50" in Question("shares", "larger").sentence(roles, 50)


def test_a_fingerprint_is_the_same_in_every_process():
    expected = "import engine.runs as r; print(r.fingerprint('a', 1, {'b': [1.5, None], 'a': True}))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    out = subprocess.run([sys.executable, "-c", expected], capture_output=True, text=True, check=True, env=environment)
    assert out.stdout.strip() == fingerprint("a", 1, {"a": True, "b": [1.5, None]})
    assert fingerprint("ab") != fingerprint("a", "b")
