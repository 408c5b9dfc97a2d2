"""A saved predictor predicts, loaded again, what it predicted before."""

from __future__ import annotations

import json
import re
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import QUICK, as_the_card_says, reader_of
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from engine.errors import ModelError
from engine.learning import bases
from engine.learning.bases import Attached
from engine.learning.files import DEFAULT_MODEL
from engine.learning.finetuning import Tuned, fine_tune
from engine.learning.label_tokens import Choices, ask
from engine.learning.learners import Workbench
from engine.learning.recipe import Recipe
from engine.learning.saved import MeanPredictor, load_predictors


@pytest.fixture(scope="module")
def bench(default_encoder, tmp_path_factory):
    return Workbench.open(DEFAULT_MODEL, tmp_path_factory.mktemp("cache"))


def load_predictor(folder, model):
    return load_predictors([folder], model).parts[0]


@pytest.fixture
def shorter(monkeypatch):
    """A few steps: what is saved does not hang on how long it was trained."""
    monkeypatch.setattr(
        Recipe, "suited", lambda *told, way=Recipe.suited, **more: replace(way(*told, **more), epochs=1, steps=6)
    )


@pytest.fixture
def labels(phrases):
    numbers = np.array([len(text) + 3.0 * ("good" in text) for text in phrases])
    return phrases, numbers, (numbers > np.median(numbers)).astype(int)


@pytest.mark.parametrize("classes", [None, 2])
@pytest.mark.parametrize("name", ["probe", "lora", "full", "auto"])
def test_a_saved_predictor_predicts_the_same(name, classes, bench, labels, tmp_path, shorter):
    texts, numbers, codes = labels
    learner = bench.learner(name, "variance", ("no", "yes") if classes else None)
    fitted = learner.fit(texts[:40], codes[:40] if classes else numbers[:40], seed=1)
    fitted.save(tmp_path / "one")
    loaded = load_predictor(tmp_path / "one", DEFAULT_MODEL)
    expected = fitted.predict(texts).reshape(len(texts), -1)
    np.testing.assert_allclose(loaded.predict(texts), expected, atol=1e-4)
    rough = fitted.predict(texts, rough=True).reshape(len(texts), -1)
    np.testing.assert_allclose(rough, expected, atol=0.05 * expected.std())
    assert load_predictor(tmp_path / "one", DEFAULT_MODEL).key == loaded.key
    done = []
    np.testing.assert_allclose(MeanPredictor([loaded, loaded]).predict(texts, done.append), loaded.predict(texts))
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)


# ------------------------------------------------------------ the model card


def read_off(folder):
    """The recipe in a folder, and its card's model."""
    recipe = json.loads((folder / "recipe.json").read_text())
    assert "mean + trust * (output + offset - mean)" in (folder / "README.md").read_text()
    assert recipe["trust"] > 0
    return recipe, as_the_card_says(folder)["model"].eval()


def trusted(recipe, output):
    mean, offset = np.array(recipe["mean"]), np.array(recipe["offset"])
    return mean + recipe["trust"] * (output + offset - mean)


def shares(score):
    p = 1 / (1 + np.exp(-score))
    return p / p.sum(-1, keepdims=True)


@pytest.mark.parametrize("classes", [None, ("complaint", "other", "praise")])
@pytest.mark.parametrize("name", ["lora", "full", "auto"])
def test_the_card_of_an_encoder_tells_how_to_predict(name, classes, tiny_encoder, phrases, y, tmp_path, shorter):
    tiny_encoder.model.save_pretrained(tmp_path / "base")
    tiny_encoder.tokenizer.save_pretrained(tmp_path / "base")
    learner = Workbench.open(str(tmp_path / "base"), tmp_path / "cache").learner(name, "variance", classes)
    fitted = learner.fit(phrases, np.arange(60) % 3 if classes else y, seed=1)
    fitted.save(tmp_path / "one")
    recipe, model = read_off(tmp_path / "one")
    assert recipe["classes"] == (list(classes) if classes else None)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")

    def states(model, text):
        with torch.no_grad():
            read = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        return read.last_hidden_state[0].mean(0), torch.cat([layer[0].mean(0) for layer in read.hidden_states[1:][-3:]])

    head = load_file(tmp_path / "one" / "head.safetensors")
    scores = np.array([(head["weight"] @ states(model, text)[0] + head["bias"]).numpy() for text in phrases])
    expected = trusted(recipe, shares(scores) if classes else scores)
    if name == "auto":
        base, probe = AutoModel.from_pretrained(tmp_path / "base").eval(), np.load(tmp_path / "one" / "head.npz")
        numbers = np.array([states(base, text)[1].numpy() for text in phrases])
        scores = (numbers - probe["centre"]) @ probe["weight"] + probe["bias"]
        cautious = shares(scores) if classes else scores
        weight = json.loads((tmp_path / "one" / "blend.json").read_text())["trust"]
        expected = cautious + weight * (expected - cautious)
        card = (tmp_path / "one" / "README.md").read_text()
        assert f"probe + {weight:.3f} * (prediction" in card
        assert f"blend was\n{fitted.residual:.3f} of theirs" in card
    np.testing.assert_allclose(fitted.predict(phrases).reshape(60, -1), expected, atol=1e-4)


