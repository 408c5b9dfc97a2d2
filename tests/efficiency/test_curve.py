"""The data-efficiency curve: the published areas, the coefficients, what scores do to it, bad input."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.efficiency import COEFFICIENTS, SIZES, Efficiency, area, efficiency
from engine.errors import ArgumentError


def test_the_published_areas_are_reproduced(shared_data):
    curves = pd.read_csv(shared_data / "dataefficiency_curves.csv").query("n <= 5000")
    checked = 0
    for _, task in curves.groupby(["family", "task"]):
        known = task.query("n == 0 or n >= 50").sort_values("n").set_index("n")["score"]
        if 0 not in known.index:
            continue
        # A size that was not tried keeps the score of the one before it.
        score = known.reindex(known.index.union(SIZES)).ffill()
        ceiling = np.nanmax([task["human_ceiling"].iloc[0], known.max()])
        found = area(score.index, score, zero_shot=known[0], ceiling=ceiling)
        assert found == pytest.approx(task["published_auc"].iloc[0], abs=1e-9), task["task"].iloc[0]
        checked += 1
    assert checked == 69


def test_the_area_is_that_of_the_power_and_of_a_curve_gone_on_flat():
    n = np.unique(np.geomspace(1, 5000, 4000).round())
    x = np.log2(n) / np.log2(5000)
    for p in (1.0, 1.7, 2.5):
        assert area(n, x**p, zero_shot=0, ceiling=1) == pytest.approx(1 / (p + 1), abs=2e-3)
    assert area([0, 1], [0.2, 0.6], zero_shot=0.2, ceiling=1.0) == pytest.approx(0.5)
    shuffled = area([5000, 0, 50], [1.0, 0.0, 0.5], zero_shot=0, ceiling=1)
    assert shuffled == area([0, 50, 5000], [0, 0.5, 1], zero_shot=0, ceiling=1)


def test_a_dip_does_not_lessen_the_area():
    dipped = area([0, 100, 500, 5000], [0, 0.6, 0.2, 1], zero_shot=0, ceiling=1)
    assert dipped == area([0, 100, 500, 5000], [0, 0.6, 0.6, 1], zero_shot=0, ceiling=1)


def test_a_ceiling_at_the_start_is_refused():
    with pytest.raises(ArgumentError, match="must be above the zero-shot score"):
        area([0, 50], [0.5, 0.6], zero_shot=0.5, ceiling=0.5)


@pytest.mark.parametrize(
    ("family", "c", "intercept"), [("llama", 0.545, 0.310), ("mistral", 0.797, 0.357), ("qwen", 0.526, 0.305)]
)
def test_the_published_coefficients_turn_coslow_into_an_area(family, c, intercept):
    assert COEFFICIENTS[family] == (c, intercept)
    for coslow in (0.0, 0.1, 0.3, 0.6):
        found = efficiency(coslow, family=family)
        assert found.auc == pytest.approx(c * coslow + intercept, abs=0.01)
        assert found.calibrated
        assert not found.measured


def test_an_unknown_model_is_uncalibrated_and_less_certain():
    known, unknown = efficiency(0.3, family="llama"), efficiency(0.3)
    assert not unknown.calibrated
    assert np.diff(unknown.interval) > np.diff(known.interval)


def test_the_curve_is_a_power_of_x_from_zero_shot_to_ceiling():
    found = efficiency(0.3, family="llama", ceiling=0.9)
    p = found.draws[:, 0]
    assert found.auc == pytest.approx(np.median(1 / (p + 1)), abs=1e-6)
    x = np.log2(200) / np.log2(5000)
    row = found.curve([200]).iloc[0]
    assert row["median"] == pytest.approx(np.median(0.9 * x**p))
    assert row["low"] == pytest.approx(np.quantile(0.9 * x**p, 0.1))
    assert list(found.curve().columns) == ["n", "median", "low", "high"]
    assert found.curve([5000])["median"].iloc[0] == pytest.approx(0.9)
    assert found.labels_to(1.0)["median"] == pytest.approx(5000)
    labels = found.labels_to(0.5)["median"]
    assert found.curve([round(labels)])["median"].iloc[0] == pytest.approx(0.45, abs=0.01)


def test_pilot_scores_pull_the_curve_and_narrow_it():
    prior = efficiency(0.3)
    steep = {0: 0.0, 32: 0.6, 64: 0.7, 128: 0.78}
    flat = {0: 0.0, 32: 0.01, 64: 0.03, 128: 0.06}
    high, low = (efficiency(0.3, scores=scores, ceiling=0.9, test_size=400) for scores in (steep, flat))
    assert low.auc < prior.auc < high.auc
    assert high.measured
    for found, scores in ((high, steep), (low, flat)):
        assert np.diff(found.interval) < 0.6 * np.diff(prior.interval)
        seen = found.curve(list(scores))
        np.testing.assert_allclose(seen["median"], list(scores.values()), atol=0.12)


def test_noisier_scores_pull_less():
    scores = {0: 0.3, 50: 0.8, 100: 0.85}
    few, many = (efficiency(0.1, scores=scores, ceiling=0.9, test_size=size) for size in (10, 5000))
    assert np.diff(few.interval) > np.diff(many.interval)


def test_a_model_better_than_people_does_not_turn_the_curve_down():
    found = efficiency(scores={0: 0.74, 100: 0.80, 500: 0.85}, ceiling=0.6, test_size=500)
    assert (np.diff(found.curve()["median"]) >= 0).all()
    assert found.curve([5000])["median"].iloc[0] >= 0.85


@settings(deadline=None, max_examples=25)
@given(
    coslow=st.none() | st.floats(-1, 1),
    scores=st.dictionaries(st.integers(0, 5000), st.floats(-1, 1), min_size=1, max_size=6),
    family=st.sampled_from([None, *COEFFICIENTS]),
)
def test_whatever_goes_in_the_curve_rises_within_its_band(coslow, scores, family):
    found = efficiency(coslow, family=family, scores=scores)
    assert 0 < found.interval[0] <= found.auc <= found.interval[1] < 1
    curve = found.curve()
    assert (curve["low"] <= curve["median"]).all()
    assert (curve["median"] <= curve["high"]).all()
    assert (np.diff(curve["median"]) >= -1e-9).all()
    to = found.labels_to(0.9)
    assert 1 <= to["low"] <= to["median"] <= to["high"] <= 5000


def test_an_efficiency_survives_json_and_is_the_same_each_time():
    found = efficiency(0.2, scores={0: 0.3, 50: 0.6}, test_size=100)
    again = Efficiency.from_dict(json.loads(json.dumps(found.to_dict())))
    assert (again.auc, again.interval, again.scores, again.coslow) == (
        found.auc,
        found.interval,
        {0: 0.3, 50: 0.6},
        0.2,
    )
    pd.testing.assert_frame_equal(again.curve(), found.curve(), atol=1e-5)
    assert again.summary() == found.summary()
    np.testing.assert_array_equal(efficiency(0.2, scores={50: 0.6, 0: 0.3}, test_size=100).draws, found.draws)


def test_the_summary_says_whether_anything_was_trained():
    assert efficiency(0.2).summary().startswith("Predicted, nothing trained yet")
    assert efficiency(0.2, scores={50: 0.5}).summary().startswith("Measured")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "at least one of them"),
        ({"scores": {}}, "at least one of them"),
        ({"coslow": 1.2}, "cosine"),
        ({"coslow": float("nan")}, "cosine"),
        ({"coslow": 0.1, "family": "gpt"}, "published for llama, mistral, qwen"),
        ({"scores": {50: 1.2}}, "at most 1"),
        ({"scores": {50: float("nan")}}, "finite"),
        ({"scores": {-1: 0.2}}, "whole numbers"),
        ({"scores": {50.5: 0.2}}, "whole numbers"),
        ({"coslow": 0.1, "ceiling": 1.5}, "ceiling is 1.5"),
        ({"scores": {50: 0.5}, "test_size": -4}, "test_size is -4"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ArgumentError, match=sentence) as fault:
        efficiency(**options)
    assert str(fault.value).endswith(".")


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(ArgumentError, match="fraction"):
        efficiency(0.2).labels_to(fraction)
