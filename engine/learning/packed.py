"""An encoder of the BERT kind with its weights prepared for texts without padding."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import nn
from transformers import BertModel, RobertaModel, XLMRobertaModel

from engine.learning.products import Product, Weights

_KINDS = (BertModel, RobertaModel, XLMRobertaModel)
Shape = tuple[int, int]


class PackedEncoder:
    """The encoder's forward on texts laid end to end.

    Args:
        model: A model for which `can_pack` holds; later changes of its weights are not seen.
        dtype: Of the states: torch.float32 or torch.bfloat16.
        split: Whether float32 products are made of bfloat16 parts (see products.py).
    """

    def __init__(self, model: Any, dtype: torch.dtype, *, split: bool) -> None:
        base = base_of(model)
        self._embeddings, self._dtype = base.embeddings, dtype
        self._layers = [_Layer(layer, dtype, split) for layer in base.encoder.layer]

    @torch.inference_mode()
    def pooled(self, ids: list[list[int]], layers: int) -> NDArray[np.float32]:
        """Return mean token states of the last layers, shape (len(ids), layers, width); texts come sorted by length."""
        groups = [torch.tensor(list(group)) for _, group in groupby(ids, len)]
        shapes = [(len(group), group.shape[1]) for group in groups]
        states = torch.cat([self._embedded(group).flatten(0, 1) for group in groups]).to(self._dtype)
        kept = []
        for left, layer in zip(reversed(range(len(self._layers))), self._layers, strict=True):
            states = layer(states, shapes)
            if left < layers:
                kept.append(torch.cat([part.float().mean(1) for part in _by_length(states, shapes)]))
        return torch.stack(kept, dim=1).numpy()

    def _embedded(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of texts of one length, shape (texts, tokens, width), in float32."""
        parts = self._embeddings
        both = parts.position_embeddings(positions_of(parts, ids)) + parts.token_type_embeddings.weight[0]
        return torch.as_tensor(_norm(parts.LayerNorm, torch.float32)((parts.word_embeddings(ids) + both).float()))


class _Layer:
    """One layer; states have shape (tokens, width)."""

    def __init__(self, layer: Any, dtype: torch.dtype, split: bool) -> None:
        attention = layer.attention.self
        self._heads = attention.num_attention_heads

        def product(*linears: Any) -> Product:
            return Product([_weights(linear) for linear in linears], dtype, split=split)

        self._in = product(attention.query, attention.key, attention.value)
        self._out = product(layer.attention.output.dense)
        self._up, self._down = product(layer.intermediate.dense), product(layer.output.dense)
        self._attended = _norm(layer.attention.output.LayerNorm, dtype)
        self._fed = _norm(layer.output.LayerNorm, dtype)

    def __call__(self, states: torch.Tensor, shapes: list[Shape]) -> torch.Tensor:
        states = self._attended(self._out.plus(self._attention(states, shapes), states))
        return self._fed(self._down.plus(self._up.gelu(states), states))

    def _attention(self, states: torch.Tensor, shapes: list[Shape]) -> torch.Tensor:
        out = torch.empty_like(states)
        for part, place in zip(_by_length(self._in(states), shapes), _by_length(out, shapes), strict=True):
            query, key, value = part.view(*part.shape[:2], 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            seen = nn.functional.scaled_dot_product_attention(query, key, value)
            place.view(*place.shape[:2], self._heads, -1).copy_(seen.transpose(1, 2))
        return out


def can_pack(model: Any) -> bool:
    """Return whether the model is a BERT or RoBERTa encoder of plain parts (or with plain LoRA), and unobserved."""
    base = base_of(model)
    if not is_of_the_bert_kind(base) or base.training or base.config.hidden_act != "gelu":
        return False
    if any(part._forward_hooks or part._forward_pre_hooks for part in model.modules()):
        return False
    embeddings = base.embeddings
    tables = (embeddings.word_embeddings, embeddings.position_embeddings, embeddings.token_type_embeddings)
    norms = [embeddings.LayerNorm]
    linears = []
    for layer in base.encoder.layer:
        attention = layer.attention.self
        norms += [layer.attention.output.LayerNorm, layer.output.LayerNorm]
        linears += [attention.query, attention.key, attention.value, layer.attention.output.dense]
        linears += [layer.intermediate.dense, layer.output.dense]
    return (
        all(type(table) is nn.Embedding for table in tables)
        and all(type(norm) is nn.LayerNorm for norm in norms)
        and all(type(linear) is nn.Linear or _is_plain_lora(linear) for linear in linears)
    )


def base_of(model: Any) -> Any:
    """Return the model below its adapters, or itself where it has none."""
    return model.get_base_model() if isinstance(model, PeftModel) else model


def is_of_the_bert_kind(base: Any) -> bool:
    """Return whether each token attends to all of its text, and nothing else tells one token from another's."""
    return type(base) in _KINDS and not base.config.is_decoder


def positions_of(embeddings: Any, ids: torch.Tensor) -> torch.Tensor:
    """Return the positions of tokens, shape (texts, tokens) or (tokens,); embeddings are those of such a model."""
    if not hasattr(embeddings, "padding_idx"):
        return torch.arange(ids.shape[1])
    counted = ids != embeddings.padding_idx  # RoBERTa counts from there, and passes over padding
    return torch.as_tensor(counted.cumsum(1) * counted + embeddings.padding_idx)


def _is_plain_lora(linear: Any) -> bool:
    if type(linear) is not LoraLinear or type(linear.base_layer) is not nn.Linear or linear.fan_in_fan_out:
        return False
    return not linear.lora_variant and all(up.bias is None for up in linear.lora_B.values())


def _weights(linear: Any) -> Weights:
    """Weight and bias with the active adapters in them."""
    if type(linear) is nn.Linear:
        return linear.weight, linear.bias
    weight, bias = linear.base_layer.weight, linear.base_layer.bias
    if not (linear.merged or linear.disable_adapters):
        for name in set(linear.active_adapters) & set(linear.lora_A):
            weight = weight + linear.get_delta_weight(name)
    return weight, bias


def _norm(norm: nn.LayerNorm, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    weight, bias = norm.weight.detach().to(dtype), norm.bias.detach().to(dtype)
    return lambda states: nn.functional.layer_norm(states, norm.normalized_shape, weight, bias, norm.eps)


def _by_length(rows: torch.Tensor, shapes: list[Shape]) -> list[torch.Tensor]:
    """Rows of tokens as one view a length, each (texts, tokens, columns)."""
    parts = torch.split(rows, [texts * tokens for texts, tokens in shapes])
    return [part.view(*shape, -1) for part, shape in zip(parts, shapes, strict=True)]
