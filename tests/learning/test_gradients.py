"""CoS-Low and the cosines beneath it against PEFT's adapter and one example at a time."""

from __future__ import annotations

import copy
import gc
import itertools
import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_loop import plain_cosines
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from engine.errors import ModelError
from engine.learning import cosines as machinery
from engine.learning import factors
from engine.learning.cosines import _adapted, cosines
from engine.learning.factors import RANK
from engine.learning.gradients import Labelled, confidences, cos_low, low_confidence, median_cosine, pack
from engine.learning.models import Encoder, embed, mean_pool
from engine.learning.probe import Head, fit_logistic, fit_ridge
from engine.learning.regressor import Regressor


@pytest.fixture
def rated(tiny_encoder, phrases):
    y = np.array([float(len(text) % 5) for text in phrases])
    return phrases, y, embed(tiny_encoder, phrases)


def labelled(encoder, texts, y, classes=None, vectors=None):
    """Texts under the head that their own labels give."""
    vectors = embed(encoder, texts) if vectors is None else vectors
    y = y.astype(int) if classes else y
    target = np.eye(classes)[y] if classes else ((y - y.mean()) / y.std())[:, None]
    head = fit_logistic(vectors, y, classes) if classes else fit_ridge(vectors, target[:, 0])
    return Labelled(encoder, Regressor(encoder.model, head).eval(), encoder.tokenize(texts), target)


def one_at_a_time(examples, seed=0):
    """The plain loop, its loss written out."""

    def loss(ids, target, adapted):
        inputs = torch.tensor([ids], device=examples.encoder.device)
        states = adapted(input_ids=inputs, attention_mask=torch.ones_like(inputs)).last_hidden_state
        linear = examples.module.linear
        score = nn.functional.normalize(states.mean(1), dim=-1) @ linear.weight.detach().T + linear.bias.detach()
        if not examples.module.logistic:
            return (score[0, 0] - float(target[0])) ** 2
        p = torch.sigmoid(score) / torch.sigmoid(score).sum()
        return -torch.log(p[0, int(np.argmax(target))])

    pairs = zip(examples.ids, examples.targets, strict=True)
    losses = [lambda adapted, ids=ids, target=target: loss(ids, target, adapted) for ids, target in pairs]
    return plain_cosines(examples.encoder.model, losses, seed)


def in_batches(monkeypatch, plan):
    monkeypatch.setattr(machinery, "_plan", lambda *_: plan)


@pytest.mark.parametrize("classes", [None, 5])
def test_the_matrix_is_that_of_the_plain_loop(tiny_encoder, rated, classes):
    texts, y, _ = rated
    examples = labelled(tiny_encoder, texts[:32], y[:32], classes)
    np.testing.assert_allclose(cosines(examples, seed=3), one_at_a_time(examples, 3), atol=1e-5)


@pytest.mark.parametrize("classes", [None, 3])
def test_the_default_model_agrees_with_the_plain_loop_too(default_encoder, phrases, classes):
    y = np.array([float(len(text) % 3) for text in phrases[:12]])
    examples = labelled(default_encoder, [*phrases[:11], "a long text, " * 20], y, classes)
    assert examples.packs
    np.testing.assert_allclose(cosines(examples), one_at_a_time(examples), atol=1e-5)


SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 300, "pad_token_id": 0,
}  # fmt: skip
KINDS = {
    "roberta": (RobertaModel, RobertaConfig(**SIZES | {"pad_token_id": 1}), True),
    "xlm-roberta": (XLMRobertaModel, XLMRobertaConfig(**SIZES), True),
    "distilbert": (DistilBertModel, DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=64), False),
    # One layer called many times, and layers that the texts of a batch share.
    "albert": (AlbertModel, AlbertConfig(**SIZES | {"embedding_size": 16, "num_hidden_layers": 3}), False),
    "deberta": (
        DebertaV2Model,
        DebertaV2Config(
            **SIZES, relative_attention=True, pos_att_type=["p2c", "c2p"], share_att_key=True, position_buckets=16,
            norm_rel_ebd="layer_norm",
        ),
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_encoder_agrees_with_the_plain_loop(default_encoder, phrases, kind):
    cls, config, packs = KINDS[kind]
    config = copy.deepcopy(config)
    config.vocab_size = len(default_encoder.tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12)
        model = cls(config).eval()
    encoder = Encoder(kind, kind, default_encoder.tokenizer, model, torch.device("cpu"))
    y = np.arange(10) % 4.0
    examples = labelled(encoder, [*phrases[:9], "one longer than the others " * 4], y)
    assert examples.packs == packs
    np.testing.assert_allclose(cosines(examples), one_at_a_time(examples), atol=1e-5)


def test_cos_low_is_the_median_over_pairs_of_the_chosen(tiny_encoder, rated):
    texts, y, vectors = rated
    chosen = low_confidence(confidences(vectors, y, None), np.random.default_rng(3))
    assert len(chosen) == 32
    every = labelled(tiny_encoder, texts, y, vectors=vectors)
    some = replace(every, ids=[every.ids[i] for i in chosen], targets=every.targets[chosen])
    matrix = one_at_a_time(some, 3)
    expected = np.median([matrix[i, j] for i, j in itertools.combinations(range(32), 2)])
    found = cos_low(tiny_encoder, texts, y, vectors, classes=None, seed=3)
    assert found == pytest.approx(expected, abs=1e-5)
    assert -1 <= found <= 1


def test_neither_order_nor_padding_nor_batches_matter(tiny_encoder, rated, monkeypatch):
    texts, y, _ = rated
    examples = labelled(tiny_encoder, texts[:20], y[:20])
    together = cosines(examples)
    order = np.random.default_rng(4).permutation(20)
    shuffled = replace(examples, ids=[examples.ids[i] for i in order], targets=examples.targets[order])
    np.testing.assert_allclose(cosines(shuffled), together[np.ix_(order, order)], atol=1e-5)
    for plan in (
        [[i] for i in range(20)],
        [list(range(0, 20, 2)), list(range(1, 20, 2))],
        [[3, 1], [0, 2, *range(4, 20)]],
    ):
        with monkeypatch.context() as patch:
            in_batches(patch, plan)
            np.testing.assert_allclose(cosines(examples), together, atol=1e-5)
    monkeypatch.setattr(Labelled, "packs", False)
    np.testing.assert_allclose(cosines(examples), together, atol=1e-5)
    monkeypatch.setattr(examples.encoder.tokenizer, "padding_side", "left")
    # Positions would move with padding on the left, which no encoder that counts from the row's start allows for.
    np.testing.assert_allclose(cosines(examples), together, atol=1e-5)


def test_several_passes_give_what_one_does(tiny_encoder, rated, monkeypatch):
    texts, y, _ = rated
    examples = labelled(tiny_encoder, texts[:8], y[:8])
    together = cosines(examples)
    monkeypatch.setattr(machinery, "_room", lambda _: 100_000)
    in_batches(monkeypatch, [[0, 1, 2], [3, 4, 5], [6, 7]])
    products = machinery._Products(examples, 0)
    assert 2 <= len(products._groups([[0], [1]])) < len(products.layers)
    shares = []
    np.testing.assert_allclose(cosines(examples, progress=shares.append), together, atol=1e-5)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert len(shares) == 3 * len(products._groups([[0], [1]]))


def test_long_texts_go_in_batches_that_hold_each_once(tiny_encoder, phrases):
    examples = labelled(tiny_encoder, phrases[:12] + ["many words " * 60] * 12, np.arange(24) % 5.0)
    plan = machinery._plan(examples, _adapted(examples.model, 0))
    assert len(plan) > 3
    assert sorted(i for rows in plan for i in rows) == list(range(24))
    few = replace(examples, ids=examples.ids[:12], targets=examples.targets[:12])
    assert machinery._plan(few, _adapted(few.model, 0)) == [list(range(12))]
    np.testing.assert_allclose(cosines(examples), one_at_a_time(examples), atol=1e-5)


def drawn(examples, tokens, width, generator):
    shape = (len(examples), tokens)
    return examples, torch.randn(*shape, width, generator=generator), torch.randn(*shape, RANK, generator=generator)


def test_both_ways_to_the_products_are_the_same(monkeypatch):
    generator = torch.Generator().manual_seed(5)
    sizes = {(0, 4): 3, (1,): 90, (2,): 1, (3, 5): 5, (0, 2): 70, (6,): 2, (4, 6): 4}
    pieces = [drawn(list(examples), tokens, 40, generator) for examples, tokens in sizes.items()]
    rows = np.zeros((8, 40 * RANK))
    for examples, gradient, shrunk in pieces:
        for i, product in zip(examples, gradient.transpose(1, 2) @ shrunk, strict=True):
            rows[i] += product.flatten().double().numpy()
    shelf = factors.Shelf(torch.device("cpu"))
    waiting = [shelf.put(piece) for piece in pieces]
    assert sum(shrunk is None for _, _, shrunk in waiting) == 2
    for form in (pieces, waiting, waiting[::-1]):
        for way in (factors._by_token, factors._by_example, factors.inner_products):
            np.testing.assert_allclose(way(form, 8).numpy(), rows @ rows.T, rtol=1e-4, atol=1e-2)
    # A layer of many outputs is laid out in parts.
    monkeypatch.setitem(factors._LAID_OUT, "cpu", 8 * RANK * 4 * 16)
    np.testing.assert_allclose(factors._by_example(waiting, 8).numpy(), rows @ rows.T, rtol=1e-4, atol=1e-2)


def test_tokens_without_a_gradient_are_dropped():
    examples, gradient, shrunk = drawn([4, 2], 6, 3, torch.Generator().manual_seed(6))
    assert factors.alive([(examples, gradient, shrunk)])[0][1] is gradient
    gradient[0, :5] = 0
    gradient[1, 1:] = 0
    found = factors.alive([(examples, gradient, shrunk)])
    assert [piece[0] for piece in found] == [[4], [2]]
    torch.testing.assert_close(found[0][1], gradient[:1, 5:])
    torch.testing.assert_close(found[0][2], shrunk[:1, 5:])
    torch.testing.assert_close(found[1][2], shrunk[1:, :1])


def test_packed_texts_fill_their_rows_and_none_overlaps():
    lengths = np.random.default_rng(7).integers(1, 40, 50).tolist()
    spans, (rows, tokens) = pack(lengths)
    taken = np.zeros((rows, tokens), dtype=int)
    for length, (row, start, stop) in zip(lengths, spans, strict=True):
        assert stop - start == length
        taken[row, start:stop] += 1
    assert taken.max() == 1
    assert max(lengths) <= tokens <= 1.5 * max(lengths)
    assert taken.any(1).all()
    assert rows * tokens < 1.05 * sum(lengths)
    assert pack([7]) == ([(0, 0, 7)], (1, 7))


def test_a_head_of_zeros_gives_no_direction(tiny_encoder, rated):
    texts, _, vectors = rated
    head = Head(vectors.mean(0), np.zeros((32, 1)), np.zeros(1), False, np.zeros(60))
    module = Regressor(tiny_encoder.model, head).eval()
    found = cosines(Labelled(tiny_encoder, module, tiny_encoder.tokenize(texts[:3]), np.ones((3, 1))))
    assert found.shape == (0, 0)
    assert median_cosine(found) is None


@pytest.mark.parametrize(("y", "classes"), [(np.full(60, 0.1), None), (np.full(60, 1), 3)])
def test_equal_labels_have_no_cos_low(tiny_encoder, rated, y, classes):
    assert cos_low(tiny_encoder, rated[0], y, rated[2], classes=classes) is None
    assert cos_low(tiny_encoder, rated[0][:1], y[:1], rated[2][:1], classes=classes) is None


def test_an_example_without_a_gradient_is_left_out(tiny_encoder, rated):
    examples = labelled(tiny_encoder, rated[0][:6], rated[1][:6])
    fitted = float(examples.batch([2]).losses.detach()), examples.targets.copy()
    with torch.no_grad():
        states = embed(tiny_encoder, rated[0][2:3])
        fitted[1][2] = examples.module.read(torch.from_numpy(states)).numpy()
    others = [0, 1, 3, 4, 5]
    every = cosines(replace(examples, targets=fitted[1]))
    if len(every) == 6:  # exact but for rounding: its direction is still its own, and the others are as they were
        every = every[np.ix_(others, others)]
    some = replace(examples, ids=[examples.ids[i] for i in others], targets=examples.targets[others])
    np.testing.assert_allclose(every, cosines(some), atol=1e-5)


def test_equal_texts_agree_wholly_or_not_at_all(tiny_encoder, rated):
    texts, y, vectors = rated
    module = Regressor(tiny_encoder.model, fit_ridge(vectors, y - y.mean())).eval()
    ids = tiny_encoder.tokenize([texts[0]] * 2)
    same = cosines(Labelled(tiny_encoder, module, ids, np.ones((2, 1))))
    assert median_cosine(same) == pytest.approx(1.0, abs=1e-6)
    assert same.max() <= 1
    opposite = cosines(Labelled(tiny_encoder, module, ids, np.array([[50.0], [-50.0]])))
    assert median_cosine(opposite) == pytest.approx(-1.0, abs=1e-6)
    assert opposite.min() >= -1


def test_gradients_that_are_no_numbers_are_told(tiny_encoder, rated):
    broken = copy.deepcopy(tiny_encoder.model)
    broken.encoder.layer[0].attention.self.query.weight.data[0, 0] = float("nan")
    examples = labelled(tiny_encoder, rated[0][:4], rated[1][:4])
    module = copy.deepcopy(examples.module)
    module.backbone = broken
    with pytest.raises(ModelError, match="not finite"):
        cosines(replace(examples, module=module))


def test_bfloat16_is_near_float32(tiny_encoder, rated, monkeypatch):
    examples = labelled(tiny_encoder, rated[0][:16], rated[1][:16])
    exact = cosines(examples)
    half = replace(tiny_encoder, model=copy.deepcopy(tiny_encoder.model).bfloat16())
    module = copy.deepcopy(examples.module)
    module.backbone = half.model
    rough = replace(examples, encoder=half, module=module)
    np.testing.assert_allclose(cosines(rough), exact, atol=0.1)
    assert np.abs(cosines(rough) - exact).mean() < 0.02
    in_batches(monkeypatch, [list(range(9)), list(range(9, 16))])
    np.testing.assert_allclose(cosines(rough), exact, atol=0.1)


def test_a_is_drawn_as_peft_draws_it(tiny_encoder):
    layers = _adapted(tiny_encoder.model, 1)
    linear = [module for module in tiny_encoder.model.modules() if isinstance(module, nn.Linear)]
    assert [layer.module for layer in layers] == linear
    for layer in layers:
        bound = 1 / math.sqrt(layer.module.in_features)
        assert layer.down.shape == (64, layer.module.in_features)
        assert layer.down.abs().max() <= bound
        assert layer.down.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert all(torch.equal(a.down, b.down) for a, b in zip(layers, _adapted(tiny_encoder.model, 1), strict=True))
    assert not torch.equal(layers[0].down, _adapted(tiny_encoder.model, 2)[0].down)


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
    model = tiny_encoder.model
    torch.manual_seed(9)
    before = torch.get_rng_state()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    wanted = [p.requires_grad for p in model.parameters()]
    one, two = (cos_low(tiny_encoder, texts, y, vectors, classes=None, seed=1) for _ in range(2))
    assert one == two
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert wanted == [p.requires_grad for p in model.parameters()]
    assert all(wanted)
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert not model.training


def test_nothing_of_a_batch_is_kept_afterwards(tiny_encoder, rated, monkeypatch):
    texts, y, _ = rated
    seen = []

    def noted(examples, rows, batch=Labelled.batch):
        found = batch(examples, rows)
        seen.append(weakref.ref(found))
        return found

    monkeypatch.setattr(Labelled, "batch", noted)
    cosines(labelled(tiny_encoder, texts[:32], y[:32]))
    gc.collect()
    assert [ref() for ref in seen] == [None]


def test_a_stop_in_the_midst_leaves_the_model_as_it_was(tiny_encoder, rated):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cosines(labelled(tiny_encoder, rated[0][:4], rated[1][:4]), progress=stop)
    assert all(p.requires_grad for p in tiny_encoder.model.parameters())
    assert not any(module._forward_hooks for module in tiny_encoder.model.modules())


def test_mean_pooling_leaves_padding_out():
    states = torch.tensor([[[1.0], [3.0], [100.0]]])
    assert mean_pool(states, torch.tensor([[1, 1, 0]])).item() == 2.0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device.")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_a_gpu_gives_what_the_cpu_does(tiny_encoder, rated, dtype, tolerance):
    texts, y, vectors = rated
    exact = cosines(labelled(tiny_encoder, texts[:32], y[:32], vectors=vectors[:32]))
    there = replace(
        tiny_encoder, model=copy.deepcopy(tiny_encoder.model).to("cuda", dtype), device=torch.device("cuda")
    )
    examples = labelled(there, texts[:32], y[:32], vectors=vectors[:32])
    np.testing.assert_allclose(cosines(replace(examples, module=examples.module.to("cuda"))), exact, atol=tolerance)
