"""Shares, groups, quantiles and regressions against slow, obvious versions."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize

from engine.errors import ArgumentError
from engine.rectification import (
    rectified_groups,
    rectified_logistic,
    rectified_mean,
    rectified_ols,
    rectified_quantile,
    rectified_shares,
)


def rows(seed: int, n: int = 60, m: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n + m)
    return z[:n] + 0.5 * rng.normal(size=n), z[:n] + 0.2 * rng.normal(size=n), z[n:]


class TestShares:
    def draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(1)
        p = rng.dirichlet([1, 1, 1], 400)
        y = np.array([rng.choice(["bad", "good", "mid"], p=row) for row in p[:80]])
        return y, p[:80], p[80:]

    def test_one_lambda_written_out(self):
        y, p, pool = self.draw()
        got = rectified_shares(y, p, pool)
        hot = np.stack([y == c for c in got.names], axis=1).astype(float)
        n, m = len(y), len(pool)
        cov = sum(np.cov(hot[:, k], p[:, k])[0, 1] / n for k in range(3))
        var = sum(
            p[:, k].var(ddof=1) / n + (n * p[:, k].var() + m * pool[:, k].var()) / (n + m - 2) / m for k in range(3)
        )
        power = min(cov / var, 1)
        assert np.allclose(got.power, power)
        assert np.allclose(got.estimate, hot.mean(axis=0) - power * (p.mean(axis=0) - pool.mean(axis=0)))
        assert got.estimate.sum() == pytest.approx(1, abs=1e-14)

    def test_two_classes_are_a_share_and_the_rest(self):
        y, f, pool = rows(3)
        s, q, r = y > 0, stats.norm.cdf(f), stats.norm.cdf(pool)
        got = rectified_shares(s.astype(int), np.column_stack([1 - q, q]), np.column_stack([1 - r, r]))
        one = rectified_mean(s, q, r)
        assert got.estimate[1] == pytest.approx(one.estimate, rel=1e-9)
        assert (got.ci_low[1], got.ci_high[1]) == pytest.approx((one.ci_low, one.ci_high), rel=1e-9)

    def test_names_columns_codes_and_hard_labels(self):
        y, p, pool = self.draw()
        plain = rectified_shares(y, p, pool)
        frame = pd.DataFrame(p, columns=["bad", "good", "mid"])[["mid", "bad", "good"]]
        other = pd.DataFrame(pool, columns=["bad", "good", "mid"])
        named = rectified_shares(y, frame, other)
        assert dict(zip(named.names, named.estimate, strict=True)) == pytest.approx(
            dict(zip(plain.names, plain.estimate, strict=True))
        )
        codes = pd.factorize(y, sort=True)[0]
        coded = rectified_shares(codes, p, pool, classes=["bad", "good", "mid"])
        assert coded.names == plain.names
        assert np.allclose(coded.estimate, plain.estimate)
        hard = rectified_shares(y, np.array(plain.names)[p.argmax(1)], np.array(plain.names)[pool.argmax(1)])
        hot = rectified_shares(y, np.eye(3)[p.argmax(1)], np.eye(3)[pool.argmax(1)])
        assert np.allclose(hard.ci_low, hot.ci_low)

    @pytest.mark.parametrize("as_given", [np.asarray, list, pd.Series, lambda rows: pd.Series(rows, dtype=object)])
    def test_booleans_beside_whole_numbers_are_those_numbers(self, as_given):
        y, pool = np.array([0, 1] * 30), np.array([1, 0] * 100)
        numbers = rectified_shares(y, y, pool)
        for given in ((y, y == 1, pool == 1), (y == 1, y, pool), (y == 1, y == 1, pool), (y, y, pool == 1)):
            got = rectified_shares(*map(as_given, given))
            assert got.names == numbers.names == ("0", "1")
            assert np.array_equal(got.ci_low, numbers.ci_low)
        assert rectified_shares(y == 1, y == 1, pool == 1, trained=[]).names == ("False", "True")
        assert rectified_shares(y == 1, y == 1, pool == 1, classes=[1, 0]).names == ("1", "0")

    def test_trained_labels(self):
        y, p, pool = self.draw()
        got = rectified_shares(y[:60], p[:60], pool, trained=y[60:], finite_population=True)
        assert got.labels_only.n == 80
        assert got.estimate.sum() == pytest.approx(1)
        assert np.allclose(got.labels_only.estimate, [(y == c).mean() for c in got.names])

    def test_rows_without_a_prediction_are_noted(self):
        y, p, pool = self.draw()
        for count, words in ((1, "1 row has"), (5, "5 rows have")):
            blank = np.array(pool)
            blank[:count] = 0
            said = f"{words} no prediction among the classes; each class counts alike there."
            assert said in rectified_shares(y, p, blank).notes


class TestGroups:
    def test_each_group_is_a_mean_of_its_own(self):
        y, f, pool = rows(5, n=90)
        g, gp = np.arange(90) % 3, np.arange(300) % 3
        got = rectified_groups(y, f, pool, groups=g, pool_groups=gp)
        for k in range(3):
            one = rectified_mean(y[g == k], f[g == k], pool[gp == k])
            assert got.estimate[k] == pytest.approx(one.estimate)
            assert (got.ci_low[k], got.ci_high[k]) == pytest.approx((one.ci_low, one.ci_high))
        assert got.names == ("0", "1", "2", "0 - 1", "0 - 2", "1 - 2")
        assert got.estimate[3] == pytest.approx(got.estimate[0] - got.estimate[1])
        assert got.standard_error[3] == pytest.approx(np.hypot(got.standard_error[0], got.standard_error[1]))
        assert np.allclose(np.sqrt(np.diag(got.covariance)), got.standard_error)

    def test_welch_in_the_labels_only_limit(self):
        y, f, pool = rows(6)
        g, gp = np.arange(60) % 2, np.arange(300) % 2
        labels = rectified_groups(y, f, pool, groups=g, pool_groups=gp, multiplicity="none").labels_only
        welch = stats.ttest_ind(y[g == 0], y[g == 1], equal_var=False)
        assert labels.p_value[2] == pytest.approx(welch.pvalue)
        bounds = welch.confidence_interval(0.95)
        assert (labels.ci_low[2], labels.ci_high[2]) == pytest.approx((bounds.low, bounds.high))

    def test_multiplicity(self):
        y, f, pool = rows(7, n=120)
        g, gp = np.arange(120) % 4, np.arange(300) % 4
        y = y + 0.15 * g
        raw, bonferroni, holm = (
            rectified_groups(y, f, pool, groups=g, pool_groups=gp, multiplicity=how)
            for how in ("none", "bonferroni", "holm")
        )
        p = raw.p_value[4:]
        assert np.allclose(bonferroni.p_value[4:], np.minimum(6 * p, 1))
        order = np.argsort(p)
        step = np.minimum(np.maximum.accumulate(p[order] * np.arange(6, 0, -1)), 1)
        assert np.allclose(holm.p_value[4:][order], step)
        for answer in (bonferroni, holm, raw):
            low, high, value = answer.ci_low[4:], answer.ci_high[4:], answer.p_value[4:]
            assert ((value <= 0.05) == ((low >= 0) | (high <= 0))).all()

    @pytest.mark.parametrize("side", ["two-sided", "larger", "smaller"])
    def test_differences_of_shares(self, side):
        y, f, pool = rows(8, n=100)
        g, gp = np.arange(100) % 2, np.arange(300) % 2
        got = rectified_groups(y + 0.6 * g > 0, f, pool, groups=g, pool_groups=gp, alternative=side)
        low, high, p = got.ci_low[2], got.ci_high[2], got.p_value[2]
        assert -1 <= low < high <= 1
        assert (p < 0.05) == (low > 0 or high < 0)

    def test_clusters_that_span_groups_covary(self):
        y, f, pool = rows(9, n=80)
        g, gp, c = np.arange(80) % 2, np.arange(300) % 2, np.arange(80) // 2
        shock = np.random.default_rng(0).normal(size=40)[c]
        together = rectified_groups(y + 2 * shock, f, pool, groups=g, pool_groups=gp, clusters=c)
        assert together.covariance[0, 1] > 0
        assert together.standard_error[2] < np.hypot(together.standard_error[0], together.standard_error[1])

    @pytest.mark.parametrize("shares", [False, True])
    def test_a_group_without_labels_that_count_is_left_out(self, shares):
        y, f, pool = rows(17)
        y = (y > 0) * 1.0 if shares else y
        g, gp, c = np.arange(60) % 3, np.arange(300) % 3, np.arange(60) // 6
        w, v = np.where((g == 1) & (np.arange(60) > 1), 0.0, 1.0), np.ones(300)
        got = rectified_groups(y, f, pool, groups=g, pool_groups=gp, weights=w, pool_weights=v)
        kept, there = g != 1, gp != 1
        more = {"groups": g[kept], "pool_groups": gp[there], "weights": w[kept], "pool_weights": v[there]}
        left = rectified_groups(y[kept], f[kept], pool[there], **more)
        assert got.names == left.names == ("0", "2", "0 - 2")
        assert np.allclose([got.estimate, got.ci_low, got.ci_high], [left.estimate, left.ci_low, left.ci_high])
        assert got.notes[0] == "Group 1 is left out: it has 1 label of positive weight, and at least 2 are needed."
        alone = rectified_groups(y, f, pool, groups=g, pool_groups=gp, clusters=np.where(g == 2, 0, 1 + c))
        assert alone.names == ("0", "1", "0 - 1")
        assert alone.notes[0] == "Group 2 is left out: it has a single cluster, and at least 2 are needed."

    def test_labels_only_keeps_the_notes_that_speak_of_the_labels(self):
        y, f, pool = rows(20, n=61)
        g, gp = np.append(np.arange(60) % 2, 2), np.arange(300) % 3
        y[g == 1] = 4.0
        got = rectified_groups(y, f * 0, pool * 0, groups=g, pool_groups=gp)
        said = (
            "Group 2 is left out: it has 1 label, and at least 2 are needed.",
            "The labels of group 1 are all the same, so it borrows the spread of the other groups.",
        )
        assert got.labels_only.notes == said
        assert set(said) < set(got.notes)
        assert "Group 0: the predictions are all the same, so this is the labels-only answer." in got.notes
        trained = {"trained": [1.0, 4.0, 5.0], "trained_groups": [0, 1, 1]}
        more = rectified_groups(y, f * 0, pool * 0, groups=g, pool_groups=gp, **trained)
        assert more.labels_only.notes == said[:1]  # with the labels that trained, group 1 has a spread of its own
        assert said[1] in more.notes

    def test_a_pool_of_no_weight_is_none(self):
        y, f, pool = rows(18)
        g, gp = np.arange(60) % 2, np.arange(300) % 2
        w, v = np.ones(60), np.where((gp == 1) & (np.arange(300) > 1), 0.0, 1.0)
        got = rectified_groups(y, f, pool, groups=g, pool_groups=gp, weights=w, pool_weights=v)
        assert got.notes == ("Group 1 has too few predictions in the pool, so this is its labels-only answer.",)
        assert got.estimate[1] == pytest.approx(y[g == 1].mean())

    def test_trained_labels_of_a_group(self):
        y, f, pool = rows(10)
        g, gp = np.arange(60) % 2, np.arange(300) % 2
        t, tg = np.array([1.0, 2, 3, 4]), [0, 0, 1, 1]
        got = rectified_groups(
            y, f, pool, groups=g, pool_groups=gp, trained=t, trained_groups=tg, finite_population=True
        )
        one = rectified_mean(y[g == 0], f[g == 0], pool[gp == 0], trained=t[:2], finite_population=True)
        assert got.estimate[0] == pytest.approx(one.estimate)
        assert got.standard_error[0] == pytest.approx(one.standard_error)


class TestQuantile:
    def slow(self, y: np.ndarray, f: np.ndarray, pool: np.ndarray, power: float, reach: float) -> tuple[float, ...]:
        every = np.sort(np.concatenate([y, f, pool]))
        height = [(y <= v).mean() - power * (f <= v).mean() + power * (pool <= v).mean() for v in every]
        first = next(v for v, h in zip(every, height, strict=True) if h >= 0.5 - 1e-12)
        low = next(v for v, h in zip(every, height, strict=True) if h >= 0.5 - reach - 1e-12)
        inside = max(i for i, h in enumerate(height) if h <= 0.5 + reach + 1e-12)
        return first, low, every[inside + 1]

    @pytest.mark.parametrize("seed", range(6))
    def test_against_every_place_in_turn(self, seed):
        y, f, pool = rows(seed, n=61, m=157)
        got = rectified_quantile(y, f, pool, power_tuning=False)
        z = stats.norm.ppf(0.975)

        def share(v: float) -> float:
            return rectified_mean((y <= v) * 1.0, (f <= v) * 1.0, (pool <= v) * 1.0, power_tuning=False).standard_error

        p = (y <= got.estimate).mean()
        trials = p * (1 - p) * 61 / 60 / share(got.estimate) ** 2
        first, low, high = self.slow(y, f, pool, 1.0, z * np.sqrt(0.25 / trials) + 0.25 / trials)
        assert got.estimate == pytest.approx(first, abs=0.1)
        assert (got.ci_low, got.ci_high) == pytest.approx((low, high), abs=1e-12)

    def test_labels_only_median_is_numpy_s(self):
        for n in (50, 51):
            y, _, pool = rows(11, n=n)
            assert rectified_quantile(y, np.zeros(n), pool * 0).estimate == pytest.approx(np.median(y))

    def test_weights_and_strata(self):
        y, f, pool = rows(12)
        plain = rectified_quantile(y, f, pool)
        weighted = rectified_quantile(y, f, pool, weights=np.ones(60), pool_weights=np.ones(300))
        assert weighted.estimate == pytest.approx(plain.estimate)
        strata = rectified_quantile(y, f, pool, strata=np.arange(60) % 2, pool_strata=np.arange(300) % 2)
        assert strata.ci_low < strata.estimate < strata.ci_high

    def test_trained_labels_enter_exactly(self):
        y, f, pool = rows(16)
        trained = np.random.default_rng(1).normal(size=200)
        got = rectified_quantile(y, f, pool, trained=trained, finite_population=True)
        rest = rectified_quantile(y, f, pool, finite_population=True)
        assert got.labels_only.n == 260
        assert got.labels_only.estimate == pytest.approx(np.median(np.concatenate([y, trained])))
        assert got.width < rest.width
        larger = rectified_quantile(y, f, pool, trained=trained)
        assert larger.ci_low == rectified_quantile(y, f, pool).ci_low

    @pytest.mark.parametrize("trained", [0, 200])
    def test_labels_are_worth_no_more_than_the_population_holds(self, trained):
        z = np.random.default_rng(19).normal(size=(2, 1000))
        y, f = z[0, :500], z[0] + 0.3 * z[1]
        s, r = y[:trained], slice(trained, 500)
        got = rectified_quantile(y[r], f[r], f[500:], finite_population=True, trained=s)
        # A width goes with the root of 1/n - 1/M, whose solution for n is sought on a grid.
        grid = np.linspace(1, 1000, 999_001)
        ratio = (got.width / got.labels_only.width) ** 2
        wanted = grid[np.argmin(np.abs((1 / grid - 1 / 1000) - ratio * (1 / 500 - 1 / 1000)))]
        assert got.n_effective == pytest.approx(wanted, abs=2e-3)
        assert 500 < got.n_effective < 1000
        larger = rectified_quantile(y, f[:500], f[500:])
        assert larger.n_effective == pytest.approx(500 * (larger.labels_only.width / larger.width) ** 2)


class TestRegression:
    def draw(self, n: int = 120, m: int = 500) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(13)
        x = np.column_stack([np.ones(n + m), rng.normal(size=(n + m, 2))])
        line = x @ [0.2, 0.8, -0.4]
        y = line + rng.normal(size=n + m)
        f = line + 0.7 * (y - line)
        s = (rng.random(n + m) < 1 / (1 + np.exp(-line))).astype(float)
        g = 0.15 + 0.7 * s
        return x[:n], x[n:], y[:n], f[:n], f[n:], s[:n], g[:n], g[n:]

    def test_ols_written_out(self):
        x, xp, y, f, pool, *_ = self.draw()
        got = rectified_ols(y, f, pool, x, xp)

        def fit(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return np.linalg.lstsq(a, b, rcond=None)[0]

        expected = fit(x, y) - got.power * (fit(x, f) - fit(xp, pool))
        assert np.allclose(got.estimate, expected, rtol=1e-9)

    def test_logistic_minimises_the_rectified_loss(self):
        x, xp, *_, s, g, pool = self.draw()
        got = rectified_logistic(s, g, pool, x, xp, power_tuning=False)

        def loss(t: np.ndarray) -> float:
            def mean(a: np.ndarray, b: np.ndarray) -> float:
                return float(np.mean(np.logaddexp(0, a @ t) - b * (a @ t)))

            return mean(x, s) + mean(xp, pool) - mean(x, g)

        assert np.allclose(got.estimate, minimize(loss, np.zeros(3), tol=1e-12).x, atol=1e-5)

    def test_a_mean_is_a_regression_on_a_constant(self):
        x, xp, y, f, pool, *_ = self.draw()
        got = rectified_ols(y, f, pool, x[:, :1], xp[:, :1], finite_population=True)
        mean = rectified_mean(y, f, pool, finite_population=True)
        assert got.estimate[0] == pytest.approx(mean.estimate, rel=1e-9)
        assert got.standard_error[0] == pytest.approx(mean.standard_error, rel=0.02)

    def test_intercept_names_and_notes(self):
        x, xp, y, f, pool, *_ = self.draw()
        frame, other = (
            pd.DataFrame(x[:, 1:], columns=["age", "size"]),
            pd.DataFrame(xp[:, :0:-1], columns=["size", "age"]),
        )
        got = rectified_ols(y, f, pool, frame, other, intercept=True)
        assert got.names == ("intercept", "age", "size")
        assert np.allclose(got.estimate, rectified_ols(y, f, pool, x, xp).estimate)
        bare = rectified_ols(y, f, pool, frame, other)
        assert any("passes through zero" in note for note in bare.notes)

    @pytest.mark.parametrize("call", [rectified_ols, rectified_logistic])
    def test_p_values_agree_with_intervals(self, call):
        x, xp, y, f, pool, s, g, pool_g = self.draw()
        rows_ = (y, f, pool) if call is rectified_ols else (s, g, pool_g)
        for null in (-0.4, 0.0, 0.8):
            got = call(*rows_, x, xp, null=null)
            assert ((got.p_value < 0.05) == ((got.ci_low > null) | (got.ci_high < null))).all()

    def test_clusters_and_weights(self):
        x, xp, y, f, pool, s, g, pool_g = self.draw()
        c = np.arange(120) // 4
        shock = np.random.default_rng(2).normal(size=30)[c]
        plain, by_cluster = (rectified_ols(y + shock, f, pool, x, xp, clusters=k) for k in (None, c))
        assert by_cluster.standard_error[0] > plain.standard_error[0]
        weighted = rectified_logistic(s, g, pool_g, x, xp, weights=np.ones(120), pool_weights=np.ones(500))
        assert np.allclose(weighted.ci_low, rectified_logistic(s, g, pool_g, x, xp).ci_low, rtol=1e-6)

    def test_separated_labels_are_named(self):
        x, xp, *_, g, pool = self.draw()
        with pytest.raises(ArgumentError, match="separated"):
            rectified_logistic((x[:, 1] > 0.1).astype(int), g, pool, x, xp)


class TestCalibration:
    @pytest.mark.parametrize("how", ["linear", "isotonic"])
    def test_calibration_mends_a_bent_scale(self, how):
        rng = np.random.default_rng(14)
        z = rng.normal(size=3000)
        y = z[:200] + 0.3 * rng.normal(size=200)
        f = np.exp(1.5 * z)
        plain = rectified_mean(y, f[:200], f[200:])
        better = rectified_mean(y, f[:200], f[200:], calibrate=how)
        assert better.ci_low < 0.1
        assert better.ci_high > -0.1
        if how == "isotonic":
            assert better.width < 0.9 * plain.width
        assert 0.5 < better.power <= 1.5

    def test_shares_still_sum_to_1(self):
        rng = np.random.default_rng(15)
        p = rng.dirichlet([1, 1, 1], 400)
        y = np.array([rng.choice(3, p=row) for row in p[:100]])
        for how in ("linear", "isotonic"):
            assert rectified_shares(y, p[:100], p[100:], calibrate=how).estimate.sum() == pytest.approx(1)
