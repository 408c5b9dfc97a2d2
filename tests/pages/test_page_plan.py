"""The Plan page: the slider, the wishes and their address, the answers in both directions, and the pilots behind it."""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
import stored
from streamlit.testing.v1 import AppTest
from test_page_data import words

import engine

Visit = Callable[..., AppTest]


@pytest.fixture
def planned(store: engine.Store) -> engine.Study:
    """The sample with a finished pilot."""
    study = stored.sample(store)
    stored.add_plan(store, study)
    return study


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


def test_the_target_of_a_share_is_named_in_points_and_kept_as_a_share(visit: Visit, store: engine.Store) -> None:
    study, _ = stored.add_shares(store)
    stored.add_plan(store, study)
    app = visit("plan", study=study.id)
    app.number_input(key="target_points").set_value(3.0).run()
    assert "reach ± 3.0 points" in words(app)
    assert "half-width of 0.03" not in words(app)
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
    assert "The plan's widths are those of" in words(visit("plan", study=study.id))


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
    assert f"About {asked.labels_needed(target):,} labels reach it" in words(app).replace(f"± {target:.3g}", "it")
    assert "without a model" in words(app)
    app.number_input(key="target").set_value(1.0).run()
    assert "You have enough" in words(app)
    assert "Recommended" in titles(app)


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


# ----------------------------------------------------------------------------- the pilots


def test_the_pilot_starts_by_itself(visit: Visit, store: engine.Store, started: list[str]) -> None:
    app = visit("plan", study=stored.sample(store).id)
    assert started == ["plan"]
    assert app.progress


def test_trials_land_on_the_law_while_the_first_pilot_runs(visit: Visit, store: engine.Store) -> None:
    study = stored.sample(store)
    run = store.create_run(study.id, "plan", engine.RunSettings())
    store.update_run(run.id, state="running", stage="Fitting trials", progress=0.3)
    assert not visit("plan", study=study.id).get("plotly_chart")
    made = stored.planned(study)
    trials = {name: row for name, row in made.items() if name.startswith("trial")}
    stored.save(store, run, {**dict(list(trials.items())[:1]), "law": made["law"]})
    said = words(visit("plan", study=study.id))
    assert "So far from 1 trial only." in said
    assert "R²" not in said
    stored.save(store, run, dict(list(trials.items())[1:6]))
    app = visit("plan", study=study.id)
    assert len(app.get("plotly_chart")) == 1
    assert "over 6 trials" in words(app)


