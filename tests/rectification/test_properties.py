"""What must hold for any rows: equivariance, invariance, and the two ends of the scale."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rectification import (
    Estimate,
    rectified_groups,
    rectified_logistic,
    rectified_mean,
    rectified_ols,
    rectified_quantile,
    rectified_shares,
)

seeds = st.integers(0, 10_000)
few = settings(max_examples=25, deadline=None)


def draw(seed: int, n: int = 40, m: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rho = rng.uniform(0.3, 0.95)
    z = rng.normal(size=n + m)
    return rho * z[:n] + np.sqrt(1 - rho**2) * rng.normal(size=n), z[:n], z[n:]


def numbers(estimate: Estimate) -> np.ndarray:
    return np.array([estimate.estimate, estimate.ci_low, estimate.ci_high], dtype=float)


@pytest.mark.parametrize("call", [rectified_mean, rectified_quantile])
@given(seed=seeds, shift=st.floats(-50, 50), scale=st.floats(0.01, 100))
@few
def test_shift_and_scale(call, seed, shift, scale):
    y, f, pool = draw(seed)
    plain = numbers(call(y, f, pool))
    moved = numbers(call(shift + scale * y, shift + scale * f, shift + scale * pool))
    assert np.allclose(moved, shift + scale * plain, rtol=1e-7, atol=1e-7 * scale)


@given(seed=seeds, finite=st.booleans(), calibrate=st.sampled_from([None, "linear", "isotonic"]))
@few
def test_order_of_rows_does_not_matter(seed, finite, calibrate):
    y, f, pool = draw(seed)
    rng = np.random.default_rng(seed)
    a, b = rng.permutation(len(y)), rng.permutation(len(pool))
    more = {"finite_population": finite, "calibrate": calibrate}
    for call in (rectified_mean, rectified_quantile):
        plain, mixed = call(y, f, pool, **more), call(y[a], f[a], pool[b], **more)
        assert np.allclose(numbers(plain), numbers(mixed), rtol=1e-9, atol=1e-12)


@given(seed=seeds)
@few
def test_order_of_rows_does_not_matter_to_the_rest(seed):
    y, f, pool = draw(seed, n=60)
    rng = np.random.default_rng(seed)
    a, b = rng.permutation(len(y)), rng.permutation(len(pool))
    x, xp = np.column_stack([np.ones(60), rng.normal(size=60)]), np.column_stack([np.ones(150), rng.normal(size=150)])
    g, gp = rng.permutation(np.arange(60) % 3), np.arange(150) % 3
    pairs = [
        (rectified_ols(y, f, pool, x, xp), rectified_ols(y[a], f[a], pool[b], x[a], xp[b])),
        (
            rectified_groups(y, f, pool, groups=g, pool_groups=gp),
            rectified_groups(y[a], f[a], pool[b], groups=g[a], pool_groups=gp[b]),
        ),
    ]
    for plain, mixed in pairs:
        assert plain.names == mixed.names
        assert np.allclose(numbers(plain), numbers(mixed), rtol=1e-8, atol=1e-10)


@given(seed=seeds)
@few
def test_perfect_predictions_give_the_pool_s_answer(seed):
    y, _, pool = draw(seed)
    assert rectified_mean(y, y, pool, power_tuning=False).estimate == pytest.approx(pool.mean(), abs=1e-12)
    every = np.concatenate([y, pool])
    low, high = sorted((y.mean(), pool.mean()))
    assert low <= rectified_mean(y, y, pool).estimate <= high
    assert rectified_mean(y, y, pool, finite_population=True).estimate == pytest.approx(every.mean(), abs=1e-12)
    assert rectified_quantile(y, y, pool, power_tuning=False).estimate == pytest.approx(np.median(pool), abs=1e-9)


@given(seed=seeds)
@few
def test_no_help_equals_labels_only(seed):
    y, f, pool = draw(seed)
    for call in (rectified_mean, rectified_quantile):
        got = call(y, np.zeros_like(f), np.zeros_like(pool))
        assert np.allclose(np.ravel(got.power), 0)
        assert np.allclose(numbers(got), numbers(got.labels_only), rtol=1e-12)
        assert np.allclose(got.labels_saved, 0)


@given(seed=seeds, p=st.sampled_from([0.03, 0.2, 0.5]), n=st.integers(2, 60))
@few
def test_shares_stay_between_0_and_1_and_sum_to_1(seed, p, n):
    rng = np.random.default_rng(seed)
    y = rng.choice(3, size=n, p=[p, (1 - p) / 2, (1 - p) / 2])
    f, pool = rng.dirichlet(np.ones(3), n), rng.dirichlet(np.ones(3) * 0.5, 80)
    f = 0.5 * f + 0.5 * np.eye(3)[y]
    got = rectified_shares(y, f, pool, classes=[0, 1, 2])
    assert np.sum(got.estimate) == pytest.approx(1, abs=1e-12)
    assert (np.asarray(got.ci_low) >= 0).all()
    assert (np.asarray(got.ci_high) <= 1).all()
    assert (np.asarray(got.ci_low) <= got.estimate).all()
    assert (np.asarray(got.estimate) <= got.ci_high).all()
    assert (np.asarray(got.ci_low) < got.ci_high).all()
    one = rectified_mean((y == 0).astype(int), f[:, 0], pool[:, 0])
    assert 0 <= one.ci_low <= one.estimate <= one.ci_high <= 1


@given(seed=seeds, null=st.floats(-0.6, 0.6), side=st.sampled_from(["two-sided", "larger", "smaller"]))
@few
def test_p_values_agree_with_intervals(seed, null, side):
    y, f, pool = draw(seed)
    for call, values in ((rectified_mean, y), (rectified_quantile, y), (rectified_mean, (y > 0) * 1.0)):
        centre = null + 0.5 * (values is not y)
        if not 0 < centre < 1 and values is not y:
            continue
        got = call(values, f, pool, null=centre, alternative=side)
        outside = centre < got.ci_low or centre > got.ci_high
        if min(abs(centre - got.ci_low), abs(centre - got.ci_high)) > 1e-9:
            assert outside == (got.p_value < 0.05 - 1e-12)


@given(seed=seeds)
@few
def test_higher_confidence_is_wider(seed):
    y, f, pool = draw(seed)
    for call in (rectified_mean, rectified_quantile):
        assert call(y, f, pool, confidence=0.99).width > call(y, f, pool, confidence=0.8).width


def test_two_sided_is_two_one_sided():
    y, f, pool = draw(1)
    for call, values in ((rectified_mean, y), (rectified_mean, (y > 0) * 1.0), (rectified_quantile, y)):
        both = call(values, f, pool, confidence=0.9)
        larger, smaller = (call(values, f, pool, alternative=side) for side in ("larger", "smaller"))
        assert (larger.ci_low, smaller.ci_high) == pytest.approx((both.ci_low, both.ci_high))
        assert larger.ci_high in (1.0, np.inf)
        assert smaller.ci_low in (0.0, -np.inf)
        for one in (larger, smaller):
            assert one.standard_error == pytest.approx(both.standard_error)
            assert one.n_effective == pytest.approx(both.n_effective)
        if call is rectified_quantile:
            assert larger.labels_saved == smaller.labels_saved == pytest.approx(both.labels_saved)


@given(
    seed=seeds,
    q=st.sampled_from([0.3, 0.5, 0.7, 0.9]),
    side=st.sampled_from(["larger", "smaller"]),
    finite=st.booleans(),
)
@few
def test_one_sided_quantiles_of_ratings(seed, q, side, finite):
    rng = np.random.default_rng(seed)
    y = rng.integers(1, 6, 660) * 1.0
    f = np.clip(y + rng.integers(-1, 2, 660), 1, 5)
    got = rectified_quantile(y[:60], f[:60], f[60:], q=q, alternative=side, finite_population=finite)
    assert got.ci_low <= got.estimate <= got.ci_high
    assert got.width >= 0
    assert np.isinf(got.ci_high if side == "larger" else got.ci_low)
    assert np.isinf(got.labels_only.ci_high if side == "larger" else got.labels_only.ci_low)
    for value in (got.standard_error, got.n_effective):
        assert 0 < value < np.inf
    assert -np.inf < got.labels_saved < 1
    assert got.summary()


def test_logistic_does_not_mind_the_order():
    rng = np.random.default_rng(5)
    x, xp = rng.normal(size=(150, 2)), rng.normal(size=(400, 2))
    y = (rng.random(150) < 1 / (1 + np.exp(-x[:, 0]))).astype(int)
    f, pool = 0.1 + 0.8 * y, rng.random(400)
    a, b = rng.permutation(150), rng.permutation(400)
    plain, mixed = rectified_logistic(y, f, pool, x, xp), rectified_logistic(y[a], f[a], pool[b], x[a], xp[b])
    assert np.allclose(numbers(plain), numbers(mixed), rtol=1e-8)
