"""LoRA's linear maps on a CPU that multiplies bfloat16 numbers: the frozen weights are laid out once, not cast at
every step, and the adapter's part is added in the product's own pass.

It computes what PEFT computes under autocast. Outside autocast PEFT's own forward answers.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

from engine.learning.products import Product


def fuse(model: Any) -> None:
    """Let the adapted maps of a model in training answer through `_Adapted`, where PEFT's are plain LoRA."""
    for module in model.modules():
        if type(module) is LoraLinear and type(module.base_layer) is nn.Linear and not module.fan_in_fan_out:
            module.forward = _Forward(module)


class _Forward:
    """The forward of one map; adapters may come and go, the frozen weights stay."""

    def __init__(self, module: LoraLinear) -> None:
        weight, bias = module.base_layer.weight, module.base_layer.bias
        none = weight.new_zeros(1)
        self._module = module
        self._there = Product([(weight, none.expand(len(weight)) if bias is None else bias)], torch.bfloat16)
        self._back = Product([(weight.T, none.expand(weight.shape[1]))], torch.bfloat16)

    def __call__(self, states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        module, (name, *others) = self._module, self._module.active_adapters
        if not torch.is_autocast_enabled("cpu") or others or module.disable_adapters or module.merged:
            return torch.as_tensor(type(module).forward(module, states, *args, **kwargs))
        down, up, scaling = module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name]
        return torch.as_tensor(_Adapted.apply(states, down, up, self._there, self._back, scaling))  # type: ignore[no-untyped-call]


class _Adapted(torch.autograd.Function):
    """x W' + bias + scaling x A' B', W standing still; x has shape (..., in), A (rank, in), B (out, rank)."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        down: torch.Tensor,
        up: torch.Tensor,
        there: Product,
        back: Product,
        scaling: float,
    ) -> torch.Tensor:
        x, down, up = states.reshape(-1, states.shape[-1]).bfloat16(), down.bfloat16(), up.bfloat16()
        inner = x @ down.T
        out = there(x).addmm_(inner, up.T, alpha=scaling)
        ctx.save_for_backward(x, inner, down, up)
        ctx.back, ctx.scaling, ctx.shape, ctx.dtype = back, scaling, states.shape, states.dtype
        return out.view(*states.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, inner, down, up = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, len(up)).bfloat16()
        scaled = ctx.scaling * (gradient @ up)
        of_up, of_down = ctx.scaling * (gradient.T @ inner).float(), (scaled.T @ x).float()
        of_states = None
        if ctx.needs_input_grad[0]:
            of_states = ctx.back(gradient).addmm_(scaled, down).view(ctx.shape).to(ctx.dtype)
        return of_states, of_down, of_up, None, None, None
