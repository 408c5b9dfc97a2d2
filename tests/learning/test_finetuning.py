"""Fine-tuning: the two objectives by hand, and LoRA on a tiny model that learns, saves and repeats itself."""

from __future__ import annotations

import gc
import json
import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tiny_models import reader_of
from transformers import BertModel

from engine.errors import ModelError
from engine.learning.averaging import Copies
from engine.learning.blending import outcomes
from engine.learning.finetuning import fine_tune
from engine.learning.folds import Fold, average
from engine.learning.models import mean_pool
from engine.learning.recipe import Recipe
from engine.learning.training import copy_for_training, residual_loss


def by_hand(p, y, objective):
    """Loss and gradient in plain loops over the batch and the outputs."""
    n, k = len(y), len(y[0])
    loss, gradient = 0.0, [[0.0] * k for _ in range(n)]
    for j in range(k):
        residual = [y[i][j] - p[i][j] for i in range(n)]
        centre = sum(residual) / n if objective == "variance" else 0.0
        divisor = n - 1 if objective == "variance" else n
        for i in range(n):
            loss += (residual[i] - centre) ** 2 / divisor
            # The centre's own dependence on p cancels: the deviations from it sum to zero.
            gradient[i][j] = -2 * (residual[i] - centre) / divisor
    return loss, gradient


@pytest.mark.parametrize("objective", ["variance", "mean-square"])
@pytest.mark.parametrize("shape", [(2, 1), (7, 1), (5, 3)])
def test_loss_and_gradient_are_those_worked_out_by_hand(objective, shape):
    rng = np.random.default_rng(31)
    p, y = rng.normal(size=shape), rng.normal(size=shape)
    predictions = torch.tensor(p, requires_grad=True)
    loss = residual_loss(predictions, torch.tensor(y), objective)
    loss.backward()
    expected, gradient = by_hand(p.tolist(), y.tolist(), objective)
    assert loss.item() == pytest.approx(expected)
    np.testing.assert_allclose(predictions.grad.numpy(), gradient, atol=1e-12)


def test_the_variance_does_not_see_a_constant_bias_and_the_mean_square_does():
    p, y = torch.randn(8, 1, generator=torch.Generator().manual_seed(1)), torch.zeros(8, 1)
    assert float(residual_loss(p + 3, y, "variance")) == pytest.approx(float(residual_loss(p, y, "variance")), rel=1e-5)
    assert float(residual_loss(p + 3, y, "mean-square")) > float(residual_loss(p, y, "mean-square"))
    assert float(residual_loss(p[:1], y[:1], "variance")) == 0


@pytest.mark.parametrize("size", [2, 3, 8])
def test_the_variance_objective_is_unbiased_over_small_batches(size):
    rng = np.random.default_rng(32)
    residual = torch.tensor(rng.exponential(size=(200_000, 1)))
    losses = [float(residual_loss(-part, torch.zeros_like(part), "variance")) for part in residual[:60_000].split(size)]
    assert np.mean(losses[:-1]) == pytest.approx(1.0, rel=0.04)


# ---------------------------------------------------------------- training


def labels(phrases):
    """A label that the words determine."""
    return np.array([text.count("good") + text.count("nice") - 2.0 * text.count("bad") for text in phrases])


# The tiny model's random states say little, so its head must learn fast.
QUICK = Recipe(rank=8, epochs=3, steps=1, folds=3, learning_rate=5e-3, head_rate=2e-2)


def tune(encoder, texts, y, *, classes=None, recipe=QUICK, seed=0, report_loss=None):
    options = {"classes": classes, "recipe": recipe, "seed": seed, "report_loss": report_loss}
    return fine_tune(reader_of(encoder, texts), texts, y, **options)


@pytest.fixture(scope="module")
def tuned(tiny_encoder, phrases):
    return tune(tiny_encoder, phrases, labels(phrases))


