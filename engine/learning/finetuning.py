"""Fine-tuning with LoRA (or in full) on the variance of the residual.

A rectified estimate pays for the variance of the residual, not for its mean: a constant bias is corrected exactly
(Wang, Ye & Zhao, arXiv 2511.19486). One model is trained on all labels but a fold, for each fold, from the same start;
their weights are averaged (a model soup, Wortsman et al., arXiv 2203.05482) as long as they lie so close that this is
like averaging their predictions. It leaves less variance than one model trained on all labels; and each label is
predicted once by a model that has not seen it, which tells how far to trust.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engine.errors import ArgumentError
from engine.learning.averaging import SCALING, Adapters, Copies, Models, adapted
from engine.learning.below import layers_of
from engine.learning.blending import BY_ITSELF, outcomes, spread, trust
from engine.learning.checkpoints import Checkpoints
from engine.learning.faults import memory_told
from engine.learning.models import Progress, silent
from engine.learning.prediction import in_parts
from engine.learning.recipe import Recipe
from engine.learning.together import Together, stand_apart
from engine.learning.training import LossReport, Reader, Training, Watch, deviation, residual_loss

Floats = NDArray[np.float64]
_MOST_TRUST = 2.0
# So many texts tell whether the average of weights predicts like the average of predictions: like this, or not.
_COMMON, _AGREES = 32, 0.97


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned model that predicts in the units of the label.

    Attributes:
        reader: How it reads texts.
        module: The trained module, in evaluation mode.
        mean: Mean label (share of each class), shape (k,).
        offset: Added to the reader's output, shape (k,): the variance objective leaves a number's bias as it falls, and
            a number far from zero is more than single precision holds.
        trust: Predictions are mean + trust * (output - mean); above 1 where the average of the folds' models, which
            agree less the less they know, is too near the mean.
    """

    reader: Reader
    module: Any
    mean: Floats
    offset: Floats
    trust: float

    def predict(self, texts: list[str], progress: Progress = silent, *, rough: bool = False) -> Floats:
        """Return predictions, shape (len(texts),) for numbers, probabilities (len(texts), k) for classes.

        With `rough` an encoder reads the texts in the precision of its training.
        """
        trusted = self.mean + self.trust * (self.outputs(texts, progress, rough=rough) - self.mean)
        return trusted if self.module.logistic else trusted[:, 0]

    def outputs(self, texts: list[str], progress: Progress = silent, *, rough: bool = False) -> Floats:
        """Return the module's own predictions, without bias on the labels, shape (len(texts), k).

        Raises:
            ModelError: The memory does not suffice.
        """

        def read(part: list[str], told: Progress) -> Floats:
            return self.reader.outputs(self.module, part, told, rough=rough) + self.offset

        with memory_told(f"predict with model {self.reader.name}", "choose a smaller model"):
            return in_parts(read, texts, progress)


@dataclass(frozen=True)
class FineTuned(Tuned):
    """A fine-tuned model with what its training told.

    Attributes:
        recipe: How it was trained.
        left_out: The labels' predictions, each by a fold's model that has not seen it, shape (s, k). Their mean over
            a fold is that of all labels, since the variance objective leaves each model's bias as it falls.
        seen: The averaged model's own predictions of them, shape (s, k).
        residual: Residual variance of the predictions of labels left out as a share of the label variance.
        averaged: How many of the folds' models are in the average.
    """

    recipe: Recipe
    left_out: Floats
    seen: Floats
    residual: float
    averaged: int

    def save(self, folder: Path) -> None:
        """Save the adapter in PEFT's format (or the full weights), the head, the recipe and a model card."""
        folder.mkdir(parents=True, exist_ok=True)
        self.module.backbone.save_pretrained(folder)
        self.reader.save_head(self.module, folder)
        learnt = {"mean": self.mean.tolist(), "offset": self.offset.tolist(), "trust": self.trust}
        facts = {**asdict(self.recipe), "model": self.reader.name, **learnt}
        (folder / "recipe.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")
        (folder / "README.md").write_text(_card(self), encoding="utf-8")


