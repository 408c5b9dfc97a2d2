"""The plan: its optimum, its recommendation, what more labels give, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from engine.allocation import Costs, Plan, plan
from engine.allocation.strategies import best_split
from engine.allocation.widths import Design
from engine.data.sealing import Sealing
from engine.errors import ArgumentError
from engine.learning.trials import residual_variance
from engine.scaling import Law, fit_law

ENDLESS = 10**13


def certain(a, alpha, b, label_variance=None):
    """A law without uncertainty: all draws equal."""
    empty = np.array([16.0])
    return Law(
        a, alpha, b, 0.0, 1.0, empty, a * empty**-alpha + b, label_variance, None, np.tile([a, alpha, b, 0.0], (50, 1))
    )


def learned(label_variance=1.0):
    sizes = np.repeat([16, 32, 64, 128], 3)
    variances = (1.5 * sizes**-0.5 + 0.2) * np.exp(np.random.default_rng(7).normal(0, 0.1, sizes.size))
    return fit_law(sizes, variances, degrees_of_freedom=60, label_variance=label_variance)


def made(**changed):
    values = {"n": 400, "m": 4000, "label_variance": 1.0}
    return plan(learned(), **(values | changed))


# ------------------------------------------------------------------ optimum


def root(n, a, alpha, b):
    """The split at which the first-order condition of Wang, Ye & Zhao holds."""
    return brentq(lambda s: alpha * n * a * s ** (-alpha - 1) - (1 + alpha) * a * s**-alpha - b, 1e-9, n)


@pytest.mark.parametrize(("a", "alpha", "b"), [(0.287, 0.297, 0.042), (2.0, 0.5, 0.05), (3.0, 1.0, 0.4)])
@pytest.mark.parametrize("n", [2000, 20_000])
def test_with_an_endless_pool_the_optimum_solves_the_published_condition(n, a, alpha, b):
    # The label variance is far above the law everywhere, so that it does not bend it.
    design = Design(n, ENDLESS, 1e3, "larger", 0.95)
    found = best_split(certain(a, alpha, b), design)
    expected = root(n, a, alpha, b)
    assert found == pytest.approx(expected, abs=max(2, 0.005 * n))
    objective = (a * np.arange(8, n - 10) ** -alpha + b) / (n - np.arange(8, n - 10))
    assert found == pytest.approx(8 + int(np.argmin(objective)), abs=max(2, 0.005 * n))


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(300, 20_000),
    a=st.floats(0.1, 10.0),
    alpha=st.floats(0.15, 1.5),
    b=st.floats(0.0, 1.0),
)
def test_for_any_law_the_optimum_is_the_root_of_the_published_condition_and_the_best_of_all_splits(n, a, alpha, b):
    every = np.arange(8, n - 9)
    objective = (a * every**-alpha + b) / (n - every)
    # The label variance is above the law everywhere, and small beside the pool, whose own variance is not to count.
    found = best_split(certain(a, alpha, b), Design(n, ENDLESS, 100.0, "larger", 0.95))
    # The quantile of t, and reading the law between knots, bend the objective by less than the flat region notices.
    assert objective[found - 8] <= objective.min() * (1 + 2e-4 + 4 / n)
    at_root = np.interp(np.clip(root(n, a, alpha, b), 8, n - 10), every, objective)
    assert at_root == pytest.approx(objective.min(), rel=1e-3)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 1.0])
def test_without_a_floor_the_optimum_is_a_fixed_share(alpha):
    n = 10_000
    found = best_split(certain(1.0, alpha, 0.0), Design(n, ENDLESS, 1e3, "larger", 0.95))
    assert found == pytest.approx(alpha * n / (1 + alpha), abs=0.003 * n)


@pytest.mark.parametrize("population", ["these", "larger"])
@pytest.mark.parametrize("n", [30, 333, 1500])
@pytest.mark.parametrize("minimum", [0, 100])
def test_the_optimum_is_that_of_trying_every_split(population, n, minimum):
    law, design = learned(), Design(n, 3 * n, 1.0, population, 0.95)
    every = np.arange(min(max(minimum, 8), n - 10), n - 9)
    best = design.rectified(every, np.asarray(law.expected(every))).min()
    found = best_split(law, design, minimum)
    assert every[0] <= found <= every[-1]
    assert float(design.rectified(found, law.expected(found))) == pytest.approx(best, rel=1e-9)


def test_an_endless_pool_gives_the_published_variance():
    law, n = certain(0.287, 0.297, 0.042), 5000
    wide = plan(law, n=n, m=ENDLESS, label_variance=10.0)
    for s in (100, 1000, 3000):
        # z and t are one at thousands of labels.
        assert (wide.width(s) / 1.96) ** 2 == pytest.approx(law.predict(s) / (n - s), rel=3e-3)


# ----------------------------------------------------------- recommendation


def test_a_useless_model_is_not_fine_tuned():
    for population in ("these", "larger"):
        useless = plan(certain(0.0, 0.5, 1.0, 1.0), n=300, m=3000, label_variance=1.0, population=population)
        assert useless.recommended == "labels-only"
        assert useless.why.startswith("Do not fine-tune")
        assert useless["split"].labels_saved < 0


@pytest.mark.parametrize("seed", range(6))
def test_trials_of_noise_promise_nothing_for_sure(seed):
    rng = np.random.default_rng(seed)
    sealing = Sealing.of("00" * 16, 400, seed)
    y, trials = rng.normal(size=(400, 1)), sealing.trials(4)
    found = [residual_variance(y[held], rng.normal(size=(len(held), 1))) for _, _, held in trials]
    spread = float(y[sealing.pilot].var(ddof=1))
    law = fit_law(
        [len(train) for _, train, _ in trials], [variance for variance, _, _ in found], label_variance=spread,
        degrees_of_freedom=[freedom for _, _, freedom in found], holdouts=[number for number, _, _ in trials],
    )  # fmt: skip
    noise = plan(law, n=400, m=4000, label_variance=spread, label_degrees_of_freedom=sealing.pilot_size - 1)
    assert noise.may_gain_nothing == (noise.recommended != "labels-only")
    assert noise.may_gain_nothing == ("it may turn out no narrower" in noise.why)


def test_a_law_that_is_sure_says_so():
    assert not made().may_gain_nothing
    assert "no narrower" not in made().why


def test_a_model_that_probably_does_nothing_and_perhaps_helps_much_is_used():
    # The median law says that it does nothing; used with lambda tuned it then does no harm.
    draws = np.array([[0.0, 0.5, 1.0, 0.0]] * 3 + [[2.0, 0.5, 0.3, 0.0]] * 2)
    sizes = np.array([16.0])
    unsure = Law(0.0, 0.5, 1.0, 0.0, 1.0, sizes, sizes**0, 1.0, None, np.repeat(draws, 20, axis=0))
    assert unsure.predict(300) == 1.0
    assert plan(unsure, n=400, m=4000, label_variance=1.0).recommended == "cross-fit"


def test_a_model_that_learns_is_cross_fitted_and_the_reason_names_the_numbers():
    good = made(folds=10)
    assert good.recommended == "cross-fit"
    assert "10 folds" in good.why
    assert "all 400 labels" in good.why
    assert "the interval of the best split would be" in good.why
    assert good.why.endswith("% wider than that of cross-fit.")
    assert good.summary() == good.why


def test_perfect_predictions_that_came_with_the_data_need_no_training():
    given_ = made(zero_shot_variance=0.01)
    assert given_.recommended == "zero-shot"
    assert [record.name for record in given_.strategies] == ["labels-only", "zero-shot", "split", "cross-fit"]
    assert (given_["zero-shot"].finetune, given_["zero-shot"].rectify) == (0, 400)


@pytest.mark.parametrize("freedom", [1e-3, 0.3, 2.0, 60.0])
def test_predictions_of_which_little_is_known_have_a_band_that_ends_at_the_label_variance(freedom):
    record = made(zero_shot_variance=0.004, zero_shot_degrees_of_freedom=freedom)["zero-shot"]
    low, high = record.interval
    assert 0.5 * record.half_width < low < record.half_width < high < 3 * record.half_width
    high = made(zero_shot_variance=0.9, zero_shot_degrees_of_freedom=freedom)["zero-shot"].interval[1]
    assert high <= made()["labels-only"].half_width * 1.01


def test_a_plan_of_shares_comes_back_from_its_dictionary():
    stored = made(label_variance=0.0475, shares=(0.05, 0.95), zero_shot_variance=0.01)
    again = Plan.from_dict(json.loads(json.dumps(stored.to_dict())))
    assert again.design == stored.design
    assert again.replanned().strategies == stored.strategies
    # A plan that was stored before shares were told goes on without them.
    assert Plan.from_dict({**stored.to_dict(), "shares": None}).design.shares is None


def test_the_records_add_up():
    costs = Costs(per_label=2.0, per_gpu_hour=36.0, seconds_per_label=0.5, seconds_per_thousand=10.0)
    whole = made(costs=costs, zero_shot_variance=0.5, folds=5)
    for record in whole.strategies:
        assert record.labels_saved == pytest.approx(1 - (record.half_width / whole["labels-only"].half_width) ** 2)
        assert record.interval[0] <= record.half_width <= record.interval[1]
        assert record.cost == pytest.approx(800 + record.seconds / 100)
    split, cross = whole["split"], whole["cross-fit"]
    assert split.finetune + split.rectify == 400
    assert (cross.finetune, cross.rectify, cross.folds) == (320, 400, 5)
    assert cross.seconds == pytest.approx(5 * 0.5 * 320 + 44)  # the models share labels and pool
    assert split.seconds == pytest.approx(0.5 * split.finetune + 40 + split.rectify / 100)
    assert whole["labels-only"].seconds == whole["zero-shot"].seconds == 0
    assert list(whole.to_frame()["name"]) == [record.name for record in whole.strategies]
    with pytest.raises(ArgumentError, match="not in this plan"):
        whole["boosting"]


# ------------------------------------------------------------------- curves


def test_regret_is_nothing_at_the_optimum_and_the_flat_region_surrounds_it():
    for n in (60, 400, 3000):
        one = made(n=n)
        best = one["split"].finetune
        assert one.regret(best) == pytest.approx(0, abs=1e-9)
        assert (one.regret(np.arange(8, n - 10)) >= 0).all()
        low, high = one.flat_region
        assert low <= best <= high
        assert one.regret(low) <= 0.02
        assert one.regret(high) <= 0.02
        if low > one.splits[0] and best in one.splits:
            assert one.regret(one.splits[one.splits < low][-1]) > 0.02


def test_a_strategy_is_told_by_how_much_it_is_wider_than_the_narrowest():
    one = made()
    wider = [one.wider(record) for record in one.strategies]
    assert min(wider) == 0
    narrowest = one.strategies[wider.index(0)].half_width
    assert wider == [record.half_width / narrowest - 1 for record in one.strategies]


@pytest.mark.parametrize(("s", "nearest"), [(0, 50), (50, 50), (200, 200), (395, 390), (10**9, 390)])
def test_a_split_is_brought_to_the_nearest_that_can_be_had(s, nearest):
    assert made(finetune_minimum=50).nearest_split(s) == nearest


def test_the_band_of_the_width_holds_the_width():
    one = made()
    low, high = one.width_interval(one.splits)
    assert (low <= one.width(one.splits)).all()
    assert (one.width(one.splits) <= high).all()
    assert isinstance(one.width(50), float)
    assert all(isinstance(end, float) for end in one.width_interval(50))


def best_half_width(n, **options):
    return min(record.half_width for record in made(n=n, **options).strategies)


def test_more_labels_and_a_larger_pool_never_widen():
    for population in ("these", "larger"):
        widths = [best_half_width(n, population=population) for n in (30, 60, 120, 240, 480, 960)]
        assert (np.diff(widths) < 0).all()
    widths = [best_half_width(200, m=m) for m in (10, 100, 1000, 10_000, 10**6)]
    assert (np.diff(widths) <= 0).all()


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(20, 2000),
    m=st.integers(10, 10**5),
    more=st.floats(1.05, 4.0),
    a=st.floats(0.1, 5.0),
    alpha=st.floats(0.1, 1.5),
    b=st.floats(0.0, 1.0),
)
def test_for_any_law_every_strategy_narrows_with_labels_and_none_widens_with_the_pool(n, m, more, a, alpha, b):
    law = certain(a, alpha, b, 1.0)

    def half_widths(n, m, population="larger"):
        one = plan(law, n=n, m=m, label_variance=1.0, folds=10, population=population)
        return np.array([record.half_width for record in one.strategies])

    before = half_widths(n, m)
    assert (half_widths(int(np.ceil(n * more)), m) < before).all()
    assert (half_widths(n, int(np.ceil(m * more))) <= before * (1 + 1e-9)).all()
    # Where the texts are everything, further labels are taken from the pool.
    taken = min(int(np.ceil(n * more)) - n, m - 1)
    assert (half_widths(n + taken, m - taken, "these") < half_widths(n, m, "these")).all()


@pytest.mark.parametrize("population", ["these", "larger"])
def test_the_labels_needed_are_those_of_counting_up(population):
    law = certain(1.5, 0.5, 0.2, 1.0)
    one = plan(law, n=60, m=240, label_variance=1.0, population=population, zero_shot_variance=0.6, folds=10)

    def half_width(n):
        again = one.design.with_labels(n)
        options = {"population": population, "folds": min(10, n), "zero_shot_variance": 0.6}
        return min(r.half_width for r in plan(law, n=n, m=again.m, label_variance=1.0, **options).strategies)

    widths = {n: half_width(n) for n in range(20, 300)}
    for target in (0.30, 0.15, 0.10):
        found = one.labels_needed(target)
        assert found == next(n for n, width in widths.items() if width <= target)
        alone = next(n for n in range(20, 2000) if one.design.with_labels(n).labels_only() <= target)
        assert one.labels_only_needed(target) == alone
        assert found <= alone


def test_a_target_out_of_reach_is_said_to_be():
    assert made(population="these", n=60, m=240).labels_needed(1e-9) == 300  # all of them: nothing is left to estimate
    assert made(population="larger").labels_needed(1e-9) is None
    for nonsense in (0, -1, float("nan")):
        with pytest.raises(ArgumentError, match="half_width"):
            made().labels_needed(nonsense)
        with pytest.raises(ArgumentError, match="half_width"):
            made().labels_only_needed(nonsense)


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(20, 3000),
    m=st.integers(1, 10**6),
    label_variance=st.floats(1e-4, 1e4),
    share=st.floats(1e-6, 1.2),
    population=st.sampled_from(["these", "larger"]),
    minimum=st.integers(0, 400),
    confidence=st.sampled_from([0.8, 0.95, 0.99]),
)
def test_whatever_is_asked_the_plan_is_finite_and_coherent(
    n, m, label_variance, share, population, minimum, confidence
):
    law = certain(label_variance, 0.5, share * label_variance, label_variance)
    one = plan(
        law, n=n, m=m, label_variance=label_variance, population=population, confidence=confidence,
        finetune_minimum=minimum, folds=min(10, n), zero_shot_variance=share * label_variance,
    )  # fmt: skip
    widths = {record.name: record.half_width for record in one.strategies}
    assert all(np.isfinite(width) and width >= 0 for width in widths.values())
    assert widths[one.recommended] <= min(widths.values()) * 1.01 + 1e-12
    split = one["split"]
    assert split.finetune + split.rectify == n
    assert split.rectify >= 10
    assert one.flat_region[0] <= split.finetune <= one.flat_region[1]


def test_a_plan_survives_json():
    one = made(half_width=0.05, zero_shot_variance=0.4, costs=Costs(per_label=1.0), finetune_minimum=40)
    again = Plan.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again.to_dict() == one.to_dict()
    assert again.strategies == one.strategies
    assert again.width(100) == one.width(100)
    assert again.labels_needed(0.05) == one.labels_needed(0.05)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"n": 19}, "n is 19"),
        ({"m": 0}, "m is 0"),
        ({"label_variance": 0.0}, "label_variance"),
        ({"label_variance": float("nan")}, "label_variance"),
        ({"population": "all"}, "population is 'all'"),
        ({"folds": 1}, "folds is 1"),
        ({"n": 20, "folds": 21}, "folds is 21"),
        ({"confidence": 95}, "confidence is 95"),
        ({"confidence": float("nan")}, "confidence is nan"),
        ({"zero_shot_variance": -0.1}, "zero_shot_variance"),
        ({"zero_shot_variance": 0.0}, "zero_shot_variance"),
        ({"zero_shot_variance": float("nan")}, "zero_shot_variance"),
        ({"half_width": 0.0}, "half_width"),
        ({"finetune_minimum": -1}, "finetune_minimum"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(changed, sentence):
    with pytest.raises(ArgumentError, match=sentence) as fault:
        made(**changed)
    assert str(fault.value).endswith(".")
