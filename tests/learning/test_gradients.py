"""CoS-Low against a loop by hand that knows no PEFT."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from engine.learning import gradients
from engine.learning.gradients import confidences, cos_low, low_confidence
from engine.learning.models import embed, mean_pool
from engine.learning.probe import Head, fit_logistic, fit_ridge


class LowRank(nn.Module):
    """A linear layer with A and B beside it, written out."""

    def __init__(self, linear, down):
        super().__init__()
        self.linear = linear
        self.down = nn.Parameter(down.clone())
        self.up = nn.Parameter(torch.zeros(linear.out_features, down.shape[0]))

    def forward(self, x):
        return self.linear(x) + (x @ self.down.T @ self.up.T) * 32 / 64


def by_hand(encoder, texts, targets, head, downs):
    """Gradients of every B, one text at a time, with the A that PEFT drew."""
    model = copy.deepcopy(encoder.model)
    added = []
    for name, down in downs.items():
        parent = model.get_submodule(name.rpartition(".")[0])
        low = LowRank(getattr(parent, name.rpartition(".")[2]), down)
        setattr(parent, name.rpartition(".")[2], low)
        added.append(low)
    weight = torch.tensor(head.coefficients, dtype=torch.float32)
    bias = torch.tensor(head.intercepts - head.centre @ head.coefficients, dtype=torch.float32)
    rows = []
    for text, target in zip(texts, targets, strict=True):
        inputs = torch.tensor(encoder.tokenize([text]))
        states = model(input_ids=inputs, attention_mask=torch.ones_like(inputs)).last_hidden_state
        score = nn.functional.normalize(states.mean(1), dim=-1) @ weight + bias
        if head.logistic:
            p = torch.sigmoid(score) / torch.sigmoid(score).sum()
            loss = -torch.log(p[0, int(np.argmax(target))])
        else:
            loss = (score[0, 0] - float(target[0])) ** 2
        model.zero_grad()
        loss.backward()
        # The pooler takes no part in a mean-pooled embedding: its layer has no gradient.
        rows.append(torch.cat([low.up.grad.flatten() for low in added if low.up.grad is not None]).numpy())
    return np.array(rows)


def drawn(encoder, seed):
    """The A matrices that PEFT draws for a seed, by layer."""
    from peft import LoraConfig, get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted = get_peft_model(
            copy.deepcopy(encoder.model), LoraConfig(r=64, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear")
        )
    suffix = ".lora_A.default.weight"
    return {
        name.removeprefix("base_model.model.").removesuffix(suffix): value.detach()
        for name, value in adapted.named_parameters()
        if name.endswith(suffix)
    }


def median_cosine(rows):
    pairs = itertools.combinations(rows, 2)
    return float(np.median([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]))


@pytest.fixture
def rated(tiny_encoder, phrases):
    y = np.array([float(len(text) % 5) for text in phrases])
    return phrases, y, embed(tiny_encoder, phrases)


@pytest.mark.parametrize("classes", [None, 5])
def test_it_is_that_of_the_loop_by_hand(tiny_encoder, rated, classes):
    texts, y, vectors = rated
    y = y.astype(int) if classes else y
    found = cos_low(tiny_encoder, texts, y, vectors, classes=classes, seed=3)
    chosen = low_confidence(confidences(vectors, y, classes), np.random.default_rng(3))
    assert len(chosen) == 32
    target = np.eye(classes)[y] if classes else ((y - y.mean()) / y.std())[:, None]
    head = fit_logistic(vectors, y, classes) if classes else fit_ridge(vectors, target[:, 0])
    rows = by_hand(tiny_encoder, [texts[i] for i in chosen], target[chosen], head, drawn(tiny_encoder, 3))
    assert found == pytest.approx(median_cosine(rows), abs=2e-3)
    assert -1 <= found <= 1


def test_the_order_of_the_chosen_rows_does_not_matter(tiny_encoder, rated):
    texts, y, vectors = rated
    target = ((y - y.mean()) / y.std())[:, None]
    head = fit_ridge(vectors, target[:, 0])
    order = np.random.default_rng(4).permutation(20)
    rows = gradients._gradients(tiny_encoder, texts[:20], target[:20], head, 0, lambda _: None)
    shuffled = gradients._gradients(tiny_encoder, [texts[i] for i in order], target[order], head, 0, lambda _: None)
    np.testing.assert_allclose(shuffled, rows[order], atol=1e-5)
    assert median_cosine(rows) == pytest.approx(median_cosine(shuffled), abs=1e-5)


def test_a_head_of_zeros_has_no_directions(tiny_encoder, phrases):
    vectors = embed(tiny_encoder, phrases)
    assert cos_low(tiny_encoder, phrases, np.full(60, 2.0), vectors, classes=None) == 0.0
    head = Head(vectors.mean(0), np.zeros((32, 1)), np.zeros(1), False, np.zeros(60))
    rows = gradients._gradients(tiny_encoder, phrases[:3], np.ones((3, 1)), head, 0, lambda _: None)
    assert not rows.any()


def test_equal_texts_with_equal_labels_agree_wholly(tiny_encoder, rated):
    texts, y, vectors = rated
    head = fit_ridge(vectors, y - y.mean())
    rows = gradients._gradients(tiny_encoder, [texts[0]] * 2, np.ones((2, 1)), head, 0, lambda _: None)
    assert median_cosine(rows) == pytest.approx(1.0, abs=1e-5)
    opposite = gradients._gradients(tiny_encoder, [texts[0]] * 2, np.array([[50.0], [-50.0]]), head, 0, lambda _: None)
    assert median_cosine(opposite) == pytest.approx(-1.0, abs=1e-5)


def test_the_rows_drawn_are_of_low_confidence(rated):
    rng = np.random.default_rng(6)
    confidence = rng.uniform(size=1000)
    rows = low_confidence(confidence, rng)
    assert len(set(rows)) == 32
    assert confidence[rows].max() <= np.sort(confidence)[99]
    assert len(low_confidence(confidence[:10], rng)) == 10
    assert len(low_confidence(confidence[:100], rng)) == 32
    for y, classes in ((rated[1], None), (rated[1].astype(int), 5)):
        value = confidences(rated[2], y, classes)
        assert value.shape == (60,)
        assert ((value > 0.19) & (value <= 1)).all()


def test_the_same_seed_gives_the_same_and_nothing_global_is_touched(tiny_encoder, rated):
    texts, y, vectors = rated
    torch.manual_seed(9)
    before = torch.get_rng_state()
    weights = {name: value.clone() for name, value in tiny_encoder.model.state_dict().items()}
    one, two = (cos_low(tiny_encoder, texts, y, vectors, classes=None, seed=1) for _ in range(2))
    assert one == two
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, weights[name]) for name, value in tiny_encoder.model.state_dict().items())


def test_mean_pooling_leaves_padding_out():
    states = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert mean_pool(states, torch.tensor([[1, 1, 0]])).item() == 2.0
