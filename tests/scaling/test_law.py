"""The law of residual variance: known parameters, odd trials, bands, bad input."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.sealing import Sealing
from engine.errors import ArgumentError
from engine.scaling import Law, effective_freedom, fit_law

SIZES = np.array([16, 32, 64, 128, 256])


def truth(s, a=2.0, alpha=0.5, b=0.1):
    return a * np.asarray(s, dtype=float) ** -alpha + b


def trials(rng, seeds=5, sizes=SIZES, freedom=80, **parameters):
    """Sizes and variances as a pilot would see them: chi-square noise with the hold-out's degrees of freedom."""
    s = np.repeat(sizes, seeds).astype(float)
    return s, truth(s, **parameters) * rng.chisquare(freedom, s.size) / freedom


def trials_of(n, seed, labels):
    """What a pilot of n labels makes of a model that knows nothing: sizes, variances, freedom, hold-outs."""
    rng = np.random.default_rng([seed, n])
    y = labels(rng, n)
    made = []
    for holdout, train, out in Sealing.of(f"{seed:032x}", n, 0).trials(5):
        made.append((len(train), max(y[out].var(), 1e-12), max(len(out) - 2, 1), holdout))
    return y[:, None], *map(np.array, zip(*made, strict=True))


@pytest.mark.parametrize("n", [22, 27, 28, 29, 38, 52])
@pytest.mark.parametrize("seed", range(4))
def test_few_labels_with_holdouts_of_other_sizes_have_a_law(n, seed):
    y, sizes, variances, freedom, holdouts = trials_of(n, seed, lambda rng, n: rng.integers(1, 6, n).astype(float))
    freedom, spread = effective_freedom(freedom, y), float(y.var(ddof=1))
    law = fit_law(sizes, variances, degrees_of_freedom=freedom, holdouts=holdouts, label_variance=spread)
    assert np.isfinite(law.draws).all()


def test_a_holdout_of_equal_labels_does_not_wreck_the_law():
    # Three hold-outs have none of the rare labels.
    for seed in range(4):
        y, sizes, variances, freedom, holdouts = trials_of(400, seed, lambda rng, n: 1.0 * (rng.random(n) < 0.08))
        freedom, spread = effective_freedom(freedom, y), float(y.var(ddof=1))
        law = fit_law(sizes, variances, degrees_of_freedom=freedom, holdouts=holdouts, label_variance=spread)
        low, high = law.interval(400)
        assert 0.2 * spread < low < high < 5 * spread


@pytest.mark.parametrize(("a", "alpha", "b"), [(2.0, 0.5, 0.1), (0.287, 0.297, 0.042), (5.0, 1.0, 0.5)])
def test_many_exact_trials_give_the_parameters_back(a, alpha, b):
    s, v = trials(
        np.random.default_rng(1), seeds=12, sizes=2 ** np.arange(3, 13), freedom=20_000, a=a, alpha=alpha, b=b
    )
    law = fit_law(s, v, degrees_of_freedom=20_000)
    assert law.alpha == pytest.approx(alpha, rel=0.15)
    assert law.b == pytest.approx(b, rel=0.25, abs=0.02)
    assert law.r2 > 0.98
    check = np.array([10, 100, 1000, 4000])
    np.testing.assert_allclose(law.predict(check), truth(check, a, alpha, b), rtol=0.05)


def test_one_wild_trial_hardly_moves_the_law_where_least_squares_is_moved():
    s, v = trials(np.random.default_rng(2), seeds=4, b=0.02)
    wild = v.copy()
    wild[-1] *= 30

    def line(values):
        return float(np.exp(np.polyval(np.polyfit(np.log(s), np.log(values), 1), np.log(512))))

    moved = abs(np.log(fit_law(s, wild).predict(512) / fit_law(s, v).predict(512)))
    assert moved < 0.25
    assert abs(np.log(line(wild) / line(v))) > 0.4