def test_trials_of_another_learner_land_on_the_law_of_the_first(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    run = store.create_run(planned.id, "plan", engine.RunSettings(learner="lora"))
    store.update_run(run.id, state="running", stage="Fitting trials", progress=0.1)
    made = stored.planned(planned, "lora", 0.7)
    trials = {name: row for name, row in made.items() if name.startswith("trial")}
    stored.save(store, run, dict(list(trials.items())[:2]))
    app = visit("plan", study=planned.id)
    assert len(app.metric) == 4  # the plan of the first pilot stays in sight
    assert "The trials of LoRA land on the law of Probe" in words(app)
    stored.save(store, run, {**trials, "law": made["law"]})
    law = visit("plan", study=planned.id).get("plotly_chart")[1].proto.spec
    assert '"LoRA"' in law
    assert '"Probe"' in law


def test_the_user_chooses_between_the_plans_of_two_pilots(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    stored.add_plan(store, planned, "lora", 0.6)
    app = visit("plan", study=planned.id)
    choice = app.get("button_group")[0]
    assert [option.content.split(":")[0] for option in choice.proto.options] == ["LoRA", "Probe"]
    newest = [metric.delta for metric in app.metric]
    probe = next(run for run in store.runs(planned.id) if run.settings.learner == "probe")
    other = visit("plan", study=planned.id, pilot=probe.id)
    choice.set_value(probe.id).run()
    assert [metric.delta for metric in app.metric] == [metric.delta for metric in other.metric]
    assert app.query_params["pilot"] == probe.id
    assert [metric.delta for metric in other.metric] != newest
    assert shared(other)["pilot"] == probe.id
    again = visit("plan", **shared(other))
    assert [metric.delta for metric in again.metric] == [metric.delta for metric in other.metric]


def pilots(app: AppTest) -> list[str]:
    """Return the words of the pilots that are offered."""
    return [option.content.replace("\\", "") for option in app.get("button_group")[0].proto.options]


def test_pilots_of_one_learner_are_told_apart_and_can_be_chosen(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    first = store.runs(planned.id)[0]
    other = stored.add_plan(store, planned, model="some/e5_small")
    default = engine.DEFAULT_MODEL
    app = visit("plan", study=planned.id)
    said = pilots(app)
    assert [words.rsplit(":", 1)[0] for words in said] == ["Probe, some/e5_small", f"Probe, {default}"]
    for chosen in (first.id, other.id, first.id):
        app.get("button_group")[0].set_value(chosen).run()
        assert app.query_params["pilot"] == chosen
        assert shared(app)["pilot"] == chosen
    stored.add_plan(store, planned, seed=7)
    said = pilots(visit("plan", study=planned.id))
    assert [words.rsplit(":", 1)[0] for words in said] == [
        f"Probe, {default}, seed 7",
        "Probe, some/e5_small",
        f"Probe, {default}, seed 0",
    ]


def test_an_older_pilot_of_the_same_settings_is_told_by_its_time(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    first = store.runs(planned.id)[0]
    newest = stored.add_plan(store, planned, half_width=0.05)
    app = visit("plan", study=planned.id, pilot=first.id)
    words = pilots(app)
    assert newest.id in words[0]
    assert first.id in words[1]
    app.get("button_group")[0].set_value(newest.id).run()
    assert app.query_params["pilot"] == newest.id
    assert shared(app)["pilot"] == newest.id


def test_every_learner_can_be_piloted(
    visit: Visit, store: engine.Store, planned: engine.Study, started: list[str]
) -> None:
    app = visit("plan", study=planned.id)
    app.selectbox(key="pilot_learner").set_value("auto")
    app.button(key="start_pilot").click().run()
    assert started == ["plan"]
    assert store.runs(planned.id)[0].settings.learner == "auto"
    assert app.progress


def test_a_pilot_that_failed_says_so_beside_the_plan(visit: Visit, store: engine.Store, planned: engine.Study) -> None:
    run = store.create_run(planned.id, "plan", engine.RunSettings(learner="full"))
    store.update_run(run.id, state="failed", error="Out of memory: take the probe.")
    app = visit("plan", study=planned.id)
    assert len(app.metric) == 4
    assert "Out of memory" in words(app)
    assert app.button(key="resume_pilot")


def test_the_wishes_go_on_to_the_run(visit: Visit, planned: engine.Study) -> None:
    app = visit("plan", study=planned.id)
    app.selectbox(key="folds").set_value(4).run()
    app.number_input(key="price").set_value(1.25).run()
    app.number_input(key="hour").set_value(2.5).run()
    next(button for button in app.button if button.label == "Continue to the run").click().run()
    assert app.session_state["wishes"]["folds"] == 4
    assert [app.session_state["wishes"][name] for name in ("price", "hour", "thousand")] == [1.25, 2.5, 0.0]
    app.switch_page("pages/run.py").run()
    assert "price of a label 1.25, price of an hour of compute 2.5." in words(app)


def test_folds_that_the_user_set_are_those_of_the_run(visit: Visit, planned: engine.Study) -> None:
    app = visit("plan", study=planned.id)
    app.selectbox(key="folds").set_value(3).run()
    assert "Recommended: cross-fit with 3 folds" in titles(app)
    next(button for button in app.button if button.label == "Continue to the run").click().run()
    app.switch_page("pages/run.py").run()
    assert app.selectbox(key="strategy").value == "cross-fit"
    assert app.slider(key="run_folds").value == 3
    assert not app.slider(key="run_folds").disabled
    assert "Taken over from the Plan page: cross-fit with 3 folds, price of a label 0.8." in words(app)
    app.slider(key="run_folds").set_value(4).run()
    assert "Taken over from the Plan page: price of a label 0.8." in words(app)


def test_the_run_is_that_of_the_pilot(visit: Visit, store: engine.Store, started: list[str]) -> None:
    study, _ = stored.add_shares(store)
    made = {"learner": "lora", "model": "some/e5_small", "seed": 7, "objective": "cross-entropy", "keep": "end"}
    stored.add_plan(store, study, **made)
    app = visit("plan", study=study.id)
    next(button for button in app.button if button.label == "Continue to the run").click().run()
    app.switch_page("pages/run.py").run()
    app.button(key="new_run_button").click().run()
    assert "Taken over from the Plan page: model some/e5_small, seed 7, price of a label 0.8." in words(app)
    app.button(key="start").click().run()
    asked = store.runs(study.id)[0].settings
    assert {name: getattr(asked, name) for name in made} == made


def test_an_objective_that_a_probe_never_had_is_not_asked_of_numbers(visit: Visit, store: engine.Store) -> None:
    study = stored.sample(store)
    stored.add_plan(store, study, objective="cross-entropy", seed=2**40)
    app = visit("plan", study=study.id)
    next(button for button in app.button if button.label == "Continue to the run").click().run()
    app.switch_page("pages/run.py").run()
    assert not app.exception
    assert app.selectbox(key="objective").value == "variance"
    assert app.number_input(key="seed").value == 2**40


@pytest.mark.parametrize("asked", [{}, {"folds": 3, "hour": 1e9}])
def test_the_plan_chooses_the_strategy_of_the_run_elsewhere(
    visit: Visit, planned: engine.Study, asked: dict[str, float]
) -> None:
    app = visit("plan", study=planned.id, **asked)
    next(button for button in app.button if button.label == "Continue to the run").click().run()
    app.switch_page("pages/run.py").run()
    assert app.selectbox(key="strategy").value == "auto"
    assert "with" not in next(caption.value for caption in app.caption if "Taken over" in caption.value)


def test_a_pilot_that_opened_nearly_all_labels_leaves_one_split(visit: Visit, store: engine.Store) -> None:
    study = stored.sample(store)
    made = engine.Plan.from_dict(stored.planned(study)["plan"])
    with_plan(store, study, replace(made, finetune_minimum=made.n).replanned())
    app = visit("plan", study=study.id)
    assert "390 fine-tune, 10 rectify" in words(app)
    assert not [slider for slider in app.slider if slider.key == "s"]
    next(button for button in app.button if button.label == "Continue to the run").click().run()
    assert app.session_state["wishes"]["s"] == 390


def test_a_split_of_one_pilot_is_brought_within_the_other(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    made = engine.Plan.from_dict(stored.planned(planned)["plan"])
    run = store.create_run(planned.id, "plan", engine.RunSettings(learner="lora"))
    late = replace(made, finetune_minimum=200).replanned()
    stored.save(store, run, {**stored.planned(planned, "lora"), "plan": late.to_dict()})
    stored.finish(store, run)
    probe = next(run for run in store.runs(planned.id) if run.settings.learner == "probe")
    app = visit("plan", study=planned.id, pilot=probe.id)
    app.slider(key="s").set_value(50).run()
    app.get("button_group")[0].set_value(run.id).run()
    assert not app.exception
    assert app.slider(key="s").value >= 200
    next(button for button in app.button if button.label == "Continue to the run").click().run()
    assert app.session_state["wishes"]["s"] >= 200
