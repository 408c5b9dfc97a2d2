"""Questions and answers as tokens, through a tokenizer's chat template.

The instruction is the system turn, the text the user turn, the label the assistant turn. A dialogue is rendered once
with marks in their places, so that the same tokens stand before an answer that a model gives as before one that it is
given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from engine.errors import ArgumentError, ModelError

_INSTRUCTION, _TEXT, _ANSWER = "LABELWISEINSTRUCTION", "LABELWISETEXT", "LABELWISEANSWER"
_SAMPLE = "text"

# Some templates tell the date of today; the same texts are to be the same tokens tomorrow. Some take a date that they
# are given; others call strftime_now. To those transformers passes no function, so a macro stands in its place.
_DATE = datetime(2024, 7, 26)
_PADDED = {code: _DATE.strftime(f"%{code}") for code in "AaBbcDdeFHIjMmpSTUWwXxYy"}
_BARE = {f"-{code}": told.lstrip("0") or "0" for code, told in _PADDED.items()}
_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f"|replace('%{code}', '{told}')" for code, told in (_BARE | _PADDED).items())
    + " }}{% endmacro %}\n"
)


def instruction(y: NDArray[Any], classes: Sequence[str] | None, about: str = "") -> str:
    """Return what to ask of a text: for one of the classes, or for a number within the range of the ratings.

    Args:
        y: The ratings, shape (n,), of which the range is told; not looked at where there are classes.
        classes: Names of the classes, or None for numbers.
        about: What the label is called, such as valence or topic.
    """
    by = f" by {about.replace('_', ' ').strip()}" if about.strip() else ""
    if classes is not None:
        return f"Classify the text{by}. Answer with one of: {', '.join(classes)}. Answer with nothing else."
    number = "whole number" if np.all(y == np.round(y)) else "number"
    low, high = _written(np.min(y)), _written(np.max(y))
    return f"Rate the text{by}. Answer with a {number} from {low} to {high}. Answer with nothing else."


def answers(y: NDArray[Any], classes: Sequence[str] | None) -> list[str]:
    """Return labels as the assistant writes them; y holds numbers, or codes into `classes`, shape (n,)."""
    return [_written(value) for value in y] if classes is None else [classes[code] for code in y]


def _written(value: float) -> str:
    """A number in the digits that tell it, a whole one in all of them."""
    if value == round(value):
        return f"{value:.0f}"
    single = np.float32(value)  # a file may keep 3.3 in single precision, which in double is 3.29999995231628
    return str(single) if float(single) == value else f"{value:.15g}"


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
class Spelling:
    """How answers continue a prompt, token by token.

    Attributes:
        back: How many of the prompt's last tokens merge with what follows and are left out.
        lead: Tokens that stand there before every answer.
        tails: The tokens of each answer after them; none begins another.
    """

    back: int
    lead: list[int]
    tails: list[list[int]]


class Questionnaire:
    """One instruction in a tokenizer's chat template, ready for any text.

    Args:
        tokenizer: A tokenizer with a chat template that tells which letters a token covers. Its truncation side is the
            end at which a text that is too long is cut.
        name: The model's name, for messages.
        instruction: What is asked of a text; merged into the user turn where the template has no system turn.
        most: The tokens that a dialogue may have; a text that is too long is cut, never the rest.

    Raises:
        ModelError: The template cannot carry a question and its answer.
    """

    def __init__(self, tokenizer: Any, name: str, instruction: str, most: int) -> None:
        self._tokenizer, self._name, self._most = tokenizer, name, most
        self._special = set(tokenizer.all_special_ids)
        # Asked once: transformers makes the table of added tokens, of which there may be thousands, anew each time.
        self._marks = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
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

    def is_cut(self, text: str) -> bool:
        """Return whether a text is too long to be read whole."""
        whole = self._before + self._plain(text) + self._between.rstrip(" ")
        return len(self._tokenizer(whole, add_special_tokens=False)["input_ids"]) > self._most

    def spell(self, answers: Sequence[str]) -> Spelling:
        """Return how answers continue a prompt; an answer that begins another has the token behind it that ends it.

        Raises:
            ArgumentError: Two answers are the same tokens, one is blank, or the tokenizer cannot spell it.
            ModelError: The instruction leaves no room for a text, or no token ends an answer that begins another.
        """
        before, whole = self.prompt(_SAMPLE), [self.dialogue(_SAMPLE, answer).ids for answer in answers]
        for first, second in combinations(range(len(whole)), 2):
            if whole[first] == whole[second]:
                raise ArgumentError(
                    f"Model {self._name} cannot tell the answers {answers[first]!r} and {answers[second]!r} apart; "
                    "rename one."
                )
        begun = [any(ids is not other and other[: len(ids)] == ids for other in whole) for ids in whole]
        whole = [[*ids, self._end(answer)] if b else ids for ids, b, answer in zip(whole, begun, answers, strict=True)]
        common = shared_tokens(whole)
        kept = shared_tokens([before, whole[0][:common]])
        return Spelling(len(before) - kept, whole[0][kept:common], [ids[common:] for ids in whole])

    def _end(self, answer: str) -> int:
        """The token that ends an answer."""
        for token in (*self.ends, self._tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise ModelError(
            f"The answer {answer!r} begins another, and model {self._name} has no token that ends an answer; rename it."
        )

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
            rest = self._tokenizer.apply_chat_template(
                turns,
                chat_template=_CLOCK + self._tokenizer.get_chat_template(),
                tokenize=False,
                date_string=f"{_DATE:%d %b %Y}",
            )
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
            inside = [(max(begin - start, 0), end - start) for begin, end in spans if start < end <= start + len(text)]
            kept = len(inside) - (len(ids) - self._most)
            text = self._cut(text, inside, kept) if kept > 0 else ""
            if not text:
                raise ModelError(
                    f"The instruction leaves no room for a text: model {self._name} reads {self._most} tokens at a "
                    "time; shorten it."
                )

    def _cut(self, text: str, inside: list[tuple[int, int]], kept: int) -> str:
        """The text with `kept` of its tokens, fewer than cover it; always shorter, and perhaps empty.

        Several tokens may spell one letter (an emoji, where tokens are bytes) and all cover the whole of it: a letter
        of which one is dropped goes with it, or nothing would be cut.
        """
        if self._tokenizer.truncation_side == "left":
            return text[max(inside[-kept][0], inside[-kept - 1][1], 1) :]
        return text[: min(inside[kept - 1][1], inside[kept][0], len(text) - 1)]

    def _plain(self, text: str) -> str:
        """The text without what a tokenizer would take for a token of its own, and without half a surrogate pair."""
        text = text.encode("utf-8", "replace").decode().strip()
        for mark in self._marks:
            if mark in text:
                text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        return text


def shared_tokens(rows: list[list[int]]) -> int:
    """Return the number of tokens with which all rows begin."""
    return next((k for k, tokens in enumerate(zip(*rows, strict=False)) if len(set(tokens)) > 1), min(map(len, rows)))