def fine_tune(
    reader: Reader,
    texts: list[str],
    y: NDArray[Any],
    *,
    classes: int | None,
    recipe: Recipe,
    seed: int,
    progress: Progress = silent,
    report_loss: LossReport | None = None,
    checkpoints: Path | None = None,
    blocks: NDArray[np.integer] | None = None,
) -> FineTuned:
    """Fine-tune on labels.

    Args:
        reader: The base model and how it reads texts; it is copied, not changed.
        texts: The texts, s of them.
        y: Numbers, or class codes, shape (s,).
        classes: Number of classes, or None for numbers.
        recipe: Settings.
        seed: Seed of the adapter's start, the folds and the order of batches.
        progress: Called with the share done after each step.
        report_loss: Called with step, loss and learning rate; the folds' steps follow each other.
        checkpoints: Folder that keeps how far training has come; one that was stopped goes on from there, and the
            folder is gone at the end, unless `blocks` leave something in it. None keeps nothing.
        blocks: Code of each label's block, shape (s,): each fold's model leaves out a block, and the recipe's number of
            folds does not count. Fits that differ by a block then have models in common: what one has trained lies in
            `checkpoints` for the other, until it is taken.

    Raises:
        ArgumentError: The objective is one of classes, and the labels are numbers.
        ModelError: The memory does not suffice.
    """
    if recipe.objective == "cross-entropy" and not classes:
        raise ArgumentError("The objective cross-entropy is one of classes; for numbers take variance or mean-square.")
    columns = outcomes(y, classes)
    parts = folds(columns, bool(classes), recipe.folds, seed) if blocks is None else _of_each(blocks)
    recipe = replace(recipe, folds=len(parts))
    kept = Checkpoints(checkpoints)
    counts = [len(texts) - len(part) for part in parts]
    watch = Watch(sum(n * recipe.passes(n) for n in counts), progress, report_loss)
    models: Models = (
        Copies(reader.base, checkpointing=recipe.checkpointing)
        if recipe.method == "full"
        else Adapters(reader.base, recipe.rank, seed, frozen=recipe.frozen, checkpointing=recipe.checkpointing)
    )
    ids = reader.tokenize(texts)
    lora, below = isinstance(models, Adapters), None
    beside = lora and recipe.side_by_side and stand_apart(reader, adapted(reader.base, recipe.frozen))
    if lora and not (recipe.patience or recipe.checkpointing or beside):
        below = reader.below(ids, int(recipe.frozen * len(layers_of(reader.base)[1])))
    common = [texts[i] for i in np.unique(np.linspace(0, len(texts) - 1, _COMMON).astype(int))]
    left_out, made = np.empty_like(columns), []
    with memory_told(f"fine-tune model {reader.name}"):
        for number, part in enumerate(parts):
            rest = np.setdiff1d(np.arange(len(texts)), part)
            own = columns[rest]
            # Several classes are one-hot.
            location, scale = (reader.location(own), deviation(own)) if own.shape[1] == 1 else (0.0, 1.0)
            targets = torch.as_tensor((columns - location) / scale, dtype=torch.float32).to(reader.base.device)
            key, order = _told_apart(reader, ids, columns, rest, part, recipe, seed)
            head, known = reader.head(models.start(), rest, own - location), below.rows(rest) if below else None
            training = Training(reader, head, [ids[i] for i in rest], targets[rest], scale, recipe, order, known)
            unseen = [texts[i] for i in part]
            fold = _Fold(number, key, training, unseen, targets[part], columns.mean(0), location, common)
            made.append(fold)
            if fold.is_there(kept):
                # Side by side a step is one of all models that train then: those that are there had no share in it.
                watch.pass_over(sum(map(len, training.plan)), 0 if beside else training.steps)
            elif not beside:
                fold.train(watch, kept)
            if not beside:
                fold.tell()
                models.keep()
        if beside and isinstance(models, Adapters):
            untrained = [fold for fold in made if not fold.found]
            for alone in _train_side_by_side(reader, untrained, recipe, watch):
                models.take_up(alone.number)
                alone.train(watch, kept)
            for fold in untrained:
                fold.keep(kept)
            for fold in made:
                models.take_up(fold.number)
                fold.tell()
        module, averaged = _average(reader, models, made, common)
        seen = reader.outputs(module, texts, silent, rough=True)
    kept.drop(fold.key for fold in made if blocks is None or fold.found)
    for fold, part in zip(made, parts, strict=True):
        left_out[part] = fold.left_out
    mean = columns.mean(0)
    # Probabilities are left as they are: shifted, they might leave the range from zero to one.
    offset = mean - seen.mean(0) if columns.shape[1] == 1 else np.zeros(columns.shape[1])
    most = 1.0 if classes else _MOST_TRUST
    weight = trust(columns, left_out, np.broadcast_to(mean, columns.shape), BY_ITSELF, final=seen, most=most)
    trusted = mean + weight * (left_out - mean)
    residual = spread(columns - trusted) / max(spread(columns), 1e-300)
    return FineTuned(reader, module, mean, offset, weight, recipe, left_out, seen + offset, residual, averaged)


