"""Fine-tuning taken up where it stopped, and models that one fit leaves for another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import QUICK, reader_of

from engine.learning.checkpoints import Checkpoints
from engine.learning.finetuning import fine_tune
from engine.learning.folds import Fold


def state(model):
    return {name: value.clone() for name, value in model.module.state_dict().items()}


class Stopped(Exception):
    """The process was killed, so to speak."""


def killed_at(step):
    def report(number, *_):
        if number == step:
            raise Stopped

    return report


@pytest.mark.parametrize("step", [1, 3, 4, 6, 8])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    tiny_encoder, phrases, y, tmp_path, monkeypatch, method, step
):
    monkeypatch.setattr(Checkpoints, "is_due", lambda self: self.folder is not None)
    reader, recipe = reader_of(tiny_encoder, phrases), replace(QUICK, method=method)
    options = {"classes": None, "recipe": recipe, "seed": 3}
    whole = fine_tune(reader, phrases, y, **options)
    with pytest.raises(Stopped):
        fine_tune(reader, phrases, y, **options, checkpoints=tmp_path / "kept", report_loss=killed_at(step))
    steps = []
    resumed = fine_tune(
        reader, phrases, y, **options, checkpoints=tmp_path / "kept", report_loss=lambda n, *_: steps.append(n)
    )
    assert steps == list(range(step, 9))  # two folds of two batches, two epochs; the step itself was not written down
    for name, value in state(whole).items():
        assert torch.equal(value, state(resumed)[name]), name
    np.testing.assert_array_equal(whole.left_out, resumed.left_out)
    assert whole.trust == resumed.trust
    assert not (tmp_path / "kept").exists()


def test_steps_are_counted_on_after_a_fold_that_stopped_early(tiny_encoder, phrases, y, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "is_due", lambda self: self.folder is not None)
    monkeypatch.setattr(Fold, "_loss", lambda fold: float(fold.training.steps))  # from epoch to epoch it grows
    reader = reader_of(tiny_encoder, phrases)
    options = {"classes": None, "recipe": replace(QUICK, patience=1, epochs=4), "seed": 3, "checkpoints": tmp_path}
    with pytest.raises(Stopped):
        fine_tune(reader, phrases, y, **options, report_loss=killed_at(7))
    steps = []
    fine_tune(reader, phrases, y, **options, report_loss=lambda n, *_: steps.append(n))
    assert steps == [7, 8]  # each fold took two epochs of its four, of two batches each


def test_side_by_side_a_fit_that_was_stopped_counts_its_steps_anew(tiny_encoder, phrases, y, tmp_path):
    options = {"classes": None, "recipe": replace(QUICK, side_by_side=True), "seed": 3, "checkpoints": tmp_path}
    reader, steps = reader_of(tiny_encoder, phrases), []
    with pytest.raises(Stopped):
        fine_tune(reader, phrases, y, **options, report_loss=killed_at(3))
    fine_tune(reader, phrases, y, **options, report_loss=lambda n, *_: steps.append(n))
    assert steps == [1, 2, 3, 4]


def test_a_checkpoint_of_other_labels_is_not_taken_up(tiny_encoder, phrases, y, tmp_path, monkeypatch):
    monkeypatch.setattr(Checkpoints, "is_due", lambda self: self.folder is not None)
    options = {"classes": None, "recipe": QUICK, "seed": 3}
    reader = reader_of(tiny_encoder, phrases)
    with pytest.raises(Stopped):
        fine_tune(reader, phrases, y, **options, checkpoints=tmp_path, report_loss=killed_at(6))
    other = y[::-1].copy()
    reader = reader_of(tiny_encoder, phrases)
    whole = fine_tune(reader, phrases, other, **options)
    again = fine_tune(reader, phrases, other, **options, checkpoints=tmp_path)
    np.testing.assert_array_equal(whole.left_out, again.left_out)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half of one"])
def test_a_checkpoint_that_cannot_be_read_is_passed_over(tmp_path, content):
    (tmp_path / "step.pt").write_bytes(content)
    kept = Checkpoints(tmp_path)
    assert kept.read("step") is None
    kept.write("step", {"step": 4})
    assert kept.read("step")["step"] == 4
    assert kept.read("another") is None


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), RuntimeError("basic_ios::clear")])
def test_where_no_checkpoint_can_be_written_training_goes_on(tmp_path, monkeypatch, fault):
    kept = Checkpoints(tmp_path / "kept")
    kept.write("first", {"step": 1})

    def full(_state, path):
        path.write_bytes(b"half")
        raise fault

    monkeypatch.setattr(torch, "save", full)
    kept.write("first", {"step": 2})
    assert kept.read("first")["step"] == 1
    kept.drop(["first"])
    assert not (tmp_path / "kept").exists()


# --------------------------------------------------------------- models in common


@pytest.mark.usefixtures("in_single_precision")
@pytest.mark.parametrize(("method", "beside"), [("lora", False), ("lora", True), ("full", False)])
def test_fits_that_differ_by_a_block_have_their_models_in_common(tiny_encoder, phrases, y, tmp_path, method, beside):
    """Six models of four blocks in place of twelve; each fit is as by itself, so nothing of its own block is in it."""
    shelf, codes = tmp_path / "kept", np.arange(60) % 4
    recipe = replace(QUICK, method=method, side_by_side=beside, epochs=1)

    def fit(block, folder):
        rows, steps = np.flatnonzero(codes != block), []
        texts = [phrases[i] for i in rows]
        model = fine_tune(
            reader_of(tiny_encoder, texts), texts, y[rows], classes=None, recipe=recipe, seed=2, blocks=codes[rows],
            report_loss=lambda n, *_: steps.append(n), checkpoints=folder,
        )  # fmt: skip
        assert model.recipe.folds == 3
        return model, steps, len(list(shelf.glob("*"))) if shelf.exists() else 0

    alone = [fit(block, None) for block in range(4)]
    common = [fit(block, shelf) for block in range(4)]
    for (one, *_), (other, *_) in zip(alone, common, strict=True):
        np.testing.assert_allclose(one.left_out, other.left_out, atol=1e-3 if beside else 0)
        np.testing.assert_allclose(one.predict(phrases), other.predict(phrases), atol=1e-3 if beside else 0)
    trained = [3, 2, 1, 0]
    # The steps of models that were there are counted, but side by side a step is one of all that train.
    told = [list(range(1 if beside else 7 - 2 * models, 3 if beside else 7)) if models else [] for models in trained]
    assert [steps for _, steps, _ in common] == told
    assert [waiting for *_, waiting in common] == [3, 4, 3, 0]
    assert not shelf.exists()


# -------------------------------------------- stopped after the trainings, while the model predicts


@pytest.mark.parametrize("method", ["lora", "full"])
def test_what_is_held_is_there_for_a_fit_that_was_stopped_while_its_model_predicted(
    tiny_encoder, phrases, y, tmp_path, method
):
    shelf, runs = tmp_path / "kept", []
    options = {"classes": None, "recipe": replace(QUICK, method=method), "seed": 3}
    for _ in range(2):
        steps, kept = [], Checkpoints(shelf, holding=True)
        model = fine_tune(
            reader_of(tiny_encoder, phrases), phrases, y, **options, checkpoints=kept,
            report_loss=lambda n, *_, steps=steps: steps.append(n),
        )  # fmt: skip
        assert len(list(shelf.glob("*"))) == 2
        runs.append((state(model), model.predict(phrases), len(steps)))
    (whole, expected, trained), (again, found, none) = runs
    assert (trained, none) == (8, 0)
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name
    np.testing.assert_array_equal(found, expected)
    kept.let_go()
    assert not shelf.exists()


@pytest.mark.usefixtures("in_single_precision")
@pytest.mark.parametrize("beside", [False, True])
def test_fits_with_models_in_common_that_are_all_stopped_train_none_twice(tiny_encoder, phrases, y, tmp_path, beside):
    """A fit that finds its own models leaves them for the others."""
    shelf, codes = tmp_path / "kept", np.arange(60) % 4
    recipe = replace(QUICK, side_by_side=beside, epochs=1)

    def waiting():
        return len(list(shelf.glob("*"))) if shelf.exists() else 0

    def fit(block, kept):
        rows = np.flatnonzero(codes != block)
        texts, told = [phrases[i] for i in rows], set()
        model = fine_tune(
            reader_of(tiny_encoder, texts), texts, y[rows], classes=None, recipe=recipe, seed=2, blocks=codes[rows],
            report_loss=lambda n, *_: told.add(n), checkpoints=kept,
        )  # fmt: skip
        return model.predict(phrases), len(told), waiting()

    alone = [fit(block, tmp_path / "other") for block in range(4)]
    assert not (tmp_path / "other").exists()
    before = after = 0
    for block, (expected, steps, _) in enumerate(alone):
        first, trained, most = fit(block, Checkpoints(shelf, holding=True))  # and its predictions were never written
        kept = Checkpoints(shelf, holding=True)
        second, none, as_many = fit(block, kept)
        assert (trained, none) == (steps, 0)
        np.testing.assert_array_equal(first, expected)
        np.testing.assert_array_equal(second, expected)
        kept.let_go()
        before, after = after, waiting()
        assert most == as_many == before + 3 - block
        assert after == [3, 4, 3, 0][block]
    assert not shelf.exists()