@settings(deadline=None, max_examples=15)
@given(
    values=st.lists(st.tuples(st.integers(1, 5000), st.floats(1e-6, 1e6)), min_size=1, max_size=12),
    ceiling=st.none() | st.floats(1e-6, 1e6),
)
def test_whatever_the_trials_every_curve_falls_and_stays_below_the_label_variance(values, ceiling):
    law = fit_law(*zip(*values, strict=True), label_variance=ceiling)
    curves = law.curves([0, 1, 2, 5, 20, 100, 1000, 100_000])
    assert np.isfinite(curves).all()
    assert (curves > 0).all()
    assert (np.diff(curves, axis=1) <= 1e-12 * curves[:, :-1]).all()
    if ceiling is not None:
        assert (curves <= ceiling).all()
        assert law.predict(0) == ceiling


def test_the_band_widens_away_from_the_trials():
    law = fit_law(*trials(np.random.default_rng(3)), degrees_of_freedom=80)

    def spread(s):
        low, high = law.interval(s)
        return np.log(high / low)

    assert spread(64) < spread(256) < spread(1024) < spread(8192)
    assert spread(64) < spread(8) < spread(2)
    low, high = law.interval(1024, 0.95)
    assert low < law.interval(1024)[0] < law.predict(1024) < law.interval(1024)[1] < high


def test_the_same_trials_give_the_same_law_and_leave_the_global_generator_alone():
    s, v = trials(np.random.default_rng(4))
    before = pickle.dumps(np.random.get_state())
    one, two = fit_law(s, v), fit_law(list(s), list(v))
    np.testing.assert_array_equal(one.draws, two.draws)
    assert before == pickle.dumps(np.random.get_state())


def paired(rng, freedom=30, holdouts=5, luck=0.03, shift=20.0, sizes=(16, 32, 64, 128)):
    """Trials of several sizes on shared hold-outs, and the label variance of the same labels."""
    s, names = np.repeat(sizes, holdouts).astype(float), np.tile(np.arange(holdouts), len(sizes))
    lucky = rng.chisquare(freedom, holdouts) / freedom
    v = (0.5 * (1 + s / shift) ** -0.5 + 0.5) * lucky[names] * np.exp(rng.normal(0, luck, s.size))
    return s, v, names, lucky.mean()


def test_a_holdout_that_is_shared_moves_the_level_and_not_the_shape():
    shapes, shared, own = [], [], []
    for seed in range(20):
        s, v, names, level = paired(np.random.default_rng(seed))
        law = fit_law(s, v, degrees_of_freedom=30, holdouts=names, label_variance=level)
        shapes.append(law.predict(512) / level / (0.5 * (1 + 512 / 20) ** -0.5 + 0.5))
        shared.append(np.divide(*law.interval(64)))
        own.append(np.divide(*fit_law(s, v, degrees_of_freedom=30).interval(64)))
    assert np.median(np.abs(np.array(shapes) - 1)) < 0.1
    # Twenty trials on five hold-outs know the level no better than five trials do.
    bands = [-np.median(np.log(ratios)) for ratios in (shared, own)]
    assert bands[1] < 2 * 1.28 * np.sqrt(2 / 150) < bands[0]


def test_trials_without_an_effect_of_the_labels_give_a_flat_law():
    rng = np.random.default_rng(8)
    s, _, names, level = paired(rng)
    v = level * np.exp(rng.normal(0, 0.02, s.size))
    law = fit_law(s, v, degrees_of_freedom=30, holdouts=names, label_variance=level)
    assert law.predict(500) > 0.85 * level
    assert law.summary().startswith("No gain from more training labels is seen yet: residual variance is ")


def test_the_summary_speaks_of_a_fall_where_there_is_one():
    law = fit_law(*trials(np.random.default_rng(6)), degrees_of_freedom=80)
    assert law.r2 > 0
    assert law.summary().startswith("Residual variance falls as labels grow: ")
    one = fit_law([29] * 4, [0.225, 0.23, 0.21, 0.22])
    assert one.summary().startswith("Only one size was tried: residual variance is 0.22")
    assert one.fit_summary(4) == "The 4 trials are of one size, which tells nothing of the curve."


