"""The head on an encoder: mean pooling and a linear map to numbers or class probabilities, trained in units of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from engine.learning.below import Below
from engine.learning.models import Encoder, Progress, mean_pool, silent
from engine.learning.prediction import pooled_layers
from engine.learning.probe import Head
from engine.learning.training import deviation, has_half_precision, has_half_products
from engine.learning.unpadded import last_states

Floats = NDArray[np.float64]


class Regressor(nn.Module):
    """An encoder with mean pooling and a linear head: numbers, or class probabilities.

    Args:
        backbone: The encoder.
        head: Its weights.
        normalised: Whether the head reads pooled states of length one, as the probe's does.
    """

    def __init__(self, backbone: Any, head: Head, *, normalised: bool = True) -> None:
        super().__init__()
        self.backbone = backbone
        self.logistic = head.logistic
        self.normalised = normalised
        inputs, outputs = head.coefficients.shape
        self.linear = _linear(inputs, outputs, backbone.device)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(head.coefficients.T))
            self.linear.bias.copy_(torch.from_numpy(head.intercepts - head.centre @ head.coefficients))

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return predictions of shape (batch, k)."""
        return self.read(self.pool(inputs, mask))

    def pool(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return mean-pooled last states, shape (batch, width)."""
        return mean_pool(self.backbone(input_ids=inputs, attention_mask=mask).last_hidden_state, mask)

    def read(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return the head's predictions from pooled states, shape (batch, width) to (batch, k)."""
        pooled = pooled.to(self.linear.weight.dtype)
        scores = self.linear(nn.functional.normalize(pooled, dim=-1) if self.normalised else pooled)
        return probabilities(scores) if self.logistic else torch.as_tensor(scores)


def _linear(inputs: int, outputs: int, place: torch.device) -> nn.Linear:
    """A map whose weights are yet to be set: drawing some would only move torch's global generator.

    It is made where it is to be: moving the module around it would gather a model that is spread over GPUs.
    """
    made: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, device=place)  # type: ignore[no-untyped-call]
    return made


def probabilities(scores: torch.Tensor) -> torch.Tensor:
    """Return one-against-the-rest probabilities, made to sum to one over classes; both have shape (batch, k)."""
    p = torch.sigmoid(scores)
    return torch.as_tensor(p / p.sum(-1, keepdim=True))


@dataclass(frozen=True)
class Units:
    """What training calls one: of pooled states a mean square of one per coordinate, of numbers their deviation.

    Attributes:
        centre, spread: Pooled states are read as (state - centre) / spread.
        scale: Numbers, counted from their mean, are divided by it; classes stay as they are.
        start: Intercepts before training, shape (k,): those that predict the mean label.
        logistic: Whether the labels are classes.
    """

    centre: Floats
    spread: float
    scale: float
    start: Floats
    logistic: bool

    @classmethod
    def of(cls, states: NDArray[np.float32], columns: Floats) -> Self:
        """Return the units of the base model's pooled states, (s, width), and of labels.

        Labels are numbers counted from their mean, (s, 1), or classes, (s, k).
        """
        centre = states.mean(0, dtype=float)
        spread = float(np.sqrt(((states - centre) ** 2).mean())) or 1.0
        if columns.shape[1] == 1:
            return cls(centre, spread, deviation(columns), np.zeros(1), False)
        share = (columns.sum(0) + 0.5) / (len(columns) + 1)
        return cls(centre, spread, 1.0, np.log(share / (1 - share)), True)


class TrainedHead(nn.Module):
    """An encoder with a linear head in training's units, which starts at zero: it predicts the mean label.

    Args:
        backbone: The encoder.
        units: Training's units.
    """

    centre: torch.Tensor

    def __init__(self, backbone: Any, units: Units) -> None:
        super().__init__()
        self.backbone, self.units = backbone, units
        centre = torch.as_tensor(units.centre, dtype=torch.float32, device=backbone.device)
        self.register_buffer("centre", centre, persistent=False)
        self.linear = _linear(len(units.centre), len(units.start), backbone.device)
        with torch.no_grad():
            self.linear.weight.zero_()
            self.linear.bias.copy_(torch.from_numpy(units.start))

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return predictions of shape (batch, k), numbers counted from the mean label in units of the label."""
        return self.read(last_states(self.backbone, inputs, mask), mask)

    def read(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return predictions, shape (batch, k), from the backbone's last states, shape (batch, tokens, width)."""
        with torch.autocast(states.device.type, enabled=False):
            scores = self.linear((mean_pool(states.float(), mask) - self.centre) / self.units.spread)
            return probabilities(scores) if self.units.logistic else self.units.scale * scores

    def weights(self) -> tuple[Floats, Floats]:
        """Return weight (width, k) and bias (k,), from pooled states to labels, numbers counted from their mean."""
        weight, bias = (p.detach().double().cpu().numpy() for p in (self.linear.weight, self.linear.bias))
        units = self.units
        weight = weight.T * units.scale / units.spread
        return weight, bias * units.scale - units.centre @ weight


