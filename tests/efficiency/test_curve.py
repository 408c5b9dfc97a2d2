"""The data-efficiency curve: the published areas, bands, labels to a fraction, JSON."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from engine.efficiency import SIZES, Efficiency, area, closed_form, efficiency
from engine.efficiency.curve import areas
from engine.efficiency.levels import Levels
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


def made(draws, ceiling=None, scores=None):
    """An efficiency with draws of our own at 0, 50, ..., 5000."""
    values = np.asarray(draws, dtype=float)
    return Efficiency(0.5, (0.4, 0.6), None, True, scores or {}, "llama", "accuracy", ceiling, SIZES, values)


def test_the_band_is_the_quantiles_of_the_draws_and_straight_between_them():
    draws = np.sort(np.random.default_rng(0).uniform(size=(101, len(SIZES))), axis=1)
    curve = made(draws).curve()
    np.testing.assert_allclose(curve["median"], np.median(draws, axis=0))
    np.testing.assert_allclose(curve["low"], np.quantile(draws, 0.1, axis=0))
    between = made(draws).curve([np.sqrt(50 * 100)]).iloc[0]
    assert between["median"] == pytest.approx(curve["median"][1:3].mean(), abs=0.001)
    assert list(curve.columns) == ["n", "median", "low", "high"]
    assert made(draws).curve([10**6])["median"][0] == curve["median"].iloc[-1]


def test_the_median_does_not_fall_and_stays_in_the_band():
    dipped = np.tile([0.2, 0.6, 0.4, 0.5, 0.7, 0.7, 0.65, 0.8], (9, 1))
    curve = made(dipped).curve()
    assert list(curve["median"]) == [0.2, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.8]
    assert (curve["low"] <= curve["median"]).all()
    assert (curve["median"] <= curve["high"]).all()


def test_labels_to_a_fraction_are_read_off_each_draw():
    g = np.array([0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1])
    same = made(np.tile(0.2 + 0.6 * g, (5, 1)))
    assert same.labels_to(0.9) == {name: pytest.approx(1000) for name in ("median", "low", "high")} | {"reached": 1.0}
    assert same.labels_to(0.25)["median"] == pytest.approx(np.sqrt(50))
    # Under a ceiling of 1 the way from 0.2 is longer, and 90% of it is never reached.
    short = made(np.tile(0.2 + 0.6 * g, (5, 1)), ceiling=1.0)
    assert short.labels_to(0.9) == {"median": 5000, "low": 5000, "high": 5000, "reached": 0.0}
    assert ": over 5,000 labels to 90%" in short.summary()
    assert "80% interval over 5,000)" in short.summary()


def test_a_draw_that_never_rises_reaches_nothing():
    flat = made(np.full((4, len(SIZES)), 0.5))
    assert flat.labels_to(0.1)["reached"] == 0
    assert (areas(SIZES, flat.draws) == 0).all()


def test_areas_of_draws_are_the_published_area_of_each():
    draws = np.random.default_rng(1).uniform(size=(20, len(SIZES)))
    for ceiling in (None, 0.4, 1.0):
        slow = []
        for row in draws:
            top = max(row.max(), ceiling or 0)
            slow.append(area(SIZES, row, zero_shot=row[0], ceiling=top) if top > row[0] else 0.0)
        np.testing.assert_allclose(areas(SIZES, draws, ceiling), slow)


def test_the_closed_form_is_the_power_with_the_given_area():
    x = np.log2(np.maximum(SIZES, 1)) / np.log2(5000)
    np.testing.assert_allclose(closed_form(0.4), x**1.5)
    fine = np.unique(np.geomspace(1, 5000, 4000).round())
    assert area(fine, closed_form(0.4, fine), zero_shot=0, ceiling=1) == pytest.approx(0.4, abs=2e-3)
    assert closed_form(0.4, [10_000])[0] == 1


@pytest.mark.parametrize("options", [{"coslow": 0.2}, {"scores": {0: 0.3, 50: 0.6, 73: 0.61}, "ceiling": 0.9}])
def test_an_efficiency_survives_json_and_is_the_same_each_time(options):
    found = efficiency(family="llama", test_size=100, **options)
    text = json.dumps(found.to_dict(), allow_nan=False)
    again = Efficiency.from_dict(json.loads(text))
    for name in (
        "rests_on_data",
        "tasks",
        "auc",
        "interval",
        "scores",
        "coslow",
        "calibrated",
        "measured",
        "family",
        "kind",
        "ceiling",
        "sizes",
    ):
        assert getattr(again, name) == getattr(found, name)
    assert again.levels == found.levels
    pd.testing.assert_frame_equal(again.curve(), found.curve(), atol=1e-5)
    assert again.summary() == found.summary()
    assert len(text) < 200_000
    np.testing.assert_array_equal(efficiency(family="llama", test_size=100, **options).draws, found.draws)


def test_an_efficiency_of_an_earlier_version_is_still_read():
    values = efficiency(0.2, family="llama").to_dict()
    for name in ("levels", "rests_on_data", "tasks"):
        del values[name]
    again = Efficiency.from_dict(values)
    assert again.levels == Levels(0.8, 0.8, 0.8)
    assert again.usual_words() == ""


def test_a_curve_of_other_tasks_alone_says_so():
    model = "sentence-transformers/all-MiniLM-L6-v2"
    usual = [efficiency(coslow, family=model, scores={0: 0.0}) for coslow in (-0.3, 0.4)]
    np.testing.assert_array_equal(usual[0].draws, usual[1].draws)
    assert {(curve.rests_on_data, curve.tasks) for curve in usual} == {(False, 19)}
    assert usual[0].usual_words() == (
        "This is the usual course of 19 other tasks with this model, into which your texts and labels do not enter"
    )
    told = (
        efficiency(0.2, family=model, scores={0: 0.0, 50: 0.2}),
        efficiency(0.2, family="llama"),
        efficiency(scores={0: 0.4}, family="llama"),
        efficiency(0.2, family="explained variance", scores={0: 0.0}),
    )
    assert [curve.usual_words() for curve in told] == [""] * 4
    unknown = efficiency(family="explained variance", scores={0: 0.0}).usual_words()
    assert unknown.startswith("This is the usual course of other tasks and other models, into which")


def test_the_summary_says_whether_anything_was_trained():
    assert efficiency(0.2).summary().startswith("Predicted, nothing trained yet")
    assert efficiency(0.2, scores={50: 0.5}).summary().startswith("Measured")


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction):
    with pytest.raises(ArgumentError, match="fraction"):
        efficiency(0.2).labels_to(fraction)


@pytest.mark.parametrize(
    ("labels", "words"), [(0.4, "1"), (9.96, "10"), (165.4, "170"), (3312, "3,300"), (5000, "over 5,000")]
)
def test_labels_are_told_with_two_digits(monkeypatch, labels, words):
    told = {"median": labels, "low": labels, "high": labels, "reached": 1.0}
    monkeypatch.setattr(Efficiency, "labels_to", lambda self, fraction: told)
    curve = efficiency(0.2)
    assert curve.words_to(0.9) == (words, words, words)
    assert f"80% interval {words})" in curve.summary()
