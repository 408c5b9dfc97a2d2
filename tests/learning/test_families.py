"""Families of models: padding changes nothing, adapters load in plain PEFT, labels are scored as by a plain loop."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_models import as_the_card_says, byte_pairs, made

from engine.errors import ModelError
from engine.learning import bases
from engine.learning.averaging import adapted as names_of_adapted
from engine.learning.bases import Attached
from engine.learning.below import layers_of
from engine.learning.cosines import cosines
from engine.learning.decoders import Answered, load_decoder
from engine.learning.embeddings import pooled_states
from engine.learning.finetuning import fine_tune
from engine.learning.label_tokens import Choices, ask
from engine.learning.learners import Workbench
from engine.learning.models import embed, is_decoder, load_encoder
from engine.learning.recipe import Recipe
from engine.learning.regressor import Pooled
from engine.learning.saved import load_predictors
from engine.learning.unpadded import last_states

TOKENIZER = byte_pairs()
SIZES = {
    "vocab_size": len(TOKENIZER), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
GROUPED = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 384}
DEBERTA = {
    **SIZES, "max_position_embeddings": 96, "relative_attention": True, "pos_att_type": ["p2c", "c2p"],
    "type_vocab_size": 0, "position_biased_input": False,
}  # fmt: skip
ENCODERS = {
    "Bert": {**SIZES, "max_position_embeddings": 96},
    # Two positions come before the first token's.
    "Roberta": {**SIZES, "max_position_embeddings": 98, "pad_token_id": 1},
    "Deberta": DEBERTA,
    "DebertaV2": {**DEBERTA, "position_buckets": 16, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
    "ModernBert": {
        **SIZES, "max_position_embeddings": 96, "global_attn_every_n_layers": 2, "local_attention": 8,
        "pad_token_id": 1, "cls_token_id": 0, "sep_token_id": 1,
    },
}  # fmt: skip
DECODERS = {
    "Llama": GROUPED,
    "Qwen2": GROUPED,
    "Qwen3": GROUPED,
    "Mistral": {**GROUPED, "sliding_window": 24},
    "Gemma": GROUPED,
    "Gemma2": {**GROUPED, "sliding_window": 24, "final_logit_softcapping": 5.0},
    "Gemma3": {**GROUPED, "sliding_window": 24},
}
# Their layers share their weights, are padded to a window, take tokens first, keep their maps the other way round, or
# read some maps' weights past the map; all are read as encoders.
UNUSUAL = {
    "Albert": {**SIZES, "max_position_embeddings": 96, "embedding_size": 16},
    "Longformer": {**SIZES, "max_position_embeddings": 98, "attention_window": 16, "pad_token_id": 1},
    "XLNet": {"vocab_size": len(TOKENIZER), "d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 48},
    "GPT2": {"vocab_size": len(TOKENIZER), "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 96},
    "Mamba": {"vocab_size": len(TOKENIZER), "hidden_size": 32, "num_hidden_layers": 3, "state_size": 8},
}
# Some of their layers keep a state in the place of keys and values.
HYBRIDS = {
    "Lfm2": {**GROUPED, "full_attn_idxs": [1]},
    "Qwen3Next": {
        **GROUPED, "num_hidden_layers": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16, "linear_num_value_heads": 4, "linear_num_key_heads": 2,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8,
    },
}  # fmt: skip
EXPERTS = {
    **GROUPED, "num_key_value_heads": 4, "head_dim": 4, "n_routed_experts": 4, "num_experts_per_tok": 2,
    "moe_intermediate_size": 16, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1, "pad_token_id": 1,
}  # fmt: skip
# Mixtures of experts on whose shared maps PEFT puts adapters of a kind that it cannot average.
MIXTURES = {
    "Glm4Moe": EXPERTS,
    "DeepseekV3": {
        **EXPERTS, "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
    },
}  # fmt: skip
# Its routers are linear maps by class, but answer with the experts that they choose.
ROUTED = {"Phimoe": {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}}
FAMILIES = [*ENCODERS, *DECODERS]
CHOICES = (
    Choices.between(1, 5),
    Choices(("good room", "good food", "bad")),
    Choices(("1", "10", "2"), (1.0, 10.0, 2.0)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a family's model, made when it is first asked for; its tokenizer would pad on the left."""
    kept = {}

    def make(family):
        if family not in kept:
            kept[family] = str(tmp_path_factory.mktemp(family))
            made(*_parts(family)).save_pretrained(kept[family])
            tokenizer = copy.deepcopy(TOKENIZER)
            tokenizer.padding_side = tokenizer.truncation_side = "left"
            tokenizer.save_pretrained(kept[family])
        return kept[family]

    return make


