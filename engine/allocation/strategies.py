"""The strategies with what each is predicted to give and to cost, and which of them to take."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from engine.allocation.widths import Design, Floats, variance_bands
from engine.scaling import Law

# A wider interval by less than this is not worth any compute, nor a less familiar method.
_WORTHWHILE = 0.01
FEWEST_TO_RECTIFY = 10
_FEWEST_TO_FINETUNE = 8
_TRIED = 1000  # splits tried at once
FOLDS = (2, 20)
NAMES = ("labels-only", "zero-shot", "split", "cross-fit")  # the simplest first
# Compute that is not worth saving where it has no price: a law of few trials is flatter than the truth where little is
# explained, and the labels that more folds save take a person longer.
_FREE_SECONDS = 300.0


@dataclass(frozen=True)
class StrategyPlan:
    """One strategy with what it is predicted to give and to cost.

    Attributes:
        name: "labels-only", "zero-shot", "split" or "cross-fit".
        finetune: Labels that train a model (under cross-fit: each fold's model).
        rectify: Labels that rectify it.
        folds: Number of models, 0 where none is trained.
        half_width: Predicted half-width of the interval, in units of the label.
        interval: 80% interval of the half-width, from the uncertainty of the law and the luck of the labels.
        labels_saved: 1 - (half_width / labels-only half-width)^2.
        cost: Labels and compute, in the user's currency.
        seconds: Compute time.
        labels_alone: Labels that labels-only would need for the same half-width.
    """

    name: str
    finetune: int
    rectify: int
    folds: int
    half_width: float
    interval: tuple[float, float]
    labels_saved: float
    cost: float
    seconds: float
    labels_alone: int | None = None


@dataclass(frozen=True)
class Costs:
    """Prices and times. Money in the user's currency, time in seconds.

    Attributes:
        per_label: Price of a label.
        per_gpu_hour: Price of an hour of compute.
        seconds_per_label: Training time for each label in a fit.
        seconds_per_thousand: Prediction time for a thousand texts.
        per_thousand: Price of a thousand predictions, beside the hours they take.
        averaged: Models that a fit averages, each trained on all its labels but a fold; 0 where it is one model.
        fewest: Labels below which training a model takes no less time, for its steps have a least number.
        asks: Whether the zero-shot predictions of labels and pool are yet to be asked of the model.
    """

    per_label: float = 0.0
    per_gpu_hour: float = 0.0
    seconds_per_label: float = 0.0
    seconds_per_thousand: float = 0.0
    per_thousand: float = 0.0
    averaged: int = 0
    fewest: int = 0
    asks: bool = False

    @property
    def prices_compute(self) -> bool:
        """Whether compute can be weighed against labels."""
        return self.per_label > 0 and (self.per_gpu_hour > 0 or self.per_thousand > 0)

    def asked(self, design: Design) -> int:
        """Return the texts whose zero-shot predictions are asked of the model."""
        return design.n + design.m if self.asks else 0

    def shares(self, folds: int) -> bool:
        """Return whether the fits of cross-fit have their models in common.

        A model that leaves out two folds serves the fits of both: K folds take K (K - 1) / 2 models, K - 1 in each
        average, where fits of their own take K times as many as a fit averages. With at least as many models in an
        average as a fit has by itself this costs no quality, and up to twice as many folds no more time.
        """
        return 1 < self.averaged < folds <= 2 * self.averaged

    def seconds(self, fits: int, finetune: int, texts: int) -> float:
        """Return the compute time of models that are each fitted on `finetune` labels and share the texts to predict.

        Without fits, it is that of the texts that are asked of the untrained model.

        Where fits have their models in common, a fit of cross-fit trains half of K - 1 models on (K - 2) / (K - 1) of
        its labels.
        """
        training = self.work(finetune)
        if self.shares(fits):
            own = max(finetune * (fits - 2) / (fits - 1), self.fewest)
            training = own * (fits - 1) / 2 / (self.averaged - 1)
        return fits * training * self.seconds_per_label + self.seconds_per_thousand * texts / 1000

    def work(self, finetune: int) -> float:
        """Return the labels that a fit on `finetune` labels, by itself, takes the time of: hardly less for a few.

        It trains A models on (A - 1) / A of its labels, A being `averaged`.
        """
        others = self.averaged - 1
        return max(finetune, self.fewest * self.averaged / others) if others > 0 else max(finetune, self.fewest)

    def compute(self, fits: int, finetune: int, texts: int) -> float:
        """Return the price of that compute."""
        return self.per_gpu_hour * self.seconds(fits, finetune, texts) / 3600 + self.per_thousand * texts / 1000


def split_range(design: Design, finetune_minimum: int) -> tuple[int, int]:
    """Return the fewest and the most labels that may fine-tune under `split`."""
    high = design.n - FEWEST_TO_RECTIFY
    return min(max(finetune_minimum, _FEWEST_TO_FINETUNE), high), high


def best_split(law: Law, design: Design, finetune_minimum: int = 0) -> int:
    """Return the whole number s of fine-tuning labels with the smallest predicted half-width."""
    low, high = split_range(design, finetune_minimum)
    while True:
        candidates = np.unique(np.linspace(low, high, min(high - low + 1, _TRIED)).round())
        best = int(np.argmin(design.rectified(candidates, np.asarray(law.expected(candidates)))))
        if candidates.size == high - low + 1:
            return int(candidates[best])
        low, high = int(candidates[max(best - 1, 0)]), int(candidates[min(best + 1, candidates.size - 1)])


def fold_size(n: int, folds: int) -> int:
    """Return how many labels each model of cross-fit trains on."""
    return round(n * (folds - 1) / folds)


def best_folds(law: Law, design: Design, costs: Costs) -> int:
    """Return the number of folds K, from 2 to 20, whose gain is worth its compute.

    Where compute has a price, each K is worth the labels that its width saves, less its compute. Otherwise the quickest
    number of folds within a per cent of the narrowest interval, or as many as five minutes of compute allow.
    """
    folds = np.arange(FOLDS[0], min(FOLDS[1], design.n) + 1)
    sizes = np.array([fold_size(design.n, int(k)) for k in folds])
    half = design.rectified(0, np.asarray(law.expected(sizes)))
    if costs.prices_compute:
        texts = design.n + design.m
        compute = [costs.compute(int(k), int(size), texts) for k, size in zip(folds, sizes, strict=True)]
        return int(folds[np.argmax(costs.per_label * design.labels_alone(half) - compute)])
    # Whatever the number of folds, each text is predicted once.
    seconds = np.array([costs.seconds(int(k), int(size), 0) for k, size in zip(folds, sizes, strict=True)])
    near = np.flatnonzero(half <= (1 + _WORTHWHILE) * half.min())
    enough = int(folds[near[np.argmin(seconds[near])]])
    return max(enough, int(folds[seconds <= _FREE_SECONDS].max(initial=FOLDS[0])))


def strategy_records(
    law: Law,
    design: Design,
    costs: Costs,
    folds: int,
    finetune_minimum: int,
    zero_shot: Floats | None,
    names: Collection[str] = NAMES,
) -> tuple[StrategyPlan, ...]:
    """Return the record of every strategy, or of those named; `zero_shot` is (variance, low, high) or None."""
    label_bands = variance_bands(1.0, design.label_degrees_of_freedom)
    records: list[StrategyPlan] = []

    def add(name: str, finetune: int, rectify: int, fits: int, half: Floats) -> None:
        records.append(strategy_record(design, costs, name, finetune, rectify, fits, half))

    if "labels-only" in names:
        add("labels-only", 0, design.n, 0, design.labels_only() * np.sqrt(label_bands))
    if "zero-shot" in names and zero_shot is not None:
        # The best linear use of predictions leaves no more than the labels vary.
        zero_shot = np.minimum(zero_shot, design.label_variance * label_bands.max())
        add("zero-shot", 0, design.n, 0, half_widths(design, 0, zero_shot))
    if "split" in names:
        s = best_split(law, design, finetune_minimum)
        add("split", s, design.n - s, 1, half_widths(design, s, law_bands(law, s)))
    if "cross-fit" in names:
        size = fold_size(design.n, folds)
        add("cross-fit", size, design.n, folds, half_widths(design, 0, law_bands(law, size)))
    return tuple(records)


def zero_shot_bands(variance: float | None, degrees_of_freedom: float | None) -> Floats | None:
    """The variance with its 80% interval, as (value, low, high)."""
    return None if variance is None else variance_bands(variance, degrees_of_freedom)


def half_widths(design: Design, finetune: int, bands: Floats) -> Floats:
    """Return the half-width with its interval from a residual variance with its own, both as (value, low, high)."""
    value = design.rectified(finetune, bands[0])
    low, high = design.rectified_interval(finetune, bands)
    return np.array([value, min(low, value), max(high, value)])


def law_bands(law: Law, s: int) -> Floats:
    """Return the mean residual variance at s under the law with its 80% interval, as (value, low, high)."""
    low, high = law.interval(s)
    return np.array([law.expected(s), low, high], dtype=float)


def strategy_record(
    design: Design, costs: Costs, name: str, finetune: int, rectify: int, folds: int, half: Floats
) -> StrategyPlan:
    """Return a record from half-widths (value, low, high)."""
    # A fitted model reads the labels that it rectifies too.
    texts = rectify + design.m if folds else costs.asked(design) if name == "zero-shot" else 0
    return StrategyPlan(
        name=name,
        finetune=finetune,
        rectify=rectify,
        folds=folds,
        half_width=float(half[0]),
        interval=(float(half[1]), float(half[2])),
        labels_saved=float(1 - (half[0] / design.labels_only()) ** 2),
        cost=float(costs.per_label * design.n + costs.compute(folds, finetune, texts)),
        seconds=float(costs.seconds(folds, finetune, texts)),
        labels_alone=round(float(design.labels_alone(float(half[0])))),
    )


def recommend(records: tuple[StrategyPlan, ...], costs: Costs, design: Design) -> StrategyPlan:
    """Take the strategy whose labels saved are worth most, less its compute; without prices the narrowest interval.

    Widths are those of the mean residual variance under the law: what probably gains nothing and perhaps much is taken.
    Of strategies as good as that the simplest is taken, and never one that is predicted to lose to labels-only by more
    than 1% in width.
    """
    simple_first = sorted(records, key=lambda record: NAMES.index(record.name))
    alone = simple_first[0]
    if costs.prices_compute:
        saved = design.labels_alone(np.array([record.half_width for record in simple_first]))
        worth = {
            record.name: costs.per_label * labels - (record.cost - alone.cost)
            for record, labels in zip(simple_first, saved.tolist(), strict=True)
        }
        # Of a small pool the labels that can still be saved are few, and each of them counts.
        savable = min(design.n, design.m) if design.population == "these" else design.n
        near = _WORTHWHILE * costs.per_label * savable
        sound = [r for r in simple_first if r.half_width <= alone.half_width * (1 + _WORTHWHILE)]
        best = max(worth[r.name] for r in sound)
        return next(r for r in sound if worth[r.name] >= best - near)
    narrowest = min(record.half_width for record in simple_first)
    return next(record for record in simple_first if record.half_width <= narrowest * (1 + _WORTHWHILE))
