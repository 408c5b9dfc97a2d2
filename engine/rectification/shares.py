"""Shares of classes, rectified together so that they sum to 1."""

from collections.abc import Sequence, Sized
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.rectification.answer import Scores, answer_scores
from engine.rectification.calibration import calibrate_scores
from engine.rectification.estimate import Estimate
from engine.rectification.inputs import Alternative, Calibration, Codes, Faults, Floats, booleans_as_numbers
from engine.rectification.layout import Design, Pool, pool_rows, read_layout
from engine.rectification.pool import PoolSummary

ROUNDING = 0.02  # rows of probabilities may miss 1 by this much and are then divided by their sum
BLANK = "{rows} no prediction among the classes; each class counts alike there."


def rectified_shares(
    y: object,
    predictions: object,
    pool_predictions: object,
    *,
    confidence: float = 0.95,
    power_tuning: bool = True,
    weights: object | None = None,
    pool_weights: object | None = None,
    strata: object | None = None,
    pool_strata: object | None = None,
    clusters: object | None = None,
    finite_population: bool = False,
    classes: Sequence[object] | None = None,
    trained: object | None = None,
    trained_weights: object | None = None,
    trained_clusters: object | None = None,
    pool_clusters: object | None = None,
    probabilities: object | None = None,
    alternative: Alternative = "two-sided",
    null: float | None = None,
    calibrate: Calibration | None = None,
) -> Estimate:
    """The share of each class: rectified means of indicators with one lambda, so that they sum to 1.

    Takes what rectified_mean takes (`trained` holds class labels), and:
        y: n class labels (names or whole numbers, beside which booleans are 0 and 1); with classes of text, whole
            numbers count as places in classes.
        predictions: class probabilities, n x k (a DataFrame whose columns are named after the classes, or an array
            with columns in the order of classes, else of the sorted class names), or n class labels.
        pool_predictions: the same for the m rows of the pool, or a PoolSummary with k columns.
        classes: the classes in the order wanted; by default all that occur, sorted.

    Returns:
        Estimate with arrays (k,) in the order of names; intervals are Wilson's at the labels each share is worth.

    Raises:
        ArgumentError: naming every argument at fault.
    """
    faults = Faults()
    question = faults.question(confidence, alternative, power_tuning, finite_population, null)
    faults.choice("calibrate", calibrate, (None, "linear", "isotonic"))
    given = (y, predictions, pool_predictions, trained, classes)
    y, predictions, pool_predictions, trained, named = booleans_as_numbers(given)
    classes = None if classes is None else list(named)
    labels = _labels(faults, "y", y, classes)
    more = (
        None
        if trained is None or np.size(np.asarray(trained, dtype=object)) == 0
        else _labels(faults, "trained", trained, classes)
    )
    names = _class_names(faults, labels, more, predictions, pool_predictions, classes)
    faults.raise_any()
    truth = _indicators(faults, "y", labels, names)
    own, blanks = _probabilities(faults, "predictions", predictions, names, len(labels))
    pool: Pool
    if isinstance(pool_predictions, PoolSummary):
        pool, more_blanks = pool_predictions, 0
        if len(pool.mean) != len(names):
            faults.add(f"pool_predictions summarises {len(pool.mean)} columns but there are {len(names)} classes.")
    else:
        pool, more_blanks = _probabilities(faults, "pool_predictions", pool_predictions, names, None)
    if pool_rows(pool) < 2 and not question.finite_population:
        faults.add("pool_predictions has 1 row; at least 2 are needed.")
    design = Design(
        weights, pool_weights, strata, pool_strata, clusters, pool_clusters, probabilities, more, trained_weights,
        trained_clusters,
    )  # fmt: skip
    layout = read_layout(faults, design, len(labels), pool, question.finite_population)
    extra = None if more is None else _indicators(faults, "trained", more, names)
    extra_weights = None if extra is None else faults.weights("trained_weights", trained_weights, len(extra), "trained")
    faults.raise_any()
    scores = Scores(truth, own, pool, extra, extra_weights)
    if calibrate is not None:
        mapped = calibrate_scores(truth, own, pool, calibrate)
        scores = replace(scores, f=_normalised(mapped["f"]), pool=_normalised(np.asarray(mapped["pool"])))
    result = answer_scores(scores, layout, question, shares=True, names=names)
    if blank := blanks + more_blanks:
        rows = "1 row has" if blank == 1 else f"{blank:,} rows have"
        result = replace(result, notes=(*result.notes, BLANK.format(rows=rows)))
    return result


def _labels(faults: Faults, name: str, values: object, classes: Sequence[object] | None) -> NDArray[np.object_]:
    """Class names, (n,); whole numbers are places in classes where those are text."""
    array = values.to_numpy() if isinstance(values, pd.Series | pd.Index) else np.asarray(values, dtype=object)
    words = faults.marks(name, values, len(array) if array.ndim else 1, name)
    if words is None:
        faults.add(f"{name} must be a list with one class per row; None was given.")
        return np.full(2, "", dtype=object)
    if name == "y" and len(words) == 1:
        faults.add("y has 1 value; at least 2 are needed.")
    if classes is None or not all(isinstance(c, str) for c in classes) or not len(words):
        return words
    known = [str(c).strip() for c in classes]
    if set(words) <= set(known) or not all(isinstance(v, int | np.integer | float) for v in array.tolist()):
        return words
    places = {str(i): c for i, c in enumerate(known)}
    return np.array([places.get(w, w) for w in words], dtype=object)


