"""Folds chosen by gain and cost, money against labels, and more labels as the answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.allocation import Costs, Plan, plan, split_words
from engine.errors import ArgumentError
from engine.scaling import Law

HOURS = Costs(per_label=1.0, per_gpu_hour=3600.0, seconds_per_label=0.01)


def certain(a, alpha, b):
    sizes = np.array([16.0])
    return Law(a, alpha, b, 0.0, 1.0, sizes, a * sizes**-alpha + b, 1.0, None, np.tile([a, alpha, b, 0.0], (50, 1)))


def made(law=None, **changed):
    values = {"n": 400, "m": 4000, "label_variance": 1.0, "population": "these"}
    return plan(law or certain(1.5, 0.5, 0.2), **(values | changed))


def half_widths(**changed):
    return {folds: made(folds=folds, **changed)["cross-fit"].half_width for folds in range(2, 21)}


def test_folds_that_cost_nothing_are_as_many_as_may_be():
    assert made().folds == 20
    assert made(n=20).folds == 20


def test_without_prices_the_quickest_folds_near_the_narrowest_are_taken():
    one = made(costs=Costs(seconds_per_label=10.0))
    widths = half_widths()
    near = [folds for folds, width in widths.items() if width <= 1.01 * min(widths.values())]
    assert one.folds == min(near) < 20
    costs = Costs(seconds_per_label=10.0, averaged=min(near))  # one fold more, and their models are in common
    assert made(costs=costs).folds == min(near) + 1


@pytest.mark.parametrize("pace", [0.01, 0.1, 0.3])
def test_folds_that_five_minutes_allow_are_taken_however_flat_the_law(pace):
    costs = Costs(seconds_per_label=pace)
    records = {folds: made(folds=folds, costs=costs)["cross-fit"] for folds in range(2, 21)}
    allowed = max(folds for folds, record in records.items() if record.seconds <= 300)
    assert 2 < allowed <= made(costs=costs).folds


@pytest.mark.parametrize("averaged", [0, 3, 5])
@pytest.mark.parametrize("folds", range(2, 13))
def test_the_time_of_cross_fit_is_that_of_its_models(averaged, folds):
    n, costs = 12 * 11 * 7 * 5, Costs(seconds_per_label=2.0, averaged=averaged)
    size = n * (folds - 1) / folds
    fit = averaged * (size - size / averaged) if averaged else size  # labels that the models of a fit are trained on
    pairs = [(i, j) for i in range(folds) for j in range(i)]
    shared = averaged < folds <= 2 * averaged
    assert costs.shares(folds) == shared
    trained = len(pairs) * (n - 2 * n / folds) if shared else folds * fit
    assert costs.seconds(folds, size, 0) == pytest.approx(2.0 * size * trained / fit)
    assert costs.seconds(1, size, 0) == pytest.approx(2.0 * size)


@pytest.mark.parametrize("averaged", [0, 5])
def test_a_fit_on_few_labels_takes_the_steps_of_more(averaged):
    costs = Costs(seconds_per_label=2.0, averaged=averaged, fewest=80)
    least = 100 if averaged else 80  # of five models each has four fifths of the labels
    assert costs.seconds(1, 10, 0) == costs.seconds(1, least, 0) == 2.0 * least
    assert costs.seconds(1, 500, 0) == 1000.0
    # Six folds of 60 labels: fifteen models of 40 in common, each with the steps of 80; five models are one fit.
    assert Costs(seconds_per_label=2.0, averaged=5, fewest=80).seconds(6, 50, 0) == pytest.approx(15 / 5 * 200.0)


def test_with_prices_the_folds_are_those_worth_most():
    for hour in (360.0, 3600.0, 36_000.0):
        costs = Costs(per_label=1.0, per_gpu_hour=hour, seconds_per_label=0.01)
        worth = {}
        for folds in range(2, 21):
            one = made(folds=folds, costs=costs)
            record = one["cross-fit"]
            worth[folds] = one.design.labels_alone(record.half_width) - record.cost
        assert made(costs=costs).folds == max(worth, key=worth.get)
    dear, cheap = (made(costs=Costs(1.0, hour, 0.01)).folds for hour in (36_000.0, 36.0))
    assert dear < cheap


def test_folds_that_were_asked_for_stay_and_chosen_ones_are_chosen_again():
    assert made(folds=7).replanned(n=300).folds == 7
    assert made(folds=7).replanned(folds=4).folds == 4
    costs = Costs(seconds_per_label=10.0)
    assert made(costs=costs).replanned(n=60).folds == made(costs=costs, n=60, m=4340).folds


def test_dear_compute_is_not_bought_and_labels_are_instead():
    dear = made(costs=Costs(per_label=0.01, per_gpu_hour=3600.0, seconds_per_label=1.0))
    assert dear.recommended == "labels-only"
    assert dear.label_more > 0
    assert "Label more first" in dear.why
    # What the compute costs buys labels that narrow more than the compute would have.
    bought = dear.design.with_labels(dear.n + dear.label_more).labels_only()
    assert bought <= min(dear["split"].half_width, dear["cross-fit"].half_width)
    cheap = made(costs=Costs(per_label=10.0, per_gpu_hour=3600.0, seconds_per_label=0.001))
    assert (cheap.recommended, cheap.label_more) == ("cross-fit", 0)


@pytest.mark.parametrize("hour", [1e3, 1e4, 1e5, 1e6, 1e9])
def test_no_more_labels_are_named_than_there_are_texts_nor_such_that_gain_less(hour):
    dear = made(costs=Costs(per_label=0.8, per_gpu_hour=hour, seconds_per_label=1.0))
    assert dear.label_more <= 4000
    if 0 < dear.label_more < 4000:
        bought = dear.design.with_labels(dear.n + dear.label_more).labels_only()
        assert bought < min(dear["split"].half_width, dear["cross-fit"].half_width)


def test_a_target_is_reached_by_compute_where_that_costs_less_than_labels():
    few = {"n": 60, "m": 400, "costs": Costs(per_label=1.0, per_gpu_hour=3600.0, seconds_per_label=1.0)}
    assert made(**few).recommended == "labels-only"
    target = 1.001 * made(**few)["split"].half_width
    one = made(**few, half_width=target)
    assert (one.recommended, one.label_more) == ("split", 0)
    assert one["split"].half_width <= target
    assert one["split"].cost <= one.labels_only_needed(target)
    assert "nothing else that reaches your target half-width costs less" in one.why
    assert "folds" not in one.why


@pytest.mark.parametrize("factor", [0.999, 0.99, 0.95, 0.9, 0.8, 0.7])
def test_a_few_labels_reach_a_target_cheaper_than_dear_compute(factor):
    dear = Costs(per_label=0.01, per_gpu_hour=3600.0, seconds_per_label=1.0)
    target = factor * made(costs=dear)["labels-only"].half_width
    one = made(costs=dear, half_width=target)
    alone = one.labels_only_needed(target)
    assert 0.01 * alone < min(one["split"].cost, one["cross-fit"].cost)
    assert (one.recommended, one.label_more) == ("labels-only", alone - 400)
    assert f"takes {alone:,} labels" in one.why


def test_a_harder_target_never_costs_less():
    dear = Costs(0.1, 4.0, 100.0, 30.0, 0.0, 0, 80)
    costs = []
    for target in np.linspace(0.06, 0.005, 30):
        one = made(n=300, m=100, costs=dear, half_width=target)
        labels = 300 + one.label_more
        ways = [0.1 * 400] if labels == 400 else [r.cost for r in one._records(labels) if r.half_width <= target]
        costs.append(min(ways) if one.label_more else one[one.recommended].cost)
    assert costs == sorted(costs)


def test_all_texts_are_labelled_where_that_costs_least():
    dear = Costs(0.1, 4.0, 100.0, 30.0, 0.0, 0, 80)
    one = made(n=300, m=30, costs=dear, half_width=0.005)
    assert one.label_more == 30
    exact = "all 330 texts reach your target half-width, which costs least, and then the answer is exact."
    assert one.why == f"Label 30 more first: {exact}"
    compute = made(n=300, m=30, costs=dear)
    assert (compute.recommended, compute.label_more) == ("labels-only", 30)
    assert compute.why.endswith("what the compute costs buys all other 30 labels, and then the answer is exact.")


def test_a_few_labels_of_a_small_pool_are_worth_their_price():
    """Less than 1% of the labels can be saved, and a model that saves most of them costs next to nothing."""
    cheap = Costs(per_label=1.0, per_gpu_hour=1.0, seconds_per_label=0.1)
    one = made(n=400, m=3, costs=cheap)
    assert one["cross-fit"].half_width < 0.8 * one["labels-only"].half_width
    assert one["cross-fit"].cost < one["labels-only"].cost + 1
    assert one.recommended != "labels-only"


@pytest.mark.parametrize("asks", [False, True])
def test_predictions_that_are_asked_of_the_model_take_time_and_money(asks):
    costs = Costs(per_label=1.0, per_gpu_hour=36.0, seconds_per_thousand=10.0, per_thousand=2.0, asks=asks)
    record = made(zero_shot_variance=0.5, costs=costs)["zero-shot"]
    assert record.seconds == (44.0 if asks else 0.0)
    assert record.cost == pytest.approx(400 + asks * (2 * 4.4 + 36 * 44 / 3600))


@pytest.mark.parametrize("hour", [0.0, 360.0, 3600.0, 360_000.0])
@pytest.mark.parametrize("floor", [0.2, 0.9, 1.0])
def test_no_recommendation_loses_to_labels_only(hour, floor):
    one = made(certain(1.5, 0.5, floor), costs=Costs(per_label=1.0, per_gpu_hour=hour, seconds_per_label=0.01))
    assert one[one.recommended].half_width <= 1.01 * one["labels-only"].half_width


def test_a_target_out_of_reach_asks_for_the_labels_that_are_missing():
    one = made()
    target = 0.7 * one[one.recommended].half_width
    short = made(half_width=target)
    assert short.label_more == short.labels_needed(target) - 400 > 0
    assert f"Label {short.label_more:,} more first: your target half-width takes" in short.why
    assert made(half_width=2 * target).label_more == 0
    never = plan(certain(1.5, 0.5, 0.2), n=400, m=4000, label_variance=1.0, half_width=1e-7)
    assert never.label_more is None
    assert "No number of labels" in never.why


def test_a_small_pool_can_be_labelled_to_the_last():
    few = plan(certain(1.5, 0.5, 0.2), n=60, m=40, label_variance=1.0, population="these", half_width=0.01)
    assert few.label_more == 40
    assert "Label 40 more first: only all 100 texts reach your target" in few.why
    with pytest.raises(ArgumentError, match="n is 100, but there are 100 texts"):
        few.replanned(n=100)


@pytest.mark.parametrize(("hour", "said"), [(2.5, "takes 72 labels"), (3.0, "by cross-fit"), (3.5, "takes 174 labels")])
def test_the_way_to_a_target_is_the_one_that_costs_least(hour, said):
    options = {"label_variance": 1.0, "population": "larger", "half_width": 0.15}
    times = {"seconds_per_label": 1.0, "seconds_per_thousand": 40.0, "averaged": 3, "fewest": 80}
    costs = Costs(per_label=0.02, per_gpu_hour=hour, **times)
    one = plan(certain(1.5, 0.5, 0.2), n=64, m=50_000, costs=costs, **options)
    assert said in one.why
    assert f"Label {one.label_more} more first: " in one.why
    assert ("Do not fine-tune" in one.why) == (hour == 3.5)
    # What is bought reaches the target; neither the fewest labels with a model nor those without one cost less.
    labels, without = 64 + one.label_more, one.labels_only_needed(0.15)
    reaching = [record.cost for record in one._records(labels) if record.half_width <= 0.15]
    with_a_model = [record.cost for record in one._records(one.labels_needed(0.15)) if record.half_width <= 0.15]
    assert min(reaching) <= min([*with_a_model, 0.02 * without]) + 1e-9


@pytest.mark.parametrize(("price", "money", "labels"), [(0.07, 1.4, 20), (0.07, 21.0, 300), (0.01, 4.35, 435)])
def test_money_buys_the_last_label_that_it_pays_for(price, money, labels):
    bought = made(costs=Costs(per_label=price)).affordable(money)
    assert bought.rectify + (bought.finetune if bought.name == "split" else 0) == labels


def test_only_the_best_split_is_called_so():
    one = made()
    best = one["split"].finetune
    assert split_words(one, best).endswith("; at the best split")
    near = next(s for s in range(best + 1, best + 60) if 0 < one.regret(s) < 0.005)
    assert split_words(one, near).endswith(f"; about as narrow as at the best split, {best:,}")


def test_labels_alone_are_those_that_labels_only_would_need():
    for population in ("these", "larger"):
        one = made(population=population)
        for record in one.strategies:
            assert record.labels_alone == pytest.approx(one.labels_only_needed(record.half_width), rel=0.02, abs=2)
            assert one.share_saved(record) == pytest.approx(1 - 400 / record.labels_alone)
            if population == "larger":  # where no text is the last
                assert one.share_saved(record) == pytest.approx(record.labels_saved, abs=0.01)
        assert one["labels-only"].labels_alone == 400


def test_more_labels_narrow_and_the_gain_is_that_of_planning_again():
    one = made()
    narrowest = min(record.half_width for record in one.strategies)
    again = min(record.half_width for record in one.replanned(n=500).strategies)
    assert one.gain_of_labels(100) == pytest.approx(1 - again / narrowest)
    assert 0 < one.gain_of_labels(50) < one.gain_of_labels(100)
    assert made(n=400, m=1).gain_of_labels() == 0


@pytest.mark.parametrize("money", [30.0, 100.0, 433.0])
def test_money_buys_the_narrowest_interval_that_counting_up_finds(money):
    one = made(costs=HOURS)
    found = one.affordable(money)
    assert found.cost <= money
    best = np.inf
    for n in range(20, int(money) + 1):
        records = [record for folds in (2, 3, 5, 8, 13, 20) for record in one._records(n, folds=folds)]
        best = min([best, *(record.half_width for record in records if record.cost <= money)])
    assert found.half_width <= 1.0001 * best


def test_money_without_prices_or_too_little_of_it_is_refused():
    with pytest.raises(ArgumentError, match="no price"):
        made().affordable(100.0)
    for money in (5.0, 0.0, -1.0, float("nan")):
        with pytest.raises(ArgumentError, match="money is"):
            made(costs=HOURS).affordable(money)


def test_predictions_are_priced_by_the_thousand():
    one = made(folds=5, costs=Costs(per_label=1.0, per_thousand=2.0))
    assert one["cross-fit"].cost == pytest.approx(400 + 4.4 * 2)  # each text, of label or pool, by one of the models
    assert one["split"].cost == pytest.approx(400 + (4 + one["split"].rectify / 1000) * 2)
    assert one["labels-only"].cost == 400


def test_labels_only_has_an_interval_where_the_label_variance_is_uncertain():
    low, high = made(label_degrees_of_freedom=60)["labels-only"].interval
    assert low < made()["labels-only"].half_width < high
    assert made()["labels-only"].interval == (made()["labels-only"].half_width,) * 2


def test_a_plan_with_prices_survives_json():
    one = made(costs=HOURS, half_width=0.01, label_degrees_of_freedom=60)
    again = Plan.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again.to_dict() == one.to_dict()
    assert again.replanned().folds == one.folds
