"""Models trained from one start on different folds, and the average of their weights.

Adapters are averaged exactly, as changes of the weights: laid side by side they are one adapter of the summed rank.
Both kinds work on a copy of the model, made by `copy_for_training`. Adapters of a model so large that its activations
are checkpointed share its weights: it trains where it lies, be it on one GPU or over several.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers.pytorch_utils import Conv1D

from engine.errors import ModelError
from engine.learning.below import is_linear, layers_of
from engine.learning.fused import fuse
from engine.learning.training import copy_for_training, has_half_precision

SCALING = 2
# Kinds of model whose layers read some maps' weights past the map itself, where an adapter would never be asked; PEFT
# refuses them.
_STATE_SPACES = {"mamba", "mamba2", "falcon_mamba", "falcon_h1", "nemotron_h"}
_READ_PAST = {"out_proj", "dt_proj"}


class Models(Protocol):
    """Models trained one after another from one start."""

    def start(self) -> Any:
        """Return a model to train."""

    def keep(self) -> None:
        """Keep the model that has been trained."""

    def average(self, numbers: Sequence[int]) -> Any:
        """Return the average of some of those kept, counted from zero, in evaluation mode."""

    def settle(self) -> None:
        """Leave nothing but the last average."""


def adapted(model: Any, frozen: float) -> list[str]:
    """Return the names of the linear maps that get an adapter: those in the layers above the frozen share.

    Where the layers are no list, as where all of them share their weights, it is every map but that to the output and
    the pooler's, which no prediction here goes through.

    Raises:
        ModelError: There is none that an adapter fits on.
    """
    name, layers = layers_of(model)
    names = [
        f"{name}.{number}.{inner}"
        for number, layer in enumerate(layers)
        if number >= int(frozen * len(layers))
        for inner in _linear(layer, model)
    ]
    if not layers:
        names = [inner for inner in _linear(model, model) if "pooler" not in inner.split(".")]
    if not names:
        raise _misfit(model, "LoRA adapters")
    return names


def _misfit(model: Any, what: str) -> ModelError:
    return ModelError(
        f"Model {model.name_or_path} is of a kind ({model.config.model_type}) that takes no {what}; choose the learner "
        "probe or full, or another model."
    )


def _linear(part: Any, model: Any) -> Iterator[str]:
    """Names of the linear maps in a part of a model."""
    past = _READ_PAST if model.config.model_type in _STATE_SPACES else set()
    for name, inner in part.named_modules():
        is_head = inner is model.get_output_embeddings()
        if is_linear(inner) and not is_head and name.rpartition(".")[2] not in past:
            yield name


class Adapters:
    """LoRA adapters on the linear maps of one copy of a model; each starts alike, with B at zero.

    Args:
        model: The base model; it is copied, or its weights are shared where its activations are checkpointed.
        rank: Of each adapter; alpha is SCALING times as much.
        seed: Of the start.
        frozen: Share of the layers, from the lowest up, that get no adapter.
        checkpointing: Whether activations are computed again in the backward pass.

    Raises:
        ModelError: No adapter fits on the model.
    """

    def __init__(self, model: Any, rank: int, seed: int, *, frozen: float = 0.0, checkpointing: bool = False) -> None:
        self._attention = model.config._attn_implementation
        self._base = copy_for_training(model, checkpointing=checkpointing, sharing=checkpointing)
        self._seed, self._sharing = seed, checkpointing
        self._trainable = [p for p in model.parameters() if p.requires_grad]
        self._fuses = not checkpointing and model.device.type == "cpu"
        targets = adapted(model, frozen)
        self._config = LoraConfig(
            r=rank,
            lora_alpha=SCALING * rank,
            lora_dropout=0.0,
            target_modules=targets,
            fan_in_fan_out=isinstance(model.get_submodule(targets[0]), Conv1D),
        )
        self._model: PeftModel | None = None
        self._names: list[str] = []

    def start(self) -> Any:
        """Return the model with a fresh adapter, the only thing in it that trains.

        Raises:
            ModelError: PEFT puts adapters on parameters that are no map's own, and cannot average those.
        """
        name = f"fold{len(self._names)}"
        # PEFT draws the adapter's start from torch's global generator, which is put back as it was; and it reads an
        # attribute of transformers by an old name, of which the user need not hear.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(category=FutureWarning, action="ignore"):
            # Of parameters that are refused below.
            warnings.filterwarnings("ignore", ".*(target_|rank_pattern|alpha_pattern)", RuntimeWarning)
            torch.manual_seed(self._seed)
            if self._model is None:
                self._model = get_peft_model(self._base, self._config, adapter_name=name)
            else:
                self._model.add_adapter(name, self._config)
                self._model.set_adapter(name)
        # PEFT takes the maps of some mixtures of experts for such parameters, by their names.
        if self._config.target_parameters:
            raise _misfit(self._base, "LoRA adapters that can be averaged")
        if self._fuses and not self._names:
            fuse(self._model, half=has_half_precision(self._base.device, self._base.config.model_type))
        self._names.append(name)
        return self._model

    def keep(self) -> None:
        """Keep the adapter that has been trained."""

    def take_up(self, number: int) -> None:
        """Make an adapter, counted from zero, the active one."""
        assert self._model is not None
        self._model.set_adapter(self._names[number])

    def average(self, numbers: Sequence[int]) -> Any:
        """Return the model with the average of some adapters, named "default"."""
        model, names = self._model, [self._names[number] for number in numbers]
        assert model is not None
        if "default" in model.peft_config:
            model.set_adapter(names[0])
            model.delete_adapter("default")
        with torch.random.fork_rng(devices=[]):
            model.add_weighted_adapter(names, [1 / len(names)] * len(names), "default", combination_type="cat")
        model.set_adapter("default")
        return _for_prediction(model, self._attention)

    def settle(self) -> None:
        """Drop the other adapters; the average is merged where the weights are the model's own."""
        assert self._model is not None
        for name in self._names:
            self._model.delete_adapter(name)
        if not self._sharing:
            self._model.merge_adapter()
        for shared in self._trainable:  # PEFT froze what is the user's too
            shared.requires_grad_(True)