def test_a_fall_that_every_hold_out_saw_is_told_although_their_levels_differ():
    rng = np.random.default_rng(2)
    sizes, names = np.repeat([20, 40], 5), np.tile(np.arange(5), 2)
    levels = np.exp(rng.normal(0, 0.5, 5))[names]  # far apart, as those of twelve labels are
    variances = levels * np.where(sizes == 20, 0.7, 0.5)
    law = fit_law(sizes, variances, degrees_of_freedom=10, holdouts=names, label_variance=1.0)
    assert law.r2 > 0.7
    assert law.summary().startswith("Residual variance falls as labels grow: ")
    mixed = variances * np.where(sizes == 20, 1.0, np.array([1.4, 2.0, 1.1, 1.5, 1.6])[names])
    assert "No gain" in fit_law(sizes, mixed, degrees_of_freedom=10, holdouts=names, label_variance=1.0).summary()


def test_how_well_the_law_fits_is_told_of_three_trials_or_more():
    law = fit_law(*trials(np.random.default_rng(6)), degrees_of_freedom=80)
    assert law.fit_summary(3) == f"R² {law.r2:.2f} over 3 trials."
    assert law.fit_summary(2) == "So far from 2 trials only."
    assert law.fit_summary(1) == "So far from 1 trial only."
    flat = fit_law([20, 40, 80] * 2, [0.2, 0.2, 0.2001] * 2, degrees_of_freedom=8, label_variance=1.0)
    assert (flat.r2 < 0, flat.fit_summary(6)) == (True, "R² below 0 over 6 trials: their mean fits them better.")


@pytest.mark.slow
def test_the_band_of_a_model_that_explains_nothing_covers_a_label_variance_that_few_labels_measured():
    covered, rng = [], np.random.default_rng(10)
    for _ in range(150):
        y = rng.normal(size=(5, 12))  # five hold-outs of a dozen labels, of variance 1
        s, names = np.repeat([24.0, 48.0], 5), np.tile(np.arange(5), 2)
        v = np.tile(y.var(1, ddof=1), 2) * np.exp(rng.normal(0, 0.01, 10))
        freedom = effective_freedom(np.full(10, 11.0), y.reshape(-1, 1))
        law = fit_law(s, v, degrees_of_freedom=freedom, holdouts=names, label_variance=float(y.var(ddof=1)))
        low, high = law.interval(500)
        covered.append(low <= 1 <= high)
    assert 0.72 <= np.mean(covered) <= 0.88


def test_the_curve_begins_at_what_the_untrained_model_leaves():
    s, v, names, level = paired(np.random.default_rng(9))
    law = fit_law(s, v, degrees_of_freedom=30, holdouts=names, label_variance=level)
    assert law.predict(0) == level
    assert law.predict(4) == pytest.approx((0.5 * (1 + 4 / 20) ** -0.5 + 0.5) * level, rel=0.08)
    zero_shot = fit_law(s, v, degrees_of_freedom=30, holdouts=names, label_variance=2.0, zero_shot_variance=level)
    assert zero_shot.predict(0) == level
    assert (zero_shot.curves([0, 1, 10, 100]) <= level).all()


@pytest.mark.parametrize("level", [0.05, 0.2, 0.5])
@pytest.mark.parametrize(("sizes", "freedom"), [((20, 40, 80), 8), ((25, 50), 8), ((20, 40, 80), 38)])
def test_a_model_for_which_the_fewest_labels_suffice_is_believed(level, sizes, freedom):
    effects = np.array([-0.3, 0.1, 0.3, -0.2, 0.1])
    s, v = np.repeat(sizes, 5), level * np.exp(np.tile(effects, len(sizes)))
    holdouts = list(range(5)) * len(sizes)
    law = fit_law(s, v, degrees_of_freedom=freedom, label_variance=1.0, holdouts=holdouts)
    low, high = law.interval(sizes[-1])
    assert low < v.mean() < high
    # Off by no more than the error of five hold-outs.
    assert abs(np.log(law.predict(sizes[-1]) / v.mean())) < np.sqrt(2.8 / freedom / 5)