def _class_names(
    faults: Faults,
    labels: NDArray[np.object_],
    more: NDArray[np.object_] | None,
    predictions: object,
    pool: object,
    classes: Sequence[object] | None,
) -> tuple[str, ...]:
    """The classes in order: those given, those of the columns, or all that occur, sorted."""
    if classes is not None:
        names = tuple(str(c).strip() for c in classes)
        if len(set(names)) != len(names) or len(names) < 2:
            faults.add(f"classes must name at least two different classes; {', '.join(names) or 'none'} were given.")
        return names
    if isinstance(predictions, pd.DataFrame) and predictions.shape[1] > 1:
        return tuple(str(c).strip() for c in predictions.columns)
    found = set(labels) | (set(more) if more is not None else set())
    for part in (predictions, pool):
        if not isinstance(part, PoolSummary) and _is_hard(part):
            words = Faults().marks("", part, _height(part), "")
            found |= set() if words is None else set(words)
    found.discard("")
    names = tuple(sorted(found, key=_order))
    if len(names) < 2 and not faults.sentences:
        faults.add(
            f"y holds the single class {names[0]!r}: name all classes with classes=[...]." if names else "y is empty."
        )
    return names if len(names) >= 2 else ("", " ")


def _indicators(faults: Faults, name: str, labels: NDArray[np.object_], names: tuple[str, ...]) -> Floats:
    """One column per class with 1 where the row belongs to it."""
    codes = _codes(labels, names)
    if (codes < 0).any() and not faults.sentences:
        unknown = sorted({str(w) for w in labels[codes < 0]})
        faults.add(f"{name} holds class {unknown[0]!r}, which is none of {', '.join(names[:12])}.")
    return np.eye(len(names))[np.clip(codes, 0, None)]


def _probabilities(
    faults: Faults, name: str, values: object, names: tuple[str, ...], length: int | None
) -> tuple[Floats, int]:
    """Rows of probabilities that sum to 1, and how many rows had none at all."""
    if _is_hard(values):
        words = faults.marks(name, values, length or _height(values), "y" if length else name)
        words = np.full(2, "", dtype=object) if words is None else words
        return _indicators(faults, name, words, names), 0
    if isinstance(values, pd.DataFrame):
        columns = {str(c).strip(): c for c in values.columns}
        absent = [c for c in names if c not in columns]
        if absent:
            faults.add(f"{name} has no column for class {absent[0]!r}; its columns are {', '.join(columns)}.")
            return np.full((length or 2, len(names)), 1 / len(names)), 0
        values = values[[columns[c] for c in names]]
    array = faults.matrix(name, values, length=length)
    if array.shape[1] != len(names):
        faults.add(
            f"{name} has {array.shape[1]} column{'s' * (array.shape[1] != 1)} but there are {len(names)} classes "
            f"({', '.join(names[:12])})."
        )
        return np.full((len(array), len(names)), 1 / len(names)), 0
    return _checked(faults, name, array)


def _checked(faults: Faults, name: str, array: Floats) -> tuple[Floats, int]:
    sums = array.sum(axis=1)
    blank = sums == 0
    wrong = ((np.abs(sums - 1) > ROUNDING) & ~blank) | (array < 0).any(axis=1)
    if wrong.any() and not faults.sentences:
        place = int(np.argmax(wrong))
        faults.add(
            f"{name} must be probabilities that sum to 1 in each row; row {place} sums to {sums[place]:.3g}"
            f"{' and has a negative one' if (array[place] < 0).any() else ''}."
        )
    if blank.all() and not faults.sentences:
        faults.add(f"{name} are all zero: give class probabilities.")
    if blank.any() or (np.abs(sums - 1) > 1e-12).any():
        array = np.where(blank[:, None], 1 / array.shape[1], array / np.where(blank, 1, sums)[:, None])
    return array, int(blank.sum())


def _normalised(array: Floats) -> Floats:
    clipped = np.maximum(array, 0)
    sums = clipped.sum(axis=1, keepdims=True)
    return np.where(sums > 0, clipped / np.where(sums > 0, sums, 1), 1 / array.shape[1])


def _is_hard(values: object) -> bool:
    """Whether predictions are class labels and not probabilities."""
    if isinstance(values, pd.DataFrame | PoolSummary) or values is None:
        return False
    try:
        return np.asarray(values).ndim == 1
    except ValueError:
        return False


def _height(values: object) -> int:
    return len(values) if isinstance(values, Sized) else 1


def _codes(labels: NDArray[np.object_], names: tuple[str, ...]) -> Codes:
    codes, uniques = pd.factorize(labels)
    place = {name: i for i, name in enumerate(names)}
    table = np.array([place.get(str(u), -1) for u in uniques] or [-1], dtype=np.int64)
    return np.asarray(table[codes])


def _order(word: str) -> tuple[int, float, str]:
    """Numbers by value before words by alphabet."""
    try:
        return (0, float(word), word)
    except ValueError:
        return (1, 0.0, word)
