"""Whether the pilot opens more labels: what knowing more gains, and what it forecloses."""

from __future__ import annotations

import numpy as np
import pytest

from engine.allocation import Costs, Design, best_split, weigh
from engine.scaling import Law, fit_law

DESIGN = Design(500, 5000, 1.0, "these", 0.95)


def law_of(draws):
    draws = np.asarray(draws, dtype=float)
    sizes = np.array([16.0])
    return Law(*np.median(draws, axis=0), 1.0, sizes, np.array([0.9]), 1.0, None, np.repeat(draws, 500, axis=0))


CERTAIN = law_of([[3.0, 0.5, 0.3, 10.0]])
# Two ways that cross at few labels: one falls fast and stops early, the other falls slowly and for long.
UNSURE = law_of([[50.0, 1.5, 0.60, 20.0], [5.0, 0.45, 0.0, 20.0]])


def weighed(law, opened=62, following=125, **changed):
    options = {"folds": 10, "costs": Costs(), "seconds": 3600.0}
    return weigh(law, DESIGN, opened=opened, following=following, **(options | changed))


def test_a_law_that_is_known_leaves_nothing_to_gain():
    step = weighed(CERTAIN)
    assert step.gain == pytest.approx(0, abs=1e-12)
    assert step.band == pytest.approx(0, abs=1e-12)
    assert not step.goes_on


def test_the_gain_of_a_split_is_that_of_choosing_it_again_for_every_draw():
    step = weighed(UNSURE, following=63, strategy="split")
    every = np.arange(62, 491)
    widths = np.array([DESIGN.rectified(every, curve) for curve in UNSURE.curves(every)[[0, -1]]])
    now = widths.mean(0).argmin()
    expected = (widths[:, now].mean() - widths[:, 1:].min(1).mean()) / widths[:, now].mean()
    assert expected > 0.005
    assert step.gain == pytest.approx(expected, rel=0.1)
    assert step.goes_on


def test_going_on_is_refused_where_it_forecloses_the_best_split():
    best = best_split(CERTAIN, DESIGN)
    step = weighed(CERTAIN, opened=best, following=2 * best, strategy="split")
    lost = float(DESIGN.rectified(2 * best, CERTAIN.predict(2 * best)))
    kept = float(DESIGN.rectified(best, CERTAIN.predict(best)))
    assert step.gain == pytest.approx(1 - lost / kept, rel=0.01)
    assert step.gain < 0
    assert not step.goes_on


def test_the_last_step_is_not_gone_beyond():
    assert not weighed(UNSURE, following=None, strategy="split").goes_on
    assert not weigh(
        UNSURE, Design(20, 100, 1.0, "these", 0.95), opened=10, following=None, folds=5, costs=Costs(), seconds=0.0
    ).goes_on


def test_a_vague_width_is_worth_trials_that_take_seconds_and_not_those_that_take_an_hour():
    few = fit_law([20, 20, 40, 40], [0.9, 0.5, 0.5, 0.8], label_variance=1.0)
    quick, slow = (weighed(few, strategy="cross-fit", seconds=seconds) for seconds in (5.0, 3600.0))
    assert quick.gain == slow.gain == pytest.approx(0, abs=1e-12)
    assert quick.band > 0.25
    assert (quick.goes_on, slow.goes_on) == (True, False)


def test_trials_must_gain_what_their_compute_costs():
    cheap, dear = (Costs(per_label=1.0, per_gpu_hour=hour, seconds_per_label=0.001) for hour in (0.01, 100_000.0))
    assert weighed(UNSURE, strategy="split", costs=cheap, following=63).goes_on
    assert not weighed(UNSURE, strategy="split", costs=dear, following=63).goes_on


def test_predictions_that_came_with_the_data_are_a_choice():
    step = weighed(UNSURE, zero_shot_variance=1e-6)
    assert step.gain == pytest.approx(0, abs=1e-9)
    assert not step.goes_on


def test_a_step_is_fit_for_the_store():
    assert set(weighed(CERTAIN).to_dict()) == {"opened", "following", "gain", "band", "goes_on"}