def test_trials_worse_than_an_untrained_model_of_which_no_label_variance_is_known_are_believed():
    law = fit_law([20, 40, 80] * 2, [0.9, 0.88, 0.86] * 2, zero_shot_variance=0.5)
    assert law.predict(0) == 0.5
    assert law.predict(80) == pytest.approx(0.86, rel=0.1)


def test_trials_worse_than_the_untrained_model_are_believed():
    rng = np.random.default_rng(2)
    sizes = np.repeat([18, 37], 4)
    variances = np.concatenate([0.9 * np.exp(rng.normal(0, 0.06, 4)), 0.87 * np.exp(rng.normal(0, 0.06, 4))])
    law = fit_law(
        sizes, variances, degrees_of_freedom=30, holdouts=np.tile(np.arange(4), 2), label_variance=1.0,
        zero_shot_variance=0.3,
    )  # fmt: skip
    assert law.predict(0) == 0.3
    assert law.predict(37) > 0.6


def test_a_law_stored_without_a_shift_can_still_be_read():
    law = fit_law([16, 32], [1.0, 0.8])
    stored = {key: value for key, value in law.to_dict().items() if key not in ("shift", "zero_shot_variance")}
    stored["draws"] = [row[:3] for row in stored["draws"]]
    again = Law.from_dict(stored)
    assert again.shift == 0
    assert np.isfinite(again.predict(64))


def test_a_law_survives_json():
    law = fit_law(*trials(np.random.default_rng(5)), degrees_of_freedom=80, label_variance=1.0)
    again = Law.from_dict(json.loads(json.dumps(law.to_dict())))
    np.testing.assert_array_equal(again.draws, law.draws)
    assert (again.a, again.alpha, again.b, again.r2) == (law.a, law.alpha, law.b, law.r2)
    assert again.predict(100) == law.predict(100)
    assert again.interval(100) == law.interval(100)
    assert again.summary() == law.summary()


def test_numbers_give_numbers_and_arrays_arrays():
    law = fit_law([16, 32], [1.0, 0.8])
    assert isinstance(law.predict(20), float)
    assert law.predict([20, 40]).shape == (2,)
    assert [end.shape for end in law.interval([20, 40, 80])] == [(3,), (3,)]


def test_the_mean_of_the_draws_is_what_choices_rest_on():
    law = fit_law(*trials(np.random.default_rng(10)), degrees_of_freedom=20, label_variance=0.6)
    for s in (1, 30, 700, 20_000):
        mean, (low, high) = law.curves(s).mean(), law.interval(s)
        assert low <= law.expected(s) <= high
        assert law.expected(s) == pytest.approx(np.clip(mean, low, high), rel=2e-3)
    assert law.expected([20, 40]).shape == (2,)
    assert (np.diff(law.expected(np.arange(1000))) <= 0).all()


