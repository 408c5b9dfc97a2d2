"""Products of token states with a layer's weights on the CPU, prepared once and asked for many times.

Where oneDNN serves the CPU, weights lie in its own blocked order and bias, activation and residual are added in the
same pass. A CPU with matrix tiles (AMX) multiplies bfloat16 numbers several times as fast as float32 ones; there a
float32 product is the sum of three of bfloat16 parts, added up in float32: with x = x_hi + x_lo and W = W_hi + W_lo,
x W = x_hi W_hi + x_lo W_hi + x_hi W_lo, but for x_lo W_lo of the order of 2^-16 of the whole (the split of Henry, Tang
& Heinecke, arXiv 1904.06376).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from time import perf_counter

import torch
from torch import nn

Weights = tuple[torch.Tensor, torch.Tensor]
_TOKENS = 2048  # for which oneDNN lays out the weights


class Product:
    """The product with the weights of linear layers side by side, plus their biases.

    Args:
        weights: Weight (out, in) and bias (out,) of each layer; all read the same states.
        dtype: Of states and results: torch.float32 or torch.bfloat16.
        split: Whether to make float32 products of bfloat16 parts; ask `split_pays`.
    """

    def __init__(self, weights: Sequence[Weights], dtype: torch.dtype, *, split: bool = False) -> None:
        weight = torch.cat([weight.detach().float() for weight, _ in weights])
        self._bias = torch.cat([bias.detach() for _, bias in weights]).to(dtype)
        self._split = split
        weight = _weight_parts(weight) if split else weight.to(dtype)
        self._blocked = _blocks_serve(dtype)
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _TOKENS) if self._blocked else weight

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """Return the product; states (tokens, in) to (tokens, out)."""
        return self._with("none", states)

    def gelu(self, states: torch.Tensor) -> torch.Tensor:
        """Return the exact (erf) GELU of the product."""
        if self._blocked:
            return self._with("gelu", states)
        return nn.functional.gelu(self(states))

    def plus(self, states: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return the product plus a residual of its shape."""
        if not self._blocked:
            return self(states) + residual
        call = torch.ops.mkldnn._linear_pointwise.binary
        return torch.as_tensor(call(self._read(states), residual, self._weight, self._bias, "add"))

    def _with(self, activation: str, states: torch.Tensor) -> torch.Tensor:
        if not self._blocked:
            return nn.functional.linear(self._read(states), self._weight, self._bias)
        call = torch.ops.mkldnn._linear_pointwise
        return torch.as_tensor(call(self._read(states), self._weight, self._bias, activation, [], "none"))

    def _read(self, states: torch.Tensor) -> torch.Tensor:
        return _state_parts(states) if self._split else states


def _state_parts(states: torch.Tensor) -> torch.Tensor:
    """[x_hi, x_lo, x_hi] as float32, shape (tokens, 3 in). What is left of x_lo after 8 bits, the product may drop."""
    high = states.bfloat16()
    width = states.shape[1]
    parts = states.new_empty(len(states), 3 * width)
    parts[:, :width] = high
    torch.sub(states, high, out=parts[:, width : 2 * width])
    parts[:, 2 * width :] = high
    return parts


def _weight_parts(weight: torch.Tensor) -> torch.Tensor:
    """[W_hi, W_hi, W_lo] as float32, shape (out, 3 in)."""
    high = weight.bfloat16().float()
    return torch.cat([high, high, weight - high], dim=1)


@contextmanager
def bfloat16_products() -> Iterator[None]:
    """Let oneDNN round what float32 products read to bfloat16, while parts are multiplied that stay as they are."""
    settings = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


@cache
def split_pays() -> bool:
    """Return whether float32 products of bfloat16 parts are faster here than plain ones, measured once."""
    if not (_blocks_serve(torch.float32) and torch.cpu._is_amx_tile_supported()):
        return False
    states, weights = torch.ones(_TOKENS, 384), [(torch.full((768, 384), 1 + 2.0**-12), torch.zeros(768))]
    plain = Product(weights, torch.float32)
    with torch.inference_mode():
        seconds = _seconds(lambda: plain(states))
        with bfloat16_products():
            # Only a rounded product is fast; this one shows whether oneDNN rounds.
            rounds = float(Product(weights, torch.float32)(states)[0, 0]) == states.shape[1]
            parts = Product(weights, torch.float32, split=True)
            return rounds and _seconds(lambda: parts(states)) < 0.8 * seconds


def _seconds(call: Callable[[], torch.Tensor], times: int = 5) -> float:
    call()
    taken = []
    for _ in range(times):
        begun = perf_counter()
        call()
        taken.append(perf_counter() - begun)
    return statistics.median(taken)


@cache
def _blocks_serve(dtype: torch.dtype) -> bool:
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (onednn and torch.backends.cpu.get_cpu_capability().startswith("AVX")):
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
