"""The design's columns as handed in: read and checked together, then cut into samples."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine.rectification.design import PoolRows, Sample, split_strata
from engine.rectification.inputs import Codes, Faults, Floats, quietly
from engine.rectification.pool import PoolSummary, summarise

Pool = Floats | PoolSummary


@dataclass(frozen=True)
class Design:
    """What a caller may say about how rows were drawn; every entry is one value per row or None.

    weights, pool_weights: how much a row counts. strata, pool_strata: names of strata drawn separately.
    clusters, pool_clusters: names of clusters drawn whole. probabilities: known chance of each label's being drawn
    from all rows. trained, trained_weights, trained_clusters: labels that trained the predictor.
    """

    weights: object | None = None
    pool_weights: object | None = None
    strata: object | None = None
    pool_strata: object | None = None
    clusters: object | None = None
    pool_clusters: object | None = None
    probabilities: object | None = None
    trained: object | None = None
    trained_weights: object | None = None
    trained_clusters: object | None = None


@dataclass(frozen=True)
class Layout:
    """The design after checking: weights as floats, names as codes, those of trained labels' clusters (s,) too."""

    finite: bool
    weights: Floats | None = None
    pool_weights: Floats | None = None
    strata: Codes | None = None
    pool_strata: Codes | None = None
    strata_names: tuple[str, ...] = ()
    clusters: Codes | None = None
    pool_clusters: Codes | None = None
    chosen: Floats | None = None
    trained_clusters: Codes | None = None

    @property
    def every_cluster(self) -> Codes | None:
        """Clusters of the labels that rectify and of those that trained, (n + s,)."""
        if self.clusters is None or self.trained_clusters is None:
            return self.clusters
        return np.concatenate([self.clusters, self.trained_clusters])

    def samples(self, y: Floats, f: Floats, pool: Pool) -> list[Sample]:
        """Scores (n, d), (n, d) and (m, d) or a summary, as one sample per stratum."""
        if self.strata is not None and self.pool_strata is not None and not isinstance(pool, PoolSummary):
            whole = Sample(y, f, PoolSummary.empty(y.shape[1]), self.weights, self.clusters, self.chosen, self.finite)
            count = len(self.strata_names)
            return split_strata(whole, self.strata, pool, self.pool_weights, self.pool_strata, count)
        rows = None
        if self.pool_clusters is not None and not isinstance(pool, PoolSummary):
            rows = PoolRows(pool, self.pool_weights, self.pool_clusters)
        summary = pool if isinstance(pool, PoolSummary) else summarise(pool, self.pool_weights)
        return [Sample(y, f, summary, self.weights, self.clusters, self.chosen, self.finite, 1.0, rows)]


def read_pool(faults: Faults, predictions: object, columns: int, finite: bool, *, rows: bool = True) -> Pool:
    """The pool's predictions as (m, d) floats or a summary with d columns; a summary too where rows are not needed."""
    if isinstance(predictions, PoolSummary):
        if len(predictions.mean) != columns:
            faults.add(f"pool_predictions summarises {len(predictions.mean)} columns; {columns} are needed.")
        pool: Pool = predictions
    elif columns == 1:
        pool = _read_column(faults, predictions, rows)
    else:
        pool = faults.matrix("pool_predictions", predictions)
    if pool_rows(pool) < 2 and not finite:
        faults.add("pool_predictions has 1 value; at least 2 are needed.")
    return pool


def _read_column(faults: Faults, predictions: object, rows: bool) -> Pool:
    """One prediction a row; where the rows are not needed their sums are, which also tell whether all are finite."""
    if rows:
        return faults.numbers("pool_predictions", predictions)[:, None]
    values = faults.numbers("pool_predictions", predictions, finite=False)
    summary: PoolSummary = quietly(lambda: summarise(values[:, None]))
    return summary if np.isfinite(summary.mean[0]) else faults.finite("pool_predictions", values)[:, None]


def pool_rows(pool: Pool) -> int:
    """m."""
    return pool.count if isinstance(pool, PoolSummary) else len(pool)


def read_layout(faults: Faults, design: Design, n: int, pool: Pool, finite: bool) -> Layout:
    """Check the design against n labels and the pool."""
    m = pool_rows(pool)
    weights = faults.weights("weights", design.weights, n, "y", least=2)
    least = 1 if finite else 2
    pool_weights = faults.weights("pool_weights", design.pool_weights, m, "pool_predictions", least=least)
    chosen = _probabilities(faults, design, n)
    if finite and (weights is None) != (pool_weights is None) and not isinstance(pool, PoolSummary):
        absent = "weights" if weights is None else "pool_weights"
        faults.add(f"finite_population with weights needs them for every row: give {absent} too.")
    if isinstance(pool, PoolSummary):
        _refuse(faults, design, ("pool_weights", "pool_strata", "pool_clusters"), "a PoolSummary, which has no rows")
    strata, pool_strata, names = _strata(faults, design, n, m)
    clusters, pool_clusters, trained_clusters = _clusters(faults, design, n, m)
    if design.trained is not None:
        _refuse(faults, design, ("strata", "pool_clusters", "probabilities"), "trained labels")
        if (design.trained_clusters is None) != (design.clusters is None):
            faults.add("trained labels and y need clusters alike: give both clusters and trained_clusters, or neither.")
        if (design.trained_weights is None) != (design.weights is None):
            faults.add("trained labels and y need weights alike: give both weights and trained_weights, or neither.")
    if strata is not None and pool_clusters is not None:
        faults.add("pool_clusters cannot be combined with strata: leave one of them out.")
    layout = Layout(
        finite, weights, pool_weights, strata, pool_strata, names, clusters, pool_clusters, chosen, trained_clusters
    )
    _check_strata(faults, layout)
    if clusters is not None and strata is None and scarce(layout, np.ones(n, dtype=bool)):
        faults.add("clusters names a single cluster; at least 2 are needed.")
    return layout


