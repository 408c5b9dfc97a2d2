"""Fine-tuning an encoder with LoRA (or in full) on the variance of the residual.

A rectified estimate pays for the variance of the residual, not for its mean: a constant bias is corrected exactly
(Wang, Ye & Zhao, arXiv 2511.19486). One model is trained on all labels but a fold, for each fold, from the same start;
their weights are averaged (a model soup, Wortsman et al., arXiv 2203.05482), which leaves less variance than one model
trained on all labels, and each label is predicted once by a model that has not seen it, which tells how far to trust.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from engine.learning.averaging import Adapters, Copies
from engine.learning.blending import outcomes, trust
from engine.learning.models import Encoder, Progress, batches, mean_pool, silent
from engine.learning.probe import Head

Floats = NDArray[np.float64]
LossReport = Callable[[int, float], None]

# Batches of like length are cut from so many batches' worth of texts drawn at random.
_SORTED_BATCHES = 4


@dataclass(frozen=True)
class Recipe:
    """Settings of fine-tuning.

    Attributes:
        method: "lora" (adapter on all linear layers) or "full" (every weight).
        objective: "variance" of the residual or its "mean-square".
        rank: Rank of each fold's adapter; the average of the folds has `folds` times as much.
        learning_rate: Peak learning rate; it warms up over the first tenth and falls linearly to zero.
        head_rate: Peak learning rate of the head, on pooled states scaled to a mean square of one per coordinate. It
            is small so that the encoder learns; a head that learns fast, or starts from the probe's solution, has
            fitted the labels before the encoder moves.
        epochs: Passes over the labels; more where that would be fewer than `steps` steps.
        steps: Least number of steps of each fold.
        batch_size: Texts in a batch.
        folds: Models trained, each on all labels but one fold.
    """

    method: str = "lora"
    objective: str = "variance"
    rank: int = 32
    learning_rate: float = 1e-3
    head_rate: float = 1e-4
    epochs: int = 4
    steps: int = 30
    batch_size: int = 16
    folds: int = 3

    def passes(self, labels: int) -> int:
        """Return the passes over so many labels."""
        return max(self.epochs, math.ceil(self.steps / math.ceil(labels / self.batch_size)))


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
        # Its weights are the head's: drawing others first would only move torch's global generator.
        self.linear = nn.utils.skip_init(nn.Linear, *head.coefficients.shape)  # type: ignore[no-untyped-call]
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
        if not self.logistic:
            return torch.as_tensor(scores)
        p = torch.sigmoid(scores)
        return torch.as_tensor(p / p.sum(-1, keepdim=True))


def residual_loss(predictions: torch.Tensor, targets: torch.Tensor, objective: str) -> torch.Tensor:
    """Return the objective on a batch, summed over outputs; predictions and targets have shape (batch, k).

    The variance is unbiased for the population's whatever the size of the batch: its sum of squares about the batch
    mean is divided by batch - 1.
    """
    residual = targets - predictions
    if objective == "variance":
        return ((residual - residual.mean(0)) ** 2).sum() / max(len(residual) - 1, 1)
    return (residual**2).sum() / len(residual)


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned model that predicts in the units of the label.

    Attributes:
        encoder: The encoder it came from (tokenizer, device).
        module: The trained module, in evaluation mode, its adapter merged.
        recipe: How it was trained.
        left_out: The labels' predictions, each by a fold's model that has not seen it; shape (s, k).
        mean: Mean label (share of each class), shape (k,).
        trust: Predictions are mean + trust * (output - mean).
    """

    encoder: Encoder
    module: Regressor
    recipe: Recipe
    left_out: Floats
    mean: Floats
    trust: float

    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return predictions, shape (len(texts),) for numbers, probabilities (len(texts), k) for classes."""
        trusted = self.mean + self.trust * (self.outputs(texts, progress) - self.mean)
        return trusted if self.module.logistic else trusted[:, 0]

    def outputs(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return the module's own predictions, shape (len(texts), k)."""
        return _outputs(self.encoder, self.module, self.encoder.tokenize(texts) if texts else [], progress)

    def save(self, folder: Path) -> None:
        """Save the adapter in PEFT's format (or the full weights), the head on pooled states, and the recipe."""
        folder.mkdir(parents=True, exist_ok=True)
        self.module.backbone.save_pretrained(folder)
        head = {"weight": self.module.linear.weight.detach().cpu(), "bias": self.module.linear.bias.detach().cpu()}
        save_file({name: tensor.contiguous() for name, tensor in head.items()}, folder / "head.safetensors")
        facts = {**asdict(self.recipe), "model": self.encoder.name, "mean": self.mean.tolist(), "trust": self.trust}
        (folder / "recipe.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def fine_tune(
    encoder: Encoder,
    texts: list[str],
    y: NDArray[Any],
    states: NDArray[np.float32],
    *,
    classes: int | None,
    recipe: Recipe,
    seed: int,
    progress: Progress = silent,
    report_loss: LossReport | None = None,
) -> FineTuned:
    """Fine-tune on labels.

    Args:
        encoder: The base model; it is copied, not changed.
        texts: The texts, s of them.
        y: Numbers, or class codes, shape (s,).
        states: The base model's mean-pooled last states of the texts, shape (s, width), whose spread is the head's
            unit.
        classes: Number of classes, or None for numbers.
        recipe: Settings.
        seed: Seed of the adapter's start, the folds and the order of batches.
        progress: Called with the share done after each step.
        report_loss: Called with step and loss; the folds' steps follow each other.
    """
    columns = outcomes(y, classes)
    units = _Units.of(states, columns, bool(classes))
    ids = encoder.tokenize(texts)
    generator = torch.Generator().manual_seed(seed)
    folds = torch.tensor_split(torch.randperm(len(ids), generator=generator), min(recipe.folds, len(ids)))
    watch = _Watch(sum(n * recipe.passes(n) for n in (len(ids) - len(fold) for fold in folds)), progress, report_loss)
    models = Copies(encoder.model) if recipe.method == "full" else Adapters(encoder.model, recipe.rank, seed)
    left_out, heads = np.empty_like(columns), []
    for fold in (fold.numpy() for fold in folds):
        rest = np.setdiff1d(np.arange(len(ids)), fold)
        backbone = models.start()
        head = _train(encoder, backbone, [ids[i] for i in rest], columns[rest], units, recipe, generator, watch)
        module = Regressor(backbone, head, normalised=False).to(encoder.device).eval()
        left_out[fold] = _outputs(encoder, module, [ids[i] for i in fold])
        heads.append(head)
        models.keep()
    module = Regressor(models.average(), _mean_head(heads), normalised=False).to(encoder.device).eval()
    mean = columns.mean(0)
    weight = trust(columns, left_out, np.broadcast_to(mean, columns.shape), len(folds))
    return FineTuned(encoder, module, recipe, left_out, mean, weight)


