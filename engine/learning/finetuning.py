"""Fine-tuning an encoder with LoRA (or in full) on the variance of the residual.

A rectified estimate pays for the variance of the residual, not for its mean: a constant bias is corrected exactly
(Wang, Ye & Zhao, arXiv 2511.19486). The head starts as the probe's, so training departs from the closed-form solution.
"""

from __future__ import annotations

import copy
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn

from engine.learning.models import Encoder, Progress, batches, mean_pool, silent
from engine.learning.probe import Head, fit_logistic, fit_ridge

Floats = NDArray[np.float64]
LossReport = Callable[[int, float], None]


@dataclass(frozen=True)
class Recipe:
    """Settings of fine-tuning.

    Attributes:
        method: "lora" (adapter on all linear layers) or "full" (every weight).
        objective: "variance" of the residual or its "mean-square".
        rank: Rank of the adapter.
        learning_rate: Peak learning rate; it warms up over the first tenth and falls linearly to zero.
        epochs: Passes over the labels.
        batch_size: Texts in a batch.
    """

    method: str = "lora"
    objective: str = "variance"
    rank: int = 8
    learning_rate: float = 1e-3
    epochs: int = 5
    batch_size: int = 16


class Regressor(nn.Module):
    """An encoder with mean pooling and a linear head: numbers, or class probabilities."""

    def __init__(self, backbone: Any, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.logistic = head.logistic
        # Its weights are the head's: drawing others first would only move torch's global generator.
        self.linear = nn.utils.skip_init(nn.Linear, *head.coefficients.shape)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(head.coefficients.T))
            self.linear.bias.copy_(torch.from_numpy(head.intercepts - head.centre @ head.coefficients))

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return predictions of shape (batch, k)."""
        states = self.backbone(input_ids=inputs, attention_mask=mask).last_hidden_state
        return self.read(mean_pool(states, mask))

    def read(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return the head's predictions from pooled states, shape (batch, width) to (batch, k)."""
        scores = self.linear(nn.functional.normalize(pooled.to(self.linear.weight.dtype), dim=-1))
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
        module: The trained module, in evaluation mode.
        recipe: How it was trained.
        location, scale: Numbers are predicted as location + scale * output.
    """

    encoder: Encoder
    module: Regressor
    recipe: Recipe
    location: float
    scale: float

    @torch.inference_mode()
    def predict(self, texts: list[str], progress: Progress = silent) -> Floats:
        """Return predictions, shape (len(texts),) for numbers, probabilities (len(texts), k) for classes."""
        ids = self.encoder.tokenize(texts) if texts else []
        out = np.empty((len(texts), self.module.linear.out_features))
        done = 0
        for batch in batches(ids):
            out[batch] = self.module(*self.encoder.pad([ids[i] for i in batch])).float().cpu().numpy()
            done += len(batch)
            progress(done / len(texts))
        return out if self.module.logistic else self.location + self.scale * out[:, 0]

    def save(self, folder: Path) -> None:
        """Save the adapter in PEFT's format (or the full weights), the head, and the recipe."""
        folder.mkdir(parents=True, exist_ok=True)
        self.module.backbone.save_pretrained(folder)
        head = {"weight": self.module.linear.weight.detach().cpu(), "bias": self.module.linear.bias.detach().cpu()}
        save_file({name: tensor.contiguous() for name, tensor in head.items()}, folder / "head.safetensors")
        facts = {**asdict(self.recipe), "model": self.encoder.name, "location": self.location, "scale": self.scale}
        (folder / "recipe.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def fine_tune(
    encoder: Encoder,
    texts: list[str],
    y: NDArray[Any],
    embeddings: NDArray[np.float32],
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
        embeddings: The base model's embeddings of the texts, shape (s, width), for the head's start.
        classes: Number of classes, or None for numbers.
        recipe: Settings.
        seed: Seed of initialisation and batch order.
        progress: Called with the share done after each step.
        report_loss: Called with step and loss.
    """
    generator = torch.Generator().manual_seed(seed)
    location, scale = (0.0, 1.0) if classes else (float(np.mean(y)), float(np.std(y)) or 1.0)
    head = fit_logistic(embeddings, y, classes) if classes else fit_ridge(embeddings, (y - location) / scale)
    targets = np.eye(classes)[y] if classes else ((y - location) / scale)[:, None]
    full = recipe.method == "full"
    base = (
        copy.deepcopy(encoder.model) if full else adapted(encoder, rank=recipe.rank, alpha=2 * recipe.rank, seed=seed)
    )
    module = Regressor(base, head).to(encoder.device)
    ids = encoder.tokenize(texts)
    target = torch.as_tensor(targets, dtype=torch.float32, device=encoder.device)
    _train(encoder, module, ids, target, recipe, generator, progress, report_loss)
    return _centred(FineTuned(encoder, module.eval(), recipe, location, scale), texts, y, classes)


def adapted(encoder: Encoder, *, rank: int, alpha: int, seed: int) -> Any:
    """Return a copy of the model with a fresh LoRA adapter on all its linear layers; B starts at zero."""
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear")
    # PEFT draws the adapter's start from torch's global generator, which is put back as it was; and it reads an
    # attribute of transformers by an old name, of which the user need not hear.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(category=FutureWarning, action="ignore"):
        torch.manual_seed(seed)
        return get_peft_model(copy.deepcopy(encoder.model), config)


def _train(
    encoder: Encoder,
    module: Regressor,
    ids: list[list[int]],
    targets: torch.Tensor,
    recipe: Recipe,
    generator: torch.Generator,
    progress: Progress,
    report_loss: LossReport | None,
) -> None:
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.01)
    per_epoch = math.ceil(len(ids) / recipe.batch_size)
    steps = per_epoch * recipe.epochs
    warm_up = max(steps // 10, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (steps - step) / max(steps - warm_up, 1))
    )
    # Dropout stays off: with few labels its noise costs more variance than it saves.
    module.eval()
    step = 0
    for _ in range(recipe.epochs):
        order = torch.randperm(len(ids), generator=generator)
        # Equal parts: a last batch of one or two texts has no variance to speak of.
        for batch in torch.tensor_split(order, per_epoch):
            inputs, mask = encoder.pad([ids[i] for i in batch.tolist()])
            loss = residual_loss(module(inputs, mask), targets[batch.to(targets.device)], recipe.objective)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            step += 1
            if report_loss is not None:
                report_loss(step, float(loss.detach()))
            progress(step / steps)


def _centred(model: FineTuned, texts: list[str], y: NDArray[Any], classes: int | None) -> FineTuned:
    """Take out the constant bias that the variance objective leaves free, so that the model alone is readable too."""
    if classes:
        return model
    bias = float(np.mean(y - model.predict(texts)))
    return FineTuned(model.encoder, model.module, model.recipe, model.location + bias, model.scale)
