"""Confidence: only a head whose weights are in the file counts, and only the least sure are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import made
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from engine.errors import ModelError
from engine.learning.models import embed
from engine.learning.selection import draw_low, fifths, fitted_head, load_classifier


@pytest.fixture(scope="session")
def saved(tiny_encoder, tmp_path_factory):
    """Folders of checkpoints: with a head, without one, with a head of another name, and with a single output."""
    root = tmp_path_factory.mktemp("checkpoints")

    def save(name, kind, classes=3, drop=(), **names):
        config = BertConfig(**{**tiny_encoder.model.config.to_diff_dict(), "num_labels": classes, **names})
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            model = kind(config)
        weights = {key: value for key, value in model.state_dict().items() if not key.startswith(tuple(drop) or "none")}
        config.architectures = ["BertForSequenceClassification" if classes else "BertModel"]
        model.save_pretrained(root / name, state_dict=weights)
        tiny_encoder.tokenizer.save_pretrained(root / name)
        return str(root / name)

    names = {"id2label": {0: "bad", 1: "fair", 2: "good"}, "label2id": {"bad": 0, "fair": 1, "good": 2}}
    return {
        "head": save("head", BertForSequenceClassification, **names),
        "none": save("none", BertModel),
        "several": save("several", BertForSequenceClassification, problem_type="multi_label_classification"),
        "numbers": save("numbers", BertForSequenceClassification, problem_type="regression"),
        "lost": save("lost", BertForSequenceClassification, drop=("classifier",)),
        "unpooled": save("unpooled", BertForSequenceClassification, drop=("bert.pooler",)),
        "single": save("single", BertForSequenceClassification, classes=1),
    }


def test_a_head_in_the_file_gives_the_probability_of_its_best_class(saved, phrases):
    classifier = load_classifier(saved["head"])
    assert classifier.names == ("bad", "fair", "good")
    found = classifier.confidence(phrases)
    model = BertForSequenceClassification.from_pretrained(saved["head"]).eval()
    for text, confidence in zip(phrases[:10], found, strict=False):
        with torch.inference_mode():
            logits = model(**classifier.encoder.tokenizer([text], return_tensors="pt")).logits[0]
        assert confidence == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)
    assert ((found >= 1 / 3) & (found <= 1)).all()
    assert classifier.confidence([]).shape == (0,)


def test_a_head_of_a_decoder_reads_the_last_token_of_each_text(decoder, phrases, tmp_path):
    config = LlamaConfig(**{**decoder.model.config.to_diff_dict(), "num_labels": 3})
    assert config.pad_token_id is None
    model = made(LlamaForSequenceClassification, config)
    model.save_pretrained(tmp_path)
    decoder.tokenizer.save_pretrained(tmp_path)
    classifier = load_classifier(str(tmp_path))
    with torch.inference_mode():
        logits = [model(input_ids=torch.tensor([ids])).logits[0] for ids in classifier.encoder.tokenize(phrases)]
    expected = [float(row.softmax(-1).max()) for row in logits]
    np.testing.assert_allclose(classifier.confidence(phrases), expected, atol=1e-5)


def test_labels_that_hold_by_themselves_are_sure_by_themselves(saved, phrases):
    classifier = load_classifier(saved["several"])
    with torch.inference_mode():
        inputs, mask = classifier.encoder.pad(classifier.encoder.tokenize(phrases[:10]))
        p = classifier.module(input_ids=inputs, attention_mask=mask).logits.sigmoid()
    expected = torch.maximum(p, 1 - p).mean(-1)
    np.testing.assert_allclose(classifier.confidence(phrases[:10]), expected, atol=1e-5)
    torch.nn.init.constant_(classifier.module.classifier.bias, 9.0)  # all of them hold, for sure
    assert classifier.confidence(phrases).min() > 0.99


@pytest.mark.parametrize("kind", ["none", "lost", "unpooled", "single", "numbers"])
def test_a_head_that_is_not_there_or_gives_no_probability_is_none(saved, kind):
    assert load_classifier(saved[kind]) is None


def test_the_default_model_brings_no_head(default_encoder):
    assert load_classifier(default_encoder.name) is None


def test_a_model_that_is_not_there_is_said_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # without a network it would ask many times
    with pytest.raises(ModelError, match="not found"):
        load_classifier("no/such-model")


@pytest.mark.parametrize(
    ("y", "counts"),
    [
        (np.arange(100.0), [20] * 5),
        (np.repeat([1.0, 2.0], 50), [50, 50]),
        (np.repeat([1.0, 5.0], [95, 5]), [95, 5]),
        (np.repeat([1.0, 2.0, 3.0], [10, 80, 10]), [90, 10]),
    ],
)
def test_numbers_are_cut_into_fifths_or_fewer(y, counts):
    codes, count = fifths(np.random.default_rng(0).permutation(y))
    assert count == len(counts)
    assert np.bincount(codes, minlength=count).tolist() == counts


@pytest.mark.parametrize("classes", [None, 3])
def test_a_fitted_head_is_surer_of_texts_like_those_it_knows(tiny_encoder, phrases, classes):
    vectors = embed(tiny_encoder, phrases)
    y = np.array([len(text) % 3 for text in phrases])
    head = fitted_head(vectors, y if classes else y.astype(float), classes)
    assert head.predict(vectors).shape == (60, 3)
    assert head.loo.max(1).shape == (60,)


def draw(confidence, count, barred=(), same=None):
    confidence = np.asarray(confidence, dtype=float)
    mask = np.isin(np.arange(len(confidence)), barred)
    codes = np.arange(len(confidence)) if same is None else np.asarray(same)
    return draw_low(confidence, count, np.random.default_rng(1), barred=mask, same=codes)


def test_only_the_tenth_with_the_lowest_confidence_is_drawn_from():
    confidence = np.random.default_rng(2).uniform(size=1000)
    rows, lowest = draw(confidence, 32)
    assert len(set(rows)) == 32
    assert set(rows) <= set(lowest) == set(np.argsort(confidence)[:100])
    assert list(rows) != sorted(rows)
    counts = sum(np.bincount(draw_low(confidence, 32, np.random.default_rng(seed), barred=np.zeros(1000, bool),
                 same=np.arange(1000))[0], minlength=1000) for seed in range(300))  # fmt: skip
    assert counts[lowest].min() > 50
    assert counts.sum() == 300 * 32


def test_a_small_pool_gives_its_lowest_and_no_text_twice():
    rows, lowest = draw(np.linspace(0, 1, 100), 32)
    assert set(rows) == set(lowest) == set(range(32))
    rows, lowest = draw(np.linspace(0, 1, 100), 32, same=np.arange(100) // 2)
    assert len(rows) == 32
    assert len({row // 2 for row in rows}) == 32
    assert lowest.max() == 62
    rows, _ = draw(np.linspace(0, 1, 20), 32)
    assert sorted(rows) == list(range(20))


def test_texts_chosen_before_are_not_drawn_again():
    rows, lowest = draw(np.linspace(0, 1, 1000), 32, barred=range(80))
    assert not set(rows) & set(range(80))
    assert set(lowest) == set(range(112))
    assert len(draw(np.linspace(0, 1, 10), 5, barred=range(10))[0]) == 0
