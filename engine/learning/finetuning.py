"""Fine-tuning with LoRA (or in full) on the variance of the residual.

A rectified estimate pays for the variance of the residual, not for its mean: a constant bias is corrected exactly
(Wang, Ye & Zhao, arXiv 2511.19486). One model is trained on all labels but a fold, for each fold, from the same start;
their weights are averaged (a model soup, Wortsman et al., arXiv 2203.05482) as long as they lie so close that this is
like averaging their predictions. It leaves less variance than one model trained on all labels; and each label is
predicted once by a model that has not seen it, which tells how far to trust.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import ArgumentError
from engine.learning.averaging import Adapters, Copies, Models, adapted
from engine.learning.below import layers_of
from engine.learning.blending import BY_ITSELF, outcomes, spread, trust
from engine.learning.checkpoints import Checkpoints
from engine.learning.faults import memory_told
from engine.learning.folds import Fold, average, folds, of_each, told_apart, train_side_by_side
from engine.learning.models import Progress, silent
from engine.learning.prediction import in_parts
from engine.learning.recipe import Recipe
from engine.learning.together import stand_apart
from engine.learning.training import LossReport, Reader, Training, Watch, deviation

Floats = NDArray[np.float64]
_MOST_TRUST = 2.0
# So many texts tell whether the average of weights predicts like the average of predictions: 32 and 128 have missed it.
_COMMON = 256


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
            a fold is that of all labels, since the variance objective leaves each model's bias as it falls. A model
            whose training diverged tells nothing: there they are the mean label.
        seen: The averaged model's own predictions of them, shape (s, k).
        residual: Residual variance of the predictions of labels left out as a share of the label variance, without
            the folds whose training diverged.
        averaged: How many of the folds' models are in the average.
        classes: Names of the classes in the order of their probabilities; None for numbers and where none were told.
    """

    recipe: Recipe
    left_out: Floats
    seen: Floats
    residual: float
    averaged: int
    classes: tuple[str, ...] | None = None

    def save(self, folder: Path) -> None:
        """Save the adapter in PEFT's format (or the full weights), the head, the recipe and a model card."""
        folder.mkdir(parents=True, exist_ok=True)
        self.module.backbone.save_pretrained(folder)
        self.reader.save_head(self.module, folder)
        learnt = {"mean": self.mean.tolist(), "offset": self.offset.tolist(), "trust": self.trust}
        facts = {**asdict(self.recipe), "model": self.reader.name, "classes": self.classes, **learnt}
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
    checkpoints: Checkpoints | Path | None = None,
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
            folder is gone at the end, unless `blocks` leave something in it. None keeps nothing. Where `Checkpoints`
            hold what is done with, all of it is there until they let go.
        blocks: Code of each label's block, shape (s,): each fold's model leaves out a block, and the recipe's number of
            folds does not count. Fits that differ by a block then have models in common: what one has trained lies in
            `checkpoints` for the other, until it is taken.

    Raises:
        ArgumentError: The objective is one of classes, and the labels are numbers.
        ModelError: The memory does not suffice, or the training of every fold diverged.
    """
    if recipe.objective == "cross-entropy" and not classes:
        raise ArgumentError("The objective cross-entropy is one of classes; for numbers take variance or mean-square.")
    columns = outcomes(y, classes)
    parts = folds(columns, bool(classes), recipe.folds, seed) if blocks is None else of_each(blocks)
    recipe = replace(recipe, folds=len(parts))
    kept = checkpoints if isinstance(checkpoints, Checkpoints) else Checkpoints(checkpoints)
    counts = [len(texts) - len(part) for part in parts]
    watch = Watch(sum(n * recipe.passes(n) for n in counts), progress, report_loss)
    ids = reader.tokenize(texts)
    common = np.unique(np.linspace(0, len(texts) - 1, _COMMON).astype(int))
    left_out, made = np.empty_like(columns), []
    every, none = np.arange(len(texts)), np.arange(0)
    fit, _ = told_apart(reader, ids, columns, every, none, recipe, seed)
    with memory_told(f"fine-tune model {reader.name}"):
        models: Models = (
            Copies(reader.base, checkpointing=recipe.checkpointing)
            if recipe.method == "full"
            else Adapters(reader.base, recipe.rank, seed, frozen=recipe.frozen, checkpointing=recipe.checkpointing)
        )
        lora, below = isinstance(models, Adapters), None
        beside = lora and recipe.side_by_side and stand_apart(reader, adapted(reader.base, recipe.frozen))
        if lora and not (recipe.patience or recipe.checkpointing or beside):
            below = reader.below(ids, int(recipe.frozen * len(layers_of(reader.base)[1])))
        for number, part in enumerate(parts):
            rest = np.setdiff1d(every, part)
            own = columns[rest]
            # Several classes are one-hot.
            location, scale = (reader.location(own), deviation(own)) if own.shape[1] == 1 else (0.0, 1.0)
            targets = torch.as_tensor((columns - location) / scale, dtype=torch.float32).to(reader.base.device)
            key, order = told_apart(reader, ids, columns, rest, part, recipe, seed)
            head, known = reader.head(models.start(), rest, own - location), below.rows(rest) if below else None
            training = Training(reader, head, [ids[i] for i in rest], targets[rest], scale, recipe, order, known)
            fold = Fold(number, key, fit, training, texts, part, targets[part], columns.mean(0), location, common)
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
            for alone in train_side_by_side(reader, untrained, recipe, watch):
                models.take_up(alone.number)
                alone.train(watch, kept)
            for fold in untrained:
                fold.keep(kept)
            for fold in made:
                models.take_up(fold.number)
                fold.tell()
        module, averaged, seen = average(reader, models, made)
    # A model in common serves two fits: what another has trained is needed by none after this one.
    kept.done_with(fold.key for fold in made if blocks is None or fold.lent)
    mean = columns.mean(0)
    for fold, part in zip(made, parts, strict=True):
        left_out[part] = fold.left_out if fold.is_finite else mean
    told = np.sort(np.concatenate([part for fold, part in zip(made, parts, strict=True) if fold.is_finite]))
    # Probabilities are left as they are: shifted, they might leave the range from zero to one.
    offset = mean - seen.mean(0) if columns.shape[1] == 1 else np.zeros(columns.shape[1])
    most = 1.0 if classes else _MOST_TRUST
    cautious, known = np.broadcast_to(mean, columns.shape), columns[told]
    weight = trust(known, left_out[told], cautious[told], BY_ITSELF, final=seen[told], most=most)
    trusted = mean + weight * (left_out[told] - mean)
    residual = spread(known - trusted) / max(spread(known), 1e-300)
    return FineTuned(reader, module, mean, offset, weight, recipe, left_out, seen + offset, residual, averaged)


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
    classes = ": a probability for each of the `classes` there, in their order" if model.classes else ""
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

{model.reader.told(model.module)}

`recipe.json` has the settings of the training and, for each output, `mean`, `offset` and `trust`. The prediction is
mean + trust * (output + offset - mean){classes}.
"""
