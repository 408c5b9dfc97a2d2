"""Models trained from one start on different folds, and the average of their weights.

Adapters are averaged exactly, as changes of the weights: laid side by side they are one adapter of the summed rank.
Both kinds work on a copy of the model, made by `copy_for_training`. Adapters of a model so large that its activations
are checkpointed share its weights: it trains where it lies, be it on one GPU or over several.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any, Protocol

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from engine.learning.below import layers_of
from engine.learning.fused import fuse
from engine.learning.training import copy_for_training, has_half_products

SCALING = 2


class Models(Protocol):
    """Models trained one after another from one start."""

    def start(self) -> Any:
        """Return a model to train."""

    def keep(self) -> None:
        """Keep the model that has been trained."""

    def average(self) -> Any:
        """Return the average of those kept, in evaluation mode."""


def adapted(model: Any, frozen: float) -> list[str]:
    """Return the names of the linear maps that get an adapter: those in the layers above the frozen share."""
    name, layers = layers_of(model)
    return [
        f"{name}.{number}.{inner}"
        for number, layer in enumerate(layers)
        if number >= int(frozen * len(layers))
        for inner, part in layer.named_modules()
        if isinstance(part, nn.Linear)
    ]


class Adapters:
    """LoRA adapters on the linear maps of one copy of a model; each starts alike, with B at zero.

    Args:
        model: The base model; it is copied, or its weights are shared where its activations are checkpointed.
        rank: Of each adapter; alpha is SCALING times as much.
        seed: Of the start.
        frozen: Share of the layers, from the lowest up, that get no adapter.
        checkpointing: Whether activations are computed again in the backward pass.
    """

    def __init__(self, model: Any, rank: int, seed: int, *, frozen: float = 0.0, checkpointing: bool = False) -> None:
        self._attention = model.config._attn_implementation
        self._base = copy_for_training(model, checkpointing=checkpointing, sharing=checkpointing)
        self._seed, self._sharing = seed, checkpointing
        self._fuses = not checkpointing and model.device.type == "cpu" and has_half_products()
        targets = adapted(model, frozen)
        self._config = LoraConfig(r=rank, lora_alpha=SCALING * rank, lora_dropout=0.0, target_modules=targets)
        self._model: PeftModel | None = None
        self._names: list[str] = []

    def start(self) -> Any:
        """Return the model with a fresh adapter, the only thing in it that trains."""
        name = f"fold{len(self._names)}"
        # PEFT draws the adapter's start from torch's global generator, which is put back as it was; and it reads an
        # attribute of transformers by an old name, of which the user need not hear.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(category=FutureWarning, action="ignore"):
            torch.manual_seed(self._seed)
            if self._model is None:
                self._model = get_peft_model(self._base, self._config, adapter_name=name)
            else:
                self._model.add_adapter(name, self._config)
                self._model.set_adapter(name)
        if self._fuses and not self._names:
            fuse(self._model)
        self._names.append(name)
        return self._model

    def keep(self) -> None:
        """Keep the adapter that has been trained."""

    def take_up(self, number: int) -> None:
        """Make an adapter, counted from zero, the active one."""
        assert self._model is not None
        self._model.set_adapter(self._names[number])

    def average(self) -> Any:
        """Return the model with the average of the adapters, named "default", merged where the weights are its own."""
        model = self._model
        assert model is not None
        shares = [1 / len(self._names)] * len(self._names)
        with torch.random.fork_rng(devices=[]):
            model.add_weighted_adapter(self._names, shares, "default", combination_type="cat")
        model.set_adapter("default")
        for name in self._names:
            model.delete_adapter(name)
        if not self._sharing:
            model.merge_adapter()
        return _for_prediction(model, self._attention)


class Copies:
    """Copies of a model of which every weight trains.

    Args:
        model: The base model; it is copied.
        checkpointing: Whether activations are computed again in the backward pass.
    """

    def __init__(self, model: Any, *, checkpointing: bool = False) -> None:
        self._attention = model.config._attn_implementation
        # A step is smaller than the distance between neighbouring half-precision numbers.
        self._base = copy_for_training(model, checkpointing=checkpointing).float()
        self._model: Any = None
        self._total: dict[str, torch.Tensor] = {}
        self._count = 0

    def start(self) -> Any:
        """Return a fresh copy."""
        self._model = copy.deepcopy(self._base).requires_grad_(True)
        return self._model

    def keep(self) -> None:
        """Add the copy that has been trained to the average."""
        self._count += 1
        for name, value in self._model.state_dict().items():
            if value.is_floating_point():
                kept = self._total.get(name)
                self._total[name] = value.double() if kept is None else kept + value.double()

    def average(self) -> Any:
        """Return the model with the average of the weights."""
        mean = {name: value / self._count for name, value in self._total.items()}
        self._model.load_state_dict({**self._model.state_dict(), **mean})
        return _for_prediction(self._model, self._attention)


def _for_prediction(model: Any, attention: str) -> Any:
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    base.set_attn_implementation(attention)
    if base.is_activation_checkpointing:
        base.activation_checkpointing_disable()
    return model.eval()
