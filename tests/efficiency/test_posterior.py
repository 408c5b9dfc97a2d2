"""The posterior over the curve: the published link, what scores, ceiling and noise do to it, coverage, bad input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.efficiency import COEFFICIENTS, area, efficiency, shipped
from engine.efficiency.levels import tails
from engine.efficiency.process import DEGREES_OF_FREEDOM, Seen
from engine.efficiency.scale import to_score
from engine.errors import ArgumentError

PILOT = {0: 0.35, 50: 0.62, 100: 0.68, 200: 0.74}


@pytest.mark.parametrize(
    ("family", "c", "intercept"), [("llama", 0.545, 0.310), ("mistral", 0.797, 0.357), ("qwen", 0.526, 0.305)]
)
def test_the_published_coefficients_turn_coslow_into_an_area(family, c, intercept):
    assert COEFFICIENTS[family] == (c, intercept)
    for coslow in (0.0, 0.1, 0.3, 0.6):
        found = efficiency(coslow, family=family)
        assert found.auc == pytest.approx(c * coslow + intercept, abs=0.001)
        assert found.calibrated
        assert not found.measured


def test_a_prediction_is_normalised_and_its_curves_have_the_areas_of_the_link():
    found = efficiency(0.3, family="llama")
    assert (found.draws[:, 0] == 0).all()
    assert found.draws.max() <= 1
    columns = [found.sizes.index(n) for n in (0, 50, 100, 200, 500, 1000, 2500, 5000)]
    areas = [area((0, 50, 100, 200, 500, 1000, 2500, 5000), g, zero_shot=0, ceiling=1) for g in found.draws[:, columns]]
    np.testing.assert_allclose(
        np.quantile(areas, tails(found.levels.area)), [found.interval[0], found.auc, found.interval[1]], atol=0.01
    )


@pytest.mark.parametrize("family", sorted(shipped()))
def test_what_is_gained_beyond_5000_labels_does_not_raise_the_ceiling_of_a_prediction(family):
    found = efficiency(0.2, family=family)
    calibration = shipped()[family]
    sizes, scores, ceilings = calibration.draws(Seen.of(calibration.kind, {}), 8192)
    known = scores[:, np.asarray(sizes) <= 5000]
    way = np.maximum(ceilings, known.max(axis=1)) - known[:, 0]
    ends = (known.max(axis=1) - known[:, 0]) / np.where(way > 0, way, 1)
    at_5000 = found.draws[:, found.sizes.index(5000)]
    assert np.isin(at_5000, ends).all()
    assert (found.draws <= 1).all()


def test_an_unknown_model_is_uncalibrated_and_less_certain():
    known, unknown = efficiency(0.3, family="llama"), efficiency(0.3)
    assert not unknown.calibrated
    assert np.diff(unknown.interval) > np.diff(known.interval)


def test_more_pilots_narrow_the_bands():
    widths, areas = [], []
    for count in range(1, 5):
        found = efficiency(family="llama", scores=dict(list(PILOT.items())[:count]), ceiling=0.95, test_size=1000)
        row = found.curve([5000]).iloc[0]
        widths.append(row["high"] - row["low"])
        areas.append(np.diff(found.interval)[0])
    assert (np.diff(widths) < 0).all()
    assert (np.diff(areas) < 0).all()


def test_the_order_of_the_scores_does_not_matter():
    one, other = (efficiency(scores=dict(pairs)) for pairs in (PILOT.items(), reversed(PILOT.items())))
    np.testing.assert_array_equal(one.draws, other.draws)
    assert one.scores == other.scores


def test_scores_that_are_nearly_all_noise_hardly_move_the_curve():
    def later(score, test_size):
        found = efficiency(family="llama", scores={0: 0.4, 50: score}, ceiling=0.9, test_size=test_size)
        return found.curve([500])["median"][0]

    assert later(0.8, 10_000) - later(0.5, 10_000) > 0.15
    assert later(0.8, 1) - later(0.5, 1) < 0.05


def test_a_long_exact_pilot_is_followed():
    scores = {0: 0.2, 50: 0.5, 100: 0.55, 200: 0.62, 500: 0.7, 1000: 0.78, 2500: 0.82, 5000: 0.84}
    found = efficiency(family="qwen", scores=scores, test_size=1_000_000)
    np.testing.assert_allclose(found.curve()["median"], list(scores.values()), atol=0.005)
    assert found.auc == pytest.approx(area(list(scores), list(scores.values()), zero_shot=0.2, ceiling=0.84), abs=0.01)
    assert np.diff(found.interval) < 0.02


@pytest.mark.parametrize("family", ["llama", "explained variance", None])
def test_any_size_is_conditioned_on(family):
    scores = {0: 0.0, 16: 0.2, 32: 0.25, 73: 0.4, 300: 0.7, 7300: 0.8, 20_000: 0.82}
    found = efficiency(family=family, scores=scores, test_size=1_000_000)
    assert set(scores) <= set(found.sizes)
    np.testing.assert_allclose(found.curve(list(scores))["median"], list(scores.values()), atol=0.03)


def test_noisier_scores_pull_less():
    few, many = (efficiency(0.1, scores={0: 0.3, 50: 0.8, 100: 0.85}, ceiling=0.9, test_size=n) for n in (10, 5000))
    assert np.diff(few.interval) > np.diff(many.interval)


def test_pilot_scores_pull_the_curve_and_narrow_it():
    prior = efficiency(0.3)
    steep = {0: 0.2, 32: 0.7, 64: 0.8, 128: 0.84}
    flat = {0: 0.2, 32: 0.2, 64: 0.21, 128: 0.22}
    high, low = (efficiency(0.3, scores=scores, ceiling=0.9, test_size=400) for scores in (steep, flat))
    assert low.auc < prior.auc < high.auc
    for found, scores in ((high, steep), (low, flat)):
        assert np.diff(found.interval) < 0.8 * np.diff(prior.interval)
        np.testing.assert_allclose(found.curve(list(scores))["median"], list(scores.values()), atol=0.05)


def test_a_high_ceiling_lifts_the_curve():
    low, high = (efficiency(family="llama", scores=PILOT, ceiling=ceiling, test_size=1000) for ceiling in (0.75, 1.0))
    assert low.curve([5000])["median"][0] < high.curve([5000])["median"][0]


def test_coslow_helps_before_the_first_pilot_and_little_after_the_fourth():
    def moved(scores):
        ends = [efficiency(c, family="llama", scores=scores, ceiling=0.95, test_size=1000).auc for c in (0.05, 0.6)]
        return ends[1] - ends[0]

    assert moved({0: 0.35}) > 0.15
    assert abs(moved(PILOT)) < 0.05


def test_a_model_better_than_people_does_not_turn_the_curve_down():
    found = efficiency(scores={0: 0.74, 100: 0.80, 500: 0.85}, ceiling=0.6, test_size=500)
    assert (np.diff(found.curve()["median"]) >= 0).all()
    assert found.curve([5000])["median"].iloc[0] >= 0.84


def test_negative_explained_variances_are_accepted_and_say_their_kind():
    found = efficiency(scores={0: 0.0, 16: -0.2, 32: -0.05}, test_size=60)
    assert found.family == "explained variance"
    curve = found.curve()
    assert (curve["median"] >= -0.01).all()
    assert curve["high"].iloc[-1] > curve["median"].iloc[-1] > curve["median"].iloc[1]
    assert efficiency(scores={0: 0.0, 16: 0.2}).family == "accuracy"


def test_an_explained_variance_of_a_model_unknown_is_told_broadly():
    row = efficiency(family="explained variance", scores={0: 0.0}).curve([5000]).iloc[0]
    assert row["low"] < 0.1
    assert row["high"] > 0.6
    after = efficiency(family="explained variance", scores={0: 0.0, 50: 0.05, 100: 0.1, 200: 0.15}, test_size=500)
    row = after.curve([1000]).iloc[0]
    assert 0.15 < row["low"] + 0.05 < row["median"] < 0.45


@settings(deadline=None, max_examples=25)
@given(
    coslow=st.none() | st.floats(-1, 1),
    scores=st.dictionaries(st.integers(0, 20_000), st.floats(0, 1), min_size=1, max_size=6),
    family=st.sampled_from([None, *shipped()]),
    ceiling=st.none() | st.floats(0, 1),
    test_size=st.none() | st.integers(1, 10_000),
)
def test_whatever_goes_in_the_curve_rises_within_its_band(coslow, scores, family, ceiling, test_size):
    found = efficiency(coslow, family=family, scores=scores, ceiling=ceiling, test_size=test_size)
    assert 0 <= found.interval[0] <= found.auc <= found.interval[1] < 1
    curve = found.curve([*found.sizes, 7, 60, 30_000])
    assert np.isfinite(curve.to_numpy()).all()
    assert (curve["low"] <= curve["median"] + 1e-12).all()
    assert (curve["median"] <= curve["high"] + 1e-12).all()
    assert curve["high"].max() <= 1
    assert shipped()[found.family].kind != "accuracy" or curve["low"].min() >= 0
    assert (np.diff(curve.sort_values("n", kind="stable")["median"]) >= -1e-9).all()
    for fraction in (0.1, 0.9, 1.0):
        to = found.labels_to(fraction)
        assert 1 <= to["low"] <= to["median"] <= to["high"] <= 5000
        assert 0 <= to["reached"] <= 1


@pytest.mark.parametrize("family", ["llama", "qwen", "explained variance"])
def test_intervals_cover_curves_of_the_model(family):
    """Curves drawn from the process itself, measured on 500 texts: 80% intervals cover about 80% of what comes."""
    rng, calibration = np.random.default_rng(7), shipped()[family]
    sizes = calibration.components[0][1].sizes
    score_in, area_in, count = [], [], 200
    for _ in range(count):
        weights = [weight for weight, _ in calibration.components]
        process = calibration.components[rng.choice(len(weights), p=np.array(weights) / sum(weights))][1]
        w = rng.gamma(DEGREES_OF_FREEDOM / 2, 2 / DEGREES_OF_FREEDOM)
        u = rng.multivariate_normal(process.mean, process.scatter / w)
        score, ceiling = to_score(calibration.kind, u[:-2]), float(to_score(calibration.kind, u[-2]))
        if calibration.kind == "accuracy":
            pilot = {n: rng.binomial(500, score[sizes.index(n)]) / 500 for n in (0, 50, 200)}
        else:
            ceiling = None
            pilot = {0: 0.0} | {n: _measured(score[sizes.index(n)], rng) for n in (50, 200)}
        found = efficiency(family=family, scores=pilot, ceiling=ceiling, test_size=500)
        at = found.sizes.index(1000)
        low, high = np.quantile(found.draws[:, at], [0.1, 0.9])
        score_in.append(low <= score[sizes.index(1000)] <= high)
        known = [sizes.index(n) for n in (0, 50, 100, 200, 500, 1000, 2500, 5000)]
        top = max(score[known].max(), -np.inf if ceiling is None else ceiling)
        zero = score[0]
        truth = area(np.array(sizes)[known], score[known], zero_shot=zero, ceiling=top) if top > zero else 0.0
        area_in.append(found.interval[0] <= truth <= found.interval[1])
    # Three standard errors of a share of 0.8 among 200 are 0.085.
    for covered in (np.mean(score_in), np.mean(area_in)):
        assert 0.715 < covered < 0.885


def _measured(score, rng):
    """An explained variance as 500 normal labels would show it."""
    share = max(score, 0.0)
    f = rng.normal(size=500) * np.sqrt(share)
    y = f + rng.normal(size=500) * np.sqrt(1 - share)
    return float(1 - (y - f).var() / y.var()) + min(score, 0.0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "at least one of them"),
        ({"scores": {}}, "at least one of them"),
        ({"ceiling": 0.9, "family": "llama"}, "at least one of them"),
        ({"coslow": 1.2}, "cosine"),
        ({"coslow": float("nan")}, "cosine"),
        ({"coslow": 0.1, "family": "gpt"}, "family is 'gpt'; it can be accuracy"),
        ({"scores": {50: 1.2}}, "at most 1"),
        ({"scores": {50: float("nan")}}, "finite"),
        ({"scores": {50: None}}, "finite"),
        ({"scores": {50: -float("inf")}}, "finite"),
        ({"scores": {-1: 0.2}}, "whole numbers"),
        ({"scores": {50.5: 0.2}}, "whole numbers"),
        ({"scores": {float("nan"): 0.2}}, "whole numbers"),
        ({"scores": {"many": 0.2}}, "whole numbers"),
        ({"scores": {50: -0.1}, "family": "llama"}, "the family is 'explained variance'"),
        ({"coslow": 0.1, "ceiling": 1.5}, "ceiling is 1.5"),
        ({"coslow": 0.1, "ceiling": -0.5}, "an accuracy lies between 0 and 1"),
        ({"scores": {50: 0.5}, "test_size": -4}, "test_size is -4"),
        ({"scores": {50: 0.5}, "test_size": float("inf")}, "test_size is inf"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ArgumentError, match=sentence) as fault:
        efficiency(**options)
    assert str(fault.value).endswith(".")