@dataclass(frozen=True)
class Pooled:
    """The reader of an encoder that is fine-tuned through a head on its mean-pooled states.

    Attributes:
        encoder: The encoder.
        states: The pooled states of the labels' texts before training, shape (s, width); None where nothing is trained.
    """

    encoder: Encoder
    states: NDArray[np.float32] | None = None

    @property
    def base(self) -> Any:
        """The model before training."""
        return self.encoder.model

    @property
    def key(self) -> str:
        """Hash that tells the model's weights from others."""
        return self.encoder.key

    @property
    def name(self) -> str:
        """Hub name or folder of the model."""
        return self.encoder.name

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Return token ids of texts."""
        return self.encoder.tokenize(texts)

    def pad(self, ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input ids and attention mask of a batch on the model's device."""
        return self.encoder.pad(ids)

    def below(self, ids: list[list[int]], layers: int) -> Below | None:
        """Return the states of texts below a layer; None where they are too large to keep."""
        half = has_half_precision(self.encoder.device, self.base.config.model_type)
        return Below.of(self.encoder, ids, layers, torch.bfloat16 if half else self.base.dtype)

    def location(self, columns: Floats) -> float:
        """Return the mean label; columns have shape (s, 1)."""
        return float(columns.mean())

    def head(self, backbone: Any, rows: NDArray[np.intp], columns: Floats) -> TrainedHead:
        """Return a head that has yet to be trained, its units those of the labels that will train it."""
        assert self.states is not None
        return TrainedHead(backbone, Units.of(self.states[rows], columns))

    def read_together(
        self, backbone: Any, heads: list[TrainedHead], inputs: torch.Tensor, mask: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return each head's predictions of its own rows, of which the batch has equally many for each in turn."""
        states = backbone(input_ids=inputs, attention_mask=mask).last_hidden_state
        parts = zip(heads, states.chunk(len(heads)), mask.chunk(len(heads)), strict=True)
        return [head.read(*part) for head, *part in parts]

    def settled(self, backbone: Any, heads: list[Any]) -> Regressor:
        """Return the module that predicts with a trained backbone and the mean of the heads, in units of the label."""
        weight, bias = (np.mean(parts, axis=0) for parts in zip(*(head.weights() for head in heads), strict=True))
        head = Head(np.zeros(len(weight)), weight, bias, heads[0].units.logistic, np.empty((0, len(bias))))
        return Regressor(backbone, head, normalised=False).eval()

    @torch.inference_mode()
    def outputs(
        self, module: Regressor, texts: list[str], progress: Progress = silent, *, rough: bool = False
    ) -> Floats:
        """Return a module's predictions in full precision, shape (len(texts), k); `rough` in that of training."""
        if not texts:
            return np.empty((0, module.linear.out_features))
        ids = self.encoder.tokenize(texts)
        dtype = torch.bfloat16 if rough and has_half_products() else torch.float32
        pooled = pooled_layers(replace(self.encoder, model=module.backbone), ids, dtype=dtype, progress=progress)[:, -1]
        read = module.read(torch.from_numpy(pooled).to(self.encoder.device))
        return np.asarray(read.double().cpu().numpy())

    def save_head(self, module: Regressor, folder: Path) -> None:
        """Save the head on pooled states."""
        head = {"weight": module.linear.weight.detach().cpu(), "bias": module.linear.bias.detach().cpu()}
        save_file({name: tensor.contiguous() for name, tensor in head.items()}, folder / "head.safetensors")

    def told(self, module: Regressor) -> str:
        """Return how an output comes of a text, for the model card."""
        output = (
            "The outputs are sigmoid(score) divided by their sum over the classes, not the softmax."
            if module.logistic
            else "The output is the score."
        )
        return f"""A text's tokens are those of the tokenizer with the special ones that it sets around it; of more
than {self.encoder.most:,} the {self.encoder.keep} is read. The states are the mean of `last_hidden_state` over the
tokens, without those that pad a batch. The head on them is in `head.safetensors`: score = weight @ states + bias.
{output}"""
