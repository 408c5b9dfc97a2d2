"""Saved predictors, loaded again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM

from engine.errors import ModelError
from engine.learning.bases import Attached, Base
from engine.learning.decoders import Decoder
from engine.learning.faults import loading_told
from engine.learning.finetuning import Tuned
from engine.learning.label_tokens import Asked, ask, saved_choices
from engine.learning.learners import Probed, blend
from engine.learning.models import Encoder, Kept, Progress, silent
from engine.learning.prediction import in_parts
from engine.learning.probe import Head
from engine.learning.regressor import Pooled, Regressor
from engine.learning.training import Reader

Settle = Callable[[Any], Any]
Floats = NDArray[np.float64]
_WORK_OF_TUNED = 2 / 3  # of a blend's, as `blend` reports it


@dataclass(frozen=True)
class SavedPredictor:
    """What a learner made, loaded again.

    Attributes:
        key: Hash of all that was saved and of the base model.
        made: Predicts numbers of shape (texts,) or class probabilities of shape (texts, k).
        work: Time of a prediction beside others of the same base model, the first of which reads the texts for all.
        is_copy: Whether it has a full copy of the base model, which is loaded when its turn comes.
    """

    key: str
    made: Callable[[list[str], Progress], Floats]
    work: float = 1.0
    is_copy: bool = False

    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return predictions, shape (len(texts), k): k = 1 for numbers, else probabilities of k classes."""
        predictions = self.made(texts, progress)
        return predictions if predictions.ndim == 2 else predictions[:, None]