def scarce(layout: Layout, here: NDArray[np.bool_]) -> str:
    """What these of the n labels have fewer than 2 of, such as "1 label" or "a single cluster"; "" if nothing.

    Labels of weight 0 do not count, and those of one cluster do not show how clusters differ: the variance of their
    mean would come out as zero, or as nothing at all.
    """
    counting = _counting(layout.weights, here)
    if counting.sum() < 2:
        return _counted(counting, here, "label")
    clusters = layout.clusters
    return "a single cluster" if clusters is not None and len(np.unique(clusters[counting])) < 2 else ""


def counting_pool(layout: Layout, there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of these of the m pool rows have a positive weight."""
    return _counting(layout.pool_weights, there)


def _counting(weights: Floats | None, here: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return here if weights is None else here & (weights > 0)


def _counted(counting: NDArray[np.bool_], here: NDArray[np.bool_], noun: str) -> str:
    count, weighed = int(counting.sum()), counting.sum() < here.sum()
    return f"{count} {noun}{'s' * (count != 1)}{' of positive weight' * bool(weighed)}"


def _check_strata(faults: Faults, layout: Layout) -> None:
    """Every stratum is answered by itself, so that each needs labels, clusters of them and pool rows of its own."""
    for k, name in enumerate(layout.strata_names):
        there = np.asarray(layout.pool_strata == k)
        pool = counting_pool(layout, there)
        found = scarce(layout, np.asarray(layout.strata == k))
        if not found and not layout.finite and pool.sum() < 2:
            found = _counted(pool, there, "pool row")
        if found:
            faults.add(f"Stratum {name!r} has {found}; at least 2 are needed: merge it.")


def _probabilities(faults: Faults, design: Design, n: int) -> Floats | None:
    if design.probabilities is None:
        return None
    chosen = faults.numbers("probabilities", design.probabilities, length=n)
    if not faults.sentences and ((chosen <= 0) | (chosen > 1)).any():
        place = int(np.argmax((chosen <= 0) | (chosen > 1)))
        faults.add(f"probabilities must lie above 0 and not above 1; {chosen[place]:g} stands at position {place}.")
    _refuse(faults, design, ("weights", "pool_weights", "clusters", "pool_clusters"), "probabilities")
    return np.clip(chosen, 1e-12, 1)


def _refuse(faults: Faults, design: Design, names: tuple[str, ...], other: str) -> None:
    for name in names:
        if getattr(design, name) is not None:
            faults.add(f"{name} cannot be combined with {other}: leave {name} out.")


def _strata(faults: Faults, design: Design, n: int, m: int) -> tuple[Codes | None, Codes | None, tuple[str, ...]]:
    if (design.strata is None) != (design.pool_strata is None):
        faults.add("strata and pool_strata go together: give both or neither.")
    own = faults.marks("strata", design.strata, n, "y")
    there = faults.marks("pool_strata", design.pool_strata, m, "pool_predictions")
    if own is None or there is None or faults.sentences:
        return None, None, ()
    return codes_of(own, there)


def _clusters(faults: Faults, design: Design, n: int, m: int) -> tuple[Codes | None, Codes | None, Codes | None]:
    """Codes of the clusters of labels, pool rows and labels that trained."""
    own = faults.marks("clusters", design.clusters, n, "y")
    there = faults.marks("pool_clusters", design.pool_clusters, m, "pool_predictions")
    trained = None
    if design.trained is not None:
        length = np.size(np.asarray(design.trained, dtype=object))
        trained = faults.marks("trained_clusters", design.trained_clusters, length, "trained")
    if there is not None and own is None:
        faults.add("pool_clusters needs clusters: give the labels' clusters too.")
    if own is None or faults.sentences:
        return None, None, None
    if trained is not None:
        codes = np.asarray(pd.factorize(np.concatenate([own, trained]))[0], dtype=np.int64)
        return codes[:n], None, codes[n:]
    if there is None:
        return np.asarray(pd.factorize(own)[0], dtype=np.int64), None, None
    codes, pool_codes, _ = codes_of(own, there, ordered=False)
    return codes, pool_codes, None


def codes_of(
    own: NDArray[np.object_], there: NDArray[np.object_], *, ordered: bool = True
) -> tuple[Codes, Codes, tuple[str, ...]]:
    """Codes of the names of labels and pool under one numbering; sorted names, or labels' first."""
    codes, uniques = pd.factorize(np.concatenate([own, there]), sort=ordered)
    codes = np.asarray(codes, dtype=np.int64)
    return codes[: len(own)], codes[len(own) :], tuple(str(name) for name in uniques)