@dataclass(frozen=True)
class _Units:
    """What training calls one: of pooled states a mean square of one per coordinate, of numbers their deviation.

    Attributes:
        centre, spread: Pooled states are read as (state - centre) / spread.
        location, scale: Labels as columns are (label - location) / scale; classes stay as they are.
        start: Intercepts before training, shape (k,): those that predict the mean label.
        logistic: Whether the labels are classes.
    """

    centre: Floats
    spread: float
    location: float
    scale: float
    start: Floats
    logistic: bool

    @classmethod
    def of(cls, states: NDArray[np.float32], columns: Floats, logistic: bool) -> _Units:
        centre = states.mean(0, dtype=float)
        spread = float(np.sqrt(((states - centre) ** 2).mean())) or 1.0
        if not logistic:
            return cls(centre, spread, float(columns.mean()), float(columns.std()) or 1.0, np.zeros(1), False)
        share = (columns.sum(0) + 0.5) / (len(columns) + 1)
        return cls(centre, spread, 0.0, 1.0, np.log(share / (1 - share)), True)

    def head(self, weight: Floats, bias: Floats) -> Head:
        """Return a head on pooled states, in the units of the label, from one (weight (d, k)) in training's units."""
        coefficients = weight * self.scale / self.spread
        intercepts = bias * self.scale + self.location
        return Head(self.centre, coefficients, intercepts, self.logistic, np.empty((0, len(bias))))


