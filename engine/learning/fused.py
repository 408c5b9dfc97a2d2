"""LoRA's linear maps on a CPU, the adapter's part added in the product's own pass; where the processor multiplies
bfloat16 numbers, the frozen weights are laid out once, not cast at every step.

It computes what PEFT computes, under autocast or without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

from engine.learning.products import Product


def fuse(model: Any, *, half: bool) -> None:
    """Let the adapted maps of a model in training answer through `_Adapted`, where PEFT's are plain LoRA.

    Args:
        model: A model on the CPU.
        half: Whether it trains under autocast to bfloat16.
    """
    for module in model.modules():
        if type(module) is LoraLinear and _is_plain(module.base_layer) and not module.fan_in_fan_out:
            module.forward = _Forward(module, half)


def _is_plain(base: nn.Module) -> bool:
    return type(base) is nn.Linear and base.weight.dtype == torch.float32


@dataclass(frozen=True)
class _Frozen:
    """What a map does without its adapter: states (tokens, in) to (tokens, out), and gradients back."""

    dtype: torch.dtype
    there: Callable[[torch.Tensor], torch.Tensor]
    back: Callable[[torch.Tensor], torch.Tensor]

    @classmethod
    def of(cls, base: Any, half: bool) -> _Frozen:
        """Return the map of a linear layer, in bfloat16 or in float32."""
        weight, bias = base.weight.detach(), None if base.bias is None else base.bias.detach()
        if not half:
            return cls(torch.float32, partial(nn.functional.linear, weight=weight, bias=bias), weight.__rmatmul__)
        none = weight.new_zeros(1)
        there = Product([(weight, none.expand(len(weight)) if bias is None else bias)], torch.bfloat16)
        return cls(torch.bfloat16, there, Product([(weight.T, none.expand(weight.shape[1]))], torch.bfloat16))


class _Forward:
    """The forward of one map; adapters may come and go, the frozen weights stay."""

    def __init__(self, module: LoraLinear, half: bool) -> None:
        self._module, self._half = module, half
        self._frozen = _Frozen.of(module.base_layer, half)

    def __call__(self, states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        module, (name, *others) = self._module, self._module.active_adapters
        as_made = torch.is_autocast_enabled("cpu") == self._half
        if not as_made or others or module.disable_adapters or module.merged:
            return torch.as_tensor(type(module).forward(module, states, *args, **kwargs))
        down, up, scaling = module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name]
        out: torch.Tensor = _Adapted.apply(states, down, up, self._frozen, scaling)  # type: ignore[no-untyped-call]
        # Not inside: of a view that is made there autograd lets nobody change the numbers in place, as DeBERTa does.
        return out.view(*states.shape[:-1], -1)


class _Adapted(torch.autograd.Function):
    """x W' + bias + scaling x A' B', W standing still: x (..., in), A (rank, in), B (out, rank) to (tokens, out)."""

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, down: torch.Tensor, up: torch.Tensor, frozen: _Frozen, scaling: float
    ) -> torch.Tensor:
        x = states.reshape(-1, states.shape[-1]).to(frozen.dtype)
        down, up = down.to(frozen.dtype), up.to(frozen.dtype)
        inner = x @ down.T
        out = frozen.there(x).addmm_(inner, up.T, alpha=scaling)
        ctx.save_for_backward(x, inner, down, up)
        ctx.frozen, ctx.scaling, ctx.shape, ctx.dtype = frozen, scaling, states.shape, states.dtype
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inner, down, up = ctx.saved_tensors
        gradient = gradients[0].to(ctx.frozen.dtype)
        scaled = ctx.scaling * (gradient @ up)
        of_up, of_down = ctx.scaling * (gradient.T @ inner).float(), (scaled.T @ x).float()
        of_states = None
        if ctx.needs_input_grad[0]:
            of_states = ctx.frozen.back(gradient).addmm_(scaled, down).view(ctx.shape).to(ctx.dtype)
        return of_states, of_down, of_up, None, None
