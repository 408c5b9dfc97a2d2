"""Settings of fine-tuning, by the size of the model and of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

# Peak learning rates and ranks by millions of weights: a larger model moves further by the same step.
_SIZES = (100, 1000, math.inf)
_LORA_RATES, _FULL_RATES, _RANKS = (1e-3, 5e-4, 2e-4), (1e-4, 3e-5, 1e-5), (32, 32, 16)
_CHECKPOINTED = 1e9  # weights; from here on activations are computed again rather than kept
# So many labels that half of them, passed over a little more often, train a model nearly as well as two thirds.
_MANY, _HALVES = 200, {"folds": 2, "epochs": 5, "enough": 100}
_FEWEST_EPOCHS = 3
# What the best prediction takes rather than the fastest: half as long again for each fold, and more folds. How it
# compares with other rates is told in benchmarks/RESULTS.md; 1.4 times is too much for some ratings.
THOROUGH_FOLDS, _THOROUGH_RATE = 5, 1.2


@dataclass(frozen=True)
class Recipe:
    """Settings of fine-tuning.

    Attributes:
        method: "lora" (adapters on linear maps) or "full" (every weight).
        objective: "variance" of the residual, its "mean-square", or (classes only) "cross-entropy".
        rank: Rank of each fold's adapter; the average has as many times as much as it has folds.
        frozen: Share of the layers, from the lowest up, that get no adapter: the faster for it.
        learning_rate: Peak learning rate; it warms up over the first tenth and falls linearly to zero.
        head_rate: Peak learning rate of the head, on pooled states scaled to a mean square of one per coordinate. It
            is small so that the encoder learns; a head that learns fast, or starts from the probe's solution, has
            fitted the labels before the encoder moves.
        epochs: Passes over the labels; fewer, though not below three, where those are `enough` steps, and more where
            they are fewer than `steps` steps.
        steps: Least number of steps of each fold.
        enough: Steps of each fold that suffice.
        batch_size: Texts in a batch.
        micro_batch: Most texts that go through the model at once; a larger batch is accumulated from several. It is
            halved where the memory of a GPU does not suffice.
        folds: Models trained, each on all labels but one fold.
        patience: Epochs without a better residual variance on the fold left out after which a fold's training stops
            and the best epoch's weights are taken; 0 trains to the end.
        side_by_side: Whether the folds' adapters train in one batch, which a GPU is glad of, where the model and
            the memory let them; to the end, no checkpoint between.
        checkpointing: Whether activations are computed again in the backward pass rather than kept.
    """

    method: str = "lora"
    objective: str = "variance"
    rank: int = 32
    frozen: float = 1 / 3
    learning_rate: float = 1e-3
    head_rate: float = 1e-4
    epochs: int = 4
    steps: int = 20
    enough: int = 70
    batch_size: int = 16
    micro_batch: int = 16
    folds: int = 3
    patience: int = 0
    side_by_side: bool = False
    checkpointing: bool = False

    @classmethod
    def suited(cls, model: Any, method: str, objective: str, labels: int, *, thorough: bool = False) -> Self:
        """Return the settings for a model by its number of weights, and for labels that are to be divided into folds.

        Where the folds are given, `labels` is 0. `thorough` settings predict best, but take longer.
        """
        weights = sum(p.numel() for p in model.parameters())
        size = next(i for i, most in enumerate(_SIZES) if weights <= 1e6 * most)
        rate = (_FULL_RATES if method == "full" else _LORA_RATES)[size]
        halves = method == "lora" and labels >= _MANY and not thorough
        return cls(
            method,
            objective,
            rank=_RANKS[size],
            frozen=0.0 if thorough else cls.frozen,
            learning_rate=rate * (_THOROUGH_RATE if thorough else 1),
            **_HALVES if halves else {"folds": THOROUGH_FOLDS if thorough else cls.folds},
            side_by_side=method == "lora" and weights < _CHECKPOINTED and model.device.type == "cuda",
            micro_batch=4 if weights >= _CHECKPOINTED else 16,
            checkpointing=weights >= _CHECKPOINTED,
        )

    def passes(self, labels: int) -> int:
        """Return the passes over so many labels."""
        steps = math.ceil(labels / self.batch_size)  # in one pass
        enough = max(math.ceil(self.enough / steps), _FEWEST_EPOCHS)
        return max(min(self.epochs, enough), math.ceil(self.steps / steps))
