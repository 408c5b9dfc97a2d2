"""Levels of the intervals: least levels against a loop, what is learned from curves left out, where it is applied."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from engine.efficiency import efficiency, learn, shipped
from engine.efficiency.levels import Levels, Recalibration, tails
from engine.efficiency.published import accuracy_calibrations, recalibrated
from engine.efficiency.recalibration import PILOTS, Whole, recalibrate, together

SIZES = (0, 50, 100, 200, 500, 1000, 2500, 5000)
STAGES = Recalibration((0, 50, 200), (0.7, 0.9, 0.8), (0.6, 0.6, 0.6), (0.5, 0.7, 0.9))


def table(scores, ceiling=np.nan):
    return pd.DataFrame({"n": list(scores), "score": list(scores.values()), "ceiling": ceiling, "test_size": 500.0})


def whole(seed=0):
    scores = np.sort(np.random.default_rng(seed).uniform(0.2, 0.9, size=len(SIZES)))
    return Whole.of(table(dict(zip(SIZES, scores, strict=True))), "accuracy")


def uniform_draws(centre, spread):
    """Draws of curves that are independent and uniform about a centre at each published size."""

    def draws(seen, count):
        noise = np.random.default_rng(1).uniform(-spread, spread, size=(count, len(SIZES)))
        return SIZES, np.asarray(centre) + noise, np.ones(count)

    return draws


def test_levels_run_straight_between_the_stages_and_flat_beyond():
    assert STAGES.at(50) == Levels(pytest.approx(0.9), pytest.approx(0.6), pytest.approx(0.7))
    assert STAGES.at(100).scores == pytest.approx(0.85)
    assert STAGES.at(7).scores == pytest.approx(0.7 + 0.2 * np.log2(7) / np.log2(50))
    assert STAGES.at(5000) == STAGES.at(200)
    assert Recalibration().at(50) == Levels(0.8, 0.8, 0.8)
    assert tails(0.8) == pytest.approx((0.1, 0.5, 0.9))


def test_the_least_level_is_that_at_which_an_interval_first_holds_the_truth():
    curve = whole()
    draws = uniform_draws(np.linspace(0.3, 0.8, len(SIZES)), 0.3)
    found = curve.least_levels(draws)
    assert set(found) == {pilot for pilot in PILOTS if 16 not in pilot}
    for pilot, least in found.items():
        later = [n for n in SIZES if n > pilot[-1]]
        values = draws(None, 256)[1][:, [SIZES.index(n) for n in later]]
        truth = np.array([curve.scores[n] for n in later])
        slow = np.ones(len(later))
        for level in np.arange(0.999, 0, -0.001):
            low, _, high = np.quantile(values, tails(level), axis=0)
            slow[(low <= truth) & (truth <= high)] = level
        np.testing.assert_allclose(least["scores"], slow, atol=0.012)
        assert least["area"].shape == least["labels"].shape == (1,)


def test_labels_that_are_not_reached_are_held_by_every_interval_that_ends_at_the_last_size():
    flat = Whole.of(table(dict(zip(SIZES, np.linspace(0.2, 0.4, len(SIZES)), strict=True)), ceiling=0.9), "accuracy")
    assert flat.arrival == 1
    low = uniform_draws(np.full(len(SIZES), 0.3), 0.1)
    assert flat.least_levels(low)[(0,)]["labels"][0] == 0


def made(rng, spread):
    """The least levels of a curve whose truth is uniform on 0.5 +- spread, under draws uniform on 0.5 +- 0.2."""
    u = (rng.uniform(0.5 - spread, 0.5 + spread) - 0.3) / 0.4
    least = np.clip(np.array([abs(2 * u - 1)]), 0, 1)
    return {(0,): {"scores": least, "area": least, "labels": least}}


@pytest.mark.parametrize(("spread", "level"), [(0.2, 0.8), (0.1, 0.4)])
def test_many_curves_teach_the_level_that_covers_four_fifths(spread, level):
    rng = np.random.default_rng(3)
    found = recalibrate([made(rng, spread) for _ in range(4000)])
    assert found.sizes == (0,)
    for learned in (found.scores, found.area, found.labels):
        assert learned[0] == pytest.approx(level, abs=0.03)


def test_few_curves_leave_the_level_near_where_it_was():
    rng = np.random.default_rng(3)
    few, none = recalibrate([made(rng, 0.1) for _ in range(5)]), recalibrate([])
    assert 0.7 < few.area[0] < 0.8
    assert none == Recalibration()


def test_checks_of_one_curve_count_as_one():
    rng = np.random.default_rng(4)
    curves = [made(rng, 0.1) for _ in range(10)]
    twice = [together([curve, curve]) for curve in curves]
    assert recalibrate(twice).area[0] == pytest.approx(recalibrate(curves).area[0], abs=0.02)
    assert len(twice[0][(0,)]["area"]) == 2


def test_the_levels_set_the_width_of_every_interval_and_no_median():
    scores = {0: 0.3, 50: 0.6}

    def ask(level):
        family = replace(shipped()["llama"], recalibration=Recalibration((0,), (level,), (level,), (level,)))
        return efficiency(family=family, scores=scores, ceiling=0.9, test_size=500)

    narrow, wide = ask(0.5), ask(0.9)
    assert narrow.auc == wide.auc
    assert wide.interval[0] < narrow.interval[0] < narrow.interval[1] < wide.interval[1]
    inner, outer = narrow.curve([500, 1000]), wide.curve([500, 1000])
    np.testing.assert_array_equal(inner["median"], outer["median"])
    assert (outer["low"] < inner["low"]).all()
    assert (outer["high"] > inner["high"]).all()
    few, many = narrow.labels_to(0.5), wide.labels_to(0.5)
    assert many["low"] < few["low"] <= few["median"] == many["median"] <= few["high"] < many["high"]


def test_the_levels_are_those_of_the_largest_pilot():
    family = replace(shipped()["llama"], recalibration=STAGES)
    assert efficiency(0.2, family=family).levels == STAGES.at(0)
    assert efficiency(family=family, scores={50: 0.6, 0: 0.3}).levels == STAGES.at(50)


def test_one_family_alone_does_not_tell_how_the_next_differs(shared_data):
    curves, coslow = (pd.read_csv(shared_data / f"{name}.csv") for name in ("dataefficiency_curves", "coslow_llama"))
    some = curves["task"].isin(sorted(curves["task"].unique())[:8])
    one = curves[some & (curves["family"] == "qwen")]
    found = recalibrated(accuracy_calibrations(one, coslow), one, coslow)
    assert found["accuracy"].recalibration == found["llama"].recalibration == Recalibration()
    assert found["qwen"].recalibration.sizes == (0, 50, 200, 500, 1000)


def test_bands_that_were_too_wide_are_narrowed_by_the_models_own_tasks():
    """Curves that are all alike, in front of the general calibration, which expects them to differ by factors."""
    rows = [
        (f"task{i}", n, 0.5 * np.log2(max(n, 1)) / np.log2(5000) + 0.01 * (i % 3), 2000)
        for i in range(12)
        for n in SIZES
    ]
    learned = learn(pd.DataFrame(rows, columns=["task", "n", "score", "test_size"]), name="mine")
    assert max(learned.recalibration.area[1:]) < 0.8
    assert max(learned.recalibration.scores[1:]) < 0.8
