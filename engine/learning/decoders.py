"""Decoders: asking a causal language model for labels, how sure it is of its answers, and its CoS-Low.

A label is asked for through the tokenizer's chat template: the instruction is the system turn, the text the user turn,
the label the assistant turn. The dialogue is rendered once with marks in their places, so that the same tokens stand
before an answer that the model gives as before one that it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from numpy.typing import NDArray
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from engine.errors import ArgumentError, ModelError
from engine.learning.cosines import Batch, cosines
from engine.learning.gradients import low_confidence, median_cosine
from engine.learning.models import Progress, batches, device, load, silent

_MOST_TOKENS = 1024
_MOST_ANSWER = 16
_INSTRUCTION, _TEXT, _ANSWER = "LABELWISEINSTRUCTION", "LABELWISETEXT", "LABELWISEANSWER"

Floats = NDArray[np.float64]


def instruction(y: NDArray[Any], classes: Sequence[str] | None) -> str:
    """Return what to ask of a text: for one of the classes, or for a number within the range of the ratings.

    Args:
        y: The ratings, shape (n,), of which the range is told; not looked at where there are classes.
        classes: Names of the classes, or None for numbers.
    """
    if classes is not None:
        return f"Classify the text. Answer with one of: {', '.join(classes)}. Answer with nothing else."
    number = "whole number" if np.all(y == np.round(y)) else "number"
    return f"Rate the text. Answer with a {number} from {np.min(y):g} to {np.max(y):g}. Answer with nothing else."


def answers(y: NDArray[Any], classes: Sequence[str] | None) -> list[str]:
    """Return labels as the assistant writes them; y holds numbers, or codes into `classes`, shape (n,)."""
    return [f"{value:g}" for value in y] if classes is None else [classes[code] for code in y]


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
class Dialogue:
    """A text and its answer as tokens.

    Attributes:
        ids: The token ids up to the end of the answer.
        answer: Positions of the answer's tokens in them; no special token is among them.
    """

    ids: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Form:
    """A chat template with its instruction filled in: what stands before the text, before the answer and after it."""

    before: str
    between: str
    after: str


@dataclass(frozen=True)
class Decoder:
    """A loaded decoder.

    Attributes:
        name: Hub name or folder that the user gave.
        key: Hash that tells these weights from others.
        tokenizer: The model's tokenizer, with a chat template.
        model: The causal language model, in evaluation mode.
        device: Where it runs.
    """

    name: str
    key: str
    tokenizer: Any
    model: Any
    device: torch.device

    @torch.no_grad()
    def answer(self, texts: Sequence[str], instruction: str, progress: Progress = silent) -> Answers:
        """Return the greedy answer to each text and how sure the model is of it.

        An answer has at most 16 tokens and ends before the end token, which counts only where nothing stands before it.

        Raises:
            ModelError: The chat template cannot carry a question, or the instruction leaves no room for a text.
        """
        form = self.form(instruction)
        prompts, ends = [self._prompt(form, text) for text in texts], self._ends(form)
        said, confidences, done = [""] * len(prompts), np.zeros(len(prompts)), 0
        for batch in batches(prompts):
            for i, ids, sure in zip(batch, *self._generate([prompts[i] for i in batch], ends), strict=True):
                ended = np.flatnonzero(np.isin(ids, ends))
                length = int(ended[0]) if len(ended) else len(ids)
                said[i] = self.tokenizer.decode(ids[:length].tolist(), skip_special_tokens=True).strip()
                confidences[i] = sure[: max(length, 1)].mean()
            done += len(batch)
            progress(done / len(prompts))
        return Answers(tuple(said), confidences)

    def dialogue(self, form: Form, text: str, answer: str) -> Dialogue:
        """Return a text with its answer as tokens; a text that is too long is cut, never the rest.

        Raises:
            ArgumentError: The answer is blank.
            ModelError: The instruction leaves no room for a text.
        """
        answer = self._plain(answer)
        if not answer:
            raise ArgumentError("An answer is blank; a gradient needs an answer for every text.")
        ids, spans, start = self._encode(form.before, self._plain(text), form.between, answer)
        special = set(self.tokenizer.all_special_ids)
        inside = [p for p, (begin, end) in enumerate(spans) if end > max(begin, start) and ids[p] not in special]
        return Dialogue(ids, inside)

    def pad(self, ids: list[list[int]], *, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input ids and attention mask of a batch on the model's device, padded on the right or the left."""
        tokens = max(len(row) for row in ids)
        inputs = torch.full((len(ids), tokens), self._pad_id)
        mask = torch.zeros_like(inputs)
        for k, row in enumerate(ids):
            place = slice(tokens - len(row), tokens) if left else slice(len(row))
            inputs[k, place] = torch.tensor(row)
            mask[k, place] = 1
        return inputs.to(self.device), mask.to(self.device)

    def form(self, instruction: str) -> Form:
        """Return the chat template with an instruction; it is merged into the user turn where there is no system turn.

        Raises:
            ModelError: The template cannot carry a question and its answer.
        """
        system = [{"role": "system", "content": _INSTRUCTION}, {"role": "user", "content": _TEXT}]
        merged = [{"role": "user", "content": f"{_INSTRUCTION}\n\n{_TEXT}"}]
        for turns in (system, merged):
            parts = self._rendered([*turns, {"role": "assistant", "content": _ANSWER}])
            if parts is not None:
                head, before, between, after = parts
                return Form(head + self._plain(instruction) + before, between, after)
        raise ModelError(
            f"The chat template of model {self.name} cannot carry a question and its answer as they are; "
            "choose another instruction-tuned model."
        )

    def _rendered(self, turns: list[dict[str, str]]) -> list[str] | None:
        """The parts of a dialogue around instruction, text and answer, or None where the template has no such place."""
        try:
            # Some templates tell the date of today; the same texts are to be the same tokens tomorrow.
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, date_string="26 Jul 2024")
        except TemplateError:
            return None
        parts = []
        for mark in (_INSTRUCTION, _TEXT, _ANSWER):
            part, found, text = text.partition(mark)
            if not found or mark in text:
                return None
            parts.append(part)
        return [*parts, text]

    def _prompt(self, form: Form, text: str) -> list[int]:
        # A blank before the answer belongs to the answer's first token.
        return self._encode(form.before, self._plain(text), form.between.rstrip(" "), "")[0]

    def _encode(
        self, before: str, text: str, between: str, answer: str
    ) -> tuple[list[int], list[tuple[int, int]], int]:
        """Token ids, the letters that each covers, and where the answer's begin; the text is cut where it is long."""
        most = min(_MOST_TOKENS, getattr(self.model.config, "max_position_embeddings", None) or _MOST_TOKENS)
        most -= _MOST_ANSWER
        while True:
            whole = before + text + between + answer
            encoded = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
            ids, spans = encoded["input_ids"], encoded["offset_mapping"]
            if len(ids) <= most:
                return ids, spans, len(whole) - len(answer)
            stops = [end for _, end in spans if len(before) < end <= len(before) + len(text)]
            kept = len(stops) - (len(ids) - most)
            if kept < 1:
                raise ModelError(
                    f"The instruction leaves no room for a text: model {self.name} reads {most} tokens; shorten it."
                )
            text = text[: stops[kept - 1] - len(before)]

    def _plain(self, text: str) -> str:
        """The text without what a tokenizer would take for a token of its own, and without half a surrogate pair."""
        text = text.encode("utf-8", "replace").decode().strip()
        for token in self.tokenizer.added_tokens_decoder.values():
            if token.special and token.content in text:
                text = text.replace(token.content, f"{token.content[0]} {token.content[1:]}")
        return text

    @property
    def _pad_id(self) -> int:
        # Padding is masked: any token will do where the tokenizer has none for it.
        return self.tokenizer.pad_token_id or 0

    def _ends(self, form: Form) -> list[int]:
        """The tokens that end an answer: the model's, the tokenizer's, and the one that the template sets after it."""
        ends = self.model.generation_config.eos_token_id
        found = {ends} if isinstance(ends, int) else set(ends or ())
        after = self.tokenizer(form.after, add_special_tokens=False)["input_ids"][:1]
        return sorted(found | {*after, self.tokenizer.eos_token_id} & set(self.tokenizer.all_special_ids))

    def _generate(self, prompts: list[list[int]], ends: list[int]) -> tuple[NDArray[np.int64], Floats]:
        """Greedy tokens and the largest probability at each, both of shape (batch, steps)."""
        inputs, mask = self.pad(prompts, left=True)
        sureness = _Sureness()
        # What the checkpoint sets for chatting, such as a penalty on repetition, is not to bend the answer.
        config = GenerationConfig(
            max_new_tokens=_MOST_ANSWER, do_sample=False, num_beams=1, repetition_penalty=1.0, no_repeat_ngram_size=0,
            eos_token_id=ends or None, pad_token_id=self._pad_id,
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


def load_decoder(name: str) -> Decoder:
    """Load a decoder by hub name or folder, in bfloat16 on CUDA and in float32 on the CPU.

    Raises:
        ModelError: The model cannot be found, lacks safetensors or a chat template, wants remote code, or fails its
            check.
    """
    place = device()
    dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
    key, tokenizer, model = load(name, AutoModelForCausalLM, dtype=dtype)
    if not tokenizer.chat_template:
        raise ModelError(
            f"The tokenizer of model {name} has no chat template, so the model cannot be asked; choose its "
            "instruction-tuned form (often named -Instruct or -it)."
        )
    if not tokenizer.is_fast:
        raise ModelError(
            f"The tokenizer of model {name} does not tell which letters a token covers; choose a model with a "
            "tokenizer.json."
        )
    return Decoder(name, key, tokenizer, model, place)


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
        # Padding on the right lies in the future of every token: a causal model needs no mask against it.
        inputs, _ = self.decoder.pad([dialogue.ids for dialogue in chosen])
        owner = torch.tensor([k for k, dialogue in enumerate(chosen) for _ in dialogue.answer]).to(inputs.device)
        place = torch.tensor([p for dialogue in chosen for p in dialogue.answer]).to(inputs.device)
        logits = self._logits(inputs, owner, place - 1)
        loss = nn.functional.cross_entropy(logits.float(), inputs[owner, place], reduction="none")
        count = torch.bincount(owner, minlength=len(rows))
        losses = torch.zeros(len(rows), device=loss.device).index_add(0, owner, loss / count[owner])
        return Batch(losses, tuple(inputs.shape), [(k, 0, len(dialogue.ids)) for k, dialogue in enumerate(chosen)])

    def _logits(self, inputs: torch.Tensor, owner: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """Logits at these places only, shape (len(place), vocabulary): of a long text they would fill the memory."""

        def choose(_: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return (args[0][owner, place][None],)

        hook = self.decoder.model.get_output_embeddings().register_forward_pre_hook(choose)
        try:
            logits: torch.Tensor = self.decoder.model(input_ids=inputs, use_cache=False).logits
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
        ModelError: The chat template cannot carry a question, the instruction leaves no room for a text, or the
            gradients are not finite.
    """
    form, chosen = decoder.form(instruction), low_confidence(confidences, np.random.default_rng(seed))
    dialogues = [decoder.dialogue(form, texts[i], answers[i]) for i in chosen]
    return median_cosine(cosines(Answered(decoder, dialogues), seed=seed, progress=progress))
