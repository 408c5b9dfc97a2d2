"""Predict, Run, Results and Report on stored results, and on what goes wrong."""

import re
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import stored
from streamlit.testing.v1 import AppTest
from test_page_data import button, words

import engine

Visit = Callable[..., AppTest]


def charts(app: AppTest) -> list[str]:
    """Return the keys of the figures on the page."""
    return [chart.key if hasattr(chart, "key") else "" for chart in app.get("plotly_chart")]


# -------------------------------------------------------------------------- predict


def test_the_prediction_starts_by_itself_and_once(visit: Visit, store: engine.Store, started: list[str]) -> None:
    study = stored.sample(store)
    app = visit("predict", study=study.id)
    assert started == ["efficiency"]
    assert app.progress
    app.run()
    visit("predict", study=study.id)
    assert started == ["efficiency"]


def test_the_prediction_is_marked_as_one(visit: Visit, store: engine.Store, started: list[str]) -> None:
    study = stored.sample(store)
    stored.add_efficiency(store, study)
    app = visit("predict", study=study.id)
    said = words(app)
    assert "nothing trained yet" in said
    assert "not calibrated" in said
    assert len(app.get("plotly_chart")) == 1
    assert len(app.metric) == 3
    low_to_high = re.search(r"80% interval (.*?)\)", engine.efficiency(0.21).summary())[1]
    assert app.metric[2].delta == low_to_high
    assert f"80% interval {low_to_high}" in said
    assert "usual course" not in said
    assert started == []


def test_a_prediction_that_the_data_do_not_enter_says_so(visit: Visit, store: engine.Store) -> None:
    study = stored.sample(store)
    stored.add_efficiency(store, study, family=engine.RunSettings().model, scores={0: 0.0})
    said = words(visit("predict", study=study.id))
    assert "the usual course of 19 other tasks with this model, into which your texts and labels do not enter; " in said


def test_a_study_without_a_pool_has_its_curve_and_no_error(visit: Visit, store: engine.Store) -> None:
    labels = store.save_file("labels.csv", stored.SAMPLE / "labels.csv")
    study = store.create_study("No pool", labels, None, engine.guess_roles(labels.read()), engine.Question())
    stored.add_efficiency(store, study)
    app = visit("predict", study=study.id)
    assert len(app.get("plotly_chart")) == 1
    assert [info.value for info in app.info if "There is no pool" in info.value]


def test_a_run_that_trains_nothing_leaves_the_curve_where_it_was(visit: Visit, store: engine.Store) -> None:
    study = stored.sample(store)
    stored.add_efficiency(store, study)
    for strategy in ("labels-only", "zero-shot"):
        run = store.create_run(study.id, "run", engine.RunSettings(strategy=strategy))
        store.update_run(run.id, state="running", stage="Fitting models", progress=0.4)
        assert len(visit("predict", study=study.id).get("plotly_chart")) == 1
        stored.finish(store, run)
        app = visit("predict", study=study.id)
        assert len(app.get("plotly_chart")) == 1
        assert len(app.metric) == 3


def test_trials_are_not_forgotten_for_a_prediction_made_after_them(
    visit: Visit, store: engine.Store, started: list[str]
) -> None:
    study = stored.sample(store)
    run = stored.add_plan(store, study)
    stored.save(store, run, {"efficiency": engine.efficiency(0.21, scores={25: 0.2, 50: 0.3}).to_dict()})
    assert "Measured on trials" in words(visit("predict", study=study.id))
    assert started == []
    stored.add_efficiency(store, study)
    assert "nothing trained yet" not in words(visit("predict", study=study.id))


def test_a_failed_prediction_shows_its_sentence_and_a_way_on(visit: Visit, store: engine.Store) -> None:
    study = stored.sample(store)
    run = store.create_run(study.id, "efficiency", engine.RunSettings())
    store.update_run(run.id, state="failed", error="The model cannot be found: name a folder.")
    app = visit("predict", study=study.id)
    assert "The model cannot be found" in words(app)
    assert button(app, "resume")


@pytest.fixture
def planned(store: engine.Store) -> engine.Study:
    """The sample with a finished pilot."""
    study = stored.sample(store)
    stored.add_plan(store, study)
    return study


# ------------------------------------------------------------------------------ run


def test_the_run_page_says_what_it_needs_and_starts_one_run(
    visit: Visit, store: engine.Store, planned: engine.Study, started: list[str]
) -> None:
    app = visit("run", study=planned.id)
    assert app.metric[0].label == "Device"
    button(app, "start").click().run()
    assert started == ["run"]
    assert "You can close this tab" in words(app)
    visit("run", study=planned.id)
    assert started == ["run"]


