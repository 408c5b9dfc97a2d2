"""The training loop: accumulated, checkpointed, stopped early, short of memory."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_models import QUICK, as_the_card_says, reader_of
from transformers import BertModel

from engine.errors import ArgumentError, ModelError
from engine.learning import finetuning
from engine.learning.averaging import adapted
from engine.learning.below import layers_of
from engine.learning.blending import outcomes
from engine.learning.checkpoints import Checkpoints
from engine.learning.finetuning import fine_tune
from engine.learning.folds import folds
from engine.learning.label_tokens import Choices, ask
from engine.learning.learners import FineTuning
from engine.learning.recipe import Recipe
from engine.learning.regressor import TrainedHead
from engine.learning.training import Training, Watch, copy_for_training, residual_loss

# ------------------------------------------------------------ one step by hand


def one_step(encoder, texts, y, **options):
    reader, scale = reader_of(encoder, texts), float(y.std())
    backbone = copy_for_training(encoder.model, checkpointing=options.get("checkpointing", False))
    module = reader.head(backbone.requires_grad_(True), np.arange(len(texts)), y[:, None])
    with torch.no_grad():
        module.linear.weight.fill_(0.1)
    targets = torch.as_tensor(y[:, None] / scale, dtype=torch.float32)
    recipe = replace(QUICK, method="full", **options)
    return Training(reader, module, reader.tokenize(texts), targets, scale, recipe, seed=0)


def gradients(training, batch):
    training._backward(batch)
    return [p.grad.clone() for p in training.weights if p.grad is not None]


@pytest.mark.parametrize("objective", ["variance", "mean-square"])
@pytest.mark.parametrize("micro_batch", [1, 3, 5])
@pytest.mark.usefixtures("in_single_precision")
def test_an_accumulated_gradient_is_that_of_the_whole_batch(tiny_encoder, phrases, y, objective, micro_batch):
    texts, labels = phrases[:11], y[:11]
    whole = gradients(one_step(tiny_encoder, texts, labels, objective=objective), list(range(11)))
    parts = gradients(one_step(tiny_encoder, texts, labels, objective=objective, micro_batch=micro_batch), range(11))
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("in_single_precision")
def test_the_gradient_is_that_of_a_plain_forward(tiny_encoder, phrases, y):
    """The variance of the residual in units of the label's deviation, through mean pooling and the head, by hand."""
    texts, labels = phrases[:7], y[:7]
    training = one_step(tiny_encoder, texts, labels)
    found = gradients(training, list(range(7)))
    base = BertModel(tiny_encoder.model.config)
    base.load_state_dict(tiny_encoder.model.state_dict())
    base.eval()
    head = TrainedHead(base, training.module.units)
    head.load_state_dict(training.module.state_dict())
    rows = []
    for text in texts:
        states = base(input_ids=torch.tensor([tiny_encoder.tokenize([text])[0]])).last_hidden_state[0]
        read = (states.mean(0) - head.centre) / head.units.spread
        rows.append(head.units.scale * head.linear(read)[0])
    residual = (torch.as_tensor(labels, dtype=torch.float32) - torch.stack(rows)) / float(labels.std())
    residual.var(unbiased=True).backward()
    expected = [p.grad for _, p in head.named_parameters() if p.grad is not None]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.usefixtures("in_single_precision")
def test_activations_computed_again_give_the_same_gradient(tiny_encoder, phrases, y):
    plain = gradients(one_step(tiny_encoder, phrases[:8], y[:8]), list(range(8)))
    again = gradients(one_step(tiny_encoder, phrases[:8], y[:8], checkpointing=True), list(range(8)))
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"method": "full"}, {"patience": 1, "epochs": 2}], ids=str)
def test_activations_are_computed_again_in_every_fold(tiny_encoder, phrases, y, settings, monkeypatch):
    """transformers checkpoints a layer in training mode alone; the folds predict in between."""
    seen, backward = [], Training._backward

    def look(training, batch):
        layers = layers_of(training.module.backbone)[1]
        seen.append(all(layer.training and layer.gradient_checkpointing for layer in layers))
        return backward(training, batch)

    monkeypatch.setattr(Training, "_backward", look)
    recipe = Recipe(**{"rank": 2, "folds": 3, "epochs": 1, "steps": 1, "checkpointing": True, **settings})
    fine_tune(reader_of(tiny_encoder, phrases), phrases, y, classes=None, recipe=recipe, seed=0)
    assert len(seen) >= 3
    assert all(seen)


