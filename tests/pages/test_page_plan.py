"""The Plan page: the slider, the wishes and their address, and the answers in both directions."""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
import stored
from streamlit.testing.v1 import AppTest
from test_page_data import words

import engine
from pages import advice

Visit = Callable[..., AppTest]


def titles(app: AppTest) -> str:
    """Return the titles of the messages on the page."""
    return "\n".join(alert.proto.title for alert in (*app.success, *app.info, *app.warning, *app.error))


def figure(app: AppTest) -> str:
    """Return the specification of the plan's figure."""
    return app.get("plotly_chart")[0].proto.spec


def shared(app: AppTest) -> dict[str, str]:
    """Return the parameters of the share link."""
    link = next(code.value for code in app.code if "study=" in code.value)
    return dict(parse_qsl(link.split("?")[1], keep_blank_values=True))


def with_plan(store: engine.Store, study: engine.Study, made: engine.Plan) -> None:
    """Add a finished pilot that led to this plan."""
    run = store.create_run(study.id, "plan", engine.RunSettings())
    stored.save(store, run, {**stored.planned(study), "plan": made.to_dict()})
    stored.finish(store, run)


# ------------------------------------------------------------------------ slider and cards


def test_moving_the_slider_moves_the_cards_and_the_mark(visit: Visit, planned: engine.Study) -> None:
    app = visit("plan", study=planned.id)
    before, drawn, table = [metric.value for metric in app.metric], figure(app), app.table[0].value
    assert [metric.label for metric in app.metric] == ["Interval, ± rating", "Labels saved", "Cost", "Compute time"]
    recommended = [metric.delta for metric in app.metric]
    app.slider(key="s").set_value(300).run()
    assert app.metric[0].value != before[0]
    assert figure(app) != drawn
    assert [metric.delta for metric in app.metric] == recommended
    assert app.table[0].value.equals(table)
    assert "300 fine-tune, 100 rectify" in words(app)


def test_the_split_of_the_slider_can_be_run(visit: Visit, planned: engine.Study, store: engine.Store) -> None:
    stored.add_run(store, planned)
    app = visit("plan", study=planned.id)
    app.slider(key="s").set_value(300).run()
    next(button for button in app.button if button.label == "Run this split").click().run()
    app.switch_page("pages/run.py").run()
    assert (app.selectbox(key="strategy").value, app.number_input(key="finetune").value) == ("split", 300)
    assert "Taken over from the Plan page: split with 300 labels used to fine-tune" in words(app)
    app.selectbox(key="strategy").set_value("cross-fit").run()
    assert "used to fine-tune" not in words(app)


def test_the_strategies_stand_side_by_side(visit: Visit, planned: engine.Study) -> None:
    table = visit("plan", study=planned.id).table[0].value
    assert len(table) == 3
    assert sum("**" in name for name in table["Strategy"]) == 1
    assert list(table["Regret"]).count("none") == 1
    assert all("to" in interval for interval in table["80% interval"])


def test_widths_of_shares_are_in_percentage_points(visit: Visit, store: engine.Store) -> None:
    study, _ = stored.add_shares(store)
    stored.add_plan(store, study)
    app = visit("plan", study=study.id)
    assert (app.metric[0].label, app.metric[0].value[:2]) == ("Interval, ± points", "± ")
    assert "Half-width, points" in app.table[0].value.columns


def test_a_small_width_of_shares_is_not_none() -> None:
    assert advice.half_width(0.0312, share=True) == "± 3.1 points"
    assert advice.half_width(0.000312, share=True) == "± 0.031 points"
    assert advice.bare(0.00391, share=True) == "0.39"
    assert advice.bare(0.00999, share=True) == "1.0"
    assert advice.half_width(0.0312, share=False) == "± 0.0312"