@pytest.mark.parametrize(
    ("page", "name"),
    [("run", "start"), ("predict", "label_more"), ("plan", "start_pilot"), ("data", "rectify_own")],
)
def test_a_click_meant_for_a_study_that_is_gone_starts_nothing_of_another(
    visit: Visit, store: engine.Store, started: list[str], page: str, name: str
) -> None:
    gone, other = stored.own(store), stored.own(store, confidence=0.9)
    for study in (gone, other):
        stored.add_efficiency(store, study)
        stored.add_plan(store, study)
    app = visit(page, study=gone.id)
    before = button(app, name)
    store.delete_study(gone.id)  # in another tab
    before.click().run()
    assert not app.exception
    assert app.query_params["study"] == other.id
    assert started == []
    assert engine.labellings(store, other.id) == ()


def test_no_fewer_labels_fine_tune_than_the_pilot_opens(
    visit: Visit, store: engine.Store, planned: engine.Study, started: list[str]
) -> None:
    app = visit("run", study=planned.id)
    app.selectbox(key="strategy").set_value("split").run()
    asked = app.number_input(key="finetune")
    assert (asked.min, asked.max, asked.value) == (50, 390, None)
    assert "The pilot opens 50 labels" in asked.help
    again = visit("plan", study=planned.id, s="8")
    next(button for button in again.button if button.label == "Continue to the run").click().run()
    again.switch_page("pages/run.py").run()
    again.selectbox(key="strategy").set_value("split").run()
    assert again.number_input(key="finetune").value == 50


