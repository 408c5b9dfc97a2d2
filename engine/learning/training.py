"""The training of one model: objectives, batches, precision, and a loop that can be stopped and taken up again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.learning.below import Below, Choose
from engine.learning.checkpoints import Checkpoints
from engine.learning.models import Progress
from engine.learning.recipe import Recipe

Floats = NDArray[np.float64]
LossReport = Callable[[int, float, float], None]  # step, loss, learning rate

# Batches of like length are cut from so many batches' worth of texts drawn at random.
_SORTED_BATCHES = 8
_LEAST_PROBABILITY = 1e-12
# DeBERTa's first version masks with the smallest number of single precision, which half precision cannot hold.
_SINGLE = {"deberta"}


class Reader(Protocol):
    """How a model reads texts, and what it is trained through."""

    @property
    def name(self) -> str:
        """Hub name or folder of the model."""

    @property
    def key(self) -> str:
        """What tells the model's weights, and what it is asked, from others."""

    @property
    def base(self) -> Any:
        """The model before training; it is copied, not changed."""

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        """Return the tokens of texts."""

    def pad(self, ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return input ids and attention mask of a batch on the model's device."""

    def location(self, columns: Floats) -> float:
        """Return what a module counts numbers from: single precision may hold no more of a label than where it lies.

        Args:
            columns: The labels that train it, shape (r, 1).
        """

    def head(self, backbone: Any, rows: NDArray[np.intp], columns: Floats) -> nn.Module:
        """Return a module that predicts labels, shape (batch, k), from a padded batch.

        A class label's columns are its probabilities, a number's one column is in units of the label, counted from the
        location.

        Args:
            backbone: The model in it.
            rows: Which of the texts train it, shape (r,).
            columns: Their labels, likewise, shape (r, k).
        """

    def read_together(
        self, backbone: Any, heads: list[Any], inputs: torch.Tensor, mask: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return each head's predictions of its own rows, of which the batch has equally many for each in turn."""

    def below(self, ids: list[list[int]], layers: int) -> Below | None:
        """Return the states of texts below layer `layers` where all that the model reads of them are these tokens."""

    def settled(self, backbone: Any, heads: list[nn.Module]) -> nn.Module:
        """Return the module that predicts with a trained backbone and the mean of the heads trained with it."""

    def outputs(self, module: Any, texts: list[str], progress: Progress, *, rough: bool = False) -> Floats:
        """Return a module's predictions in full precision, shape (len(texts), k); `rough` in that of training.

        What numbers are counted from may be missing in all of them alike.
        """

    def save_head(self, module: Any, folder: Path) -> None:
        """Save what is needed beside the backbone to predict again."""

    def told(self, module: Any) -> str:
        """Return how an output comes of a text, by the backbone and what `save_head` saves, for the model card."""


def residual_loss(predictions: torch.Tensor, targets: torch.Tensor, objective: str) -> torch.Tensor:
    """Return the objective on a batch, summed over outputs; predictions and targets have shape (batch, k).

    The variance is unbiased for the population's whatever the size of the batch: its sum of squares about the batch
    mean is divided by batch - 1. The cross-entropy is that of probabilities and one-hot classes.
    """
    if objective == "cross-entropy":
        return -(targets * predictions.clamp_min(_LEAST_PROBABILITY).log()).sum() / len(targets)
    residual = targets - predictions
    if objective == "variance":
        return ((residual - residual.mean(0)) ** 2).sum() / max(len(residual) - 1, 1)
    return (residual**2).sum() / len(residual)


def deviation(columns: Floats) -> float:
    """Return the deviation of labels, 1 where they are all the same: their mean may be another by its last digit."""
    return float(columns.std()) if np.ptp(columns) > 0 else 1.0


@dataclass
class Watch:
    """What is told of training: the share of texts seen, and the loss of each step."""

    texts: int
    progress: Progress
    report_loss: LossReport | None
    seen: int = 0
    step: int = 0

    def __call__(self, count: int, loss: float, rate: float) -> None:
        """Count a step on so many texts, and tell its loss and learning rate."""
        self.step += 1
        if self.report_loss is not None:
            self.report_loss(self.step, loss, rate)
        self.pass_over(count)

    def pass_over(self, count: int, steps: int = 0) -> None:
        """Count texts that need no training now, and the steps that were taken on them before."""
        self.seen, self.step = self.seen + count, self.step + steps
        self.progress(min(self.seen / self.texts, 1.0))


@dataclass
class Training:
    """One model on its labels.

    Attributes:
        reader: How texts are read.
        module: What is trained: a backbone, of which some weights may be frozen, and a head.
        ids: Tokens of the texts.
        targets: Labels as columns, counted from a location in units of their deviation, shape (s, k).
        scale: That deviation; predictions are divided by it.
        recipe: Settings.
        seed: Seed of the order of batches.
        below: The states of the texts below the first layer that trains; None computes them anew at each step.
    """

    reader: Reader
    module: nn.Module
    ids: list[list[int]]
    targets: torch.Tensor
    scale: float
    recipe: Recipe
    seed: int
    below: Below | None = None

    def __post_init__(self) -> None:
        named = [(name, p) for name, p in self.module.named_parameters() if p.requires_grad]
        backbone = [p for name, p in named if name.startswith("backbone.")]
        head = [p for name, p in named if not name.startswith("backbone.")]
        self.weights = [*backbone, *head]
        self.together = self.recipe.micro_batch
        self.steps = 0  # taken so far, also before a stop
        self._choose: Choose | None = None
        groups = [{"params": backbone, "lr": self.recipe.learning_rate}, {"params": head, "lr": self.recipe.head_rate}]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]], weight_decay=0.01, fused=True
        )
        generator = torch.Generator().manual_seed(self.seed)
        epochs = [
            list(epoch(self.ids, self.recipe.batch_size, generator)) for _ in range(self.recipe.passes(len(self.ids)))
        ]
        self.plan = [batch for batches_ in epochs for batch in batches_]
        self.epoch_ends = set(np.cumsum([len(batches_) for batches_ in epochs]).tolist())
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, warm_up_and_fall(len(self.plan)))

    def run(
        self, watch: Watch, checkpoints: Checkpoints, name: str, held_out: Callable[[], float] | None = None
    ) -> None:
        """Train in place, from the checkpoint of that name where there is one.

        Args:
            watch: Told of each step.
            checkpoints: Where the state is kept as training goes.
            name: Of this training's checkpoint.
            held_out: Returns the loss on labels left out, for early stopping; None trains to the end. It is asked
                while no states stand in for layers: `below` is None with it.
        """
        with self.below.standing_in(self.module.backbone) if self.below else nullcontext() as self._choose:
            self._run(watch, checkpoints, name, held_out)
        self._choose = None

    def _run(self, watch: Watch, checkpoints: Checkpoints, name: str, held_out: Callable[[], float] | None) -> None:
        best, worse, taken = math.inf, 0, None
        state = checkpoints.read(name)
        if state is not None:
            self.steps, best, worse, taken = state["step"], state["best"], state["worse"], state["taken"]
            self._restore(state)
            watch.pass_over(sum(map(len, self.plan[: self.steps])), self.steps)
        for batch in self.plan[self.steps :]:
            rate = float(self.schedule.get_last_lr()[0])
            watch(len(batch), self._step(batch), rate)
            self.steps += 1
            if held_out is not None and self.steps in self.epoch_ends:
                loss = held_out()
                better = loss < best
                best, worse = (loss, 0) if better else (best, worse + 1)
                taken = self.weights_now() if better else taken
                if worse >= self.recipe.patience:
                    watch.pass_over(sum(map(len, self.plan[self.steps :])))
                    break
            if checkpoints.is_due():
                facts = {"step": self.steps, "best": best, "worse": worse, "taken": taken}
                checkpoints.write(name, {**facts, **self._state()})
        if taken is not None:
            self.take(taken)

    def weights_now(self) -> list[torch.Tensor]:
        """Return copies of the weights that train."""
        return [p.detach().clone() for p in self.weights]

    @torch.no_grad()
    def take(self, weights: list[torch.Tensor]) -> None:
        """Put weights back that `weights_now` returned."""
        for p, kept in zip(self.weights, weights, strict=True):
            p.copy_(kept)

    def _state(self) -> dict[str, Any]:
        return {
            "weights": self.weights_now(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.take(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def _step(self, batch: list[int]) -> float:
        loss = self._backward(batch)
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        return loss

    def _backward(self, batch: list[int]) -> float:
        """The gradient of a batch, in as many parts as fit into the memory of a GPU; returns the loss."""
        parts = np.array_split(batch, math.ceil(len(batch) / self.together))
        try:
            return self._at_once(batch) if len(parts) == 1 else self._accumulate([part.tolist() for part in parts])
        except torch.OutOfMemoryError:
            if self.together == 1:
                raise
        self.optimizer.zero_grad(set_to_none=True)
        self.together = math.ceil(self.together / 2)
        torch.cuda.empty_cache()
        return self._backward(batch)

    def _at_once(self, batch: list[int]) -> float:
        loss = residual_loss(self._predict(batch), self.targets[batch], self.recipe.objective)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _accumulate(self, parts: list[list[int]]) -> float:
        """The gradient of the whole batch from parts of it.

        The variance of a batch is not the sum of its parts' variances: the deviations are from the mean of all. Its
        gradient with respect to the predictions is found first, then each part goes back with its own share of it.
        """
        with torch.no_grad():
            predictions = torch.cat([self._predict(part) for part in parts])
        predictions.requires_grad_(True)
        loss = residual_loss(predictions, self.targets[[i for part in parts for i in part]], self.recipe.objective)
        (gradient,) = torch.autograd.grad(loss, predictions)
        shares = torch.split(gradient, [len(part) for part in parts])
        for part, share in zip(parts, shares, strict=True):
            self._predict(part).backward(share)  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _predict(self, batch: list[int]) -> torch.Tensor:
        """Predictions in units of the targets, shape (batch, k)."""
        inputs, mask = self.reader.pad([self.ids[i] for i in batch])
        if self._choose is not None:
            self._choose(batch, mask)
        with half_precision(inputs.device, self.reader.base.config.model_type):
            predictions: torch.Tensor = self.module(inputs, mask)
        return predictions.float() / self.scale


def half_precision(device: torch.device, kind: str) -> AbstractContextManager[Any]:
    """Return a context in which products are taken in bfloat16, where device and kind of model allow for it."""
    return torch.autocast(device.type, torch.bfloat16) if has_half_precision(device, kind) else nullcontext()


def has_half_precision(device: torch.device, kind: str) -> bool:
    """Whether a model of this kind trains in bfloat16 on this device."""
    return kind not in _SINGLE and (device.type == "cuda" or (device.type == "cpu" and has_half_products()))


def has_half_products() -> bool:
    """Whether this processor multiplies bfloat16 matrices in hardware."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def copy_for_training(model: Any, *, checkpointing: bool, sharing: bool = False) -> Any:
    """Return a copy without dropout, its activations checkpointed where asked and where the model can.

    With few labels the noise of dropout costs more variance than it saves. A copy may share the model's weights, which
    must then stay as they are.
    """
    copy = deepcopy(model, {id(p): p for p in model.parameters()} if sharing else None).eval()
    if copy.device.type == "cpu" and has_half_products() and copy.config._attn_implementation == "sdpa":
        # torch's fused attention is several times slower in bfloat16 than its parts on such a processor.
        copy.set_attn_implementation("eager")
    if not (checkpointing and copy.supports_gradient_checkpointing):
        return copy
    # transformers checkpoints activations in training mode alone: dropout is taken out by its rate.
    for module in copy.modules():
        for name in ("p", "dropout", "attention_dropout", "dropout_rate", "activation_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    copy.activation_checkpointing_enable({"use_reentrant": False})
    return copy.train()


def epoch(ids: list[list[int]], size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield batches of like length: short texts are not padded to the length of a long one."""
    order = torch.randperm(len(ids), generator=generator)
    batches_: list[list[int]] = []
    for part in torch.tensor_split(order, math.ceil(len(ids) / (size * _SORTED_BATCHES))):
        alike = sorted(part.tolist(), key=lambda i: len(ids[i]))
        # Equal parts: a last batch of one or two texts has no variance to speak of.
        batches_ += [list(b) for b in np.array_split(alike, math.ceil(len(alike) / size))]
    for i in torch.randperm(len(batches_), generator=generator).tolist():
        yield batches_[i]


def warm_up_and_fall(steps: int) -> Callable[[int], float]:
    """Return the share of the peak learning rate at each step: up over the first tenth, then down to zero."""
    rise = max(steps // 10, 1)
    return lambda step: min((step + 1) / rise, (steps - step) / max(steps - rise, 1))
