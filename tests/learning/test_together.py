"""Many adapters in one batch: what they end as, and what happens where the memory does not hold them all."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import QUICK, reader_of

from engine.learning.finetuning import fine_tune
from engine.learning.label_tokens import Choices, ask
from engine.learning.together import Together


@pytest.mark.usefixtures("in_single_precision")
@pytest.mark.parametrize("count", [60, 53])  # with 53 the folds' batches are of other sizes
@pytest.mark.parametrize("classes", [None, 2])
def test_adapters_side_by_side_end_as_one_after_another(tiny_encoder, phrases, y, count, classes):
    labels = (y > 0).astype(int)[:count] if classes else y[:count]
    texts, reader = phrases[:count], reader_of(tiny_encoder, phrases[:count])
    options = {"classes": classes, "seed": 4}
    recipe = replace(QUICK, folds=3, frozen=0.0)
    alone = fine_tune(reader, texts, labels, recipe=recipe, **options)
    beside = fine_tune(reader, texts, labels, recipe=replace(recipe, side_by_side=True), **options)
    np.testing.assert_allclose(beside.left_out, alone.left_out, atol=2e-3)
    np.testing.assert_allclose(beside.outputs(phrases), alone.outputs(phrases), atol=2e-3)


@pytest.mark.usefixtures("in_single_precision")
@pytest.mark.parametrize("fits", [0, 3])  # batches before the memory runs out
def test_where_the_memory_is_too_little_for_all_adapters_one_trains_after_another(
    tiny_encoder, phrases, y, monkeypatch, fits, tmp_path
):
    reader, recipe = reader_of(tiny_encoder, phrases), replace(QUICK, folds=3, frozen=0.0)
    alone = fine_tune(reader, phrases, y, classes=None, recipe=recipe, seed=4)
    backward, batches, seen = Together._backward, [], []

    def tight(together, rows):
        batches.append(rows)
        if len(batches) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return backward(together, rows)

    monkeypatch.setattr(Together, "_backward", tight)
    found = fine_tune(
        reader, phrases, y, classes=None, recipe=replace(recipe, side_by_side=True), seed=4,
        progress=seen.append, checkpoints=tmp_path / "kept",
    )  # fmt: skip
    assert len(batches) == fits + 1
    np.testing.assert_allclose(found.left_out, alone.left_out, atol=1e-5)
    np.testing.assert_allclose(found.outputs(phrases), alone.outputs(phrases), atol=1e-5)
    assert seen[fits:] == sorted(seen[fits:])
    assert seen[-1] == 1.0


@pytest.mark.usefixtures("in_single_precision")
def test_decoders_train_side_by_side_too(decoder, phrases, y):
    ratings = np.clip(y, -1, 1) + 2
    reader, recipe = ask(decoder, Choices.of(ratings)), replace(QUICK, frozen=0.0)
    alone = fine_tune(reader, phrases, ratings, classes=None, recipe=recipe, seed=1)
    beside = fine_tune(reader, phrases, ratings, classes=None, recipe=replace(recipe, side_by_side=True), seed=1)
    np.testing.assert_allclose(beside.left_out, alone.left_out, atol=2e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device.")
def test_on_a_gpu_adapters_side_by_side_end_as_one_after_another(tiny_encoder, phrases, y, monkeypatch):
    for module in ("training", "together"):
        monkeypatch.setattr(f"engine.learning.{module}.half_precision", lambda *_: nullcontext())
    there = replace(tiny_encoder, model=copy.deepcopy(tiny_encoder.model).to("cuda"), device=torch.device("cuda"))
    reader, recipe = reader_of(there, phrases), replace(QUICK, folds=3, frozen=0.0)
    alone = fine_tune(reader, phrases, y, classes=None, recipe=recipe, seed=4)
    beside = fine_tune(reader, phrases, y, classes=None, recipe=replace(recipe, side_by_side=True), seed=4)
    np.testing.assert_allclose(beside.left_out, alone.left_out, atol=2e-3)
    on_the_cpu = fine_tune(reader_of(tiny_encoder, phrases), phrases, y, classes=None, recipe=recipe, seed=4)
    np.testing.assert_allclose(beside.left_out, on_the_cpu.left_out, atol=2e-3)