def test_no_fewer_labels_fine_tune_than_earlier_pilots_of_the_same_seed_opened(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    earlier = store.create_run(planned.id, "plan", engine.RunSettings(learner="lora", seed=7))
    stored.save(store, earlier, {"trial lora 00200 00100 0": {"size": 100}})
    stored.finish(store, earlier)
    app = visit("run", study=planned.id)
    app.selectbox(key="strategy").set_value("split").run()
    app.number_input(key="finetune").set_value(60).run()
    app.number_input(key="seed").set_value(7).run()
    asked = app.number_input(key="finetune")
    assert (asked.min, asked.max) == (200, 390)
    assert asked.value is None
    assert asked.help == "Earlier pilots have opened 200 labels, and what a pilot has seen cannot rectify."


def test_a_run_reports_where_it_is_told_to_or_says_what_to_install(
    visit: Visit, store: engine.Store, planned: engine.Study, started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = visit("run", study=planned.id)
    for service in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, service, None)
        app.selectbox(key="report_to").set_value(service).run()
        assert f"pip install {service}" in words(app)
    installed = ModuleType("wandb")
    installed.__spec__ = ModuleSpec("wandb", None)
    monkeypatch.setitem(sys.modules, "wandb", installed)
    app.run()
    button(app, "start").click().run()
    (run,) = (run for run in store.runs(planned.id) if run.kind == "run")
    assert run.settings.report_to == "wandb"


def test_a_run_under_way_shows_its_own_settings_on_every_page(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    run = store.create_run(planned.id, "run", engine.RunSettings(learner="lora", strategy="split", finetune=120))
    store.update_run(run.id, state="running", stage="Fitting fold 3 of 10", progress=0.4)
    app = visit("run", study=planned.id)
    assert "LoRA, split, 120 labels to fine-tune" in words(app)
    assert "Fitting fold 3 of 10" in app.progress[0].text
    assert app.button(key="stop_keep")
    assert app.button(key="stop_discard").disabled
    assert "Fitting fold 3 of 10" in visit("data", study=planned.id).progress[0].text


@pytest.mark.parametrize(
    ("asked", "told"),
    [(10, "62 labels to fine-tune (10 asked for)"), (62, "62 labels to fine-tune,"), (None, "62 labels to fine-tune,")],
)
def test_a_finished_split_says_on_how_many_labels_it_fine_tuned(
    visit: Visit, store: engine.Store, planned: engine.Study, asked: int | None, told: str
) -> None:
    run = store.create_run(planned.id, "run", engine.RunSettings(strategy="split", finetune=asked))
    stored.save(store, run, {"details strategy": {"strategy": "split", "finetune": 62}})
    stored.finish(store, run)
    assert f"Probe, split, {told}" in words(visit("run", study=planned.id))


@pytest.mark.parametrize("state", ["failed", "interrupted", "stopped"])
def test_a_run_without_a_result_can_be_resumed(
    visit: Visit, store: engine.Store, planned: engine.Study, state: str
) -> None:
    run = store.create_run(planned.id, "run", engine.RunSettings())
    store.update_run(run.id, state=state, error="Out of memory: take the probe." if state == "failed" else None)
    app = visit("run", study=planned.id)
    assert app.button(key=f"resume_{run.id}")
    assert app.error if state == "failed" else app.warning
    app.button(key="delete_run").click().run()
    assert not [run for run in store.runs(planned.id) if run.kind == "run"]


def test_a_finished_run_leads_to_its_results(visit: Visit, store: engine.Store, planned: engine.Study) -> None:
    stored.add_run(store, planned)
    app = visit("run", study=planned.id)
    assert "Finished in 60 s" in "\n".join(alert.proto.title for alert in app.success) + words(app)
    app.button(key="new_run_button").click().run()
    assert button(app, "start")


def test_a_run_under_way_comes_before_a_new_one(visit: Visit, store: engine.Store, planned: engine.Study) -> None:
    run = stored.add_run(store, planned)
    app = visit("run", study=planned.id)
    store.update_run(run.id, state="running", stage="Fitting fold 3 of 10", progress=0.4)
    app.button(key="new_run_button").click().run()
    assert "Fitting fold 3 of 10" in app.progress[0].text
    stored.finish(store, run)
    app.run()
    assert "Finished in" in "\n".join(alert.proto.title for alert in app.success)


def test_the_first_trials_and_their_loss_are_seen_before_there_is_a_law(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    run = store.create_run(planned.id, "run", engine.RunSettings(learner="lora"))
    store.update_run(run.id, state="running", stage="Pilot", progress=0.1)
    app = visit("run", study=planned.id)
    assert not charts(app)
    stored.save(store, run, {"trial 00": stored.trial_rows(1.0, "lora")[0]})
    (run.folder / "losses.csv").write_text("fit,step,loss,rate\ntrial on 20 of 50,1,0.9,0.001\n", encoding="utf-8")
    app = visit("run", study=planned.id)
    assert len(charts(app)) == 2
    assert "scored on labels it has not seen" in words(app)


def test_a_run_that_trains_nothing_waits_for_no_trial(visit: Visit, store: engine.Store, planned: engine.Study) -> None:
    stored.add_alone(store, planned)
    app = visit("run", study=planned.id)
    assert "The law is drawn" not in words(app)
    assert not app.get("skeleton")


# ---------------------------------------------------------------- results and report


def test_results_and_report_need_a_run(visit: Visit, planned: engine.Study) -> None:
    for page in ("results", "report"):
        assert "no finished run" in words(visit(page, study=planned.id))


def test_the_answer_with_its_figures(visit: Visit, store: engine.Store, planned: engine.Study) -> None:
    run = stored.add_run(store, planned)
    estimate = engine.read_results(store, run).estimate
    app = visit("results", study=planned.id)
    assert estimate.summary().split("\n")[0] in words(app)
    assert [metric.label for metric in app.metric] == [
        "Estimate",
        "Labels saved",
        "Effective labels",
        "Bias of the model alone",
    ]
    # As on the Plan page, a share of the labels that labels alone would need.
    assert app.metric[1].value == f"{1 - estimate.labels_only.n / estimate.n_effective:.0%}"
    assert app.metric[3].value == estimate.bias()
    assert "- Strategy carried out: Cross-fit\n- Compute time: pilot: 3.1, predict: 2" in words(app)
    assert len(app.dataframe[0].value) == 3
    assert "The plan predicted" in words(app)
    assert len(app.get("plotly_chart")) == 1


def test_an_answer_by_labels_only_claims_no_model(visit: Visit, store: engine.Store, planned: engine.Study) -> None:
    stored.add_alone(store, planned)
    for page in ("run", "results"):
        app = visit(page, study=planned.id)
        assert "Labels only: no model has a part in this answer." in words(app)
        assert "Rectif" not in words(app)
    assert [metric.label for metric in app.metric] == ["Estimate", "Labels"]
    assert list(app.dataframe[0].value["Answer"]) == ["labels-only"]
    assert "Effective labels" not in app.dataframe[0].value
    assert "The answer, by labels only" in visit("report", study=planned.id).pills[0].options


def test_shares_are_shown_by_class(visit: Visit, store: engine.Store) -> None:
    study, _ = stored.add_shares(store)
    app = visit("results", study=study.id)
    assert {metric.label for metric in app.metric} == {"good", "bad"}
    assert len(app.dataframe[0].value) >= 4
    assert re.search(r"predicted ± \d+\.\d points .* for labels-only; the run achieved ± 7\.0 points", words(app))
    assert visit("report", study=study.id).get("iframe")
    said = visit("run", study=study.id).success[0].value
    share = r"[\d.]+% \([\d.]+% to [\d.]+%\)"
    assert re.search(
        rf"interval\\:\n-\s+bad\\: {share}\n-\s+good\\: {share}\n\n", said.replace("\\(", "(").replace("\\)", ")")
    )


def test_predicted_and_achieved_widths_of_several_classes_are_told_as_what_they_are(
    visit: Visit, store: engine.Store
) -> None:
    mean_square = "The half-width of several classes is the root mean square of theirs."
    for classes in (("good", "bad"), ("good", "fair", "bad")):
        study, _ = stored.add_shares(store, classes)
        said = words(visit("results", study=study.id))
        assert "Kept promise?" in said
        assert (mean_square in said) == (len(classes) > 2)


def test_groups_are_compared(visit: Visit, store: engine.Store) -> None:
    study = stored.own(store, estimand="groups")
    stored.add_own_run(store, study)
    app = visit("results", study=study.id)
    said = words(app)
    assert "How does rating differ by product" in said
    assert "Highest is backpack (3.55), lowest headphones (3.01)." in said
    assert "2 of 10 differences are certain: backpack is above headphones" in said
    assert [metric.label.split(":")[0] for metric in app.metric] == [
        "Highest",
        "Lowest",
        "Certain differences",
        "Largest gain",
    ]
    assert [tab.label for tab in app.tabs] == ["5 groups", "10 differences"]
    assert len(app.get("plotly_chart")) == 2
    assert len(app.dataframe[0].value) == 3 * 15
    report = visit("report", study=study.id).get("iframe")[0].proto.srcdoc
    assert "Differences between groups" in report


def test_quantiles_are_shown_like_a_mean(visit: Visit, store: engine.Store) -> None:
    study = stored.own(store, estimand="quantile", q=0.5)
    stored.add_own_run(store, study)
    app = visit("results", study=study.id)
    assert "What is the median rating" in words(app)
    assert app.metric[0].value == "3"
    assert "The plan predicted" not in words(app)
    assert "The median rating is" in visit("report", study=study.id).get("iframe")[0].proto.srcdoc


def test_results_follow_a_run_under_way(visit: Visit, store: engine.Store, planned: engine.Study) -> None:
    run = store.create_run(planned.id, "run", engine.RunSettings())
    store.update_run(run.id, state="running", stage="Fitting models", progress=0.4)
    app = visit("results", study=planned.id)
    assert any("Fitting models" in bar.text for bar in app.progress)
    store.update_run(run.id, state="failed", error="Out of memory: take the probe.")
    assert "Out of memory" in words(visit("results", study=planned.id, run=run.id))


def test_a_link_to_a_run_that_is_gone_says_so(visit: Visit, store: engine.Store, planned: engine.Study) -> None:
    run = stored.add_run(store, planned)
    for page in ("run", "results", "report"):
        app = visit(page, study=planned.id, run="deleted")
        said = [warning.value for warning in app.warning if "newest" in warning.value]
        assert said == ["There is no run deleted of this study here; the newest one is shown instead."]
        assert run.id in words(app) + "".join(caption.value for caption in app.caption)
        assert not app.run().exception
        assert "There is no run" not in words(app)
        assert "There is no run" not in words(visit(page, study=planned.id, run=run.id))
    failed = store.create_run(planned.id, "run", engine.RunSettings())
    store.update_run(failed.id, state="failed", error="Out of memory: take the probe.")
    assert "has no result; the newest one" in words(visit("report", study=planned.id, run=failed.id))


def test_a_link_to_a_run_of_a_study_without_any_says_so(
    visit: Visit, store: engine.Store, planned: engine.Study
) -> None:
    for page in ("run", "results", "report"):
        assert "There is no run deleted of this study here." in words(visit(page, study=planned.id, run="deleted"))


def test_the_report_follows_headline_and_figures(visit: Visit, store: engine.Store, planned: engine.Study) -> None:
    run = stored.add_run(store, planned)
    app = visit("report", study=planned.id)
    app.text_input(key=f"headline_{run.id}").set_value("Customers are content").run()
    assert not app.exception
    assert "Customers are content" in app.get("iframe")[0].proto.srcdoc
    assert len(app.get("download_button")) == 4
    app.text_input(key=f"headline_{run.id}").set_value("<script>alert(1)</script>").run()
    assert "<script>alert(1)" not in app.get("iframe")[0].proto.srcdoc


def test_a_report_without_figures_is_still_a_report(visit: Visit, store: engine.Store, planned: engine.Study) -> None:
    run = stored.add_run(store, planned)
    app = visit("report", study=planned.id)
    app.pills(key=f"figures_{run.id}").set_value([]).run()
    assert not app.exception
    assert "Labelwise report" in app.get("iframe")[0].proto.srcdoc
