"""The states below the layers that train, computed once: no step changes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.pytorch_utils import Conv1D

from engine.learning.models import Encoder, batches

_MOST_BYTES = 5e8
Choose = Callable[[list[int], torch.Tensor], None]


def layers_of(model: Any) -> tuple[str, nn.ModuleList]:
    """Return the name of the stack of a model's layers, and the stack; an empty one where it is no list."""
    config = model.config.get_text_config()
    count = getattr(config, "num_hidden_layers", 0)
    # A model that reads pictures too has layers for them, of which there may be as many.
    apart = set() if config is model.config else set(model.modules()) - set(model.get_decoder().modules())
    stacks = (
        (name, part)
        for name, part in model.named_modules()
        if isinstance(part, nn.ModuleList) and part not in apart and len(part) == count
    )
    return next(stacks, ("", nn.ModuleList()))


def is_linear(part: nn.Module) -> bool:
    """Return whether a part is a linear map; GPT-2's are kept the other way round.

    A subclass of a model's own may be none: routers answer with the experts that they choose (Phimoe, Llama 4), others
    split their inputs into groups. Falcon's is one; so are those of quantised weights, which are no model's own.
    """
    kind = type(part)
    own = kind.forward.__module__.startswith("transformers.models.") and kind.__name__ != "FalconLinear"
    return isinstance(part, nn.Linear | Conv1D) and not own


class _Left(Exception):
    """Ends a forward early: the layers above are not needed."""

    def __init__(self, states: Any) -> None:
        super().__init__()
        self.states = states


def _leave(_layer: nn.Module, _inputs: Any, out: Any) -> None:
    raise _Left(out)


class _Given(nn.Module):
    """Stands in for a layer: hands on what it is given, or the states of tokens that were computed before."""

    def __init__(self, layer: nn.Module, *, parts: int) -> None:
        super().__init__()
        self.tokens: torch.Tensor | None = None
        self.mask: torch.Tensor | None = None
        self._parts = parts
        # Not a part of this module, so that its weights are counted once.
        object.__setattr__(self, "layer", layer)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["layer"], name)  # such as the kind of attention, which some models ask for

    def forward(self, states: torch.Tensor, *_: Any, **__: Any) -> Any:
        """Return the states in the form of the layer's own answer."""
        out = states if self.tokens is None else self._laid(self.tokens, states.shape[1])
        return (out, *[None] * (self._parts - 1)) if self._parts else out

    def _laid(self, tokens: torch.Tensor, length: int) -> torch.Tensor:
        """The tokens' states end to end, shape (1, tokens, width), or padded, shape (texts, length, width)."""
        if length == len(tokens):  # longer than any one text of several
            return tokens[None]
        assert self.mask is not None
        states = tokens.new_zeros(*self.mask.shape, tokens.shape[1])
        states[self.mask.bool()] = tokens
        return states


@dataclass(frozen=True)
class Below:
    """Token states of texts below the first layer that trains.

    Attributes:
        count: How many layers stand still, one or more.
        states: Of each text, shape (tokens, width), in the precision of training.
        parts: How many parts the tuple has with which a layer answers; 0 where it answers with its states alone.
    """

    count: int
    states: list[torch.Tensor]
    parts: int

    @classmethod
    @torch.no_grad()
    def of(cls, encoder: Encoder, ids: list[list[int]], count: int, dtype: torch.dtype = torch.float32) -> Self | None:
        """Return the states of texts, given as tokens, after `count` layers.

        None where they are too large to keep, or where they are not all that a layer hands on to the next.
        """
        if count < 1 or dtype.itemsize * sum(map(len, ids)) * encoder.width > _MOST_BYTES:
            return None
        states, parts, width = [torch.empty(0)] * len(ids), 0, encoder.width
        hook = layers_of(encoder.model)[1][count - 1].register_forward_hook(_leave)
        try:
            for batch in batches(ids):
                inputs, mask = encoder.pad([ids[i] for i in batch])
                out: Any = None
                try:
                    encoder.model(input_ids=inputs, attention_mask=mask)
                except _Left as left:
                    out = left.states
                parts = len(out) if isinstance(out, tuple) else 0
                found, *more = out if parts else [out]
                if getattr(found, "shape", None) != (*mask.shape, width) or any(part is not None for part in more):
                    return None
                found = found[mask.bool()]
                for i, part in zip(batch, torch.split(found, [len(ids[i]) for i in batch]), strict=True):
                    states[i] = part.to(dtype, copy=True)
        finally:
            hook.remove()
        return cls(count, states, parts)

    def rows(self, rows: Sequence[int] | NDArray[np.intp]) -> Self:
        """Return the states of some of the texts."""
        return replace(self, states=[self.states[i] for i in rows])

    @contextmanager
    def standing_in(self, model: Any) -> Iterator[Choose]:
        """Put the states in the place of the layers that stand still.

        Yields:
            A function that says which texts come next, by their positions and the mask (batch, tokens), which is one
            where they have a token.
        """
        stack = layers_of(model)[1]
        layers = list(stack[: self.count])
        given = [_Given(layer, parts=self.parts) for layer in layers]

        def choose(batch: list[int], mask: torch.Tensor) -> None:
            given[-1].tokens, given[-1].mask = torch.cat([self.states[i] for i in batch]), mask

        for place, stand_in in enumerate(given):
            stack[place] = stand_in
        try:
            yield choose
        finally:
            for place, layer in enumerate(layers):
                stack[place] = layer