@pytest.mark.parametrize("objective", ["variance", "mean-square"])
def test_lora_learns(tiny_encoder, phrases, objective):
    losses = []
    recipe = replace(QUICK, objective=objective, epochs=12)
    model = tune(tiny_encoder, phrases, labels(phrases), recipe=recipe, report_loss=lambda _, x, __: losses.append(x))
    assert len(losses) == 12 * 3 * 3
    assert np.mean(losses[-4:]) < 0.75 * np.mean(losses[:4])
    predicted = model.predict(phrases)
    assert np.corrcoef(predicted, labels(phrases))[0, 1] > 0.85
    assert predicted.mean() == pytest.approx(labels(phrases).mean(), abs=0.05)


def test_classes_are_learnt_as_probabilities(tiny_encoder, phrases):
    codes = np.array([("good" in text) + 2 * ("bad" in text and "good" not in text) for text in phrases])
    model = tune(tiny_encoder, phrases, codes, classes=3, recipe=replace(QUICK, epochs=15))
    p = model.predict(phrases)
    assert p.shape == (60, 3)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert (p.argmax(1) == codes).mean() > 0.8


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_fold_that_went_another_way_is_left_out_of_the_average(tiny_encoder, phrases, monkeypatch, method):
    """One fold's weights are thrown far off after training; the average is that of the other two."""
    astray, trained = 1, {}
    train = Fold.train

    def thrown(fold, watch, kept):
        train(fold, watch, kept)
        if fold.number == astray and throws:
            generator = torch.Generator().manual_seed(5)
            with torch.no_grad():
                for weight in fold.training.weights:
                    weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
        trained[fold.number] = fold.training.module.weights()[0]

    monkeypatch.setattr(Fold, "train", thrown)
    recipe = replace(QUICK, method=method, learning_rate=1e-3 if method == "full" else QUICK.learning_rate)
    averaged = []
    for throws in (False, True):
        model = tune(tiny_encoder, phrases, labels(phrases), recipe=recipe)
        heads = [trained[fold] for fold in ((0, 2) if throws else (0, 1, 2))]
        assert model.averaged == len(heads)
        averaged.append(np.allclose(model.module.linear.weight.detach().numpy().T, np.mean(heads, axis=0), atol=1e-6))
    assert averaged == [True, True]


