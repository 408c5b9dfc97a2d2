"""The pilots behind the Plan page, and what goes on from it to the run."""

from dataclasses import replace

import pytest
import stored
from streamlit.testing.v1 import AppTest
from test_page_data import button, words
from test_page_plan import Visit, shared, titles, with_plan

import engine


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


def test_what_a_pilot_could_not_see_stands_beside_its_plan(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    said = "All 37 labels that the pilot opened are “no”: it could not see what a model learns."
    stored.save(store, store.runs(planned.id)[0], {"details pilot": {"warnings": [said]}})
    assert said in words(visit("plan", study=planned.id))


def test_every_learner_can_be_piloted(
    visit: Visit, store: engine.Store, planned: engine.Study, started: list[str]
) -> None:
    app = visit("plan", study=planned.id)
    app.selectbox(key="pilot_learner").set_value("auto")
    button(app, "start_pilot").click().run()
    assert started == ["plan"]
    assert store.runs(planned.id)[0].settings.learner == "auto"
    assert app.progress


def test_a_pilot_that_failed_says_so_beside_the_plan(visit: Visit, store: engine.Store, planned: engine.Study) -> None:
    run = store.create_run(planned.id, "plan", engine.RunSettings(learner="full"))
    store.update_run(run.id, state="failed", error="Out of memory: take the probe.")
    app = visit("plan", study=planned.id)
    assert len(app.metric) == 4
    assert "Out of memory" in words(app)
    assert button(app, "resume")


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


def test_folds_of_the_run_that_planned_are_those_of_the_next(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    made = stored.planned(planned)
    fixed = engine.Plan.from_dict(made["plan"]).replanned(folds=3)
    run = store.create_run(planned.id, "run", engine.RunSettings(strategy="cross-fit", folds=3))
    stored.save(store, run, {**made, "plan": fixed.to_dict()})
    stored.finish(store, run)
    app = visit("plan", study=planned.id, pilot=run.id)
    assert "Recommended: cross-fit with 3 folds" in titles(app)
    next(button for button in app.button if button.label == "Continue to the run").click().run()
    assert (app.session_state["wishes"]["strategy"], app.session_state["wishes"]["folds"]) == ("cross-fit", 3)


def test_a_pilot_that_opened_fewer_labels_replaces_none(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    """The pilot of a run with a strategy of its own stops where that is settled."""
    before = words(visit("plan", study=planned.id))
    made = stored.planned(planned)
    trials = {name: row for name, row in made.items() if name.startswith("trial ") and row["size"] <= 50}
    sizes, variances = zip(*((row["size"], row["variance"]) for row in trials.values()), strict=True)
    plan = engine.plan(engine.fit_law(sizes, variances), n=400, m=1000, label_variance=1.0)
    run = store.create_run(planned.id, "run", engine.RunSettings(strategy="split", finetune=60))
    stored.save(store, run, {**trials, "law": plan.law.to_dict(), "plan": plan.to_dict()})
    stored.finish(store, run)
    assert words(visit("plan", study=planned.id)) == before


def test_the_run_is_that_of_the_pilot(visit: Visit, store: engine.Store, started: list[str]) -> None:
    study, _ = stored.add_shares(store)
    made = {"learner": "lora", "model": "some/e5_small", "seed": 7, "objective": "cross-entropy", "keep": "end"}
    stored.add_plan(store, study, **made)
    app = visit("plan", study=study.id)
    next(button for button in app.button if button.label == "Continue to the run").click().run()
    app.switch_page("pages/run.py").run()
    app.button(key="new_run_button").click().run()
    assert "Taken over from the Plan page: model some/e5_small, seed 7, price of a label 0.8." in words(app)
    button(app, "start").click().run()
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
