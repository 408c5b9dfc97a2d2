"""Decoders: how sure the model is of what it writes, its gradients against the plain loop, and how it is loaded."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_loop import plain_cosines
from tiny_models import ASKED, made
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from engine.errors import ModelError
from engine.learning import cosines as machinery
from engine.learning.cosines import cosines
from engine.learning.decoders import Answered, Answers, can_be_asked, cos_low, load_decoder
from engine.learning.files import DEFAULT_MODEL
from engine.learning.gradients import low_confidence
from engine.learning.learners import Workbench
from engine.learning.models import embed, is_decoder, load_encoder


def dialogues(decoder, phrases, count=12):
    asked = decoder.questionnaire(ASKED)
    labels = ["positive", "negative", "neither of them"]
    return [asked.dialogue(text * (1 + i % 3), labels[i % 3]) for i, text in enumerate(phrases[:count])]


def one_at_a_time(decoder, dialogues, seed=0):
    """The plain loop: the mean log loss of the answer's tokens, each read off all logits."""

    def loss(dialogue, adapted):
        logits = adapted(input_ids=torch.tensor([dialogue.ids])).logits[0].float()
        return -sum(logits[p - 1].log_softmax(-1)[dialogue.ids[p]] for p in dialogue.answer) / len(dialogue.answer)

    losses = [lambda adapted, dialogue=dialogue: loss(dialogue, adapted) for dialogue in dialogues]
    return plain_cosines(decoder.model, losses, seed)


# How sure it is


def greedy(decoder, prompt, ends):
    """Greedy tokens and the largest probability at each, the whole text read again for every token."""
    ids, sure = list(prompt), []
    while len(sure) < 16 and not (sure and ids[-1] in ends):
        with torch.no_grad():
            p = decoder.model(input_ids=torch.tensor([ids])).logits[0, -1].double().softmax(-1)
        ids.append(int(p.argmax()))
        sure.append(float(p.max()))
    return ids[len(prompt) :], sure


def test_confidence_is_the_mean_of_the_largest_probability(decoder, phrases):
    texts = phrases[:7]
    shares = []
    said = decoder.answer(texts, ASKED, shares.append)
    asked = decoder.questionnaire(ASKED)
    for text, words_, confidence in zip(texts, said.texts, said.confidences, strict=True):
        ids, sure = greedy(decoder, asked.prompt(text), (1, 2))
        ended = ids[-1] in (1, 2)
        kept = sure[:-1] if ended and len(sure) > 1 else sure
        assert confidence == pytest.approx(np.mean(kept), abs=1e-5)
        assert words_ == decoder.tokenizer.decode(ids, skip_special_tokens=True).strip()
    assert shares[-1] == 1
    assert (said.confidences > 1 / 400).all()


def test_alone_and_in_a_batch_a_text_is_answered_alike(decoder, phrases):
    texts = [*phrases[:6], "a long one " * 12]
    together = decoder.answer(texts, ASKED)
    for i, text in enumerate(texts):
        alone = decoder.answer([text], ASKED)
        assert alone.texts == (together.texts[i],)
        assert alone.confidences[0] == pytest.approx(together.confidences[i], abs=1e-5)
    assert decoder.answer([], ASKED).texts == ()


def says(decoder, said):
    """The decoder with a head under which, whatever it reads, it says these tokens after another."""
    model = copy.deepcopy(decoder.model)
    steps = iter(said)

    def turned(_module, _args, logits):
        token = next(steps)
        logits = torch.zeros_like(logits)
        logits[..., token] = 5.0
        return logits

    model.lm_head.register_forward_hook(turned)
    return replace(decoder, model=model)


def test_an_answer_ends_before_the_end_token(decoder):
    spelled = decoder.tokenizer(" positive", add_special_tokens=False)["input_ids"]
    sure = math.exp(5) / (math.exp(5) + len(decoder.tokenizer) - 1)
    for end in (1, 2):  # the model's own, and the one that the template sets after an answer
        said = says(decoder, [*spelled, end]).answer(["A room."], ASKED)
        assert said.texts == ("positive",)
        assert said.confidences[0] == pytest.approx(sure, abs=1e-6)
    silent = says(decoder, [2]).answer(["A room."], ASKED)
    assert silent.texts == ("",)
    assert silent.confidences[0] == pytest.approx(sure, abs=1e-6)


def test_the_checkpoints_chatting_settings_change_nothing(decoder, phrases):
    model = copy.deepcopy(decoder.model)
    settings = {"do_sample": True, "temperature": 3.0, "repetition_penalty": 9.0, "top_k": 3, "no_repeat_ngram_size": 1}
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    found = replace(decoder, model=model).answer(phrases[:4], ASKED)
    expected = decoder.answer(phrases[:4], ASKED)
    assert found.texts == expected.texts
    np.testing.assert_allclose(found.confidences, expected.confidences, atol=1e-6)


