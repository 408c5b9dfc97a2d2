"""CoS-Low's gradients as one would write them down: PEFT's adapter, one example at a time, every gradient stored."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from engine.learning.cosines import _adapted


def plain_cosines(model, losses, seed=0):
    """Cosines between gradients of B with the A of a seed; each of `losses` takes the adapted model."""
    names = {module: name for name, module in model.named_modules()}
    downs = {names[layer.module]: layer.down for layer in _adapted(model, seed)}
    # PEFT remarks on the layers of GPT-2.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        adapted = get_peft_model(
            copy.deepcopy(model), LoraConfig(r=64, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear")
        ).eval()
    ups = []
    for name, weight in adapted.named_parameters():
        if "lora_A" in name:
            layer = name.removeprefix("base_model.model.").removesuffix(".lora_A.default.weight")
            weight.data.copy_(downs.pop(layer))
        elif "lora_B" in name:
            ups.append(weight)
    assert not downs, "layers that PEFT does not adapt"
    rows = []
    for loss in losses:
        gradients = torch.autograd.grad(loss(adapted), ups, allow_unused=True)
        rows.append(torch.cat([g.flatten() for g in gradients if g is not None]).double().cpu().numpy())
    rows = np.array(rows)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T