def test_half_precision_trains_to_about_the_same_predictions(tiny_encoder, phrases, y, monkeypatch):
    reader = reader_of(tiny_encoder, phrases)
    monkeypatch.setattr("engine.learning.training.has_half_products", lambda: True)
    half = fine_tune(reader, phrases, y, classes=None, recipe=QUICK, seed=0).outputs(phrases)
    monkeypatch.setattr("engine.learning.training.has_half_products", lambda: False)
    single = fine_tune(reader, phrases, y, classes=None, recipe=QUICK, seed=0).outputs(phrases)
    assert np.corrcoef(half[:, 0], single[:, 0])[0, 1] > 0.99


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize("settings", [{}, {"objective": "mean-square"}, {"patience": 1, "epochs": 3}], ids=str)
@pytest.mark.usefixtures("in_single_precision")
def test_labels_far_from_zero_teach_what_those_near_it_do(tiny_encoder, decoder, phrases, kind, settings, monkeypatch):
    monkeypatch.setattr(finetuning, "told_apart", lambda *told: (str(told[-1]), 0))  # batches in the same order
    texts, ratings, far = phrases[:24], np.arange(24) % 5 + 1.0, 2.0**27
    near = reader_of(tiny_encoder, texts) if kind == "encoder" else ask(decoder, Choices.of(ratings))
    beyond = near
    if kind == "decoder":
        values = tuple(value + far for value in near.choices.values)
        beyond = replace(near, choices=replace(near.choices, values=values))
    recipe = replace(QUICK, **settings)
    models = [
        fine_tune(reader, texts, labels, classes=None, recipe=recipe, seed=3)
        for reader, labels in ((near, ratings), (beyond, ratings + far))
    ]
    expected, found = (model.predict(phrases) for model in models)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(found - far, expected, atol=1e-5)
    np.testing.assert_allclose(models[1].left_out - far, models[0].left_out, atol=1e-5)
    assert models[1].residual == pytest.approx(models[0].residual, abs=1e-5)


# ------------------------------------------------------------------ memory


def test_a_batch_is_halved_until_it_fits_into_the_gpu(tiny_encoder, phrases, y, monkeypatch):
    training = one_step(tiny_encoder, phrases[:16], y[:16])
    predict, seen = training._predict, []

    def tight(batch):
        seen.append(len(batch))
        if len(batch) > 4:
            raise torch.OutOfMemoryError
        return predict(batch)

    monkeypatch.setattr(training, "_predict", tight)
    assert np.isfinite(training._backward(list(range(16))))
    assert seen[:3] == [16, 8, 4]
    assert training.together == 4


def test_too_little_memory_is_told_with_the_next_step(tiny_encoder, phrases, y, monkeypatch):
    def none_left(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Training, "_predict", none_left)
    with pytest.raises(ModelError, match=r"not enough memory on the GPU to fine-tune model tiny; .*smaller"):
        fine_tune(reader_of(tiny_encoder, phrases), phrases, y, classes=None, recipe=QUICK, seed=0)


# ------------------------------------------------------------- early stopping, classes


def test_training_stops_early_and_takes_the_best_epoch(tiny_encoder, phrases, y):
    training = one_step(tiny_encoder, phrases, y, epochs=6, patience=2)
    losses, kept = iter([0.9, 0.5, 0.7, 0.6, 0.1]), []

    def held_out():
        kept.append(training.weights_now())
        return next(losses)

    watched = []
    training.run(Watch(6 * 60, watched.append, None), Checkpoints(None), "step", held_out)
    assert len(kept) == 4  # two epochs without a better one
    for taken, best in zip(training.weights, kept[1], strict=True):
        assert torch.equal(taken, best)
    assert watched[-1] == 1.0


def test_early_stopping_looks_at_the_fold_left_out_alone(tiny_encoder, phrases, y):
    reader = reader_of(tiny_encoder, phrases)
    model = fine_tune(reader, phrases, y, classes=None, recipe=replace(QUICK, patience=1, epochs=4), seed=0)
    assert np.isfinite(model.predict(phrases)).all()


