"""An encoder of the BERT kind in training on a CPU: its maps see tokens alone, only attention what pads a batch.

Short texts beside long ones cost a batch a fifth to a third more tokens than it has, and the maps are nearly all of the
work. On short texts attention takes less time in plain parts than in torch's fused form.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from engine.learning.packed import base_of, is_of_the_bert_kind, positions_of

_NAME = "labelwise_unpadded"
_LONG = 128  # tokens of a text from which on torch's fused attention is as fast, and keeps no scores for the way back


def last_states(backbone: Any, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return a backbone's last states of a padded batch, shape (batch, tokens, width).

    Args:
        backbone: Any encoder, with adapters or without.
        inputs: Input ids, shape (batch, tokens).
        mask: One where there is a token, shape (batch, tokens). States elsewhere mean nothing.
    """
    base = base_of(backbone)
    # Activations are checkpointed in training mode alone; computed again, they would be without the batch's layout.
    if inputs.device.type != "cpu" or base.training or not is_of_the_bert_kind(base):
        return torch.as_tensor(backbone(input_ids=inputs, attention_mask=mask).last_hidden_state)
    layout = _Layout.of(mask)
    positions = positions_of(base.embeddings, inputs).expand(inputs.shape)
    ids, positions = (numbers.reshape(-1)[layout.places][None] for numbers in (inputs, positions))
    with _attention_of(base.config):
        told = backbone(input_ids=ids, position_ids=positions, layout=layout)
    return layout.padded(told.last_hidden_state[0])


@dataclass(frozen=True)
class _Layout:
    """Where the tokens of a padded batch are.

    Attributes:
        shape: Of the batch, (texts, tokens of the longest).
        places: Of the tokens in the flattened batch, shape (tokens,).
        sources: Which token stands at a place of the flattened batch; the first one where there is none.
        bias: Added to the scores of what may be attended to, shape (texts, 1, 1, tokens of the longest).
    """

    shape: tuple[int, int]
    places: torch.Tensor
    sources: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def of(cls, mask: torch.Tensor) -> Self:
        there = mask.bool()
        places = there.reshape(-1).nonzero().view(-1)
        sources = places.new_zeros(there.numel()).index_copy_(0, places, torch.arange(len(places)))
        bias = torch.zeros(mask.shape).masked_fill_(~there, torch.finfo(torch.float32).min)
        return cls((mask.shape[0], mask.shape[1]), places, sources, bias[:, None, None])

    def padded(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return rows of tokens in their batch, shape (texts, tokens of the longest, columns)."""
        rows: torch.Tensor = _Padded.apply(tokens, self)  # type: ignore[no-untyped-call]
        return rows.view(*self.shape, -1)

    def packed(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the tokens of a batch, shape (texts, tokens of the longest, columns), as rows."""
        tokens: torch.Tensor = _Packed.apply(rows.flatten(0, 1), self)  # type: ignore[no-untyped-call]
        return tokens


class _Padded(torch.autograd.Function):
    """Tokens to all places of a batch. What stands where no token is, nothing reads: no gradient comes from there."""

    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor, layout: _Layout) -> torch.Tensor:
        ctx.layout = layout
        return tokens.index_select(0, layout.sources)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return gradients[0].index_select(0, ctx.layout.places), None


class _Packed(torch.autograd.Function):
    """All places of a batch to its tokens."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, layout: _Layout) -> torch.Tensor:
        ctx.layout = layout
        return rows.index_select(0, layout.places)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient, layout = gradients[0], ctx.layout
        rows = gradient.new_zeros(len(layout.sources), gradient.shape[1])
        return rows.index_copy_(0, layout.places, gradient), None


@contextmanager
def _attention_of(config: Any) -> Iterator[None]:
    """Let the model's layers attend through `_attend`, which needs no mask."""
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(
    _module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: None,
    *,
    scaling: float,
    layout: _Layout,
    **_told: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of each text to itself; states of the batch's tokens have shape (1, heads, tokens, width of a head)."""
    _, heads, tokens, width = query.shape

    def padded(states: torch.Tensor) -> torch.Tensor:
        rows = layout.padded(states[0].transpose(0, 1).reshape(tokens, -1))
        return rows.view(*layout.shape, heads, width).transpose(1, 2)

    seen = _attended(padded(query), padded(key), padded(value), layout.bias, scaling).transpose(1, 2)
    return layout.packed(seen.flatten(2)).view(1, tokens, heads, width), None


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor, scaling: float
) -> torch.Tensor:
    if query.shape[2] > _LONG and query.dtype == torch.float32:
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scaling)
    return ((query * scaling) @ key.transpose(2, 3) + bias).softmax(-1) @ value


# No mask is registered under the name, so that transformers makes none.
ALL_ATTENTION_FUNCTIONS.register(_NAME, _attend)
