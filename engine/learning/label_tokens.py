"""The label-token head: a decoder's prediction is the expected rating, or the class probabilities, of its answer.

Each label that may be given is spelled in tokens behind the prompt. Where no two begin with the same token, the first
token alone tells them apart; otherwise the tokens of each are scored to the end. The probabilities are normalised over
the labels, and a number's prediction is the expectation sum_k k p(k). The head has no weights of its own: it predicts
without training, and fine-tuning the decoder goes through the same expectation.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, floor
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from engine.errors import ArgumentError
from engine.learning.decoders import Decoder, logits_at
from engine.learning.dialogues import Questionnaire, Spelling, answers, instruction, shared_tokens
from engine.learning.faults import memory_told
from engine.learning.models import Progress, batches, kept_by, silent

_MOST_NUMBERS = 11
_TOKENS_PER_BATCH = 4096
_ROOM_AROUND = 8  # tokens beside those of a label: a blank before it, and its end
# Layers of a cache that are keys and values alone, and can be repeated for each text; their subclasses hold more.
_REPEATABLE = (DynamicLayer, DynamicSlidingWindowLayer)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Choices:
    """The labels among which a decoder chooses.

    Attributes:
        names: The labels as the assistant writes them, k of them.
        values: The numbers that they stand for, k of them; None for classes.
        about: What the label is called, such as valence or topic; the model is told.
    """

    names: tuple[str, ...]
    values: tuple[float, ...] | None = None
    about: str = ""

    def __post_init__(self) -> None:
        if len({name.strip() for name in self.names}) < max(len(self.names), 2):
            raise ArgumentError(
                f"A model is to choose among {', '.join(self.names) or 'no labels'}; name two or more, each once."
            )

    @classmethod
    def of(cls, y: NDArray[Any], classes: Sequence[str] | None = None, about: str = "") -> Self:
        """Return the classes, or the numbers of the scale on which the ratings y, shape (n,), lie."""
        return cls(tuple(classes), None, about) if classes else cls.between(float(np.min(y)), float(np.max(y)), about)

    @classmethod
    def between(cls, low: float, high: float, about: str = "") -> Self:
        """Return the whole numbers from low to high (or beyond them), or 11 at equal distances where they are more."""
        low, high = floor(low), max(ceil(high), floor(low) + 1)
        # Tenths of whole numbers, without what rounding adds: nobody writes -0.0999999999999996.
        values = np.linspace(low, high, int(min(high - low + 1, _MOST_NUMBERS))).round(1) + 0.0
        return cls(tuple(answers(values, None)), tuple(values.tolist()), about)

    @property
    def middle(self) -> float:
        """The mean of the numbers; zero for classes."""
        return float(np.mean(self.values)) if self.values else 0.0

    @property
    def instruction(self) -> str:
        """What is asked of a text."""
        return instruction(np.array(self.values or ()), None if self.values else self.names, self.about)

    def save(self, folder: Path, model: str) -> None:
        """Save what is asked of which model, by its hub name or folder."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"model": model, **asdict(self)}
        (folder / "choices.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


class LabelHead(nn.Module):
    """A causal language model read through the probabilities of the choices.

    Args:
        backbone: The causal language model, or one with adapters.
        tails: The tokens of each choice behind a prompt, k of them; none begins another.
        values: The number that each stands for, or None for classes.
    """

    values: torch.Tensor
    contexts: torch.Tensor
    nodes: torch.Tensor
    steps: torch.Tensor

    def __init__(self, backbone: Any, tails: Sequence[Sequence[int]], values: Sequence[float] | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.logistic = values is None
        contexts, nodes, steps = _tree(tails)
        for name, of in (("values", values or [0.0] * len(tails)), ("nodes", nodes), ("steps", steps)):
            self.register_buffer(name, torch.tensor(of, device=backbone.device), persistent=False)
        self.register_buffer(
            "contexts", torch.tensor(contexts, dtype=torch.long, device=backbone.device), persistent=False
        )

    @property
    def rows(self) -> int:
        """Rows that the model reads for each text."""
        return len(self.contexts)

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor, past: Any = None) -> torch.Tensor:
        """Return expected numbers, shape (batch, 1), or class probabilities, shape (batch, k).

        Args:
            inputs: Tokens of the prompts, shape (batch, tokens), padded on either side.
            mask: One where there is a token, zero where there is padding, same shape.
            past: What `read_ahead` made of tokens that stand before all of these.
        """
        p = self.log_probabilities(inputs, mask, past).exp()
        # A product of matrices would be taken in half precision where training is.
        return p if self.logistic else (p * self.values).sum(-1, keepdim=True)

    def log_probabilities(self, inputs: torch.Tensor, mask: torch.Tensor, past: Any = None) -> torch.Tensor:
        """Return the log probability of each choice among all of them, shape (batch, k); arguments as for `forward`."""
        rows, lengths = self._rows(inputs, mask)
        row, depth = self.nodes.T
        owner = torch.arange(len(inputs), device=rows.device)[:, None] * self.rows + row
        place = lengths[:, None] - 1 + depth
        if past is not None:
            past = copy.deepcopy(past)
            past.batch_repeat_interleave(len(rows))
        logits = logits_at(self.backbone, rows, owner.flatten(), place.flatten(), past).float()
        logits = logits.view(len(inputs), len(self.nodes), -1)
        choice, node, token = self.steps.T
        steps = logits[:, node, token] - logits.logsumexp(-1)[:, node]
        return steps.new_zeros(len(inputs), len(self.values)).index_add(1, choice, steps).log_softmax(-1)

    def read_ahead(self, ids: list[int]) -> Any:
        """Return the model's cache of these tokens, to be read once for many texts; None where it keeps none such."""
        read = self.backbone(input_ids=torch.tensor([ids], device=self.values.device), use_cache=True)
        past = getattr(read, "past_key_values", None)
        repeatable = isinstance(past, DynamicCache) and all(type(layer) in _REPEATABLE for layer in past.layers)
        return past if repeatable else None

    def _rows(self, inputs: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Each prompt followed by each context, padded on the right, and the lengths of the prompts."""
        lengths, tokens = mask.sum(1), inputs.gather(1, mask.argsort(dim=1, descending=True, stable=True))
        count, depth = self.contexts.shape
        rows = nn.functional.pad(tokens, (0, depth))[:, None].repeat(1, count, 1)
        place = lengths[:, None, None] + torch.arange(depth, device=rows.device)
        rows.scatter_(2, place.expand(-1, count, -1), self.contexts.expand(len(rows), -1, -1))
        return rows.flatten(0, 1), lengths


def _tree(tails: Sequence[Sequence[int]]) -> tuple[list[list[int]], list[tuple[int, int]], list[tuple[int, int, int]]]:
    """The tree of the tokens by which the choices are told apart.

    Returns:
        The contexts that the model must read behind a prompt, each padded to the longest; the nodes at which a token
        is chosen, as the row of a context and the tokens of it read so far; and the steps to each choice, as choice,
        node, and token chosen there.
    """
    if len({tail[0] for tail in tails}) == len(tails):
        tails = [tail[:1] for tail in tails]
    places = list(dict.fromkeys(tuple(tail[:k]) for tail in tails for k in range(len(tail))))
    # What is read on the way to a longer context needs no row of its own.
    rows = [place for place in places if not any(other[: len(place)] == place != other for other in places)]
    nodes = [(next(k for k, row in enumerate(rows) if row[: len(place)] == place), len(place)) for place in places]
    steps = [
        (choice, places.index(tuple(tail[:k])), token)
        for choice, tail in enumerate(tails)
        for k, token in enumerate(tail)
    ]
    longest = max(len(row) for row in rows)
    return [[*row, *[0] * (longest - len(row))] for row in rows], nodes, steps


@dataclass(frozen=True)
class Asked:
    """A decoder that is asked one question of every text; also the reader of the prompts on which it is fine-tuned.

    Attributes:
        decoder: The model.
        choices: What it may answer.
        questionnaire: The question in its chat template.
        spelling: The choices in tokens.
    """

    decoder: Decoder
    choices: Choices
    questionnaire: Questionnaire
    spelling: Spelling

    @property
    def name(self) -> str:
        """Hub name or folder of the model."""
        return self.decoder.name

    @property
    def key(self) -> str:
        """What tells the model's weights and its question from others."""
        return f"{self.decoder.key} {self.choices}"

    @property
    def base(self) -> Any:
        """The model before training."""
        return self.decoder.model

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of the prompts, up to where the choices differ."""
        prompts = (self.questionnaire.prompt(text) for text in texts)
        return [[*ids[: len(ids) - self.spelling.back], *self.spelling.lead] for ids in prompts]

    def pad(self, ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input ids and attention mask of a batch on the model's device."""
        return self.decoder.pad(ids)

    def truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts are longer than the model reads."""
        return sum(map(self.questionnaire.is_cut, texts))

    def location(self, _columns: Floats) -> float:
        """Return the middle of the scale, from which the head counts."""
        return self.choices.middle

    def head(self, backbone: Any, *_labels: Any) -> LabelHead:
        """Return the head on the model, on a copy of it, or on one with adapters; it is the same for all labels."""
        numbers = self.choices.values
        values = None if numbers is None else [number - self.choices.middle for number in numbers]
        return LabelHead(backbone, self.spelling.tails, values)

    def below(self, _ids: list[list[int]], _layers: int) -> None:
        """Return None: the model reads each prompt with several answers behind it."""

    def read_together(
        self, backbone: Any, heads: list[Any], inputs: torch.Tensor, mask: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the predictions of each of equally many rows in turn; the head is the same for all of them."""
        return list(self.head(backbone)(inputs, mask).chunk(len(heads)))

    def settled(self, backbone: Any, _heads: list[Any]) -> LabelHead:
        """Return the head on a trained backbone; it has nothing of its own to learn."""
        return self.head(backbone).eval()

    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return expected numbers, shape (len(texts),), or class probabilities, shape (len(texts), k)."""
        outputs = self.outputs(self.settled(self.base, []), texts, progress)
        return outputs if self.choices.values is None else outputs[:, 0]

    @torch.inference_mode()
    def outputs(
        self, module: LabelHead, texts: list[str], progress: Progress = silent, *, rough: bool = False
    ) -> Floats:
        """Return a head's predictions, shape (len(texts), 1) for numbers or (len(texts), k) for classes."""
        ids, done = self.tokenize(texts), 0
        out = np.empty((len(ids), len(self.choices.names) if module.logistic else 1))
        with memory_told(f"predict with model {self.name}", "choose a smaller model"):
            # The question stands before every text: it is read once.
            shared = min(shared_tokens(ids), min(map(len, ids)) - 1) if len(ids) > 1 else 0
            past = module.read_ahead(ids[0][:shared]) if shared else None
            start = 0 if past is None else shared
            for batch in batches(ids, _TOKENS_PER_BATCH // module.rows):
                out[batch] = module(*self.pad([ids[i][start:] for i in batch]), past).cpu().numpy()
                done += len(batch)
                progress(done / len(ids))
        return out + self.choices.middle

    def save_head(self, _module: LabelHead, folder: Path) -> None:
        """Save what is asked, beside a fine-tuned model."""
        self.save(folder)

    def told(self, module: LabelHead) -> str:
        """Return how an output comes of a text, for the model card."""
        output = (
            "The outputs are these probabilities."
            if module.logistic
            else "The output is the sum over the names of their probabilities times the `values` there."
        )
        return f"""The model is asked through its chat template. The system turn, or without one the
start of the user's, is

> {self.choices.instruction}

The user turn is the text, of which the {kept_by(self.decoder.tokenizer)} is read where it is too long. The answers
are the `names` in `choices.json`. Each has the probability that the model gives to its tokens as the assistant's
answer (to the first of them alone where that tells the names apart), divided by the sum over the names. {output}"""

    def save(self, folder: Path) -> None:
        """Save what is asked of which model."""
        self.choices.save(folder, self.name)


def ask(decoder: Decoder, choices: Choices) -> Asked:
    """Return a decoder that is asked to choose, ready for texts.

    Raises:
        ArgumentError: The tokenizer cannot spell a choice, or cannot tell two of them apart.
        ModelError: The chat template cannot carry a question, or the question leaves no room for a text.
    """
    longest = max(len(name.encode("utf-8", "replace")) for name in choices.names)  # no token is less than a byte
    questionnaire = decoder.questionnaire(choices.instruction, longest + _ROOM_AROUND)
    return Asked(decoder, choices, questionnaire, questionnaire.spell(choices.names))


def saved_choices(folder: Path) -> Choices:
    """Return the choices that `save` or `save_head` kept in a folder."""
    facts = json.loads((folder / "choices.json").read_text(encoding="utf-8"))
    return Choices(tuple(facts["names"]), tuple(facts["values"]) if facts["values"] else None, facts["about"])


def zero_shot(decoder: Decoder, texts: list[str], choices: Choices, progress: Progress = silent) -> Floats:
    """Return predictions without training: numbers, shape (len(texts),), or class probabilities, (len(texts), k).

    Raises:
        ArgumentError: The tokenizer cannot spell a choice, or cannot tell two of them apart.
        ModelError: The chat template cannot carry a question, or the question leaves no room for a text.
    """
    return ask(decoder, choices).predict(texts, progress)