def test_cross_entropy_is_that_of_the_given_class():
    p = torch.tensor([[0.7, 0.3], [0.2, 0.8]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert float(residual_loss(p, targets, "cross-entropy")) == pytest.approx(-(np.log(0.7) + np.log(0.8)) / 2)
    assert torch.isfinite(residual_loss(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), "cross-entropy"))


def test_cross_entropy_learns_classes_and_refuses_numbers(tiny_encoder, phrases, y):
    codes = (y > 0).astype(int)
    reader = reader_of(tiny_encoder, phrases)
    recipe = replace(QUICK, objective="cross-entropy", epochs=10)
    model = fine_tune(reader, phrases, codes, classes=2, recipe=recipe, seed=0)
    assert (model.predict(phrases).argmax(1) == codes).mean() > 0.8
    with pytest.raises(ArgumentError, match="cross-entropy is one of classes"):
        fine_tune(reader_of(tiny_encoder, phrases), phrases, y, classes=None, recipe=recipe, seed=0)


def test_every_fold_has_its_share_of_a_rare_class():
    codes = np.array([0] * 54 + [1] * 6)
    parts = folds(outcomes(codes, 2), True, 3, seed=5)
    assert sorted(np.concatenate(parts).tolist()) == list(range(60))
    assert [int(codes[part].sum()) for part in parts] == [2, 2, 2]


# ------------------------------------------------------------------ which weights


def test_the_lowest_layers_get_no_adapter(tiny_encoder):
    assert len(adapted(tiny_encoder.model, 0.0)) == 12
    assert {name.split(".")[2] for name in adapted(tiny_encoder.model, 0.5)} == {"1"}


def test_settings_follow_the_size_of_the_model(tiny_encoder):
    assert Recipe.suited(tiny_encoder.model, "lora", "variance", 100) == Recipe()
    thorough = Recipe.suited(tiny_encoder.model, "lora", "variance", 1000, thorough=True)
    assert thorough.frozen == 0
    assert thorough.folds > Recipe.folds
    assert thorough.learning_rate > Recipe.learning_rate
    with torch.device("meta"):  # no memory
        large = torch.nn.Linear(50_000, 50_000)
    recipe = Recipe.suited(large, "full", "mean-square", 1000)
    assert recipe.checkpointing
    assert recipe.learning_rate < Recipe.suited(tiny_encoder.model, "full", "mean-square", 100).learning_rate
    assert recipe.folds == Recipe.folds
    halves = Recipe.suited(tiny_encoder.model, "lora", "variance", 800)
    assert halves.folds == 2
    assert 2 * 400 * halves.passes(400) < 0.7 * 3 * 533 * Recipe().passes(533)  # texts that go through a model


@pytest.mark.parametrize("given", [False, True])
def test_labels_are_halved_where_no_folds_are_given(tiny_encoder, monkeypatch, given):
    asked = []
    monkeypatch.setattr("engine.learning.learners.fine_tune", lambda *_told, recipe, **_more: asked.append(recipe))
    monkeypatch.setattr("engine.learning.learners.replace", lambda tuned, **_more: tuned)
    monkeypatch.setattr(FineTuning, "_reader", lambda *_told: SimpleNamespace(base=tiny_encoder.model))
    blocks = np.arange(400) % 10 if given else None
    FineTuning(None, None, "lora", "variance").fit(["a"] * 400, np.arange(400.0), seed=0, blocks=blocks)
    assert asked == [Recipe() if given else replace(Recipe(), folds=2, epochs=5, enough=100)]


def test_a_decoder_is_fine_tuned_through_its_label_tokens(decoder, phrases, y, tmp_path):
    ratings = np.clip(y, -1, 1) + 2
    reader = ask(decoder, Choices.of(ratings))
    before = {name: value.clone() for name, value in decoder.model.state_dict().items()}
    losses = []
    recipe = replace(QUICK, epochs=8, frozen=0.0, batch_size=30)
    model = fine_tune(
        reader, phrases, ratings, classes=None, recipe=recipe, seed=0, report_loss=lambda _, x, _rate: losses.append(x)
    )
    assert np.mean(losses[6:8]) < 0.9 * np.mean(losses[:2])  # of the first fold
    assert model.predict(phrases).shape == (60,)
    for name, value in decoder.model.state_dict().items():
        assert torch.equal(value, before[name])
    model.save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"adapter_model.safetensors", "choices.json", "recipe.json", "README.md"} <= names
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "residual" in card
    assert "PeftModel" in card


def test_the_card_of_a_fine_tuned_copy_says_how_to_load_what_writes(decoder, phrases, y, tmp_path):
    recipe = replace(QUICK, method="full", epochs=1, folds=2)
    model = fine_tune(ask(decoder, Choices.of(y)), phrases, y, classes=None, recipe=recipe, seed=0)
    model.save(tmp_path)
    loaded = as_the_card_says(tmp_path)["model"]
    torch.testing.assert_close(loaded.state_dict(), dict(model.module.backbone.state_dict()))