def test_accuracy_minds_neither_capitals_nor_blanks():
    said = Answers(("Positive", "negative ", "positive.", ""), np.ones(4))
    assert said.correct([" positive", "NEGATIVE", "positive", "negative"]).tolist() == [True, True, False, False]


# Its gradients


def test_the_matrix_is_that_of_the_plain_loop(decoder, phrases):
    chosen = dialogues(decoder, phrases, 20)
    found = cosines(Answered(decoder, chosen), seed=2)
    np.testing.assert_allclose(found, one_at_a_time(decoder, chosen, 2), atol=1e-5)
    assert np.ptp(found) > 0.5


KINDS = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=256)),
    # Its feed-forward layers see the tokens of all texts in one row of rows.
    "opt": (
        OPTForCausalLM,
        OPTConfig(
            hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=256,
            word_embed_proj_dim=32,
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_decoder_agrees_with_the_plain_loop(decoder, phrases, kind):
    cls, config = KINDS[kind]
    config = copy.deepcopy(config)
    config.vocab_size, config.pad_token_id, config.bos_token_id, config.eos_token_id = len(decoder.tokenizer), 1, 0, 1
    other = replace(decoder, model=made(cls, config))
    chosen = dialogues(other, phrases, 8)
    np.testing.assert_allclose(cosines(Answered(other, chosen)), one_at_a_time(other, chosen), atol=1e-5)


def test_neither_order_nor_padding_nor_batches_nor_passes_matter(decoder, phrases, monkeypatch):
    chosen = dialogues(decoder, phrases, 14)
    monkeypatch.setattr(machinery, "_plan", lambda *_: [list(range(14))])
    together = cosines(Answered(decoder, chosen))
    order = np.random.default_rng(4).permutation(14)
    shuffled = cosines(Answered(decoder, [chosen[i] for i in order]))
    np.testing.assert_allclose(shuffled, together[np.ix_(order, order)], atol=1e-5)
    for plan in (
        [[i] for i in range(14)],
        [[0, 2, 4, 6, 8, 10, 12], [1, 3, 5, 7, 9, 11, 13]],
        [[13, 0], [*range(1, 13)]],
    ):
        monkeypatch.setattr(machinery, "_plan", lambda *_, plan=plan: plan)
        np.testing.assert_allclose(cosines(Answered(decoder, chosen)), together, atol=1e-5)
    monkeypatch.setattr(machinery, "_room", lambda _: 100_000)
    assert len(machinery._Products(Answered(decoder, chosen), 0)._groups([[0], [1]])) > 2
    np.testing.assert_allclose(cosines(Answered(decoder, chosen)), together, atol=1e-5)


def test_the_loss_is_the_models_own(decoder, phrases):
    chosen = dialogues(decoder, phrases, 5)
    losses = Answered(decoder, chosen).batch([3, 0, 4]).losses
    for loss, i in zip(losses, (3, 0, 4), strict=True):
        labels = torch.full((1, len(chosen[i].ids)), -100)
        labels[0, chosen[i].answer] = torch.tensor([chosen[i].ids[p] for p in chosen[i].answer])
        expected = decoder.model(input_ids=torch.tensor([chosen[i].ids]), labels=labels).loss
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_cos_low_is_the_median_over_the_least_sure(decoder, phrases):
    labels = [("positive", "negative")[i % 2] for i in range(40)]
    said = decoder.answer(phrases[:40], ASKED)
    found = cos_low(decoder, phrases[:40], labels, said.confidences, instruction=ASKED, seed=5)
    chosen = low_confidence(said.confidences, np.random.default_rng(5))
    asked = decoder.questionnaire(ASKED)
    matrix = one_at_a_time(decoder, [asked.dialogue(phrases[i], labels[i]) for i in chosen], 5)
    assert found == pytest.approx(np.median(matrix[np.triu_indices(32, 1)]), abs=1e-5)
    assert cos_low(decoder, phrases[:1], labels[:1], said.confidences[:1], instruction=ASKED) is None


def test_bfloat16_is_near_float32(decoder, phrases):
    chosen = dialogues(decoder, phrases, 10)
    exact = cosines(Answered(decoder, chosen))
    half = replace(decoder, model=copy.deepcopy(decoder.model).bfloat16())
    rough = cosines(Answered(half, chosen))
    np.testing.assert_allclose(rough, exact, atol=0.1)
    assert np.abs(rough - exact).mean() < 0.02
    sure, rougher = decoder.answer(phrases[:4], ASKED).confidences, half.answer(phrases[:4], ASKED).confidences
    assert np.isfinite(rougher).all()
    assert np.abs(sure - rougher).max() < 0.5


def test_nothing_global_is_touched(decoder, phrases):
    torch.manual_seed(9)
    before = torch.get_rng_state()
    weights = {name: value.clone() for name, value in decoder.model.state_dict().items()}
    settings = decoder.model.generation_config.to_dict()
    labels = ["positive"] * 10
    for _ in range(2):
        said = decoder.answer(phrases[:10], ASKED)
        cos_low(decoder, phrases[:10], labels, said.confidences, instruction=ASKED)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, weights[name]) for name, value in decoder.model.state_dict().items())
    assert settings == decoder.model.generation_config.to_dict()
    assert all(p.requires_grad and p.grad is None for p in decoder.model.parameters())
    for module in decoder.model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


