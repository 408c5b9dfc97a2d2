"""Decoders: asking a causal language model for labels, how sure it is of its answers, and its CoS-Low."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from engine.errors import ModelError
from engine.learning.cosines import Batch, cosines
from engine.learning.dialogues import Dialogue, Questionnaire
from engine.learning.faults import memory_told
from engine.learning.gradients import low_confidence, median_cosine
from engine.learning.models import (
    Encoder,
    Kept,
    Progress,
    batches,
    encoder_of,
    entrance,
    is_decoder,
    kept_by,
    load,
    load_encoder,
    load_tokenizer,
    padded,
    readable,
    silent,
)

_MOST_TOKENS = 1024
_MOST_ANSWER = 16

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What a decoder answered.

    Attributes:
        texts: The answers, without special tokens and the blanks around them.
        confidences: Mean over the tokens of an answer of the largest probability, shape (len(texts),).
    """

    texts: tuple[str, ...]
    confidences: Floats

    def correct(self, expected: Sequence[str]) -> NDArray[np.bool_]:
        """Return which answers are the expected ones, the blanks around them and capitals aside."""
        pairs = zip(self.texts, expected, strict=True)
        return np.array([said.strip().casefold() == label.strip().casefold() for said, label in pairs], dtype=bool)


@dataclass(frozen=True)
class Decoder:
    """A loaded decoder that can be asked.

    Attributes:
        name: Hub name or folder that the user gave.
        key: Hash that tells these weights from others.
        tokenizer: The model's tokenizer, with a chat template.
        model: The causal language model, in evaluation mode.
        device: Where it takes its tokens.
    """

    name: str
    key: str
    tokenizer: Any
    model: Any
    device: torch.device

    def as_encoder(self) -> Encoder:
        """Return what reads texts in the decoder as an encoder; its weights are the decoder's own where they can be."""
        # Of a model laid over several GPUs only the whole brings its states back to where its tokens are.
        if self.model.base_model is self.model or hasattr(self.model, "hf_device_map"):
            return load_encoder(self.name, keep=kept_by(self.tokenizer))
        return encoder_of(self.name, self.key, self.tokenizer, self.model.base_model)

    @torch.no_grad()
    def answer(self, texts: Sequence[str], instruction: str, progress: Progress = silent) -> Answers:
        """Return the greedy answer to each text and how sure the model is of it.

        An answer has at most 16 tokens and ends before the end token, which counts only where nothing stands before it.

        Raises:
            ModelError: The chat template cannot carry a question, or the instruction leaves no room for a text.
        """
        asked = self.questionnaire(instruction)
        prompts, ends = [asked.prompt(text) for text in texts], self._ends(asked)
        said, confidences, done = [""] * len(prompts), np.zeros(len(prompts)), 0
        for batch in batches(prompts):
            with memory_told(f"ask model {self.name}", "choose a smaller model"):
                answered = self._generate([prompts[i] for i in batch], ends)
            for i, ids, sure in zip(batch, *answered, strict=True):
                ended = np.flatnonzero(np.isin(ids, ends))
                length = int(ended[0]) if len(ended) else len(ids)
                said[i] = self.tokenizer.decode(ids[:length].tolist(), skip_special_tokens=True).strip()
                confidences[i] = sure[: max(length, 1)].mean()
            done += len(batch)
            progress(done / len(prompts))
        return Answers(tuple(said), confidences)

    def pad(self, ids: list[list[int]], *, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input ids and attention mask of a batch on the model's device, padded on the right or the left."""
        return padded(ids, self.tokenizer.pad_token_id, self.device, left=left)

    def questionnaire(self, instruction: str, room: int = _MOST_ANSWER) -> Questionnaire:
        """Return an instruction in the chat template, ready for texts, with room for an answer of so many tokens.

        Raises:
            ModelError: The chat template cannot carry a question and its answer.
        """
        most = readable(self.tokenizer, self.model, _MOST_TOKENS)
        return Questionnaire(self.tokenizer, self.name, instruction, most - room)

    def _ends(self, asked: Questionnaire) -> list[int]:
        """The tokens that end an answer: the model's, the tokenizer's, and the template's."""
        ends = self.model.generation_config.eos_token_id
        own = {self.tokenizer.eos_token_id} - {None}
        return sorted(asked.ends | own | ({ends} if isinstance(ends, int) else set(ends or ())))

    def _generate(self, prompts: list[list[int]], ends: list[int]) -> tuple[NDArray[np.int64], Floats]:
        """Greedy tokens and the largest probability at each, both of shape (batch, steps)."""
        inputs, mask = self.pad(prompts, left=True)
        sureness = _Sureness()
        # What the checkpoint sets for chatting, such as a penalty on repetition, is not to bend the answer.
        config = GenerationConfig(
            max_new_tokens=_MOST_ANSWER, do_sample=False, num_beams=1, repetition_penalty=1.0, no_repeat_ngram_size=0,
            eos_token_id=ends or None, pad_token_id=self.tokenizer.pad_token_id or 0,
        )  # fmt: skip
        out = self.model.generate(
            input_ids=inputs,
            attention_mask=mask,
            generation_config=config,
            logits_processor=LogitsProcessorList([sureness]),
        )
        return out[:, inputs.shape[1] :].cpu().numpy(), torch.stack(sureness.seen, 1).double().cpu().numpy()


class _Sureness(LogitsProcessor):  # type: ignore[misc]
    """Notes the largest probability at each step and changes nothing."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.seen.append(scores.float().softmax(-1).amax(-1))
        return scores


def can_be_asked(name: str) -> bool:
    """Return whether a model writes text and brings the chat template in which it is asked, without loading it.

    Raises:
        ModelError: The model cannot be found or wants remote code.
    """
    return is_decoder(name) and bool(getattr(load_tokenizer(name), "chat_template", None))


def without_template(name: str) -> ModelError:
    """Return what is raised of a model that writes and cannot be asked."""
    return ModelError(
        f"The tokenizer of model {name} has no chat template, so the model cannot be asked; choose its "
        "instruction-tuned form (often named -Instruct or -it)."
    )


def load_decoder(name: str, *, keep: Kept = "beginning") -> Decoder:
    """Load a decoder by hub name or folder, in bfloat16 on CUDA and in float32 on the CPU.

    Args:
        name: Hub name or folder.
        keep: Which end of a text that is too long is read.

    Raises:
        ModelError: The model cannot be found, lacks safetensors or a chat template, wants remote code, or fails its
            check.
    """
    key, tokenizer, model = load(name, AutoModelForCausalLM, keep)
    if not getattr(tokenizer, "chat_template", None):
        raise without_template(name)
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"The tokenizer of model {name} does not tell which letters a token covers; choose a model with a "
            "tokenizer.json."
        )
    return Decoder(name, key, tokenizer, model, entrance(model))


@dataclass(frozen=True)
class Answered:
    """Texts with their answers, of which gradients are asked."""

    decoder: Decoder
    dialogues: list[Dialogue]

    packs = False

    @property
    def model(self) -> PreTrainedModel:
        """The causal language model."""
        return self.decoder.model

    @property
    def ids(self) -> list[list[int]]:
        """Token ids of each dialogue."""
        return [dialogue.ids for dialogue in self.dialogues]

    def batch(self, rows: list[int]) -> Batch:
        """Return the mean loss over the answer's tokens of each of these dialogues."""
        chosen = [self.dialogues[i] for i in rows]
        inputs, _ = self.decoder.pad([dialogue.ids for dialogue in chosen])
        owner = torch.tensor([k for k, dialogue in enumerate(chosen) for _ in dialogue.answer]).to(inputs.device)
        place = torch.tensor([p for dialogue in chosen for p in dialogue.answer]).to(inputs.device)
        logits = logits_at(self.model, inputs, owner, place - 1)
        loss = nn.functional.cross_entropy(logits.float(), inputs[owner, place], reduction="none")
        count = torch.bincount(owner, minlength=len(rows))
        losses = torch.zeros(len(rows), device=loss.device).index_add(0, owner, loss / count[owner])
        return Batch(losses, tuple(inputs.shape), [(k, 0, len(dialogue.ids)) for k, dialogue in enumerate(chosen)])


def logits_at(
    model: Any, inputs: torch.Tensor, owner: torch.Tensor, place: torch.Tensor, past: Any = None
) -> torch.Tensor:
    """Return logits at some places only, shape (places, vocabulary): of a long text they would fill the memory.

    Args:
        model: The causal language model, or one with adapters.
        inputs: Token ids, padded on the right, shape (rows, tokens).
        owner: Row of each place, shape (places,).
        place: Its position in the row, shape (places,).
        past: The model's cache of what stands before each row, as many tokens for each; it is used up.
    """

    def choose(_: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        states = args[0]  # of a model spread over GPUs they lie where its last layer does
        return (states[owner.to(states.device), place.to(states.device)][None],)

    hook = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        # Padding on the right lies in the future of every token: a causal model needs no mask against it.
        logits: torch.Tensor = model(input_ids=inputs, past_key_values=past, use_cache=past is not None).logits
    finally:
        hook.remove()
    return logits[0]


def cos_low(
    decoder: Decoder,
    texts: Sequence[str],
    answers: Sequence[str],
    confidences: Floats,
    *,
    instruction: str,
    seed: int = 0,
    progress: Progress = silent,
) -> float | None:
    """Return CoS-Low of labelled texts, between -1 and 1, or None where fewer than two have a gradient.

    Args:
        decoder: The model; it is not changed.
        texts: Labelled texts, s of them.
        answers: Their labels as the assistant writes them, s of them.
        confidences: How sure the model is of its own answers to them, shape (s,).
        instruction: What is asked of a text.
        seed: Seed of the draw and of the adapter's start.
        progress: Called with the share done.

    Raises:
        ArgumentError: An answer is blank.
        ModelError: The chat template cannot carry a question, the instruction leaves no room for a text, the gradients
            are not finite, or the memory does not suffice.
    """
    asked, chosen = decoder.questionnaire(instruction), low_confidence(confidences, np.random.default_rng(seed))
    dialogues = [asked.dialogue(texts[i], answers[i]) for i in chosen]
    with memory_told(f"measure CoS-Low of model {decoder.name}", "choose a smaller model"):
        return median_cosine(cosines(Answered(decoder, dialogues), seed=seed, progress=progress))