def folds(columns: Floats, classes: bool, count: int, seed: int) -> list[NDArray[np.intp]]:
    """Return the rows of each fold; each has its share of every class. `columns` has shape (s, k)."""
    order = torch.randperm(len(columns), generator=torch.Generator().manual_seed(seed)).numpy()
    if classes:
        order = order[np.argsort(columns.argmax(1)[order], kind="stable")]
    count = min(count, len(columns))
    return [order[j::count] for j in range(count)]


def _of_each(blocks: NDArray[np.integer]) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(blocks == block) for block in np.unique(blocks)]


@dataclass
class _Fold:
    """The training on all labels but a fold, and what it knows of the fold.

    Attributes:
        number: Of the fold.
        key: Hash of all that its model comes of, by which its checkpoints are called.
        training: On the other labels.
        unseen: The fold's texts.
        targets: Their labels, counted from the location in units of the deviation, shape (texts, k).
        mean: Mean label, shape (k,).
        location: What the module counts from.
        common: Texts that every fold's model predicts.
        found: Whether its weights were there already, trained.
        left_out: Predictions of the fold, their mean that of all labels, shape (texts, k).
        told: Outputs for the common texts, shape (common, k).
    """

    number: int
    key: str
    training: Training
    unseen: list[str]
    targets: torch.Tensor
    mean: Floats
    location: float
    common: list[str]
    found: bool = False
    left_out: Floats = field(init=False)
    told: Floats = field(init=False)

    def is_there(self, kept: Checkpoints) -> bool:
        """Take the trained weights where there are some."""
        done = kept.read(self.key)
        if done is not None:
            self.training.take(done["weights"])
            # An earlier version did not write down how many steps they took.
            self.training.steps = done.get("steps", len(self.training.plan))
            self.found = True
        return self.found

    def train(self, watch: Watch, kept: Checkpoints) -> None:
        """Train in place."""
        half = f"{self.key}-half"
        self.training.run(watch, kept, half, self._loss if self.training.recipe.patience else None)
        self.keep(kept)
        kept.drop([half])

    def keep(self, kept: Checkpoints) -> None:
        """Write the trained weights down."""
        kept.write(self.key, {"weights": self.training.weights_now(), "steps": self.training.steps})

    def tell(self) -> None:
        """Predict the fold and the common texts with what has been trained."""
        found = self._outputs([*self.unseen, *self.common])
        self.left_out, self.told = self._unbiased(found[: len(self.unseen)]), found[len(self.unseen) :]

    def _outputs(self, texts: list[str]) -> Floats:
        reader, head = self.training.reader, self.training.module
        return reader.outputs(reader.settled(head.backbone, [head]), texts, silent, rough=True)

    def _unbiased(self, outputs: Floats) -> Floats:
        return np.asarray(outputs - outputs.mean(0) + self.mean)

    def _loss(self) -> float:
        told = self._unbiased(self._outputs(self.unseen)) - self.location
        predictions = torch.as_tensor(told / self.training.scale)
        return float(residual_loss(predictions.to(self.targets), self.targets, self.training.recipe.objective))


