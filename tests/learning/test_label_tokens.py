"""The label-token head: its probabilities are those of an enumeration, whatever the labels share and however padded."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import TEMPLATE

from engine.errors import ArgumentError, ModelError
from engine.learning.label_tokens import Choices, LabelHead, ask, saved_choices, zero_shot
from engine.learning.saved import load_predictors

RATINGS = Choices.between(1, 5)
SETS = {
    "ratings": RATINGS,
    "classes": Choices(("negative", "positive")),
    "a shared first token": Choices(("good room", "good food", "bad")),
    "one begins another": Choices(("1", "10", "100", "2"), (1.0, 10.0, 100.0, 2.0)),
    "only one begins another": Choices(("good", "good room")),
    "halves": Choices(("1", "1.5", "2", "2.5"), (1.0, 1.5, 2.0, 2.5)),
    "many": Choices(tuple(f"the {a} {b}" for a in ("good", "bad", "loud") for b in ("room", "food", "bed"))),
}
BLANK_BEFORE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}<|user|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
)
MERGES = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}the {{ m['content'] }}</s>"
    "{% else %}<|user|>{{ m['content'] }} {% endif %}{% endfor %}"
)


def enumerated(decoder, choices, text):
    """The plain loop: log probabilities of the labels, one forward for each of their tokens, all logits normalised."""
    asked = decoder.questionnaire(choices.instruction)
    prompt = asked.prompt(text)
    whole = [asked.dialogue(text, name).ids for name in choices.names]
    assert all(ids[: len(prompt)] == prompt for ids in whole)
    begins = [any(more != ids and more[: len(ids)] == ids for more in whole) for ids in whole]
    whole = [[*ids, min(asked.ends)] if begin else ids for ids, begin in zip(whole, begins, strict=True)]
    shared = len(prompt)
    while len({ids[shared] for ids in whole}) == 1:
        shared += 1
    if len({ids[shared] for ids in whole}) == len(whole):
        whole = [ids[: shared + 1] for ids in whole]
    logs = []
    for ids in whole:
        total = 0.0
        for place in range(len(prompt), len(ids)):
            with torch.no_grad():
                logits = decoder.model(input_ids=torch.tensor([ids[:place]])).logits[0, -1].double()
            total += float(logits.log_softmax(-1)[ids[place]])
        logs.append(total)
    return np.array(logs) - np.logaddexp.reduce(logs)


@pytest.mark.parametrize("name", SETS)
def test_predictions_are_those_of_an_enumeration(decoder, phrases, name):
    choices, texts = SETS[name], phrases[:5]
    logs = np.array([enumerated(decoder, choices, text) for text in texts])
    p = np.exp(logs)
    expected = p if choices.values is None else p @ np.array(choices.values)
    shares = []
    found = zero_shot(decoder, texts, choices, shares.append)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert shares[-1] == 1
    asked = ask(decoder, choices)
    with torch.no_grad():
        found = asked.settled(asked.base, []).log_probabilities(*asked.pad(asked.tokenize(texts)))
    np.testing.assert_allclose(found.numpy(), logs, atol=1e-4)
    assert np.ptp(logs, axis=0).max() > 0.1


def test_a_blank_or_a_word_that_belongs_to_every_label_is_read_before_it(decoder, phrases):
    for template in (BLANK_BEFORE, MERGES):
        tokenizer = copy.deepcopy(decoder.tokenizer)
        tokenizer.chat_template = template
        other = replace(decoder, tokenizer=tokenizer)
        choices = SETS["a shared first token"]
        asked = ask(other, choices)
        dialogue = asked.questionnaire.dialogue(phrases[3], "bad")
        spelled = asked.tokenize([phrases[3]])[0] + asked.spelling.tails[2]
        assert spelled[: len(dialogue.ids)] == dialogue.ids
        if template == BLANK_BEFORE:
            p = np.exp([enumerated(other, choices, text) for text in phrases[:3]])
            # Single precision: the last digit is another one on another processor.
            np.testing.assert_allclose(zero_shot(other, phrases[:3], choices), p, rtol=1e-5, atol=1e-5)


def test_of_labels_that_share_tokens_few_rows_are_read(decoder):
    rows = {name: ask(decoder, choices).head(decoder.model).rows for name, choices in SETS.items()}
    assert rows["ratings"] == rows["classes"] == rows["only one begins another"] == 1
    assert rows["one begins another"] == 1
    assert rows["many"] <= 9


@pytest.mark.parametrize("name", SETS)
def test_neither_side_nor_amount_of_padding_matters(decoder, phrases, name):
    asked = ask(decoder, SETS[name])
    ids = asked.tokenize([*phrases[:4], "a long one " * 12])
    with torch.no_grad():
        head = asked.settled(asked.base, [])
        alone = torch.cat([head(*decoder.pad([row])) for row in ids])
        for left in (False, True):
            together = head(*decoder.pad(ids, left=left))
            np.testing.assert_allclose(together.numpy(), alone.numpy(), rtol=1e-5, atol=1e-5)


def test_the_gradient_is_that_of_the_expectation(decoder, phrases):
    asked = ask(replace(decoder, model=copy.deepcopy(decoder.model)), RATINGS)
    model = asked.decoder.model
    rows = asked.tokenize(phrases[:3])
    asked.head(asked.base)(*asked.pad(rows)).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    firsts = [tail[0] for tail in asked.spelling.tails]
    for row in rows:
        p = model(input_ids=torch.tensor([row])).logits[0, -1, firsts].softmax(-1)
        (p @ torch.arange(1.0, 6.0)).backward()
    for name, p in model.named_parameters():
        np.testing.assert_allclose(found[name].numpy(), p.grad.numpy(), atol=1e-5, rtol=1e-4)


def test_training_goes_through_the_expectation(decoder, phrases):
    asked = ask(replace(decoder, model=copy.deepcopy(decoder.model)), RATINGS)
    texts = phrases[:8]
    target = torch.tensor([[i % 5 - 2.0] for i in range(8)])  # counted from the middle of the scale
    head = asked.head(asked.base)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = ((head(*asked.pad(asked.tokenize(texts))) - target) ** 2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    np.testing.assert_allclose(asked.outputs(head.eval(), texts).mean(), 3 + target.mean(), atol=0.3)


def test_the_head_adds_no_weights(decoder):
    head = ask(decoder, SETS["many"]).head(decoder.model)
    assert sum(p.numel() for p in head.parameters()) == sum(p.numel() for p in decoder.model.parameters())
    assert set(head.state_dict()) == {f"backbone.{name}" for name in decoder.model.state_dict()}


def test_long_texts_are_cut_at_the_chosen_end_and_counted(decoder):
    long = "room after room " * 500 + "bad"
    start = ask(decoder, RATINGS)
    tokenizer = copy.deepcopy(decoder.tokenizer)
    tokenizer.truncation_side = "left"
    end = ask(replace(decoder, tokenizer=tokenizer), RATINGS)
    assert start.truncated(["short", long, ""]) == end.truncated([long]) == 1
    for asked, kept, lost in ((start, "\nroom after", "bad"), (end, "after room bad<", "\nroom after")):
        ids = asked.tokenize([long])[0]
        words = tokenizer.decode(ids)
        assert 480 < len(ids) <= 512 - 1
        assert kept in words
        assert lost not in words.split("<|user|>")[1]
        assert words.startswith(f"<s><|system|>\n{RATINGS.instruction}<|end|>\n<|user|>\n")
        assert words.endswith("<|end|>\n<|assistant|>\n")


def test_a_long_label_has_room(decoder):
    choices = Choices(("the room was good and clean " * 8, "bad " * 30))
    asked = ask(decoder, choices)
    longest = asked.questionnaire.dialogue("room after room " * 500, choices.names[1])
    assert len(longest.ids) <= 512
    assert np.isfinite(asked.predict(["room " * 900])).all()


def test_the_scale_is_that_of_the_ratings():
    assert Choices.of(np.array([1.0, 5.0, 3.0])).names == ("1", "2", "3", "4", "5")
    assert Choices.of(np.array([1.4, 4.6])).values == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert Choices.between(0, 100).names == tuple(str(10 * k) for k in range(11))
    assert Choices.of(np.array([0.2, 0.7])).names == ("0", "1")
    assert Choices.of(np.array([3.0, 3.0])).names == ("3", "4")
    assert Choices.between(-1, 1).names == ("-1", "0", "1")
    assert Choices.between(-12, 5).names[6:9] == ("-1.8", "-0.1", "1.6")
    scales = [Choices.between(low, high) for low in range(-20, 0) for high in range(1, 21)]
    assert all(len(name) <= 5 for scale in scales for name in scale.names)
    assert Choices.between(1234567, 1234571).names == tuple(str(number) for number in range(1234567, 1234572))
    assert Choices.of(np.array([0, 1]), ("no", "yes")) == Choices(("no", "yes"))
    assert "a whole number from 1 to 5." in RATINGS.instruction
    assert "one of: no, yes." in Choices(("no", "yes")).instruction
    assert "by valence." in Choices.of(np.array([1.0, 5.0]), None, "valence").instruction
    assert "by topic." in Choices.of(np.array([0, 1]), ("no", "yes"), "topic").instruction


def test_choices_that_are_none_are_told(decoder):
    for names in ((), ("yes",), ("yes", "yes ")):
        with pytest.raises(ArgumentError, match=r"two or more, each once"):
            Choices(names)
    with pytest.raises(ArgumentError, match="blank"):
        ask(decoder, Choices(("good", " ")))
    with pytest.raises(ArgumentError, match=r"cannot tell the answers 'good\?' and .* apart"):
        ask(decoder, Choices(("good?", "good\ud800")))


def test_where_nothing_ends_an_answer_it_must_not_begin_another(decoder):
    tokenizer = copy.deepcopy(decoder.tokenizer)
    tokenizer.chat_template = TEMPLATE.replace("<|end|>", "")
    tokenizer.eos_token = None
    other = replace(decoder, tokenizer=tokenizer)
    assert len(ask(other, RATINGS).spelling.tails) == 5
    with pytest.raises(ModelError, match=r"'1' begins another.*rename it"):
        ask(other, Choices.between(1, 10))


def test_what_is_asked_of_no_texts_and_saved(decoder, tmp_path):
    asked = ask(decoder, RATINGS)
    assert asked.predict([]).shape == (0,)
    assert zero_shot(decoder, [], SETS["classes"]).shape == (0, 2)
    asked.save(tmp_path / "model")
    kept = json.loads((tmp_path / "model" / "choices.json").read_text(encoding="utf-8"))
    assert kept == {"model": "tiny", "names": list(RATINGS.names), "values": list(RATINGS.values), "about": ""}


@pytest.mark.parametrize("choices", [RATINGS, Choices(("good", "bad"), about="mood")])
def test_what_was_asked_and_its_model_are_loaded_again(decoder, phrases, tmp_path, choices):
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    decoder.model.save_pretrained(base)
    decoder.tokenizer.save_pretrained(base)
    asked = ask(decoder, choices)
    asked.save(tuned)
    assert saved_choices(tuned) == choices
    again = load_predictors([tuned], str(base))
    np.testing.assert_allclose(again.predict(phrases[:4]).squeeze(), asked.predict(phrases[:4]))
    other = copy.deepcopy(decoder.model)
    with torch.no_grad():
        other.lm_head.weight.neg_()
    other.save_pretrained(tuned)
    again = load_predictors([tuned], str(base))
    expected = ask(replace(decoder, model=other), choices).predict(phrases[:4])
    np.testing.assert_allclose(again.predict(phrases[:4]).squeeze(), expected, rtol=1e-5)


def test_no_number_leaves_the_scale_and_shares_sum_to_one(decoder, phrases):
    numbers = zero_shot(decoder, phrases, RATINGS)
    assert ((numbers > 1) & (numbers < 5)).all()
    for name in ("classes", "many"):
        p = zero_shot(decoder, phrases[:10], SETS[name])
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
        assert (p > 0).all()


def test_in_bfloat16_predictions_stay_near(decoder, phrases):
    half = replace(decoder, model=copy.deepcopy(decoder.model).bfloat16())
    difference = zero_shot(half, phrases, RATINGS) - zero_shot(decoder, phrases, RATINGS)
    assert math.sqrt((difference**2).mean()) < 0.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device.")
def test_a_gpu_predicts_what_the_cpu_does(decoder, phrases):
    there = replace(decoder, model=copy.deepcopy(decoder.model).to("cuda"), device=torch.device("cuda"))
    for choices in SETS.values():
        np.testing.assert_allclose(zero_shot(there, phrases, choices), zero_shot(decoder, phrases, choices), rtol=1e-4)


def test_the_question_is_read_once(decoder, phrases, monkeypatch):
    asked = ask(decoder, SETS["many"])
    read = []
    hook = decoder.model.model.layers[0].register_forward_pre_hook(lambda _layer, args: read.append(args[0].shape))
    try:
        ahead = asked.predict(phrases[:20])
    finally:
        hook.remove()
    prompts = asked.tokenize(phrases[:20])
    question = read[0][1]
    assert read[0][0] == 1
    assert question > len(prompts[0]) / 2
    assert all(tokens < max(map(len, prompts)) - question + 8 for _, tokens, _ in read[1:])
    monkeypatch.setattr(LabelHead, "read_ahead", lambda *_: None)
    np.testing.assert_allclose(asked.predict(phrases[:20]), ahead, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(asked.predict(phrases[:1]), ahead[:1], rtol=1e-4, atol=1e-6)