@pytest.mark.usefixtures("in_single_precision")
def test_each_fold_tells_of_its_own_texts_and_of_the_common_ones(tiny_encoder, phrases, monkeypatch):
    texts = phrases * 5  # more than the common ones
    y = np.tile(labels(phrases), 5)

    def look(reader, models, made):
        assert len(made[0].common) == 256
        for fold in made:
            alone = reader.settled(models.average([fold.number]), [fold.training.module])
            outputs = reader.outputs(alone, texts)
            np.testing.assert_allclose(fold.told, outputs[fold.common], atol=1e-5)
            own = outputs[fold.part]
            np.testing.assert_allclose(fold.left_out, own - own.mean(0) + y.mean(), atol=1e-5)
        return average(reader, models, made)

    monkeypatch.setattr("engine.learning.finetuning.average", look)
    model = tune(tiny_encoder, texts, y, recipe=QUICK)
    np.testing.assert_allclose(model.seen, model.outputs(texts), atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("classes", [None, 2])
def test_a_fold_that_diverged_is_left_out_of_all_that_is_learnt(tiny_encoder, phrases, monkeypatch, method, classes):
    train, diverged, told = Fold.train, [1], {}

    def spoilt(fold, watch, kept):
        train(fold, watch, kept)
        if fold.number in diverged:
            with torch.no_grad():
                fold.training.weights[0].fill_(float("nan"))
        told[fold.number] = fold

    monkeypatch.setattr(Fold, "train", spoilt)
    recipe = replace(QUICK, method=method, learning_rate=1e-3 if method == "full" else QUICK.learning_rate)
    y = labels(phrases)
    y = (y > 0).astype(int) if classes else y
    columns = outcomes(y, classes)
    model = tune(tiny_encoder, phrases, y, classes=classes, recipe=recipe)
    assert model.averaged == 2
    assert np.isfinite(model.predict(phrases)).all()
    known = np.setdiff1d(np.arange(60), told[1].part)
    assert len(known) == 40
    unknown = np.setdiff1d(np.arange(60), known)
    np.testing.assert_array_equal(model.left_out[unknown], np.broadcast_to(columns.mean(0), (20, columns.shape[1])))
    trusted = model.mean + model.trust * (model.left_out - model.mean)
    residual = (columns - trusted)[known].var(0).sum() / columns[known].var(0).sum()
    assert model.residual == pytest.approx(residual)
    diverged += [0, 2]
    with pytest.raises(ModelError, match="of model tiny diverged; choose the learner probe or another model"):
        tune(tiny_encoder, phrases, y, classes=classes, recipe=recipe)


def test_few_labels_are_passed_over_more_often():
    recipe = Recipe(epochs=5, steps=50, enough=150, batch_size=16)
    assert recipe.passes(33) * 3 >= 50
    assert recipe.passes(400) == 5
    assert recipe.passes(600) == 4  # four passes are enough steps
    assert recipe.passes(5000) == 3


@pytest.mark.parametrize("classes", [None, 2])
def test_pure_noise_is_answered_by_about_a_constant(tiny_encoder, phrases, classes):
    rng = np.random.default_rng(33)
    shares = []
    for seed in range(4):
        y = rng.integers(0, 2, 40) if classes else rng.normal(size=40)
        model = tune(tiny_encoder, phrases[:40], y, classes=classes, seed=seed)
        predicted = outcomes(model.predict(phrases), None) if classes is None else model.predict(phrases)
        unseen = outcomes(rng.integers(0, 2, 60) if classes else rng.normal(size=60), classes)
        shares.append(np.var(unseen - predicted, axis=0).sum() / np.var(unseen, axis=0).sum())
    assert np.mean(shares) < 1.1


def test_each_label_is_predicted_by_a_model_that_has_not_seen_it(tiny_encoder, phrases):
    """Changing one label moves its own left-out prediction only through the mean label and the scale."""
    y = labels(phrases)
    first = tune(tiny_encoder, phrases, y)
    swapped = y.copy()
    i = int(np.argmax(y))
    j = int(np.argmin(y))
    swapped[[i, j]] = y[[j, i]]  # mean and deviation stay as they are
    second = tune(tiny_encoder, phrases, swapped)
    fold = _fold_of(len(y), seed=0)
    together = [k for k in range(len(y)) if fold[k] == fold[i]]
    if fold[i] == fold[j]:
        np.testing.assert_array_equal(first.left_out[together], second.left_out[together])
    else:
        assert not np.array_equal(first.left_out, second.left_out)


def _fold_of(n, seed):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    fold = np.empty(n, dtype=int)
    for k, part in enumerate(torch.tensor_split(order, 3)):
        fold[part.numpy()] = k
    return fold


def test_full_fine_tuning_changes_every_weight_and_leaves_the_base_alone(tiny_encoder, phrases):
    before = {name: value.clone() for name, value in tiny_encoder.model.state_dict().items()}
    model = tune(tiny_encoder, phrases, labels(phrases), recipe=replace(QUICK, method="full", learning_rate=1e-3))
    for name, value in tiny_encoder.model.state_dict().items():
        assert torch.equal(value, before[name])
    moved = model.module.backbone.state_dict()
    assert not torch.equal(moved["encoder.layer.0.output.dense.weight"], before["encoder.layer.0.output.dense.weight"])


def test_full_fine_tuning_keeps_one_copy_and_no_state_of_the_optimizer(tiny_encoder, phrases, monkeypatch):
    recipe, y = replace(QUICK, method="full", learning_rate=1e-3), labels(phrases)
    alive = []

    def copies():
        gc.collect()
        return sum(type(found) is BertModel for found in gc.get_objects())

    def look(reader, models, made):
        assert len(made) == 3
        assert not any(fold.training.optimizer.state for fold in made)
        alive.append(copies())
        return average(reader, models, made)

    monkeypatch.setattr("engine.learning.finetuning.average", look)
    before = copies()
    once = tune(tiny_encoder, phrases, y, recipe=recipe)
    assert alive == [before + 1]

    def anew(models):
        models._model = copy_for_training(tiny_encoder.model, checkpointing=False).float().requires_grad_(True)
        return models._model

    monkeypatch.setattr(Copies, "start", anew)
    each = tune(tiny_encoder, phrases, y, recipe=recipe)
    np.testing.assert_array_equal(once.left_out, each.left_out)
    np.testing.assert_array_equal(once.predict(phrases), each.predict(phrases))


def test_lora_leaves_the_base_weights_alone(tuned, tiny_encoder):
    adapted = tuned.module.backbone.state_dict()
    name = "encoder.layer.0.output.dense"
    before = tiny_encoder.model.state_dict()[f"{name}.weight"].clone()
    assert not torch.equal(adapted[f"base_model.model.{name}.base_layer.weight"], before)  # merged
    with torch.no_grad():
        tuned.module.backbone.unmerge_adapter()
    torch.testing.assert_close(tuned.module.backbone.state_dict()[f"base_model.model.{name}.base_layer.weight"], before)
    tuned.module.backbone.merge_adapter()
    assert torch.equal(tiny_encoder.model.state_dict()[f"{name}.weight"], before)


def test_the_same_seed_gives_the_same_model_and_another_does_not(tuned, tiny_encoder, phrases):
    again = tune(tiny_encoder, phrases, labels(phrases)).predict(phrases)
    np.testing.assert_array_equal(again, tuned.predict(phrases))
    other = tune(tiny_encoder, phrases, labels(phrases), seed=1).predict(phrases)
    assert np.abs(other - again).max() > 1e-4


def test_no_global_generator_or_filter_is_touched(tiny_encoder, phrases):
    torch.manual_seed(5)
    states = torch.get_rng_state(), pickle.dumps(np.random.get_state()), list(warnings.filters)
    tune(tiny_encoder, phrases[:16], labels(phrases[:16]), recipe=replace(QUICK, epochs=1))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == pickle.dumps(np.random.get_state())
    assert states[2] == list(warnings.filters)


def test_predictions_do_not_depend_on_order_or_company(tuned, phrases):
    together = tuned.predict(phrases)
    np.testing.assert_allclose(tuned.predict(phrases[::-1])[::-1], together, atol=1e-4)
    np.testing.assert_allclose(tuned.predict(phrases[3:4]), together[3:4], atol=1e-4)
    assert tuned.predict([]).shape == (0,)


def test_an_adapter_folder_loads_in_plain_peft(tuned, tiny_encoder, phrases, tmp_path):
    tuned.save(tmp_path / "adapter")
    recipe = json.loads((tmp_path / "adapter" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["model"] == "tiny"
    base = BertModel(tiny_encoder.model.config)
    base.load_state_dict(tiny_encoder.model.state_dict())
    plain = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    head = load_file(tmp_path / "adapter" / "head.safetensors")
    inputs, mask = tiny_encoder.pad(tiny_encoder.tokenize(phrases))
    with torch.inference_mode():
        states = plain(input_ids=inputs, attention_mask=mask).last_hidden_state
        score = (mean_pool(states, mask) @ head["weight"].T + head["bias"])[:, 0].numpy()
    trusted = recipe["mean"][0] + recipe["trust"] * (score + recipe["offset"][0] - recipe["mean"][0])
    np.testing.assert_allclose(trusted, tuned.predict(phrases), atol=1e-4)


@pytest.mark.parametrize("count", [2, 17])
def test_odd_numbers_of_labels_train(tiny_encoder, phrases, count):
    model = tune(tiny_encoder, phrases[:count], labels(phrases[:count]), recipe=replace(QUICK, epochs=1))
    assert np.isfinite(model.predict(phrases)).all()


def test_equal_labels_train_too(tiny_encoder, phrases):
    model = tune(tiny_encoder, phrases[:16], np.full(16, 4.0), recipe=replace(QUICK, epochs=1))
    np.testing.assert_allclose(model.predict(phrases), 4.0, atol=0.3)
