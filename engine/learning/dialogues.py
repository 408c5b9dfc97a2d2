"""Questions and answers as tokens, through a tokenizer's chat template.

The instruction is the system turn, the text the user turn, the label the assistant turn. A dialogue is rendered once
with marks in their places, so that the same tokens stand before an answer that a model gives as before one that it is
given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from engine.errors import ArgumentError, ModelError

_INSTRUCTION, _TEXT, _ANSWER = "LABELWISEINSTRUCTION", "LABELWISETEXT", "LABELWISEANSWER"


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
class Dialogue:
    """A text and its answer as tokens.

    Attributes:
        ids: The token ids up to the end of the answer.
        answer: Positions of the answer's tokens in them; no special token is among them.
    """

    ids: list[int]
    answer: list[int]


class Questionnaire:
    """One instruction in a tokenizer's chat template, ready for any text.

    Args:
        tokenizer: A tokenizer with a chat template that tells which letters a token covers.
        name: The model's name, for messages.
        instruction: What is asked of a text; merged into the user turn where the template has no system turn.
        most: The tokens that a dialogue may have; a text that is too long is cut, never the rest.

    Raises:
        ModelError: The template cannot carry a question and its answer.
    """

    def __init__(self, tokenizer: Any, name: str, instruction: str, most: int) -> None:
        self._tokenizer, self._name, self._most = tokenizer, name, most
        self._special = set(tokenizer.all_special_ids)
        system = [{"role": "system", "content": _INSTRUCTION}, {"role": "user", "content": _TEXT}]
        merged = [{"role": "user", "content": f"{_INSTRUCTION}\n\n{_TEXT}"}]
        parts = self._rendered(system) or self._rendered(merged)
        if parts is None:
            raise ModelError(
                f"The chat template of model {name} cannot carry a question and its answer as they are; "
                "choose another instruction-tuned model."
            )
        head, before, self._between, self._after = parts
        self._before = head + self._plain(instruction) + before

    @property
    def ends(self) -> set[int]:
        """The special token that the template sets after an answer, where it sets one."""
        return set(self._tokenizer(self._after, add_special_tokens=False)["input_ids"][:1]) & self._special

    def prompt(self, text: str) -> list[int]:
        """Return the tokens that stand before the answer to a text.

        Raises:
            ModelError: The instruction leaves no room for a text.
        """
        # A blank before the answer belongs to the answer's first token.
        return self._encode(self._plain(text), self._between.rstrip(" "), "")[0]

    def dialogue(self, text: str, answer: str) -> Dialogue:
        """Return a text with its answer as tokens.

        Raises:
            ArgumentError: The answer is blank, or the tokenizer cannot spell it.
            ModelError: The instruction leaves no room for a text.
        """
        answer = self._plain(answer)
        if not answer:
            raise ArgumentError("An answer is blank; a gradient needs an answer for every text.")
        ids, spans, start = self._encode(self._plain(text), self._between, answer)
        inside = [p for p, (begin, end) in enumerate(spans) if end > max(begin, start) and ids[p] not in self._special]
        if not inside:
            raise ArgumentError(f"Model {self._name} has no tokens for the answer {answer!r}; rename it.")
        return Dialogue(ids, inside)

    def _rendered(self, turns: list[dict[str, str]]) -> list[str] | None:
        """The parts of a dialogue around instruction, text and answer, or None where the template has no such place."""
        turns = [*turns, {"role": "assistant", "content": _ANSWER}]
        try:
            # Some templates tell the date of today; the same texts are to be the same tokens tomorrow.
            rest = self._tokenizer.apply_chat_template(turns, tokenize=False, date_string="26 Jul 2024")
        except TemplateError:
            return None
        parts = []
        for mark in (_INSTRUCTION, _TEXT, _ANSWER):
            part, found, rest = rest.partition(mark)
            if not found or mark in rest:
                return None
            parts.append(part)
        return [*parts, rest]

    def _encode(self, text: str, between: str, answer: str) -> tuple[list[int], list[tuple[int, int]], int]:
        """Token ids, the letters that each covers, and where the answer's begin; the text is cut until they fit."""
        start = len(self._before)
        while True:
            whole = self._before + text + between + answer
            encoded = self._tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
            ids, spans = encoded["input_ids"], encoded["offset_mapping"]
            if len(ids) <= self._most:
                return ids, spans, len(whole) - len(answer)
            stops = [end for _, end in spans if start < end <= start + len(text)]
            kept = len(stops) - (len(ids) - self._most)
            if kept < 1:
                raise ModelError(
                    f"The instruction leaves no room for a text: model {self._name} reads {self._most} tokens at a "
                    "time; shorten it."
                )
            text = text[: stops[kept - 1] - start]

    def _plain(self, text: str) -> str:
        """The text without what a tokenizer would take for a token of its own, and without half a surrogate pair."""
        text = text.encode("utf-8", "replace").decode().strip()
        for token in self._tokenizer.added_tokens_decoder.values():
            if token.special and token.content in text:
                text = text.replace(token.content, f"{token.content[0]} {token.content[1:]}")
        return text
