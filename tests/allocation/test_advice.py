"""What a plan answers in sentences: each number is the plan's own, and nothing is promised that is not sure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.allocation import (
    Costs,
    Plan,
    further_labels,
    plan,
    plan_directions,
    saved_words,
    split_words,
    strategy_words,
)
from engine.scaling import fit_law

PRICED = Costs(per_label=0.5)


def made(**changed: object) -> Plan:
    sizes = np.repeat([16, 32, 64, 128], 3)
    variances = (1.5 * sizes**-0.5 + 0.2) * np.exp(np.random.default_rng(7).normal(0, 0.1, sizes.size))
    law = fit_law(sizes, variances, degrees_of_freedom=60, label_variance=1.0)
    return plan(law, **({"n": 400, "m": 4000, "label_variance": 1.0} | changed))


def written(value: float) -> str:
    return f"± {value:.4f}"


def test_strategies_are_named_with_what_they_do_to_the_labels():
    split, cross = made()["split"], made(folds=3)["cross-fit"]
    assert strategy_words(split) == f"split, {split.finetune} labels to fine-tune and {split.rectify} to rectify"
    assert strategy_words(cross) == "cross-fit with 3 folds"
    assert strategy_words(made()["labels-only"]) == "labels only"
    assert strategy_words(made(zero_shot_variance=0.5)["zero-shot"]) == "zero-shot"


@pytest.mark.parametrize("population", ["these", "larger"])
@pytest.mark.parametrize("target", [1e-5, 0.05, 0.2])
def test_the_target_is_answered_by_the_labels_that_it_takes(population, target):
    asked = made(population=population, half_width=target, m=4000 if population == "these" else 30)
    said = plan_directions(asked, written)["Target"]
    needed, without = asked.labels_needed(target), asked.labels_only_needed(target)
    if population == "these" and needed == 4400:
        assert without == 4400
        assert said == "Only labelling all 4,400 texts reaches it: then the answer is exact."
        return
    if needed is None:
        assert said == "No number of labels reaches it with this pool."
        return
    assert f"About {needed:,} labels reach it" in said
    assert (f"without a model {without:,}." in said) == (without is not None)
    assert ("You have enough." in said) == (needed <= asked.n)
    assert (f"That is {needed - asked.n:,} more than you have." in said) == (needed > asked.n)


def test_labels_that_cost_less_than_a_model_are_not_said_to_be_enough():
    sizes = np.repeat([12, 25, 50], 4)
    variances = np.minimum(1, 0.3 + 2.5 * (sizes + 10) ** -0.5) * np.exp(0.05 * np.sin(np.arange(12)))
    holdouts = np.tile(range(4), 3)
    law = fit_law(sizes, variances, degrees_of_freedom=np.full(12, 40), holdouts=holdouts, label_variance=1.0)
    costs = Costs(per_label=0.5, per_thousand=6.0)
    asked = plan(law, n=160, m=20_000, label_variance=1.0, finetune_minimum=40, costs=costs, half_width=0.151)
    assert asked.label_more
    assert asked.labels_needed(0.151) < 160
    said = plan_directions(asked, written)["Target"]
    assert said.endswith("You have enough for that with a model, but labelling more costs less.")


def test_a_flat_region_of_one_split_is_no_range():
    low, high = made().flat_region
    assert f"Any split from {low} to {high} fine" in plan_directions(made(), written)["Flat region"]
    late = made(finetune_minimum=390)
    assert late.flat_region == (390, 390)
    assert plan_directions(late, written)["Flat region"].startswith("No split but that at 390 fine-tuning labels is")


def test_the_next_labels_are_as_many_as_there_are_texts():
    few = made(population="these", m=31, costs=PRICED)
    now, gain = few[few.recommended].half_width, few.gain_of_labels(30)
    said = plan_directions(few, written)["The next 30 labels"]
    assert said == (
        f"They would narrow the interval from {written(now)} to {written(now * (1 - gain))} ({gain:.0%}), for 15.00."
    )
    assert further_labels(few) == 30
    assert few.gain_of_labels(100) == gain
    assert [further_labels(made(population=population, m=1)) for population in ("these", "larger")] == [0, 100]
    assert list(plan_directions(made(population="these", m=1), written)) == ["Flat region", "Target", "Money"]
    assert "The next 100 labels" in plan_directions(made(m=1), written)


def test_money_is_answered_where_labels_have_a_price():
    assert plan_directions(made(costs=PRICED), written)["Money"] == ""
    assert plan_directions(made(), written, 300)["Money"] == ""
    bought = made(costs=PRICED).affordable(300)
    said = plan_directions(made(costs=PRICED), written, 300)["Money"]
    words = f"{strategy_words(bought)}: {written(bought.half_width)}"
    assert said == f"300.00 buys 600 labels in all, {words}, for {bought.cost:,.2f}."
    assert "the fewest to plan with" in plan_directions(made(costs=PRICED), written, 5)["Money"]


def test_money_that_buys_the_labels_of_all_texts_makes_the_answer_exact():
    few = made(population="these", m=100, costs=PRICED)
    assert few.affordable(250).half_width == 0
    assert plan_directions(few, written, 260)["Money"] == (
        "260.00 buys the labels of all 500 texts, for 250.00: then the answer is exact."
    )
    assert 0 < few.affordable(249.5).half_width < few[few.recommended].half_width
    assert made(population="larger", m=100, costs=PRICED).affordable(260).half_width > 0


def test_a_split_is_told_with_its_regret():
    one = made()
    best = one["split"].finetune
    assert split_words(one, best) == f"{best} fine-tune, {400 - best} rectify; at the best split"
    assert split_words(one, 350) == f"350 fine-tune, 50 rectify; {one.regret(350):.0%} wider than at the best split"


def test_the_flat_region_is_the_plans():
    low, high = made().flat_region
    assert f"from {low:,} to {high:,} fine-tuning labels" in plan_directions(made(), written)["Flat region"]


def test_labels_saved_are_told_as_surely_as_they_are_known():
    sure = made(costs=PRICED)
    saved = sure[sure.recommended].labels_alone - sure.n
    assert saved_words(sure).endswith(f"for that: you save {saved:,}, worth {saved / 2:,.2f}.")
    assert saved_words(made()).endswith(f"you save {saved:,}.")
    alone, best = sure["labels-only"], sure[sure.recommended]
    vague = replace(best, interval=(best.half_width, 2 * alone.half_width))
    unsure = replace(sure, strategies=(alone, vague))
    assert saved_words(unsure) == (
        f"Labels-only would probably need {best.labels_alone:,} labels for that, but this is not sure."
    )
    assert saved_words(replace(sure, recommended="labels-only")) == ""


def test_labels_saved_are_not_told_of_a_target_that_is_out_of_reach():
    best = made()[made().recommended]
    missed, reached = made(half_width=best.half_width / 2), made(half_width=2 * best.half_width)
    saved = missed[missed.recommended].labels_alone - 400
    assert saved_words(missed) == (
        f"For the width that these 400 labels give by {missed.recommended}, labels-only would need {400 + saved:,} "
        f"labels: you save {saved:,}."
    )
    assert "labels for that" in saved_words(reached)
    alone, best = missed["labels-only"], missed[missed.recommended]
    unsure = replace(missed, strategies=(alone, replace(best, interval=(0.0, 2 * alone.half_width))))
    assert saved_words(unsure).endswith(f"would probably need {400 + saved:,} labels, but this is not sure.")
