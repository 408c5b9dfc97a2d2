"""What predictors of one base model share: the model, loaded once, and the adapters of all of them on it.

Full copies of a model share nothing: one of them is held at a time.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from peft.tuners.lora import LoraLayer

from engine.learning.decoders import Decoder, load_decoder
from engine.learning.embeddings import pooled_states
from engine.learning.fused import fuse
from engine.learning.models import Encoder, Kept, Progress, load_encoder


class Attached:
    """A model with adapters on it, of which one or none is in effect.

    Args:
        model: The model; its maps are wrapped where they are.
        merging: Whether the adapter in effect is merged into the weights, which are then put back from a copy in the
            computer's memory: taken off again by subtraction, it would leave weights of half precision a little off.
            On a GPU a wide adapter beside them takes far longer. Otherwise, on a CPU, it is read beside them.
    """

    def __init__(self, model: Any, *, merging: bool) -> None:
        self._model, self._merging = model, merging
        self._peft: PeftModel | None = None
        self._now: str | None = None
        self._own: dict[str, torch.Tensor] = {}

    def attach(self, folder: Path) -> str:
        """Load an adapter, which is not in effect yet; return its name."""
        self.take_up(None)
        name = f"model{0 if self._peft is None else len(self._peft.peft_config)}"
        with warnings.catch_warnings(category=FutureWarning, action="ignore"):
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self._model, str(folder), adapter_name=name)
            else:
                self._peft.load_adapter(str(folder), name)
        if not self._merging:
            fuse(self._peft, half=False)
        self._peft.eval()
        self._peft.base_model.disable_adapter_layers()
        return name

    def take_up(self, name: str | None) -> None:
        """Put an adapter in effect in place of the one that was; None leaves the model as it was loaded."""
        if self._peft is None or name == self._now:
            return
        self._put_back()
        tuner = self._peft.base_model
        if name is None:
            tuner.disable_adapter_layers()
        else:
            tuner.enable_adapter_layers()
            self._peft.set_adapter(name, inference_mode=True)
            if self._merging:
                self._merge(name)
        self._now = name

    def _merge(self, name: str) -> None:
        for place, part in self._maps().items():
            if place not in self._own:
                self._own[place] = part.get_base_layer().weight.detach().to("cpu", copy=True)
            part.merge(adapter_names=[name])

    def _put_back(self) -> None:
        for place, part in self._maps().items():
            if part.merged:
                part.get_base_layer().weight.data.copy_(self._own[place])
                part.merged_adapters.clear()

    def _maps(self) -> dict[str, Any]:
        return {place: part for place, part in self._model.named_modules() if isinstance(part, LoraLayer)}


class Base:
    """The base model of several predictors, loaded once when it is first asked for; and what it has read last.

    Args:
        model: Hub name or folder.
        keep: Which end of a text that is too long is read.
        asked: Whether the predictors ask it for labels.
        copied: Whether all of them have full copies of it: then it is loaded for its tokenizer, and its weights are
            let go.
    """

    def __init__(self, model: str, keep: Kept, *, asked: bool, copied: bool) -> None:
        self._name, self._keep, self._asked, self._copied = model, keep, asked, copied
        self._last: tuple[list[str], NDArray[np.float32]] | None = None
        self._copy: tuple[Path, Any] | None = None

    @cached_property
    def decoder(self) -> Decoder:
        """The model as one that is asked."""
        loaded = load_decoder(self._name, keep=self._keep)
        return replace(loaded, model=loaded.model.to("meta")) if self._copied else loaded

    @cached_property
    def encoder(self) -> Encoder:
        """The model as one that reads; its weights are the decoder's where it is asked too."""
        if self._asked:
            return self.decoder.as_encoder()
        loaded = load_encoder(self._name, keep=self._keep)
        return replace(loaded, model=loaded.model.to("meta")) if self._copied else loaded

    @property
    def model(self) -> Any:
        """The model itself, with the adapter that is in effect."""
        return self.decoder.model if self._asked else self.encoder.model

    @cached_property
    def adapters(self) -> Attached:
        """The adapters on it."""
        return Attached(self.model, merging=self.model.device.type != "cpu")

    def states(self, texts: list[str], progress: Progress) -> NDArray[np.float32]:
        """Return pooled states, shape (len(texts), layers, width); the texts of the last time are not read again."""
        if self._last is None or self._last[0] != texts:
            encoder = self.encoder
            self.adapters.take_up(None)
            self._last = list(texts), pooled_states(encoder, texts, progress)
        progress(1.0)
        return self._last[1]

    def copy_of(self, folder: Path, load: Callable[[], Any]) -> Any:
        """Return what `load` loads from a folder; it is held until that of another folder is asked for."""
        if self._copy is None or self._copy[0] != folder:
            self._copy = None
            gc.collect()  # parts of a model may refer to each other in a circle
            self._copy = folder, load()
        return self._copy[1]
