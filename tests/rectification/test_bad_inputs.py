"""Every bad input gives one plain sentence or a valid interval; never a traceback, a silent nan or no width at all."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.errors import ArgumentError
from engine.rectification import (
    Estimate,
    PoolSummary,
    rectified_groups,
    rectified_logistic,
    rectified_mean,
    rectified_ols,
    rectified_quantile,
    rectified_shares,
)

rng = np.random.default_rng(0)
N, M = 12, 40
Y, F, POOL = rng.normal(3, 1, N), rng.normal(3, 1, N), rng.normal(3, 1, M)
B = np.array([0, 1] * 6)
X, XP = np.column_stack([np.ones(N), rng.normal(size=N)]), np.column_stack([np.ones(M), rng.normal(size=M)])
G, GP = np.array(list("ab") * 6), np.array(list("ab") * 20)
P, PP = rng.dirichlet(np.ones(2), N), rng.dirichlet(np.ones(2), M)
U, UP = rng.random(N), rng.random(M)


def changed(values: np.ndarray, place: int, value: float) -> np.ndarray:
    out = np.array(values, dtype=float)
    out[place] = value
    return out


def mean(y: Any = Y, f: Any = F, pool: Any = POOL, **more: Any) -> Callable[[], Estimate]:
    return lambda: rectified_mean(y, f, pool, **more)


def share(y: Any = G, f: Any = P, pool: Any = PP, **more: Any) -> Callable[[], Estimate]:
    return lambda: rectified_shares(y, f, pool, **more)


def median(y: Any = Y, f: Any = F, pool: Any = POOL, **more: Any) -> Callable[[], Estimate]:
    return lambda: rectified_quantile(y, f, pool, **more)


def grouped(y: Any = Y, f: Any = F, pool: Any = POOL, groups: Any = G, pool_groups: Any = GP, **more: Any) -> Any:
    return lambda: rectified_groups(y, f, pool, groups=groups, pool_groups=pool_groups, **more)


def ols(y: Any = Y, f: Any = F, pool: Any = POOL, x: Any = X, x_pool: Any = XP, **more: Any) -> Any:
    return lambda: rectified_ols(y, f, pool, x, x_pool, **more)


def logit(y: Any = B, f: Any = U, pool: Any = UP, x: Any = X, x_pool: Any = XP, **more: Any) -> Any:
    return lambda: rectified_logistic(y, f, pool, x, x_pool, **more)


CORPUS: dict[str, Callable[[], Any]] = {
    "nan in y": mean(changed(Y, 3, np.nan)),
    "nan in predictions": mean(f=changed(F, 3, np.nan)),
    "nan in the pool": mean(pool=changed(POOL, 3, np.nan)),
    "infinite y": mean(changed(Y, 3, np.inf)),
    "infinite predictions": mean(f=changed(F, 3, -np.inf)),
    "infinite pool": mean(pool=changed(POOL, 0, np.inf)),
    "both infinities": mean(pool=changed(changed(POOL, 0, np.inf), 1, -np.inf)),
    "None in y": mean([*Y[:-1], None]),
    "pandas NA": mean(pd.Series([*Y[:-1], pd.NA], dtype="Float64")),
    "text in y": mean([*Y[:-1], "four"]),
    "all text": mean(["good"] * N),
    "numbers as text": mean([str(v) for v in Y]),
    "dates": mean(pd.date_range("2024-01-01", periods=N)),
    "complex": mean(Y + 1j),
    "a scalar": mean(3.0),
    "None": mean(None),
    "a string": mean("abc"),
    "a dictionary": mean({"a": 1}),
    "ragged": mean([[1, 2], [3]]),
    "two columns": mean(np.column_stack([Y, Y])),
    "empty y": mean([], [], POOL),
    "empty pool": mean(pool=[]),
    "everything empty": mean([], [], []),
    "one label": mean([1.0], [1.0], POOL),
    "two labels": mean(Y[:2], F[:2]),
    "three labels": mean(Y[:3], F[:3]),
    "one pool row": mean(pool=[1.0]),
    "one prediction that would broadcast": mean(f=[3.0]),
    "a scalar prediction": mean(f=3.0),
    "too few predictions": mean(f=F[:-1]),
    "too many predictions": mean(f=np.append(F, 1.0)),
    "constant labels": mean(np.full(N, 3.0)),
    "all-zero labels": mean(np.zeros(N)),
    "all-one labels": mean(np.ones(N)),
    "constant predictions": mean(f=np.full(N, 3.0)),
    "constant predictions and pool": mean(f=np.full(N, 3.0), pool=np.full(M, 3.0)),
    "constant pool": mean(pool=np.full(M, 3.0)),
    "perfect predictions": mean(f=Y),
    "perfect predictions of shares": mean(B, B, np.array([0, 1] * 20)),
    "reversed predictions": mean(f=-Y),
    "huge numbers": mean(Y * 1e300, F * 1e300, POOL * 1e300),
    "tiny numbers": mean(Y * 1e-300, F * 1e-300, POOL * 1e-300),
    "huge offset": mean(Y + 1e12, F + 1e12, POOL + 1e12),
    "confidence 95": mean(confidence=95),
    "confidence 0": mean(confidence=0),
    "confidence 1": mean(confidence=1),
    "confidence nan": mean(confidence=np.nan),
    "confidence as text": mean(confidence="95%"),
    "confidence None": mean(confidence=None),
    "unknown alternative": mean(alternative="greater"),
    "unhashable alternative": mean(alternative=["larger"]),
    "unknown calibration": mean(calibrate="platt"),
    "power tuning as number": mean(power_tuning=0.5),
    "finite population as text": mean(finite_population="yes"),
    "null as text": mean(null="zero"),
    "null nan": mean(null=np.nan),
    "negative weights": mean(weights=-np.ones(N)),
    "zero weights": mean(weights=np.zeros(N)),
    "one positive weight": mean(weights=np.eye(N)[0]),
    "nan weights": mean(weights=changed(np.ones(N), 2, np.nan)),
    "too few weights": mean(weights=np.ones(N - 1)),
    "pool weights of the wrong length": mean(pool_weights=np.ones(N)),
    "zero pool weights": mean(pool_weights=np.zeros(M)),
    "one positive pool weight": mean(pool_weights=np.eye(M)[0]),
    "one positive pool weight of all there is": mean(
        weights=np.ones(N), pool_weights=np.eye(M)[0], finite_population=True
    ),
    "finite population with half the weights": mean(weights=np.ones(N), finite_population=True),
    "strata without pool strata": mean(strata=G),
    "unknown stratum in the pool": mean(strata=G, pool_strata=np.array(list("ac") * 20)),
    "stratum with one label": mean(strata=["z", *G[1:]], pool_strata=GP),
    "stratum of no weight": mean(weights=G == "a", strata=G, pool_strata=GP),
    "stratum of no weight, shares": mean(B, weights=G == "a", strata=G, pool_strata=GP),
    "stratum of no pool weight": mean(pool_weights=GP == "a", strata=G, pool_strata=GP),
    "stratum of one cluster": mean(strata=G, pool_strata=GP, clusters=np.where(G == "a", 0, range(N))),
    "missing stratum": mean(strata=[None, *G[1:]], pool_strata=GP),
    "one cluster": mean(clusters=["a"] * N),
    "two clusters": mean(clusters=G),
    "as many clusters as rows": mean(clusters=range(N)),
    "pool clusters without clusters": mean(pool_clusters=GP),
    "clusters of the wrong length": mean(clusters=GP),
    "probability 0": mean(probabilities=changed(np.full(N, 0.5), 1, 0)),
    "probability above 1": mean(probabilities=np.full(N, 2.0)),
    "probability 1": mean(probabilities=np.ones(N), finite_population=True),
    "probabilities and weights": mean(probabilities=np.full(N, 0.5), weights=np.ones(N)),
    "trained with strata": mean(trained=Y, strata=G, pool_strata=GP),
    "trained nan": mean(trained=[np.nan]),
    "trained empty": mean(trained=[]),
    "trained weights missing": mean(trained=Y, weights=np.ones(N), pool_weights=np.ones(M)),
    "summary with strata": mean(pool=PoolSummary.from_array(POOL), strata=G, pool_strata=GP),
    "summary to calibrate": mean(pool=PoolSummary.from_array(POOL), calibrate="isotonic"),
    "summary of two columns": mean(pool=PoolSummary.from_array(PP)),
    "everything wrong at once": mean([np.nan, 1], [1], [], confidence=95),
    "shares: one class": share(["a"] * N, np.ones((N, 1)), np.ones((M, 1))),
    "shares: unknown class": share(classes=["a", "c"]),
    "shares: too few columns": share(f=P[:, :1], pool=PP[:, :1]),
    "shares: three columns": share(f=np.full((N, 3), 1 / 3)),
    "shares: rows that do not sum to 1": share(f=P * 2),
    "shares: negative": share(f=np.column_stack([np.full(N, 1.5), np.full(N, -0.5)])),
    "shares: nan": share(f=changed(P.ravel(), 0, np.nan).reshape(P.shape)),
    "shares: all zero": share(f=P * 0),
    "shares: missing label": share([None, *G[1:]]),
    "shares: frame without the class": share(f=pd.DataFrame(P, columns=["a", "c"])),
    "shares: None": share(None),
    "shares: one label": share(["a"], P[:1]),
    "shares: constant labels with two classes": share(["a"] * N, classes=["a", "b"]),
    "shares: hard predictions": share(f=G, pool=GP),
    "shares: hard predictions of an unknown class": share(f=["q"] * N, pool=GP, classes=["a", "b"]),
    "quantile 0": median(q=0),
    "quantile 50": median(q=50),
    "quantile nan": median(q=np.nan),
    "quantile of constant labels": median(np.full(N, 2.0)),
    "quantile of two labels": median(Y[:2], F[:2]),
    "quantile far out": median(q=0.999),
    "quantile of ties": median(np.repeat([1.0, 2.0, 3.0], 4), np.repeat([1.0, 2.0, 3.0], 4), np.repeat([1.0, 2.0], 20)),
    "quantile of a summary": median(pool=PoolSummary.from_array(POOL)),
    "groups: None": grouped(groups=None),
    "groups: wrong length": grouped(groups=GP),
    "groups: unknown in the pool": grouped(pool_groups=np.array(list("ac") * 20)),
    "groups: none in common": grouped(pool_groups=np.array(list("cd") * 20)),
    "groups: one label each": grouped(groups=range(N)),
    "groups: a single group": grouped(groups=["a"] * N, pool_groups=["a"] * M),
    "groups: one label in one": grouped(groups=["z", *G[1:]]),
    "groups: no weight in one": grouped(weights=G == "a"),
    "groups: no weight in one, shares": grouped(rng.random(N) > 0.5, weights=G == "a"),
    "groups: no pool weight in one": grouped(pool_weights=GP == "a"),
    "groups: one positive weight each": grouped(weights=[1, 1] + [0] * (N - 2)),
    "groups: one cluster in one": grouped(clusters=np.where(G == "a", 0, range(N))),
    "groups: a cluster each": grouped(clusters=G),
    "groups: constant in one": grouped(np.where(G == "a", 3.0, Y)),
    "groups: constant in all": grouped(np.where(G == "a", 3.0, 2.0)),
    "groups: all zero": grouped(np.zeros(N)),
    "groups: missing": grouped(groups=[np.nan, *G[1:]]),
    "groups: unknown multiplicity": grouped(multiplicity="tukey"),
    "groups: null None": grouped(null=None),
    "groups: trained without groups": grouped(trained=Y),
    "groups: fully labelled in a finite population": grouped(pool_groups=["a"] * M, finite_population=True),
    "ols: missing x": ols(x=None),
    "ols: rows of x": ols(x=X[:-1]),
    "ols: columns of x": ols(x_pool=XP[:, :1]),
    "ols: nan in x": ols(x=changed(X.ravel(), 1, np.nan).reshape(X.shape)),
    "ols: collinear": ols(x=np.column_stack([X, X[:, 1]]), x_pool=np.column_stack([XP, XP[:, 1]])),
    "ols: more columns than rows": ols(x=rng.normal(size=(N, 20)), x_pool=rng.normal(size=(M, 20))),
    "ols: constant labels": ols(np.full(N, 3.0)),
    "ols: labels on a line": ols(X @ [1.0, 2.0]),
    "ols: a zero column": ols(x=X * [1, 0], x_pool=XP * [1, 0]),
    "ols: text in x": ols(x=[["a", "b"]] * N),
    "ols: one column as a list": ols(x=X[:, 1], x_pool=XP[:, 1]),
    "ols: intercept as text": ols(intercept="yes"),
    "logistic: separable": logit((X[:, 1] > 0).astype(int)),
    "logistic: one class": logit(np.zeros(N)),
    "logistic: other values": logit(Y),
    "logistic: predictions beyond 1": logit(f=U * 3),
    "logistic: predictions of 0 and 1": logit(f=(U > 0.5).astype(float), pool=(UP > 0.5).astype(float)),
    "logistic: collinear": logit(x=np.column_stack([X, X[:, 1]]), x_pool=np.column_stack([XP, XP[:, 1]])),
    "logistic: constant predictions": logit(f=np.full(N, 0.5), pool=np.full(M, 0.5)),
    "logistic: zero predictions": logit(f=np.zeros(N), pool=np.zeros(M)),
}


def check_valid(answer: Estimate) -> None:
    point, low, high, error = (
        np.atleast_1d(v) for v in (answer.estimate, answer.ci_low, answer.ci_high, answer.standard_error)
    )
    assert np.isfinite(point).all()
    assert np.isfinite(error).all()
    assert (error > 0).all()
    assert not np.isnan(low).any()
    assert not np.isnan(high).any()
    assert (low <= point).all()
    assert (point <= high).all()
    assert (low < high).all()
    assert np.isfinite(np.asarray(answer.n_effective)).all()
    assert answer.summary()


def outcome(call: Callable[[], Estimate]) -> Estimate | str:
    try:
        return call()
    except ArgumentError as fault:
        return str(fault)


@pytest.mark.parametrize("name", CORPUS)
def test_plain_sentence_or_valid_interval(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = outcome(CORPUS[name])
    if isinstance(answer, Estimate):
        check_valid(answer)
    else:
        assert answer.endswith(".")
        assert len(answer) < 400


def test_all_faults_are_named_at_once():
    with pytest.raises(ArgumentError) as caught:
        rectified_mean([np.nan, 1.0], [1.0, 2.0, 3.0], [], confidence=95)
    for word in ("y has a missing value", "predictions has 3 rows", "pool_predictions is empty", "write 0.95"):
        assert word in str(caught.value)