def test_the_target_of_a_share_is_named_in_points_and_kept_as_a_share(visit: Visit, store: engine.Store) -> None:
    study, _ = stored.add_shares(store)
    stored.add_plan(store, study)
    app = visit("plan", study=study.id)
    app.number_input(key="target_points").set_value(3.0).run()
    plan = engine.Plan.from_dict(stored.planned(study)["plan"])
    assert f"About {plan.labels_needed(0.03):,} labels reach it" in words(app)
    assert app.query_params["target"] == "0.03"
    assert shared(app)["target"] == "0.03"
    again = visit("plan", **shared(app))
    assert again.number_input(key="target_points").value == 3.0
    assert words(again) == words(app)
    again.number_input(key="target_points").set_value(100.0).run()
    assert "A target of 100 points is none: shares lie between 0 and 100 points" in words(again)
    assert "Name one above" in words(again)
    next(button for button in app.button if button.label == "Continue to the run").click().run()
    assert app.session_state["wishes"]["target"] == 0.03
    app.switch_page("pages/run.py").run()
    app.button(key="new_run_button").click().run()
    assert "half-width 3 points" in words(app)


@pytest.mark.parametrize("target", ["nan", "inf", "-1", "much", "0"])
def test_a_target_of_a_share_in_the_address_is_brought_into_bounds(
    visit: Visit, store: engine.Store, target: str
) -> None:
    study, _ = stored.add_shares(store)
    stored.add_plan(store, study)
    app = visit("plan", study=study.id, target=target)
    assert not app.number_input(key="target_points").value
    assert not app.error


@pytest.mark.parametrize("question", [{"estimand": "groups"}, {"estimand": "quantile", "q": 0.9}])
def test_the_plan_says_of_what_its_widths_are(visit: Visit, store: engine.Store, question: dict) -> None:
    study = stored.own(store, **question)
    stored.add_plan(store, study)
    assert "The plan's widths, and what a target takes, are those of" in words(visit("plan", study=study.id))


# ------------------------------------------------------------------------------- wishes


def test_folds_are_chosen_unless_the_user_sets_them(visit: Visit, planned: engine.Study) -> None:
    app = visit("plan", study=planned.id)
    assert app.selectbox(key="folds").value is None
    assert "chosen for you" in app.selectbox(key="folds").options[0]
    app.selectbox(key="folds").set_value(3).run()
    assert any("3 folds" in name for name in app.table[0].value["Strategy"])


def test_prices_make_the_costs_and_can_turn_the_plan_round(visit: Visit, planned: engine.Study) -> None:
    app = visit("plan", study=planned.id)
    app.number_input(key="price").set_value(2.0).run()
    assert app.metric[2].value.startswith("800.")
    app.number_input(key="hour").set_value(1e9).run()
    assert "Do not fine-tune" in titles(app) + words(app)
    app.number_input(key="hour").set_value(0.0).run()
    app.number_input(key="price").set_value(0.0).run()
    assert app.metric[2].value == "no price"
    assert "Cost" not in app.table[0].value.columns


def test_a_target_says_how_many_labels_it_takes(visit: Visit, planned: engine.Study) -> None:
    app = visit("plan", study=planned.id)
    plan = engine.Plan.from_dict(stored.planned(planned)["plan"])
    target = 0.8 * plan[plan.recommended].half_width
    app.number_input(key="target").set_value(target).run()
    asked = plan.replanned(half_width=target)
    assert f"Label {asked.label_more:,} more first" in titles(app)
    assert f"About {asked.labels_needed(target):,} labels reach it" in words(app)
    assert "without a model" in words(app)
    app.number_input(key="target").set_value(1.0).run()
    assert "You have enough" in words(app)
    assert "Recommended" in titles(app)


def test_a_target_and_a_price_beyond_what_the_boxes_hold_are_shown_as_their_most(
    visit: Visit, planned: engine.Study, store: engine.Store
) -> None:
    plan = engine.Plan.from_dict(stored.planned(planned)["plan"])
    with_plan(store, planned, plan.replanned(half_width=1e13, costs=replace(plan.costs, per_label=1e13)))
    app = visit("plan", study=planned.id)
    assert not app.exception
    assert (app.number_input(key="target").value, app.number_input(key="price").value) == (1e12, 1e12)


