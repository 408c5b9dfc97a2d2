"""One model for each fold of the labels, trained on all the others, and the average of their weights.

Each fold's model is called by a hash of all that it comes of: what one fit has trained another finds, and a training
that was stopped goes on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.errors import ModelError
from engine.learning.averaging import SCALING, Models, adapted
from engine.learning.checkpoints import Checkpoints
from engine.learning.models import silent
from engine.learning.recipe import Recipe
from engine.learning.together import Together
from engine.learning.training import Reader, Training, Watch, residual_loss

Floats = NDArray[np.float64]
_AGREES = 0.97  # the least correlation of predictions under which the average of weights is that of the models


def folds(columns: Floats, classes: bool, count: int, seed: int) -> list[NDArray[np.intp]]:
    """Return the rows of each fold; each has its share of every class. `columns` has shape (s, k)."""
    order = torch.randperm(len(columns), generator=torch.Generator().manual_seed(seed)).numpy()
    if classes:
        order = order[np.argsort(columns.argmax(1)[order], kind="stable")]
    count = min(count, len(columns))
    return [order[j::count] for j in range(count)]


def of_each(blocks: NDArray[np.integer]) -> list[NDArray[np.intp]]:
    """Return the rows of each block of labels; `blocks` has a code for each label, shape (s,)."""
    return [np.flatnonzero(blocks == block) for block in np.unique(blocks)]


@dataclass
class Fold:
    """The training on all labels but a fold, and what it knows of the fold.

    Attributes:
        number: Of the fold.
        key: Hash of all that its model comes of, by which its checkpoints are called.
        fit: Hash that tells the fit that it is a fold of from others.
        training: On the other labels.
        texts: All texts of the fit.
        part: Those of the fold, by their places.
        targets: Their labels, counted from the location in units of the deviation, shape (part, k).
        mean: Mean label, shape (k,).
        location: What the module counts from.
        common: Texts that every fold's model predicts, by their places.
        found: Whether its weights were there already, trained.
        lent: Whether another fit has trained them.
        left_out: Predictions of the fold, their mean that of all labels, shape (part, k).
        told: Outputs for the common texts, shape (common, k).
    """

    number: int
    key: str
    fit: str
    training: Training
    texts: list[str]
    part: NDArray[np.intp]
    targets: torch.Tensor
    mean: Floats
    location: float
    common: NDArray[np.intp]
    found: bool = False
    lent: bool = False
    left_out: Floats = field(init=False)
    told: Floats = field(init=False)

    def is_there(self, kept: Checkpoints) -> bool:
        """Take the trained weights where there are some."""
        done = kept.read(self.key)
        if done is not None:
            self.training.take(done["weights"])
            # An earlier version did not write down how many steps they took.
            self.training.steps = done.get("steps", len(self.training.plan))
            # A fit that was stopped after its trainings finds its own.
            self.found, self.lent = True, done.get("fit") != self.fit
        return self.found

    def train(self, watch: Watch, kept: Checkpoints) -> None:
        """Train in place."""
        half = f"{self.key}-half"
        self.training.run(watch, kept, half, self._loss if self.training.recipe.patience else None)
        self.keep(kept)
        kept.drop([half])

    def keep(self, kept: Checkpoints) -> None:
        """Write the trained weights down."""
        steps = self.training.steps
        kept.write(self.key, {"weights": self.training.weights_now(), "steps": steps, "fit": self.fit})

    def tell(self) -> None:
        """Predict the fold and the common texts with what has been trained, which then trains no more."""
        wanted = np.union1d(self.part, self.common)
        found = self._outputs(wanted)
        self.left_out = self._unbiased(found[np.searchsorted(wanted, self.part)])
        self.told = found[np.searchsorted(wanted, self.common)]
        # Adam keeps two numbers for each weight.
        self.training.optimizer.state.clear()

    @property
    def is_finite(self) -> bool:
        """Whether its predictions are numbers; a training that diverged leaves none."""
        return bool(np.isfinite(self.told).all() and np.isfinite(self.left_out).all())

    def _outputs(self, rows: NDArray[np.intp]) -> Floats:
        reader, head = self.training.reader, self.training.module
        texts = [self.texts[i] for i in rows]
        backbone: Any = head.backbone
        modes = [(part, part.training) for part in backbone.modules()]
        try:
            return reader.outputs(reader.settled(backbone, [head]), texts, silent, rough=True)
        finally:
            # Activations are checkpointed in training mode alone, and what trains next may share the backbone.
            for part, mode in modes:
                part.training = mode

    def _unbiased(self, outputs: Floats) -> Floats:
        return np.asarray(outputs - outputs.mean(0) + self.mean)

    def _loss(self) -> float:
        told = self._unbiased(self._outputs(self.part)) - self.location
        predictions = torch.as_tensor(told / self.training.scale)
        return float(residual_loss(predictions.to(self.targets), self.targets, self.training.recipe.objective))


def average(reader: Reader, models: Models, made: list[Fold]) -> tuple[nn.Module, int, Floats]:
    """Average the folds' weights, without those of a fold that went another way.

    Where the weights lie close, their average predicts what the average of their predictions does. Weights that lie
    apart have an average that predicts like none of them: then that fold is left out without which the others agree.
    One whose training diverged is left out from the start.

    Args:
        reader: Of the base model.
        models: That were trained.
        made: The folds, in the order of their models, that have told of the common texts.

    Returns:
        The module with the average, how many folds' models are in it, and its outputs for all texts, shape (s, k).

    Raises:
        ModelError: The training of every fold diverged.
    """
    texts, common = made[0].texts, made[0].common

    def averaged(members: list[Fold]) -> nn.Module:
        backbone = models.average([fold.number for fold in members])
        return reader.settled(backbone, [fold.training.module for fold in members])

    def agreement(members: list[Fold], told: Floats) -> float:
        return _agreement(told, np.mean([fold.told for fold in members], axis=0))

    def agreement_without(one: Fold) -> float:
        fewer = [fold for fold in members if fold is not one]
        told = reader.outputs(averaged(fewer), [texts[i] for i in common], silent, rough=True)
        return agreement(fewer, told)

    members = [fold for fold in made if fold.is_finite]
    if not members:
        raise ModelError(f"The training of model {reader.name} diverged; choose the learner probe or another model.")
    while True:
        module = averaged(members)  # there is one average at a time
        seen = reader.outputs(module, texts, silent, rough=True)
        if len(members) == 1 or agreement(members, seen[common]) >= _AGREES:
            models.settle()
            return module, len(members), seen
        astray = max(members, key=agreement_without)
        members = [fold for fold in members if fold is not astray]


def _agreement(one: Floats, other: Floats) -> float:
    """The correlation of predictions, 1 where neither says anything."""
    one, other = one - one.mean(0), other - other.mean(0)
    lengths = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / lengths if lengths > 0 else float(one.any() == other.any())


def train_side_by_side(reader: Reader, made: list[Fold], recipe: Recipe, watch: Watch) -> list[Fold]:
    """Train the folds in one batch; those whose plans have other numbers of steps, each among themselves.

    Returns:
        The folds that are still as they were, since the memory of a GPU did not suffice for them together.
    """
    names, left = adapted(reader.base, recipe.frozen), []
    made = sorted(made, key=lambda fold: len(fold.training.plan))
    for _, some in groupby(made, key=lambda fold: len(fold.training.plan)):
        group, seen, step = list(some), watch.seen, watch.step
        starts = [fold.training.weights_now() for fold in group]
        try:
            Together(reader.base, names, [fold.training for fold in group], SCALING).run(watch)
        except torch.OutOfMemoryError:
            watch.seen, watch.step = seen, step
            for fold, start in zip(group, starts, strict=True):
                fold.training.take(start)
                fold.training.optimizer.zero_grad()
            left += group
    if left:
        torch.cuda.empty_cache()
    return left


def told_apart(
    reader: Reader,
    ids: list[list[int]],
    columns: Floats,
    rest: NDArray[np.intp],
    part: NDArray[np.intp],
    recipe: Recipe,
    seed: int,
) -> tuple[str, int]:
    """Return the name of a fold's model, a hash of all that it comes of, and the seed of its batches.

    Both are the same in every fit in which this model is trained on the rows `rest`; `part` is left out.
    """

    def digest(rows: NDArray[np.intp], *others: str) -> str:
        told = [ids[i] for i in rows], columns[rows].tolist(), others
        return hashlib.sha256(repr(told).encode()).hexdigest()

    order = digest(rest, str(seed))
    asked = part if recipe.patience else part[:0]  # early stopping looks at the fold
    return digest(asked, order, reader.key, repr(recipe)), int(order[:15], 16)
