"""How long the pilot and the strategy of a run take: before the first trial by a guess, then at the trials' pace."""

from __future__ import annotations

from engine.allocation import Costs, fold_size
from engine.data import Dataset
from engine.data.sealing import Sealing
from engine.runs.states import RunSettings

# Trials of each size, which hold every label of the pilot out once.
SEEDS = {"probe": 5, "lora": 4, "full": 4, "auto": 4}
# Of the recipe of fine-tuning, which a page must not load: models that a fit of an adapter averages, and the labels
# below which training a model takes no less time.
AVERAGED, FEWEST = {"lora": 3, "auto": 5}, 80
# As measured with the default model on two cores: for each label of a fit, and for each text.
SECONDS_TO_FIT = {"probe": 0.0005, "lora": 0.064, "full": 0.064, "auto": 0.19}
SECONDS_TO_PREDICT = 0.0025
UNTRAINED = ("labels-only", "zero-shot")  # strategies without a pilot
_USUAL_FOLDS = 7  # until the plan has chosen them


def costs_of(settings: RunSettings, pace: float = 0.0, *, asks: bool = False) -> Costs:
    """Return prices and times, at a pace in seconds for each label of a fit.

    A model that takes longer to train takes as much longer to predict: both pass the texts through it. Of a probe the
    time of predictions is that in which the default model reads the texts, since its fits say nothing of it. `asks`
    says that zero-shot predictions do not come with the data.
    """
    trained = settings.learner != "probe"
    slower = pace / SECONDS_TO_FIT[settings.learner] if trained else 1.0
    return Costs(
        per_label=settings.cost_per_label,
        per_gpu_hour=settings.cost_per_gpu_hour,
        per_thousand=settings.cost_per_thousand,
        seconds_per_label=pace,
        seconds_per_thousand=1000 * SECONDS_TO_PREDICT * slower,
        averaged=AVERAGED.get(settings.learner, 0),
        fewest=FEWEST if trained else 0,
        asks=asks,
    )


def pilot_work(settings: RunSettings, sealing: Sealing) -> float:
    """Return the labels that the trials inside the opened labels take the time of."""
    costs = costs_of(settings)
    return sum(costs.work(len(train)) for _, train, _ in sealing.trials(SEEDS[settings.learner]))


def strategy_seconds(settings: RunSettings, data: Dataset, pace: float) -> float:
    """Return the seconds that training and predicting take, as far as they are known before there is a plan.

    A probe predicts from what has been read, which is a stage of its own.
    """
    costs, texts = costs_of(settings, pace), predicted(settings, data)
    if settings.strategy == "split":
        return costs.seconds(1, data.n // 2 if settings.finetune is None else settings.finetune, texts)
    folds = min(settings.folds if settings.strategy == "cross-fit" else _USUAL_FOLDS, data.n)
    return costs.seconds(folds, fold_size(data.n, folds), texts)


def predicted(settings: RunSettings, data: Dataset) -> int:
    """Return the texts of the pool that fitted models read; a probe's have been read before."""
    return 0 if settings.learner == "probe" else data.m
