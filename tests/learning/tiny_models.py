"""Tiny models with random weights, and a tokenizer with a chat template learned from a few sentences."""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast

from engine.learning.dialogues import instruction
from engine.learning.embeddings import pooled_states
from engine.learning.recipe import Recipe
from engine.learning.regressor import Pooled

QUICK = Recipe(rank=4, epochs=2, steps=1, folds=2, learning_rate=5e-3, head_rate=2e-2)

TURNS = ["<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
ASKED = instruction(np.zeros(2), ["negative", "positive"])


def byte_pairs(*more):
    """Byte pairs learned from a few sentences, with a chat template and no token to pad with."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    sentences = ["the room was good and clean", "bad food and a loud room", "negative positive", ASKED, *more] * 5
    inner.train_from_iterator(
        sentences,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<s>", "</s>", "<|end|>", *TURNS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", additional_special_tokens=["<|end|>", *TURNS]
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def made(cls, config):
    """A model with random weights, larger than at the start of training, so that texts differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(21)
        model = cls(config).eval()
        for weight in model.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.2)
    return model


def reader_of(encoder, texts):
    """What an encoder is fine-tuned through, on these texts."""
    return Pooled(encoder, pooled_states(encoder, texts)[:, -1].astype(np.float32))


def as_the_card_says(folder):
    """What the code of the model card in a folder makes, by its names."""
    card = (folder / "README.md").read_text(encoding="utf-8")
    code = card.split("```python\n")[1].split("```")[0]
    names = {}
    exec(code.replace('"this folder"', repr(str(folder))), names)
    return names