def _parts(family):
    """A family's class, with the head that writes where it has one, and its configuration."""
    read = {**ENCODERS, **UNUSUAL}
    if family in read:
        return getattr(transformers, f"{family}Model"), getattr(transformers, f"{family}Config")(**read[family])
    kind = "Gemma3Text" if family == "Gemma3" else family
    config = getattr(transformers, f"{kind}Config")(**{**DECODERS, **HYBRIDS, **MIXTURES, **ROUTED}[family])
    return getattr(transformers, f"{family}ForCausalLM"), config


@pytest.fixture(params=FAMILIES)
def encoder(request, folder):
    return load_encoder(folder(request.param))


@pytest.fixture(params=DECODERS)
def writer(request, folder):
    return load_decoder(folder(request.param))


@pytest.fixture
def texts(phrases):
    return [*phrases[:7], "a good room and bad food " * 4, "", "loud"]


# Encoders, and decoders read as such


def test_a_text_is_read_alike_alone_and_padded_in_a_batch(encoder, texts):
    together = embed(encoder, texts)
    alone = np.concatenate([embed(encoder, [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.ptp(together, axis=0).max() > 0.1


def test_the_layers_below_are_read_alike_alone_and_padded(encoder, texts):
    together = pooled_states(encoder, texts).astype(float)
    alone = np.concatenate([pooled_states(encoder, [text]) for text in texts]).astype(float)
    scale = np.abs(alone).max(axis=(0, 2), keepdims=True)
    np.testing.assert_allclose(together / scale, alone / scale, atol=1e-5)
    last = together[:, -1] / np.linalg.norm(together[:, -1], axis=1, keepdims=True)
    np.testing.assert_allclose(last, embed(encoder, texts), atol=1e-5)


@pytest.mark.parametrize("family", UNUSUAL)
def test_unusual_layers_are_read_alike_alone_and_padded(folder, family, texts):
    encoder = load_encoder(folder(family))
    # With the first three a batch has as many texts as tokens, so that tokens first look like texts first.
    for some in (texts, encoder.tokenizer.batch_decode([[5], [6, 7], [8, 9, 10]])):
        together = pooled_states(encoder, some)
        alone = np.concatenate([pooled_states(encoder, [text]) for text in some])
        assert together.shape == (len(some), 3 if family in ("GPT2", "Mamba") else 1, 32)
        np.testing.assert_allclose(together, alone, atol=1e-5 * np.abs(alone).max())


def test_a_text_is_cut_to_the_positions_that_there_are(encoder):
    assert encoder.most == (384 if is_decoder(encoder.name) else 96)
    long = "a good room and bad food " * 400
    assert len(encoder.tokenize([long])[0]) == encoder.most
    assert encoder.truncated([long, "short"]) == 1
    assert np.isfinite(embed(encoder, [long, "short"])).all()


def test_decoders_are_told_from_encoders(folder):
    assert [family for family in FAMILIES if is_decoder(folder(family))] == list(DECODERS)


def adapted(model):
    """The model with a LoRA adapter on every linear layer, away from its start at nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False)
        return get_peft_model(copy.deepcopy(model), config).eval()


def linear_layers(model):
    head = model.get_output_embeddings()
    return [part for part in model.modules() if isinstance(part, torch.nn.Linear) and part is not head]


def test_an_adapter_on_all_linear_layers_loads_in_plain_peft(encoder, texts, tmp_path):
    model = adapted(encoder.model)
    layers = linear_layers(encoder.model)
    assert len([part for part in model.modules() if hasattr(part, "lora_A")]) == len(layers) > 0
    model.save_pretrained(tmp_path)
    inputs, mask = encoder.pad(encoder.tokenize(texts))
    plain = transformers.AutoModel.from_pretrained(encoder.name, dtype=encoder.model.dtype).to(encoder.device)
    loaded = PeftModel.from_pretrained(plain, tmp_path).eval()
    with torch.no_grad():
        expected = model(input_ids=inputs, attention_mask=mask).last_hidden_state
        found = loaded(input_ids=inputs, attention_mask=mask).last_hidden_state
        before = encoder.model(input_ids=inputs, attention_mask=mask).last_hidden_state
    np.testing.assert_allclose(found.cpu().numpy(), expected.cpu().numpy(), atol=1e-5)
    assert (expected - before).abs().max() > 1e-2
    merged = replace(encoder, model=model.merge_and_unload())
    np.testing.assert_allclose(embed(merged, texts), embed(replace(encoder, model=loaded), texts), atol=1e-5)


# Decoders that write


def plainly(decoder, asked, text):
    """Probabilities of the choices by a plain loop over their tokens, one forward for each."""
    (prompt,) = asked.tokenize([text])
    tails = asked.spelling.tails
    if len({tail[0] for tail in tails}) == len(tails):
        tails = [tail[:1] for tail in tails]
    logs = []
    for tail in tails:
        ids, total = list(prompt), 0.0
        for token in tail:
            with torch.no_grad():
                inputs = torch.tensor([ids], device=decoder.device)
                total += float(decoder.model(input_ids=inputs).logits[0, -1].double().log_softmax(-1)[token])
            ids.append(token)
        logs.append(total)
    return np.exp(np.array(logs) - np.logaddexp.reduce(logs))


@pytest.mark.parametrize("choices", CHOICES, ids=["numbers", "shared", "begun"])
def test_the_expectation_is_that_of_an_enumeration(writer, texts, choices):
    asked = ask(writer, choices)
    p = np.array([plainly(writer, asked, text) for text in texts])
    expected = p if choices.values is None else p @ np.array(choices.values)
    np.testing.assert_allclose(asked.predict(texts), expected, rtol=1e-5, atol=1e-6)


def test_labels_are_scored_alike_whichever_side_is_padded(writer, texts):
    for choices in CHOICES:
        asked = ask(writer, choices)
        head, ids = asked.settled(asked.base, []), asked.tokenize(texts)
        with torch.no_grad():
            alone = torch.cat([head(*writer.pad([row])) for row in ids]).cpu().numpy()
            for left in (False, True):
                found = head(*writer.pad(ids, left=left)).cpu().numpy()
                np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", HYBRIDS)
def test_where_the_question_cannot_be_read_once_it_is_read_with_each_text(folder, family, texts):
    decoder = load_decoder(folder(family))
    for choices in CHOICES:
        asked = ask(decoder, choices)
        p = np.array([plainly(decoder, asked, text) for text in texts])
        expected = p if choices.values is None else p @ np.array(choices.values)
        np.testing.assert_allclose(asked.predict(texts), expected, rtol=1e-4, atol=1e-5)


def test_a_text_is_answered_alike_alone_and_padded(writer, texts):
    together = writer.answer(texts, CHOICES[0].instruction)
    for i, text in enumerate(texts[-3:], len(texts) - 3):
        alone = writer.answer([text], CHOICES[0].instruction)
        assert alone.texts == (together.texts[i],)
        assert alone.confidences[0] == pytest.approx(together.confidences[i], abs=1e-5)


def test_every_adapter_learns_through_the_expectation(writer, texts):
    asked = ask(writer, CHOICES[1])
    model = adapted(writer.model)
    loss = -asked.head(model).log_probabilities(*asked.pad(asked.tokenize(texts)))[:, 0].sum()
    loss.backward()
    trained = [p for name, p in model.named_parameters() if "lora_" in name]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)


# Fine-tuned


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_in_training_is_read_as_a_padded_one(folder, family):
    encoder = load_encoder(folder(family))
    # As many texts as tokens: which of the two comes first cannot be told by their numbers.
    inputs, mask = encoder.pad([[5, 6, 7, 8], [9, 10], [11], [12, 13, 14]])
    seen = mask.bool()

    def plainly(backbone):
        return backbone(input_ids=inputs, attention_mask=mask).last_hidden_state

    def read(states_of):
        model = adapted(encoder.model.float())
        states = states_of(model)[seen]
        (states**3).sum().backward()
        return states.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    ours, theirs = read(lambda backbone: last_states(backbone, inputs, mask)), read(plainly)
    torch.testing.assert_close(ours[0], theirs[0], atol=1e-5, rtol=1e-4)
    assert float((ours[1] - theirs[1]).norm() / theirs[1].norm()) < 1e-5


@pytest.mark.parametrize("layers", [2, 3])
def test_of_a_model_that_reads_pictures_too_the_layers_for_texts_are_taken(layers):
    pictures = transformers.SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=4, image_size=32,
        patch_size=8,
    )  # fmt: skip
    written = transformers.Gemma3TextConfig(**DECODERS["Gemma3"])
    config = transformers.Gemma3Config(
        text_config=written.to_dict(), vision_config=pictures.to_dict(), mm_tokens_per_image=4
    )
    for kind, path in (("Model", ""), ("ForConditionalGeneration", "model.")):
        model = made(getattr(transformers, f"Gemma3{kind}"), config)
        name, found = layers_of(model)
        assert name == f"{path}language_model.layers"
        assert found is model.get_submodule(name)
        names = names_of_adapted(model, 1 / 3)
        assert len(names) == 2 * 7
        assert all(name.startswith(f"{path}language_model.layers.") for name in names)


@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_no_map_sees_what_pads_a_batch(folder, family):
    encoder = load_encoder(folder(family))
    inputs, mask = encoder.pad([[5, 6, 7, 8], [9, 10]])
    seen = []
    stack = layers_of(encoder.model)[1]
    hooks = [layer.register_forward_hook(lambda _layer, _told, out: seen.append(out.shape[:2])) for layer in stack]
    before = encoder.model.config._attn_implementation
    last_states(encoder.model, inputs, mask)
    assert seen == [(1, 6)] * len(stack)
    hooks.append(stack[0].register_forward_hook(lambda *_: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        last_states(encoder.model, inputs, mask)
    for hook in hooks:
        hook.remove()
    assert encoder.model.config._attn_implementation == before


@pytest.mark.parametrize("family", [*FAMILIES, *UNUSUAL, *ROUTED])
def test_what_is_fine_tuned_loads_in_plain_peft(folder, family, texts, tmp_path, monkeypatch):
    y = np.arange(len(texts)) % 4 + 1.0
    writes = family in {**DECODERS, **ROUTED}
    if writes:
        model = load_decoder(folder(family))
        reader = ask(model, CHOICES[0])
    else:
        model = load_encoder(folder(family))
        reader = Pooled(model, pooled_states(model, texts)[:, -1])
    recipe = Recipe(folds=2, epochs=1, steps=6, rank=4, learning_rate=1e-2, head_rate=0.3)
    tuned = fine_tune(reader, texts, y, classes=None, recipe=recipe, seed=1)
    tuned.save(tmp_path)
    plain = as_the_card_says(tmp_path)["model"].to(model.device, model.model.dtype).eval()
    loaded = copy.copy(tuned.module)
    loaded._modules = {**tuned.module._modules, "backbone": plain}
    inputs, mask = reader.pad(reader.tokenize(texts))
    with torch.no_grad():
        found, expected = loaded(inputs, mask), tuned.module(inputs, mask)
    np.testing.assert_allclose(found.cpu().numpy(), expected.cpu().numpy(), rtol=1e-4, atol=1e-5)
    outputs, middle = tuned.outputs(texts) - tuned.offset, reader.choices.middle if writes else 0.0
    np.testing.assert_allclose(outputs - middle, expected.cpu().numpy(), rtol=1e-4, atol=1e-4)
    for merging in (False, True):
        monkeypatch.setattr(bases, "Attached", lambda model, way=merging, **_: Attached(model, merging=way))
        again = load_predictors([tmp_path], model.name)
        np.testing.assert_allclose(again.predict(texts)[:, 0], tuned.predict(texts), rtol=1e-4)
    loaded.backbone.disable_adapter_layers()
    with torch.no_grad():
        assert (loaded(inputs, mask) - found).abs().max() > 1e-3


def test_experts_that_are_chosen_by_a_linear_map_have_gradients(folder, texts):
    decoder = load_decoder(folder("Phimoe"))
    asked = decoder.questionnaire(CHOICES[0].instruction)
    found = cosines(Answered(decoder, [asked.dialogue(text, "3") for text in texts[:5]]))
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-6)


def test_a_model_in_half_precision_that_trains_in_single_reads_on_in_its_own(folder, texts, monkeypatch):
    monkeypatch.setattr("engine.learning.training.has_half_products", lambda: False)
    encoder = load_encoder(folder("Deberta"))
    encoder = replace(encoder, model=copy.deepcopy(encoder.model).to(torch.bfloat16))
    reader, y = Pooled(encoder, pooled_states(encoder, texts)[:, -1]), np.arange(len(texts)) % 4 + 1.0
    recipe = Recipe(folds=2, epochs=1, steps=6, rank=4, frozen=1 / 3)
    assert np.isfinite(fine_tune(reader, texts, y, classes=None, recipe=recipe, seed=1).predict(texts)).all()


@pytest.mark.parametrize("family", ["Bert", "Deberta", "DebertaV2", "ModernBert", *UNUSUAL])
def test_adapters_side_by_side_end_as_one_after_another(folder, family, texts, monkeypatch):
    monkeypatch.setattr("engine.learning.training.has_half_products", lambda: False)
    encoder = load_encoder(folder(family))
    reader, y = Pooled(encoder, pooled_states(encoder, texts)[:, -1]), np.arange(len(texts)) % 4 + 1.0
    recipe = Recipe(folds=2, epochs=1, steps=6, rank=4, head_rate=0.3, frozen=0.0)
    ways = [replace(recipe, side_by_side=beside) for beside in (False, True)]
    alone, beside = (fine_tune(reader, texts, y, classes=None, recipe=way, seed=1) for way in ways)
    np.testing.assert_allclose(beside.left_out, alone.left_out, atol=2e-3)


def test_a_model_on_which_no_adapter_fits_is_told_before_anything_is_spent(tmp_path, texts):
    config = transformers.IBertConfig(**{**SIZES, "max_position_embeddings": 98, "pad_token_id": 1})
    made(transformers.IBertModel, config).save_pretrained(tmp_path / "base")
    TOKENIZER.save_pretrained(tmp_path / "base")
    bench = Workbench.open(str(tmp_path / "base"), tmp_path / "cache")
    for name in ("lora", "auto"):
        with pytest.raises(ModelError, match=r"\(ibert\) that takes no LoRA adapters; choose the learner probe"):
            bench.learner(name, "variance", None)
    probed = bench.learner("probe", "variance", None).fit(texts, np.arange(len(texts)) % 4 + 1.0, seed=0)
    assert np.isfinite(probed.predict(texts)).all()


@pytest.mark.parametrize("family", ["Qwen3Next", *MIXTURES])
def test_adapters_that_cannot_be_averaged_are_told_before_training(folder, family, texts):
    reader, y, losses = ask(load_decoder(folder(family)), CHOICES[0]), np.arange(len(texts)) % 4 + 1.0, []
    recipe = Recipe(folds=2, epochs=1, steps=1, rank=2)
    with pytest.raises(ModelError, match="that takes no LoRA adapters that can be averaged; choose the learner probe"):
        fine_tune(
            reader, texts, y, classes=None, recipe=recipe, seed=1, report_loss=lambda _, loss, __: losses.append(loss)
        )
    assert losses == []
    tuned = fine_tune(reader, texts, y, classes=None, recipe=replace(recipe, method="full"), seed=1)
    assert np.isfinite(tuned.predict(texts)).all()
