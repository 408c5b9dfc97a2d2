"""Weights, strata, clusters, known probabilities and finite populations against slow, written-out formulas."""

import numpy as np
import pytest

from engine.errors import ArgumentError
from engine.rectification import PoolSummary, rectified_groups, rectified_mean


@pytest.fixture
def rows():
    rng = np.random.default_rng(3)
    n, m = 48, 300
    z = rng.normal(size=n + m)
    y = 1 + z[:n] + 0.5 * rng.normal(size=n)
    return y, z[:n], z[n:], rng.uniform(0.5, 2, n), rng.uniform(0.5, 2, m)


def test_weights_enter_through_hajek_residuals(rows):
    y, f, pool, w, v = rows
    got = rectified_mean(y, f, pool, weights=w, pool_weights=v, power_tuning=False)
    mean = sum(wi * (yi - fi) for wi, yi, fi in zip(w, y, f, strict=True)) / w.sum() + (v @ pool) / v.sum()
    e = (y - f) - (w @ (y - f)) / w.sum()
    part = w / w.sum()
    own = sum(part[i] ** 2 * e[i] ** 2 / (1 - part[i]) for i in range(len(y)))
    g = pool - (v @ pool) / v.sum()
    alone = len(pool) / (len(pool) - 1) * sum((v[j] * g[j] / v.sum()) ** 2 for j in range(len(pool)))
    # Labels and pool are drawn alike, so both tell how predictions vary, each by as many rows as its weights leave.
    units, rows_worth, squares = (w**2).sum() ** 2 / (w**4).sum(), v.sum() ** 2 / (v**2).sum(), (v**2).sum()
    among = w @ (f - w @ f / w.sum()) ** 2 / w.sum() * units / (units - 1) * squares / v.sum() ** 2
    other = ((rows_worth - 1) * alone + (units - 1) * among) / (rows_worth + units - 2)
    assert got.estimate == pytest.approx(mean, rel=1e-12)
    assert got.standard_error == pytest.approx(np.sqrt(own + other), rel=1e-9)


def test_equal_weights_change_nothing(rows):
    y, f, pool, _, _ = rows
    plain = rectified_mean(y, f, pool)
    weighted = rectified_mean(y, f, pool, weights=np.full(len(y), 3.0), pool_weights=np.full(len(pool), 0.2))
    assert (weighted.ci_low, weighted.ci_high) == pytest.approx((plain.ci_low, plain.ci_high), rel=1e-9)


def test_whole_number_weights_count_rows(rows):
    y, f, pool, _, _ = rows
    w = np.arange(len(y)) % 3 + 1
    weighted = rectified_mean(y, f, pool, weights=w, pool_weights=np.ones(len(pool)), power_tuning=False)
    repeated = rectified_mean(np.repeat(y, w), np.repeat(f, w), pool, power_tuning=False)
    assert weighted.estimate == pytest.approx(repeated.estimate, rel=1e-12)
    assert weighted.standard_error > repeated.standard_error