@pytest.mark.parametrize("classes", [None, ("no", "yes")])
def test_the_card_of_a_decoder_tells_how_to_predict(classes, writer, labels, tmp_path, shorter):
    base, bench = writer
    texts, numbers, codes = labels
    y = codes if classes else 1 + numbers % 5
    fitted = bench.learner("lora", "variance", classes, "mood").fit(texts, y, seed=1)
    fitted.save(tmp_path / "one")
    recipe, model = read_off(tmp_path / "one")
    choices = json.loads((tmp_path / "one" / "choices.json").read_text())
    asked = re.search("(?m)^> (.*)$", (tmp_path / "one" / "README.md").read_text())[1]
    tokenizer = AutoTokenizer.from_pretrained(base)
    first = [tokenizer(name, add_special_tokens=False)["input_ids"][0] for name in choices["names"]]
    assert len(set(first)) == len(first)
    outputs = []
    for text in texts[:9]:
        turns = [{"role": "system", "content": asked}, {"role": "user", "content": text}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            p = model(**prompt).logits[0, -1].softmax(-1)[first].double().numpy()
        outputs.append(p / p.sum() if classes else [p @ np.array(choices["values"]) / p.sum()])
    assert recipe["classes"] == (list(classes) if classes else None)
    expected = trusted(recipe, np.array(outputs))
    np.testing.assert_allclose(fitted.predict(texts[:9]).reshape(9, -1), expected, atol=1e-4)


def test_labels_far_from_zero_are_predicted_the_same(bench, labels, tmp_path, shorter):
    texts, numbers, _ = labels
    fitted = bench.learner("lora", "variance", None).fit(texts[:40], numbers[:40] + 1e8, seed=1)
    fitted.save(tmp_path)
    expected = fitted.predict(texts)
    assert len(np.unique(expected)) == len(set(texts))
    np.testing.assert_allclose(load_predictor(tmp_path, DEFAULT_MODEL).predict(texts)[:, 0] - expected, 0, atol=1e-4)


def test_a_blend_is_loaded_with_both_of_its_trusts(bench, labels, tmp_path, shorter):
    texts, numbers, _ = labels
    fitted = bench.learner("auto", "variance", None).fit(texts[:40], numbers[:40], seed=1)
    fitted = replace(fitted, tuned=replace(fitted.tuned, trust=0.4), trust=0.7)
    fitted.save(tmp_path)
    np.testing.assert_allclose(
        load_predictor(tmp_path, DEFAULT_MODEL).predict(texts)[:, 0], fitted.predict(texts), atol=1e-4
    )


@pytest.mark.parametrize(("name", "parts"), [("probe", 1), ("auto", 1), ("probe", 4)])
def test_the_mean_of_several_loads_and_reads_with_their_encoder_once(name, parts, bench, labels, tmp_path, monkeypatch):
    texts, numbers, _ = labels
    monkeypatch.setattr("engine.learning.prediction._PER_PART", len(texts) // parts)
    short = Recipe(epochs=1, steps=1, folds=2, rank=4)
    monkeypatch.setattr(Recipe, "suited", lambda *_, **__: short)
    folders = [tmp_path / str(j) for j in range(3)]
    for j, folder in enumerate(folders):
        bench.learner(name, "variance", None).fit(texts[j::3], numbers[j::3], seed=1).save(folder)
    alone = [load_predictor(folder, DEFAULT_MODEL) for folder in folders]
    loaded, read = [], []
    for told, what in ((loaded, "load_encoder"), (read, "pooled_states")):
        way = getattr(bases, what)
        monkeypatch.setattr(
            bases, what, lambda *given, told=told, way=way, **more: told.append(1) or way(*given, **more)
        )
    mean, done = load_predictors(folders, DEFAULT_MODEL), []
    found = mean.predict(texts, done.append)
    assert (len(loaded), len(read)) == (1, parts)
    np.testing.assert_array_equal(found, np.mean([part.predict(texts) for part in alone], axis=0))
    assert mean.key == MeanPredictor(alone).key
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)
    mean.predict(texts[:5])
    assert len(read) == parts + 1 + parts * len(alone)  # those loaded alone have read too


@pytest.fixture
def writer(decoder, tmp_path):
    """The folder of a decoder, and its bench."""
    decoder.model.save_pretrained(tmp_path / "base")
    decoder.tokenizer.save_pretrained(tmp_path / "base")
    return str(tmp_path / "base"), Workbench.open(str(tmp_path / "base"), tmp_path / "cache")


@pytest.mark.parametrize("classes", [None, ("no", "yes")])
@pytest.mark.parametrize("name", ["lora", "full", "auto"])
def test_a_saved_decoder_predicts_the_same(name, classes, writer, labels, tmp_path, monkeypatch):
    base, bench = writer
    texts, numbers, codes = labels
    short = Recipe("full" if name == "full" else "lora", epochs=1, steps=1)
    monkeypatch.setattr(Recipe, "suited", lambda *_, **__: short)
    fitted = bench.learner(name, "variance", classes).fit(texts, codes if classes else numbers // 9, seed=1)
    fitted.save(tmp_path / "one")
    expected = fitted.predict(texts).reshape(len(texts), -1)
    np.testing.assert_allclose(load_predictor(tmp_path / "one", base).predict(texts), expected, atol=1e-4)


def test_a_decoder_trained_in_full_is_loaded_in_the_precision_of_its_training(writer, labels, tmp_path, monkeypatch):
    base, _ = writer
    texts, numbers, _ = labels
    monkeypatch.setattr("engine.learning.models.precision", lambda _device: torch.bfloat16)  # as on a GPU
    monkeypatch.setattr(Recipe, "suited", lambda *_, **__: Recipe("full", epochs=1, steps=1))
    fitted = Workbench.open(base, tmp_path / "half").learner("full", "variance", None).fit(texts, numbers // 9, seed=1)
    fitted.save(tmp_path / "one")
    found = load_predictor(tmp_path / "one", base).predict(texts)[:, 0]
    np.testing.assert_allclose(found, fitted.predict(texts), atol=1e-6)


def test_a_decoder_that_was_only_asked_predicts_the_same(writer, labels, tmp_path):
    base, bench = writer
    asked = ask(bench.decoder, Choices.between(1, 5))
    asked.save(tmp_path / "one")
    loaded = load_predictor(tmp_path / "one", base)
    np.testing.assert_allclose(loaded.predict(labels[0])[:, 0], asked.predict(labels[0]), rtol=1e-5)


# ------------------------------------------------------------ one base model at a time


@pytest.fixture
def held(monkeypatch):
    """Notes the models that are loaded, how many of them have weights while one predicts, and whose those are."""
    loaded, most, places = [], [], set()
    load, outputs = PreTrainedModel.from_pretrained.__func__, Tuned.outputs

    def noted_load(cls, *arguments, **options):
        found = load(cls, *arguments, **options)
        loaded.append(weakref.ref(found[0] if isinstance(found, tuple) else found))
        return found

    def noted(self, *arguments, **options):
        models = [ref() for ref in loaded]
        most.append(sum(model is not None and model.device.type != "meta" for model in models))
        places.add(self.module.backbone.get_input_embeddings().weight.data_ptr())
        return outputs(self, *arguments, **options)

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(noted_load))
    monkeypatch.setattr(Tuned, "outputs", noted)
    return loaded, most, places


@pytest.fixture
def three(request, tiny_encoder, decoder, phrases, y, tmp_path):
    """The folder of a base model, those of three models that were tuned on it, and these."""
    kind, method = request.param
    base = tiny_encoder if kind == "encoder" else decoder
    base.model.save_pretrained(tmp_path / "base")
    base.tokenizer.save_pretrained(tmp_path / "base")
    # A short learner, and labels of its own for each: adapters that were mistaken for one another would be noticed.
    recipe, made = replace(QUICK, method=method, epochs=1, learning_rate=2e-2), []
    for j, label in enumerate((y, -y, y**2)):
        reader = reader_of(base, phrases) if kind == "encoder" else ask(base, Choices.of(label))
        made.append(fine_tune(reader, phrases, label, classes=None, recipe=recipe, seed=j))
        made[-1].save(tmp_path / str(j))
    return str(tmp_path / "base"), [tmp_path / str(j) for j in range(3)], made


@pytest.mark.parametrize("merging", [False, True])
@pytest.mark.parametrize("three", [("encoder", "lora"), ("decoder", "lora")], indirect=True)
def test_adapters_take_turns_on_one_base_model(three, merging, held, phrases, monkeypatch):
    base, folders, made = three
    monkeypatch.setattr(bases, "Attached", lambda model, **_: Attached(model, merging=merging))
    monkeypatch.setattr("engine.learning.prediction._PER_PART", 25)
    expected = np.array([model.predict(phrases) for model in made])
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    loaded, most, places = held
    most.clear(), places.clear()
    mean = load_predictors(folders, base)
    for _ in range(2):
        np.testing.assert_allclose(mean.predict(phrases)[:, 0], expected.mean(0), atol=1e-5)
    for part, own in zip(mean.parts, expected, strict=True):
        np.testing.assert_allclose(part.predict(phrases)[:, 0], own, atol=1e-5)
    assert (len(loaded), set(most), len(places)) == (1, {1}, 1)


@pytest.mark.parametrize("three", [("encoder", "full"), ("decoder", "full")], indirect=True)
def test_of_full_copies_one_is_held_and_each_is_loaded_once_a_shard(three, held, phrases, monkeypatch):
    base, folders, made = three
    monkeypatch.setattr("engine.learning.prediction._PER_PART", 25)
    expected = np.array([model.predict(phrases) for model in made])
    loaded, most, _ = held
    most.clear()
    mean, done = load_predictors(folders, base), []
    assert len(loaded) == 1
    for shard in (1, 2):
        np.testing.assert_allclose(mean.predict(phrases, done.append)[:, 0], expected.mean(0), atol=1e-5)
        assert len(loaded) == 1 + 3 * shard
    assert set(most) == {1}
    assert done[: len(done) // 2] == sorted(done[: len(done) // 2])
    assert done[-1] == pytest.approx(1)
    alone = load_predictors(folders[:1], base)
    count = len(loaded)
    for _ in range(2):
        np.testing.assert_allclose(alone.predict(phrases)[:, 0], expected[0], atol=1e-5)
    assert len(loaded) == count + 1


@pytest.mark.parametrize("three", [("decoder", "lora")], indirect=True)
def test_a_merged_adapter_leaves_the_weights_as_they_were(three):
    base, folders, _ = three
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attached = Attached(model, merging=True)
    names = [attached.attach(folder) for folder in folders]
    for name in [*names, names[0], None]:
        attached.take_up(name)
        now = {name.replace(".base_layer", ""): value for name, value in model.state_dict().items()}
        assert any(not torch.equal(value, now[name]) for name, value in before.items()) == (name is not None)


@pytest.mark.parametrize("three", [("encoder", "lora"), ("decoder", "lora")], indirect=True)
def test_a_tuned_model_without_its_weights_is_told(three, phrases):
    base, folders, _ = three
    (folders[1] / "adapter_config.json").unlink()
    with pytest.raises(ModelError, match=re.escape(str(folders[1]))):
        load_predictors(folders, base).predict(phrases)


def test_a_blend_with_a_decoder_has_one_base_model(held, writer, labels, tmp_path, monkeypatch):
    base, bench = writer
    texts, numbers, _ = labels
    monkeypatch.setattr(Recipe, "suited", lambda *_, **__: replace(QUICK, epochs=1))
    folders = [tmp_path / str(j) for j in range(2)]
    made = [bench.learner("auto", "variance", None).fit(texts[j::2], numbers[j::2] // 9, seed=j) for j in range(2)]
    for model, folder in zip(made, folders, strict=True):
        replace(model, trust=0.6).save(folder)
    expected = np.mean([replace(model, trust=0.6).predict(texts) for model in made], axis=0)
    loaded, *_ = held
    count = len(loaded)
    np.testing.assert_allclose(load_predictors(folders, base).predict(texts)[:, 0], expected, atol=1e-5)
    assert len(loaded) == count + 1


def test_a_folder_without_a_predictor_is_told(tmp_path):
    with pytest.raises(ModelError, match="holds no saved predictor"):
        load_predictor(tmp_path, DEFAULT_MODEL)