def test_one_trial_gives_a_law_with_a_wide_band():
    law = fit_law([50], [0.7])
    low, high = law.interval(500)
    assert low < 0.6 * high
    assert law.predict(50) == pytest.approx(0.7, rel=0.1)
    assert np.isfinite([law.r2, law.a, law.alpha, law.b]).all()


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        (([1, 2], [1.0]), {}, "one variance for each size"),
        (([], []), {}, "one variance for each size"),
        (([1, 0], [1.0, 1.0]), {}, "sizes holds 0"),
        (([1, 2], [1.0, np.nan]), {}, "variances holds nan"),
        (([1, 2], [1.0, -1.0]), {}, "variances holds -1"),
        (([1, 2], [1.0, np.inf]), {}, "variances holds inf"),
        ((["many", 2], [1.0, 1.0]), {}, "sizes"),
        (([1, 2], [1.0, 1.0]), {"label_variance": 0.0}, "label_variance is 0"),
        (([1, 2], [1.0, 1.0]), {"label_variance": np.nan}, "label_variance is nan"),
        (([1, 2], [1.0, 1.0]), {"degrees_of_freedom": [1.0, 2.0, 3.0]}, "degrees_of_freedom"),
        (([1, 2], [1.0, 1.0]), {"degrees_of_freedom": [1.0, np.nan]}, "degrees_of_freedom"),
        (([1, 2], [1.0, 1.0]), {"holdouts": [0]}, "holdouts"),
        (([1, 2], [1.0, 1.0]), {"zero_shot_variance": -1.0}, "zero_shot_variance is -1"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(arguments, options, sentence):
    with pytest.raises(ArgumentError, match=sentence) as fault:
        fit_law(*arguments, **options)
    assert str(fault.value).endswith(".")


@pytest.mark.parametrize("level", [0, 1, 80, np.nan])
def test_a_level_outside_its_range_is_refused(level):
    with pytest.raises(ArgumentError, match="level"):
        fit_law([16, 32], [1.0, 0.8]).interval(20, level)


@pytest.mark.slow
def test_the_80_percent_band_covers_about_80_percent():
    rng = np.random.default_rng(6)
    hits = []
    for _ in range(80):
        # Laws drawn from the very prior, pilots as the worker makes them.
        parameters = {"a": 1.0, "alpha": float(np.exp(rng.normal(np.log(0.5), 0.5)))}
        parameters["b"] = float(truth(64, b=0.0, **parameters) * rng.uniform(0, 1) ** 2)
        s, v = trials(rng, seeds=5, sizes=[16, 32, 64, 128], freedom=20, **parameters)
        low, high = fit_law(s, v, degrees_of_freedom=20).interval([64, 256, 1024])
        hits.append((low <= truth([64, 256, 1024], **parameters)) & (truth([64, 256, 1024], **parameters) <= high))
    covered = np.mean(hits, axis=0)

    assert (covered >= 0.68).all(), covered
    assert (covered <= 0.92).all(), covered


@pytest.mark.parametrize(("draw", "kurtosis"), [("normal", 0.0), ("laplace", 3.0), ("logistic", 1.2)])
def test_effective_freedom_says_how_well_a_variance_is_known(draw, kurtosis):
    """Against the scatter of sample variances: var(s2) = 1.4 times 2 sigma^4 / effective freedom."""
    rng = np.random.default_rng(8)
    samples = getattr(rng, draw)(size=(20_000, 61))
    variances = samples.var(1, ddof=1)
    scatter = 2.8 * variances.mean() ** 2 / variances.var()
    known = float(effective_freedom(60, samples[:1000].reshape(-1, 1)))
    assert known == pytest.approx(scatter, rel=0.12)
    assert known == pytest.approx(84 / (1 + kurtosis / 2), rel=0.1)


@pytest.mark.parametrize(("share", "apart"), [(0.5, 2.0), (0.5, 3.0), (0.1, 2.0), (0.1, 3.0), (0.05, 0.0), (0.05, 3.0)])
def test_what_is_left_of_classes_by_few_labels_is_known_badly(share, apart):
    """Against the kurtosis of the residuals of a model whose probabilities are right."""
    rng = np.random.default_rng(9)
    y = rng.random(400_000) < share
    score = apart * (rng.normal(size=y.size) + apart * y - apart / 2) + np.log(share / (1 - share))
    residuals = y - 1 / (1 + np.exp(-score))
    left = float(np.mean(residuals**2))
    kurtosis = float(np.mean(residuals**4)) / left**2
    known = float(effective_freedom(60, np.eye(2)[y.astype(int)], left))
    assert known == pytest.approx(84 / (1 + (kurtosis - 3) / 2), rel=0.12)


def test_the_tails_of_few_labels_are_taken_to_be_as_usual():
    few = float(effective_freedom(10, [[1.0], [2.0], [4.0], [1.5]]))
    assert 9.5 < few < 11
    assert float(effective_freedom(10, [[3.0], [3.0]])) > 0
    coins = np.eye(2)[[0, 1] * 200]
    assert float(effective_freedom(10, coins)) == pytest.approx(28)
    np.testing.assert_allclose(effective_freedom([10, 20], few * coins), [28, 56])
