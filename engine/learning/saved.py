"""Saved predictors, loaded again."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel

from engine.errors import ModelError
from engine.learning.embeddings import pooled_states
from engine.learning.faults import loading_told
from engine.learning.finetuning import Tuned
from engine.learning.label_tokens import load_asked
from engine.learning.learners import Probed, blend
from engine.learning.models import Encoder, Kept, Progress, load_encoder, silent
from engine.learning.prediction import in_parts
from engine.learning.probe import Head
from engine.learning.regressor import Pooled, Regressor
from engine.learning.training import Reader

Floats = NDArray[np.float64]
_WORK_OF_TUNED = 2 / 3  # of a blend's, as `blend` reports it


@dataclass(frozen=True)
class SavedPredictor:
    """What a learner made, loaded again.

    Attributes:
        key: Hash of all that was saved and of the base model.
        made: Predicts numbers of shape (texts,) or class probabilities of shape (texts, k).
        work: Time of a prediction beside others of the same base model, the first of which reads the texts for all.
    """

    key: str
    made: Callable[[list[str], Progress], Floats]
    work: float = 1.0

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
        return in_parts(self._predict, texts, progress)

    def _predict(self, texts: list[str], progress: Progress) -> Floats:
        ends, every = np.cumsum([part.work for part in self.parts]), []
        for part, end in zip(self.parts, ends, strict=True):

            def whole(done: float, work: float = part.work, end: float = end) -> None:
                progress((end + (done - 1) * work) / ends[-1])

            every.append(part.predict(texts, whole))
        return np.asarray(np.mean(every, axis=0))


class _Base:
    """The encoder of several predictors, loaded once when it is first asked for; and what it has read last."""

    def __init__(self, model: str, keep: Kept) -> None:
        self._model, self._keep = model, keep
        self._last: tuple[list[str], NDArray[np.float32]] | None = None

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder."""
        return load_encoder(self._model, keep=self._keep)

    def states(self, texts: list[str], progress: Progress) -> NDArray[np.float32]:
        """Return pooled states, shape (len(texts), layers, width); the texts of the last time are not read again."""
        if self._last is None or self._last[0] != texts:
            self._last = list(texts), pooled_states(self.encoder, texts, progress)
        progress(1.0)
        return self._last[1]


def load_predictors(folders: Sequence[Path], model: str, keep: Kept = "beginning") -> MeanPredictor:
    """Load the mean of what learners saved from one base model, or what was asked of a model that writes.

    An encoder is loaded, and reads each text, once.

    Args:
        folders: Where each was saved.
        model: Hub name or folder of the base model.
        keep: Which end of a text that is too long is read, as when they were trained.

    Raises:
        ModelError: A folder holds no predictor, or a model cannot be loaded.
    """
    base = _Base(model, keep)
    return MeanPredictor([_load(folder, model, keep, base, first=folder == folders[0]) for folder in folders])


def _load(folder: Path, model: str, keep: Kept, base: _Base, *, first: bool) -> SavedPredictor:
    tuned, probed, asked = ((folder / name).is_file() for name in ("recipe.json", "head.npz", "choices.json"))
    if not (tuned or probed or asked):
        raise ModelError(
            f"{folder} holds no saved predictor (recipe.json, head.npz or choices.json); name the folder of one."
        )
    probe = Probed(_head(folder), base.states) if probed else None
    tuning = None
    if tuned or asked:
        tuning = _tuned(folder, load_asked(folder, model, keep) if asked else _regressor(folder, base.encoder))
    if tuning is None:
        assert probe is not None
        return SavedPredictor(_key(folder, base.encoder.key), probe.predict, float(first))
    if probe is None:
        return SavedPredictor(_key(folder, tuning.reader.key), tuning.predict)
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


def _tuned(folder: Path, loaded: tuple[Reader, Any]) -> Tuned:
    """A model with its bias and trust; one that writes and was not trained is taken at its word."""
    path = folder / "recipe.json"
    if not path.is_file():
        return Tuned(*loaded, np.zeros(1), np.zeros(1), 1.0)
    learnt = _facts(path)
    return Tuned(*loaded, np.array(learnt["mean"]), np.array(learnt["offset"]), learnt["trust"])


def _regressor(folder: Path, encoder: Encoder) -> tuple[Pooled, Regressor]:
    """A fine-tuned encoder with its head."""
    with loading_told(str(folder)), warnings.catch_warnings(category=FutureWarning, action="ignore"):
        if (folder / "adapter_config.json").is_file():
            adapted = PeftModel.from_pretrained(copy.deepcopy(encoder.model), str(folder))
            backbone = adapted.merge_and_unload()
        else:
            backbone = AutoModel.from_pretrained(str(folder), trust_remote_code=False, use_safetensors=True)
            backbone = backbone.to(encoder.device)
        kept = load_file(folder / "head.safetensors")
    weight, bias = (kept[name].double().numpy() for name in ("weight", "bias"))
    head = Head(np.zeros(weight.shape[1]), weight.T, bias, len(bias) > 1, np.empty((0, len(bias))))
    module = Regressor(backbone.eval(), head, normalised=False).eval()
    return Pooled(encoder), module