def _average(reader: Reader, models: Models, made: list[_Fold], common: list[str]) -> tuple[nn.Module, int]:
    """The average of the folds' weights, without those of a fold that went another way, and how many there are in it.

    Where the weights lie close, their average predicts what the average of their predictions does. Weights that lie
    apart have an average that predicts like none of them: then that fold is left out without which the others agree.
    """

    def average(members: list[_Fold]) -> nn.Module:
        backbone = models.average([fold.number for fold in members])
        return reader.settled(backbone, [fold.training.module for fold in members])

    def agreement(members: list[_Fold], module: nn.Module) -> float:
        found = reader.outputs(module, common, silent, rough=True)
        return _agreement(found, np.mean([fold.told for fold in members], axis=0))

    members, module = made, average(made)
    while len(members) > 1 and agreement(members, module) < _AGREES:
        fewer = ([fold for fold in members if fold is not one] for one in members)
        members = max(fewer, key=lambda some: agreement(some, average(some)))
        module = average(members)  # there is one average at a time
    models.settle()
    return module, len(members)


def _agreement(one: Floats, other: Floats) -> float:
    """The correlation of predictions, 1 where neither says anything."""
    one, other = one - one.mean(0), other - other.mean(0)
    lengths = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / lengths if lengths > 0 else float(one.any() == other.any())


def _train_side_by_side(reader: Reader, made: list[_Fold], recipe: Recipe, watch: Watch) -> list[_Fold]:
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


def _told_apart(
    reader: Reader,
    ids: list[list[int]],
    columns: Floats,
    rest: NDArray[np.intp],
    part: NDArray[np.intp],
    recipe: Recipe,
    seed: int,
) -> tuple[str, int]:
    """The name of a fold's model, a hash of all that it comes of, and the seed of its batches.

    Both are the same in every fit in which this model is trained on the rows `rest`; `part` is left out.
    """

    def digest(rows: NDArray[np.intp], *others: str) -> str:
        told = [ids[i] for i in rows], columns[rows].tolist(), others
        return hashlib.sha256(repr(told).encode()).hexdigest()

    order = digest(rest, str(seed))
    asked = part if recipe.patience else part[:0]  # early stopping looks at the fold
    return digest(asked, order, reader.key, repr(recipe)), int(order[:15], 16)


def _card(model: FineTuned) -> str:
    """The model card: what it is, how it was made, how well it does, how to load it."""
    recipe, name = model.recipe, model.reader.name
    lora = recipe.method == "lora"
    what = "adapter (PEFT, LoRA)" if lora else "fine-tuned copy"
    kind = "AutoModel" if model.reader.base.get_output_embeddings() is None else "AutoModelForCausalLM"
    how = f"from transformers import {kind}\n\n" + (
        f'base = {kind}.from_pretrained({json.dumps(name)})\nmodel = PeftModel.from_pretrained(base, "this folder")'
        if lora
        else f'model = {kind}.from_pretrained("this folder")'
    )
    how = f"from peft import PeftModel\n{how}" if lora else how
    told = "class probabilities" if model.module.logistic else "a number"
    return f"""---
base_model: {json.dumps(name)}
library_name: {"peft" if lora else "transformers"}
tags: [labelwise]
---
# {what[0].upper()}{what[1:]} of {name}

Predicts {told} from a text. Trained by Labelwise on {len(model.left_out):,} labels with the objective
"{recipe.objective}": {recipe.folds} models, each on all labels but a fold; {model.averaged} of them are averaged. On
labels that the model of a fold had not seen, the variance of the residual was {model.residual:.3f} of theirs.

Its predictions are biased, as every model's are: an estimate for a whole should be rectified with labels that did not
train it. It knows texts and labels like those it was trained on.

```python
{how}
```

`recipe.json` has the settings, what is added to the output (offset) and how far the prediction is trusted; the head on
the mean of the token states, where there is one, is in `head.safetensors` (weight and bias).
"""