class Copies:
    """A copy of a model of which every weight trains, again and again from the model's own.

    Args:
        model: The base model; it is copied, and must stay as it is.
        checkpointing: Whether activations are computed again in the backward pass.
    """

    def __init__(self, model: Any, *, checkpointing: bool = False) -> None:
        self._base, self._attention = model, model.config._attn_implementation
        # A step is smaller than the distance between neighbouring half-precision numbers.
        self._model = copy_for_training(model, checkpointing=checkpointing).float()
        self._kept: list[dict[str, torch.Tensor]] = []

    def start(self) -> Any:
        """Return the copy with the base model's weights: what was trained before must have been kept."""
        self._model.load_state_dict(self._base.state_dict())
        return self._model.requires_grad_(True)

    def keep(self) -> None:
        """Keep the trained weights, where they take no room on a GPU."""
        weights = {name: value for name, value in self._model.state_dict().items() if value.is_floating_point()}
        self._kept.append({name: value.to("cpu", copy=True) for name, value in weights.items()})

    def average(self, numbers: Sequence[int]) -> Any:
        """Return the copy with the average of some of the weights kept."""
        some = [self._kept[number] for number in numbers]
        mean = {name: sum(weights[name].double() for weights in some) / len(some) for name in some[0]}
        self._model.load_state_dict({**self._model.state_dict(), **mean})
        return _for_prediction(self._model, self._attention)

    def settle(self) -> None:
        """Drop the weights kept."""
        self._kept.clear()


def _for_prediction(model: Any, attention: str) -> Any:
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    base.set_attn_implementation(attention)
    if base.is_activation_checkpointing:
        base.activation_checkpointing_disable()
    return model.eval()
