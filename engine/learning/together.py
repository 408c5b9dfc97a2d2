"""Many adapters in one batch: the folds' models train side by side over one base model.

A GPU is not filled by one small batch. Here a batch of each model lies behind that of the one before, the frozen
products are taken once for all of them, and each model's rows meet its own adapter. Gradients of one model see nothing
of another: the weights end as they would one after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from engine.learning.training import Reader, Training, Watch, copy_for_training, half_precision, residual_loss


class _ManyAdapters(nn.Module):
    """A frozen linear map with an adapter for each of the equal parts that its input consists of.

    Args:
        linear: The frozen map.
        down: First matrices of the adapters, shape (models, rank, in).
        up: Second matrices, shape (models, out, rank).
        scaling: Factor of the adapters' part.
    """

    def __init__(self, linear: nn.Linear, down: torch.Tensor, up: torch.Tensor, scaling: float) -> None:
        super().__init__()
        self.linear, self.scaling = linear, scaling
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the map of states of shape (models * texts, ..., in)."""
        rows = states.reshape(len(self.down), -1, states.shape[-1]).to(self._dtype(states))
        added = rows @ self.down.mT.to(rows.dtype) @ self.up.mT.to(rows.dtype)
        out: torch.Tensor = self.linear(states)
        return out + self.scaling * added.reshape(out.shape).to(out.dtype)

    @property
    def weight(self) -> torch.Tensor:
        """The frozen map's weight, of which some models ask the type or the device."""
        return self.linear.weight

    @property
    def bias(self) -> torch.Tensor | None:
        """The frozen map's bias."""
        return self.linear.bias

    def _dtype(self, states: torch.Tensor) -> torch.dtype:
        kind = states.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.down.dtype


def stand_apart(reader: Reader, names: Sequence[str]) -> bool:
    """Whether the texts of a batch come one behind another wherever the named maps meet them.

    Some models put tokens before texts (XLNet, Longformer), or send through a map what belongs to no text (DeBERTa its
    distances): side by side, rows of one model would meet the adapter of another.
    """
    texts, tokens, fits = 5, 3, []
    hooks = [
        reader.base.get_submodule(name).register_forward_pre_hook(
            lambda _map, given: fits.append(given[0].shape[0] in (texts, texts * tokens))
        )
        for name in names
    ]
    try:
        with torch.inference_mode():
            inputs, mask = reader.pad([[1] * tokens] * texts)
            reader.base(input_ids=inputs, attention_mask=mask)
    finally:
        for hook in hooks:
            hook.remove()
    return all(fits)


class Together:
    """Models that train side by side, and their common backbone.

    Args:
        base: The base model; it is copied.
        names: Names of the linear maps with adapters, in the order of the weights.
        trainings: The models' trainings, whose plans have the same number of steps; each is left with its end weights.
        scaling: Factor of the adapters' part: alpha over rank.
    """

    def __init__(self, base: Any, names: Sequence[str], trainings: Sequence[Training], scaling: float) -> None:
        self._trainings = trainings
        first = trainings[0]
        self._backbone = copy_for_training(base, checkpointing=first.recipe.checkpointing).requires_grad_(False)
        starts = [training.weights_now() for training in trainings]
        self._adapters: list[nn.Parameter] = []
        for place, name in enumerate(names):
            down, up = (torch.stack([start[2 * place + side] for start in starts]) for side in (0, 1))
            many = _ManyAdapters(self._backbone.get_submodule(name), down, up, scaling)
            parent, _, own = name.rpartition(".")
            setattr(self._backbone.get_submodule(parent), own, many)
            self._adapters += [many.down, many.up]
        self._heads = [training.weights[2 * len(names) :] for training in trainings]
        recipe = first.recipe
        groups = [
            {"params": self._adapters, "lr": recipe.learning_rate},
            {"params": [p for head in self._heads for p in head], "lr": recipe.head_rate},
        ]
        self._optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.01)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, first.schedule.lr_lambdas[0])

    def run(self, watch: Watch) -> None:
        """Train all of them to the end."""
        for batches in zip(*(training.plan for training in self._trainings), strict=True):
            losses = self._backward(list(batches))
            for model in range(len(self._trainings)):
                self._clip(model)
            rate = float(self._schedule.get_last_lr()[0])
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            self._schedule.step()
            watch(sum(map(len, batches)), float(losses.detach().mean()), rate)
        for model, training in enumerate(self._trainings):
            training.steps = len(training.plan)
            training.take([*(p.detach()[model] for p in self._adapters), *(p.detach() for p in self._heads[model])])

    def _backward(self, batches: list[list[int]]) -> torch.Tensor:
        # Every model's part has the same number of texts; one that is filled up says nothing of the loss.
        most = max(map(len, batches))
        ids = [
            training.ids[i]
            for training, batch in zip(self._trainings, batches, strict=True)
            for i in [*batch, *[batch[0]] * (most - len(batch))]
        ]
        inputs, mask = self._trainings[0].reader.pad(ids)
        with half_precision(inputs.device, self._backbone.config.model_type):
            modules = [training.module for training in self._trainings]
            parts = self._trainings[0].reader.read_together(self._backbone, modules, inputs, mask)
        losses = torch.stack(
            [
                residual_loss(part.float()[: len(batch)] / one.scale, one.targets[batch], one.recipe.objective)
                for one, batch, part in zip(self._trainings, batches, parts, strict=True)
            ]
        )
        losses.sum().backward()  # type: ignore[no-untyped-call]
        return losses

    @torch.no_grad()
    def _clip(self, model: int) -> None:
        """Bring the gradient of one model to a length of at most one, as if it trained alone."""
        gradients = [p.grad[model] for p in self._adapters if p.grad is not None]
        gradients += [p.grad for p in self._heads[model] if p.grad is not None]
        length = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        factor = (1.0 / (length + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)