def test_money_says_what_it_buys(visit: Visit, planned: engine.Study) -> None:
    app = visit("plan", study=planned.id, price="0.0")
    app.number_input(key="money").set_value(300.0).run()
    assert "Give the price of a label above" in words(app)
    app.number_input(key="price").set_value(1.0).run()
    assert "300.00 buys 300 labels in all, cross-fit" in words(app)
    app.number_input(key="money").set_value(5.0).run()
    assert "the fewest to plan with" in words(app)


def test_both_directions_are_told(visit: Visit, planned: engine.Study) -> None:
    said = words(visit("plan", study=planned.id))
    plan = engine.Plan.from_dict(stored.planned(planned)["plan"])
    alone = plan[plan.recommended].labels_alone
    assert f"Labels-only would need {alone:,} labels for that: you save {alone - plan.n:,}" in said
    assert "The next 100 labels" in said
    assert "within 2% of the best" in said


def test_not_to_fine_tune_is_an_answer(visit: Visit, store: engine.Store) -> None:
    study = stored.sample(store)
    made = engine.Plan.from_dict(stored.planned(study)["plan"])
    variance = made.design.label_variance
    useless = engine.fit_law([25, 50, 100, 200] * 5, [variance] * 20, label_variance=variance, degrees_of_freedom=1e6)
    with_plan(store, study, replace(made, law=useless))
    app = visit("plan", study=study.id)
    assert "Do not fine-tune" in titles(app)
    assert app.slider(key="s")


# ---------------------------------------------------------------------------- the address

ASKED = {"s": 200, "folds": 5, "target": 0.04, "money": 500.0, "price": 1.5, "hour": 2.0, "thousand": 0.25}


def test_the_share_link_brings_back_the_view(visit: Visit, planned: engine.Study) -> None:
    app = visit("plan", study=planned.id)
    app.slider(key="s").set_value(ASKED["s"]).run()
    app.selectbox(key="folds").set_value(ASKED["folds"]).run()
    for name in list(ASKED)[2:]:
        app.number_input(key=name).set_value(ASKED[name]).run()
    again = visit("plan", **shared(app))
    assert again.slider(key="s").value == ASKED["s"]
    assert again.selectbox(key="folds").value == ASKED["folds"]
    assert {name: again.number_input(key=name).value for name in list(ASKED)[2:]} == dict(list(ASKED.items())[2:])
    assert words(again) == words(app)
    assert figure(again) == figure(app)
    assert [metric.value for metric in again.metric] == [metric.value for metric in app.metric]


def test_wishes_that_were_taken_back_stay_so_in_the_link(visit: Visit, store: engine.Store) -> None:
    study = stored.sample(store)
    made = engine.Plan.from_dict(stored.planned(study)["plan"])
    with_plan(store, study, made.replanned(half_width=0.05))
    app = visit("plan", study=study.id)
    assert app.number_input(key="target").value == 0.05
    app.number_input(key="target").set_value(0.0).run()
    app.number_input(key="price").set_value(0.0).run()
    again = visit("plan", **shared(app))
    assert not again.number_input(key="target").value
    assert "Name one above" in words(again)
    assert again.number_input(key="price").value == 0.0
    assert again.selectbox(key="folds").value is None


@pytest.mark.parametrize(
    "parameters",
    [
        {"s": "99999"},
        {"s": "-5"},
        {"s": "many"},
        {"folds": "1000"},
        {"price": "-3"},
        {"target": "nan"},
        {"target": "inf"},
        {"money": "-1"},
        {"hour": "lots"},
        {"pilot": "nobody"},
    ],
)
def test_values_of_the_address_are_brought_into_bounds(
    visit: Visit, planned: engine.Study, parameters: dict[str, str]
) -> None:
    app = visit("plan", study=planned.id, **parameters)
    assert len(app.metric) == 4
    assert not app.error
    assert 8 <= app.slider(key="s").value <= 390
    assert app.selectbox(key="folds").value is None