@dataclass(frozen=True)
class MeanPredictor:
    """The mean of several predictors: for a single text better than each of them."""

    parts: Sequence[SavedPredictor]

    @property
    def key(self) -> str:
        """Hash of them all."""
        return hashlib.sha256("".join(part.key for part in self.parts).encode()).hexdigest()

    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return predictions, shape (len(texts), k)."""
        if any(part.is_copy for part in self.parts):
            return self._predict(texts, progress)  # part by part of the texts, each copy would be loaded for each
        return in_parts(self._predict, texts, progress)

    def _predict(self, texts: list[str], progress: Progress) -> Floats:
        ends, every = np.cumsum([part.work for part in self.parts]), []
        for part, end in zip(self.parts, ends, strict=True):

            def whole(done: float, work: float = part.work, end: float = end) -> None:
                progress((end + (done - 1) * work) / ends[-1])

            every.append(part.predict(texts, whole))
        return np.asarray(np.mean(every, axis=0))


@dataclass(frozen=True)
class _Waiting:
    """A fine-tuned model whose weights are put in place when it predicts.

    Attributes:
        reader: How it reads texts.
        module: Returns its module, with its own weights in it.
        mean, offset, trust: As of `Tuned`.
    """

    reader: Reader
    module: Callable[[], Any]
    mean: Floats
    offset: Floats
    trust: float

    def predict(self, texts: list[str], progress: Progress = silent, *, rough: bool = False) -> Floats:
        """Return predictions as `Tuned` does."""
        tuned = Tuned(self.reader, self.module(), self.mean, self.offset, self.trust)
        return tuned.predict(texts, progress, rough=rough)


def load_predictors(folders: Sequence[Path], model: str, keep: Kept = "beginning") -> MeanPredictor:
    """Load the mean of what learners saved from one base model, or what was asked of a model that writes.

    The model is loaded once, and as an encoder reads each text once; adapters take turns on it. Of full copies one is
    in memory at a time, loaded anew each time that its turn comes.

    Args:
        folders: Where each was saved.
        model: Hub name or folder of the base model.
        keep: Which end of a text that is too long is read, as when they were trained.

    Raises:
        ModelError: A folder holds no predictor, or a model cannot be loaded.
    """
    asked = any((folder / "choices.json").is_file() for folder in folders)
    copied = all(_is_copy(folder) and not (folder / "head.npz").is_file() for folder in folders)
    base = Base(model, keep, asked=asked, copied=copied)
    return MeanPredictor([_load(folder, base, first=folder == folders[0]) for folder in folders])


def _is_copy(folder: Path) -> bool:
    """Whether a folder holds all weights of a model, or should: of one that was tuned it has those or an adapter."""
    adapter, whole, tuned = ((folder / f"{name}.json").is_file() for name in ("adapter_config", "config", "recipe"))
    return (whole or tuned) and not adapter


def _load(folder: Path, base: Base, *, first: bool) -> SavedPredictor:
    tuned, probed, asked = ((folder / name).is_file() for name in ("recipe.json", "head.npz", "choices.json"))
    if not (tuned or probed or asked):
        raise ModelError(
            f"{folder} holds no saved predictor (recipe.json, head.npz or choices.json); name the folder of one."
        )
    probe = Probed(_head(folder), base.states) if probed else None
    tuning = _tuned(folder, base, asked=asked) if tuned or asked else None
    if tuning is None:
        assert probe is not None
        return SavedPredictor(_key(folder, base.encoder.key), probe.predict, float(first))
    if probe is None:
        return SavedPredictor(_key(folder, tuning.reader.key), tuning.predict, is_copy=_is_copy(folder))
    trusted = _facts(folder / "blend.json")["trust"]
    made = partial(blend, probe, tuning, trusted)
    return SavedPredictor(_key(folder, tuning.reader.key), made, 1.0 if first else _WORK_OF_TUNED)


def _key(folder: Path, model: str) -> str:
    digest = hashlib.sha256(model.encode())
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _facts(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def _head(folder: Path) -> Head:
    with np.load(folder / "head.npz") as arrays:
        centre, weight, bias = (arrays[name] for name in ("centre", "weight", "bias"))
    return Head(centre, weight, bias, len(bias) > 1, np.empty((0, len(bias))))


def _tuned(folder: Path, base: Base, *, asked: bool) -> _Waiting:
    """A model with its bias and trust; one that writes and was not trained is taken at its word."""
    reader, settle = _asked(folder, base.decoder) if asked else _pooled(folder, base.encoder)
    with loading_told(str(folder)):
        if _is_copy(folder):
            module = partial(base.copy_of, folder, lambda: settle(_copied(folder, base, asked=asked)))
        else:
            name = base.adapters.attach(folder) if (folder / "adapter_config.json").is_file() else None
            module = partial(_taken_up, base.adapters, name, settle(base.model))
    path = folder / "recipe.json"
    if not path.is_file():
        return _Waiting(reader, module, np.zeros(1), np.zeros(1), 1.0)
    learnt = _facts(path)
    return _Waiting(reader, module, np.array(learnt["mean"]), np.array(learnt["offset"]), learnt["trust"])


def _taken_up(adapters: Attached, name: str | None, module: Any) -> Any:
    adapters.take_up(name)
    return module


def _copied(folder: Path, base: Base, *, asked: bool) -> Any:
    """A full copy, on the device of the base model."""
    # A decoder in the precision in which it trained and was saved, which on a GPU is not that of the base.
    kind, place = (AutoModelForCausalLM, base.decoder.device) if asked else (AutoModel, base.encoder.device)
    options = {"dtype": "auto"} if asked else {}
    with loading_told(str(folder)):
        copied = kind.from_pretrained(str(folder), trust_remote_code=False, use_safetensors=True, **options)
        return copied.to(place)


def _asked(folder: Path, decoder: Decoder) -> tuple[Asked, Settle]:
    """A model that writes, as it is asked, and what puts the question's head on its weights."""
    asked = ask(decoder, saved_choices(folder))
    return asked, lambda backbone: asked.settled(backbone.eval(), [])


def _pooled(folder: Path, encoder: Encoder) -> tuple[Pooled, Settle]:
    """An encoder, as it reads texts, and what puts the head on its weights."""
    with loading_told(str(folder)):
        kept = load_file(folder / "head.safetensors")
    weight, bias = (kept[name].double().numpy() for name in ("weight", "bias"))
    head = Head(np.zeros(weight.shape[1]), weight.T, bias, len(bias) > 1, np.empty((0, len(bias))))
    return Pooled(encoder), lambda backbone: Regressor(backbone.eval(), head, normalised=False).eval()