@dataclass
class _Watch:
    """What is told of training: the share of texts seen, and the loss of each step."""

    texts: int
    progress: Progress
    report_loss: LossReport | None
    seen: int = 0
    step: int = 0

    def __call__(self, count: int, loss: torch.Tensor) -> None:
        self.seen += count
        self.step += 1
        if self.report_loss is not None:
            self.report_loss(self.step, float(loss.detach()))
        self.progress(min(self.seen / self.texts, 1.0))


def _train(
    encoder: Encoder,
    backbone: Any,
    ids: list[list[int]],
    columns: Floats,
    units: _Units,
    recipe: Recipe,
    generator: torch.Generator,
    watch: _Watch,
) -> Head:
    """Train the backbone in place; return the head."""
    k = columns.shape[1]
    blank = Head(np.zeros(encoder.width), np.zeros((encoder.width, k)), units.start, units.logistic, np.empty((0, k)))
    # Dropout stays off: with few labels its noise costs more variance than it saves.
    module = Regressor(backbone, blank, normalised=False).to(encoder.device).eval()
    weights = [p for p in backbone.parameters() if p.requires_grad]
    head = list(module.linear.parameters())
    groups = [{"params": weights, "lr": recipe.learning_rate}, {"params": head, "lr": recipe.head_rate}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    plan = [batch for _ in range(recipe.passes(len(ids))) for batch in _epoch(ids, recipe.batch_size, generator)]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_up_and_fall(len(plan)))
    centre = torch.as_tensor(units.centre, dtype=torch.float32, device=encoder.device)
    targets = torch.as_tensor((columns - units.location) / units.scale, dtype=torch.float32, device=encoder.device)
    for batch in plan:
        pooled = module.pool(*encoder.pad([ids[i] for i in batch]))
        loss = residual_loss(module.read((pooled - centre) / units.spread), targets[batch], recipe.objective)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([*weights, *head], 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        watch(len(batch), loss)
    weight, bias = (p.detach().double().cpu().numpy() for p in head)
    return units.head(weight.T, bias)


def _epoch(ids: list[list[int]], size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Yield batches of like length: short texts are not padded to the length of a long one."""
    order = torch.randperm(len(ids), generator=generator)
    batches_: list[list[int]] = []
    for part in torch.tensor_split(order, math.ceil(len(ids) / (size * _SORTED_BATCHES))):
        alike = sorted(part.tolist(), key=lambda i: len(ids[i]))
        # Equal parts: a last batch of one or two texts has no variance to speak of.
        batches_ += [list(b) for b in np.array_split(alike, math.ceil(len(alike) / size))]
    for i in torch.randperm(len(batches_), generator=generator).tolist():
        yield batches_[i]


def _warm_up_and_fall(steps: int) -> Callable[[int], float]:
    rise = max(steps // 10, 1)
    return lambda step: min((step + 1) / rise, (steps - step) / max(steps - rise, 1))


def _mean_head(heads: list[Head]) -> Head:
    first = heads[0]
    coefficients = np.mean([head.coefficients for head in heads], axis=0)
    intercepts = np.mean([head.intercepts for head in heads], axis=0)
    return Head(first.centre, coefficients, intercepts, first.logistic, first.loo)


@torch.inference_mode()
def _outputs(encoder: Encoder, module: Regressor, ids: list[list[int]], progress: Progress = silent) -> Floats:
    out = np.empty((len(ids), module.linear.out_features))
    done = 0
    for batch in batches(ids):
        out[batch] = module(*encoder.pad([ids[i] for i in batch])).float().cpu().numpy()
        done += len(batch)
        progress(done / len(ids))
    return out