# Loading


@pytest.fixture
def saved(decoder, tmp_path):
    decoder.model.save_pretrained(tmp_path)
    decoder.tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_saved_folder_loads_and_answers_alike(decoder, saved, phrases):
    loaded = load_decoder(str(saved))
    assert loaded.answer(phrases[:3], ASKED).texts == decoder.answer(phrases[:3], ASKED).texts
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert loaded.tokenizer.pad_token == "</s>"


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_the_file_lacks_is_refused_unless_it_is_tied(decoder, tmp_path, tied):
    config = LlamaConfig(**{**decoder.model.config.to_diff_dict(), "tie_word_embeddings": tied})
    model = LlamaForCausalLM(config)
    weights = {key: value for key, value in model.state_dict().items() if "lm_head" not in key}
    model.save_pretrained(tmp_path, state_dict=weights)
    decoder.tokenizer.save_pretrained(tmp_path)
    if tied:
        head = load_decoder(str(tmp_path)).model.get_output_embeddings().weight
        torch.testing.assert_close(head, model.get_input_embeddings().weight)
        return
    with pytest.raises(ModelError, match=r"1 are missing or of another size, lm_head\.weight the first"):
        load_decoder(str(tmp_path))


def test_what_writes_is_a_decoder_and_what_reads_is_not(saved, tiny_encoder, tmp_path_factory):
    assert is_decoder(str(saved))
    assert can_be_asked(str(saved))
    assert not is_decoder(DEFAULT_MODEL)
    assert not can_be_asked(DEFAULT_MODEL)
    folder = tmp_path_factory.mktemp("encoder")
    tiny_encoder.model.save_pretrained(folder)
    assert not is_decoder(str(folder))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"architectures": None}), encoding="utf-8")
    assert not is_decoder(str(folder))
    with pytest.raises(ModelError, match="was not found"):
        is_decoder(str(folder / "nothing"))


def test_a_tokenizer_without_a_chat_template_is_refused(decoder, saved):
    plain = copy.deepcopy(decoder.tokenizer)
    plain.chat_template = None
    (saved / "chat_template.jinja").unlink(missing_ok=True)
    plain.save_pretrained(saved)
    assert can_be_asked(str(saved)) is False
    with pytest.raises(ModelError, match=r"no chat template.*-Instruct"):
        load_decoder(str(saved))


def test_a_model_that_writes_and_one_that_reads_are_one_in_memory(saved, phrases, tmp_path):
    bench = Workbench.open(str(saved), tmp_path)
    assert bench.decoder.model.base_model is bench.encoder.model
    alone = load_encoder(str(saved))
    assert bench.encoder.key == alone.key
    np.testing.assert_allclose(embed(bench.encoder, phrases[:4]), embed(alone, phrases[:4]), atol=1e-6)
    spread = replace(bench.decoder, model=copy.copy(bench.decoder.model))
    spread.model.hf_device_map = {"": 0}  # as over several GPUs
    assert spread.as_encoder().model is not spread.model.base_model


def test_a_decoder_without_safe_weights_is_refused(saved):
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"holds no \.safetensors file"):
        load_decoder(str(saved))


def test_a_decoder_with_code_of_its_own_is_refused(saved):
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (saved / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (saved / "own.py").write_text("raise SystemExit('this must never run')", encoding="utf-8")
    for way in (load_decoder, is_decoder):
        with pytest.raises(ModelError, match="code of its own"):
            way(str(saved))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device.")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)])
def test_a_gpu_gives_what_the_cpu_does(decoder, phrases, dtype, tolerance):
    chosen = dialogues(decoder, phrases, 20)
    there = replace(decoder, model=copy.deepcopy(decoder.model).to("cuda", dtype), device=torch.device("cuda"))
    np.testing.assert_allclose(cosines(Answered(there, chosen)), cosines(Answered(decoder, chosen)), atol=tolerance)
    if dtype == torch.float32:
        here, far = decoder.answer(phrases[:6], ASKED), there.answer(phrases[:6], ASKED)
        assert here.texts == far.texts
        np.testing.assert_allclose(here.confidences, far.confidences, atol=1e-4)