def test_strata_add_up(rows):
    y, f, pool, _, _ = rows
    code, there = np.arange(len(y)) % 3, np.arange(len(pool)) % 4 % 3
    got = rectified_mean(y, f, pool, strata=code, pool_strata=there)
    share = np.bincount(there) / len(there)
    each = [rectified_mean(y[code == k], f[code == k], pool[there == k]) for k in range(3)]
    means = np.array([y[code == k].mean() for k in range(3)])
    between = share @ (means - share @ means) ** 2 / len(pool)
    assert got.estimate == pytest.approx(sum(s * e.estimate for s, e in zip(share, each, strict=True)), rel=1e-12)
    variance = sum(s**2 * e.standard_error**2 for s, e in zip(share, each, strict=True)) + between
    assert got.standard_error == pytest.approx(np.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize("finite", [False, True])
def test_labels_of_no_weight_are_as_if_they_were_not_there(rows, finite):
    y, f, pool, w, v = rows
    code, there = np.arange(len(y)) % 3, np.arange(len(pool)) % 3
    options = {"pool_weights": v, "pool_strata": there, "finite_population": finite, "power_tuning": False}
    some = np.where((code == 1) & (np.arange(len(y)) > 6), 0.0, w)  # two labels of this stratum count
    got = rectified_mean(y, f, pool, weights=some, strata=code, **options)
    kept = some > 0
    left = rectified_mean(y[kept], f[kept], pool, weights=w[kept], strata=code[kept], **options)
    assert got.estimate == pytest.approx(left.estimate, rel=1e-12)
    if not finite:
        assert got.standard_error == pytest.approx(left.standard_error, rel=1e-9)
    few = np.where((code == 1) & (np.arange(len(y)) > 3), 0.0, w)
    with pytest.raises(ArgumentError, match="Stratum '1' has 1 label of positive weight; at least 2 are needed"):
        rectified_mean(y, f, pool, weights=few, strata=code, **options)


def test_a_stratum_is_refused_that_has_too_little_of_what_counts(rows):
    y, f, pool, w, v = rows
    code, there = np.arange(len(y)) % 2, np.arange(len(pool)) % 2
    clusters = np.where(code == 1, "one", np.arange(len(y)).astype(str))
    strata = {"strata": code, "pool_strata": there}
    with pytest.raises(ArgumentError, match="Stratum '1' has a single cluster; at least 2 are needed: merge it"):
        rectified_mean(y, f, pool, clusters=clusters, **strata)
    two = np.where((code == 1) & (np.arange(len(y)) == 1), "two", clusters)
    assert rectified_mean(y, f, pool, clusters=two, **strata).standard_error > 0
    with pytest.raises(ArgumentError, match="single cluster"):  # the other cluster has no weight
        rectified_mean(y, f, pool, clusters=two, weights=w * (two != "two"), pool_weights=v, **strata)
    with pytest.raises(ArgumentError, match="single cluster"):
        rectified_mean(y, f, pool, clusters=code, weights=w * code, pool_weights=v)
    with pytest.raises(ArgumentError, match="Stratum '1' has 0 pool rows of positive weight"):
        rectified_mean(y, f, pool, weights=w, pool_weights=v * (there == 0), **strata)
    with pytest.raises(ArgumentError, match="weights has 1 positive value; at least 2 are needed"):
        rectified_mean(y, f, pool, weights=np.eye(len(y))[0], pool_weights=v)


def test_clusters_enter_by_their_totals(rows):
    y, f, pool, _, _ = rows
    code = np.arange(len(y)) % 12
    got = rectified_mean(y, f, pool, clusters=code, power_tuning=False)
    e = (y - f) - (y - f).mean()
    totals = [sum(e[i] for i in range(len(y)) if code[i] == c) / len(y) for c in range(12)]
    m = len(pool)
    variance = 12 / 11 * sum(t**2 for t in totals) + (m * pool.var() + 12 * f.var()) / (m - 1 + 11) / m
    assert got.standard_error == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert got.degrees_of_freedom == pytest.approx(11)


def test_clusters_of_one_row_are_rows(rows):
    y, f, pool, _, _ = rows
    plain, single = rectified_mean(y, f, pool), rectified_mean(y, f, pool, clusters=[f"c{i}" for i in range(len(y))])
    assert (single.ci_low, single.ci_high) == pytest.approx((plain.ci_low, plain.ci_high), rel=1e-9)


def test_clusters_that_span_labels_and_pool(rows):
    y, f, pool, _, _ = rows
    code, there = np.arange(len(y)) % 12, np.arange(len(pool)) % 12
    got = rectified_mean(y, f, pool, clusters=code, pool_clusters=there, power_tuning=False)
    e, g = (y - f) - (y - f).mean(), pool - pool.mean()
    scale = np.sqrt(12 / 11)
    totals = [scale * e[code == c].sum() / len(y) + g[there == c].sum() / len(pool) for c in range(12)]
    assert got.standard_error == pytest.approx(np.sqrt(sum(t**2 for t in totals)), rel=0.05)


def test_finite_population_formula(rows):
    y, f, pool, _, _ = rows
    got = rectified_mean(y, f, pool, finite_population=True)
    n, M = len(y), len(y) + len(pool)
    lam = np.cov(y, f)[0, 1] / f.var(ddof=1)
    power = min(lam, 1.0)
    everything = np.concatenate([f, pool])
    assert got.power == pytest.approx(power)
    assert got.estimate == pytest.approx(power * everything.mean() + (y - power * f).mean(), rel=1e-12)
    assert got.model_only == pytest.approx(everything.mean())
    plain = (1 - n / M) * (y - power * f).var(ddof=1) / n
    assert got.standard_error**2 == pytest.approx(plain, rel=0.1)
    assert got.standard_error**2 > plain


def test_equal_probabilities_are_a_finite_population(rows):
    y, f, pool, _, _ = rows
    chance = np.full(len(y), len(y) / (len(y) + len(pool)))
    by_chance = rectified_mean(y, f, pool, probabilities=chance, finite_population=True)
    plain = rectified_mean(y, f, pool, finite_population=True)
    assert by_chance.estimate == pytest.approx(plain.estimate, rel=1e-12)
    assert by_chance.standard_error == pytest.approx(plain.standard_error, rel=1e-9)


def test_unequal_probabilities_weigh_the_labels(rows):
    y, f, pool, w, _ = rows
    chance = w / 8
    got = rectified_mean(y, f, pool, probabilities=chance, finite_population=True, power_tuning=False)
    inverse = 1 / chance
    everything = np.concatenate([f, pool]).mean()
    assert got.estimate == pytest.approx(everything + inverse @ (y - f) / inverse.sum(), rel=1e-12)
    e = (y - f) - inverse @ (y - f) / inverse.sum()
    part = inverse / inverse.sum()
    assert got.standard_error**2 == pytest.approx(((1 - chance) * part**2 * e**2 / (1 - part)).sum(), rel=1e-9)
    larger = rectified_mean(y, f, pool, probabilities=chance, power_tuning=False)
    assert larger.standard_error > got.standard_error


def test_a_summary_stands_for_its_rows(rows):
    y, f, pool, w, v = rows
    for summary, weights in (
        (PoolSummary.from_array(pool), None),
        (PoolSummary.from_batches([pool[:7], pool[7:8], pool[8:]]), None),
    ):
        got, plain = rectified_mean(y, f, summary), rectified_mean(y, f, pool, pool_weights=weights)
        assert got.estimate == pytest.approx(plain.estimate, rel=1e-12)
        assert got.standard_error == pytest.approx(plain.standard_error, rel=1e-9)
    weighted = rectified_mean(y, f, PoolSummary.from_array(pool, v), weights=w)
    assert weighted.standard_error == pytest.approx(
        rectified_mean(y, f, pool, weights=w, pool_weights=v).standard_error, rel=1e-9
    )


def test_summaries_merge_exactly(rows):
    _, _, pool, _, v = rows
    whole = PoolSummary.from_array(pool, v)
    joined = PoolSummary.from_array(pool[:100], v[:100]).merge(PoolSummary.from_array(pool[100:], v[100:]))
    for field in ("weight", "mean", "weight_squares", "scatter", "tilt"):
        assert np.allclose(getattr(joined, field), getattr(whole, field), rtol=1e-10, atol=1e-10)
    with pytest.raises(ArgumentError):
        PoolSummary.from_batches([])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("trains", [False, True])
def test_rows_given_twice_tell_nothing_new_where_they_are_clusters(rows, weighted, trains):
    y, f, pool, w, v = rows
    known = slice(0, 12) if trains else slice(0, 0)

    def options(times):
        each = {"clusters": np.repeat(np.arange(12 * trains, 48), times)}
        if trains:
            each |= {"trained": np.repeat(y[known], times), "trained_clusters": np.repeat(np.arange(12), times)}
        if weighted:
            each |= {"weights": np.repeat(w[12 * trains :], times), "pool_weights": v}
            each |= {"trained_weights": np.repeat(w[known], times)} if trains else {}
        return each

    rest = slice(12 * trains, 48)
    names, there = np.array(["a", "b"])[np.arange(48) % 2], np.array(["a", "b"])[np.arange(300) % 2]
    answers = []
    for times in (1, 2):
        own = np.repeat(y[rest], times), np.repeat(f[rest], times)
        groups = {"groups": np.repeat(names[rest], times), "pool_groups": there}
        groups |= {"trained_groups": np.repeat(names[known], times)} if trains else {}
        answers.append(
            [rectified_mean(*own, pool, **options(times)), rectified_groups(*own, pool, **groups, **options(times))]
        )
    for once, twice in zip(*answers, strict=True):
        for one, other in ((once, twice), (once.labels_only, twice.labels_only)):
            np.testing.assert_allclose(
                np.stack([other.estimate, other.ci_low, other.ci_high]),
                np.stack([one.estimate, one.ci_low, one.ci_high]), rtol=1e-9,
            )  # fmt: skip


def test_clusters_of_labels_that_trained_go_with_those_that_rectify(rows):
    y, f, pool, _, _ = rows
    with pytest.raises(ArgumentError, match="give both clusters and trained_clusters, or neither"):
        rectified_mean(y[12:], f[12:], pool, clusters=np.arange(36), trained=y[:12])
    with pytest.raises(ArgumentError, match="trained_clusters"):
        rectified_mean(y[12:], f[12:], pool, clusters=np.arange(36), trained=y[:12], trained_clusters=np.arange(11))
