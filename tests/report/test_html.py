"""The HTML report: one file, safe against hostile text, complete, and honest about what is missing."""

import json
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_results import HOSTILE, made_groups, made_mean, made_plan, made_quantile, made_run, made_shares, made_study

from engine.data import Roles
from engine.efficiency import efficiency, shipped
from engine.errors import ArgumentError, RunError
from engine.report import REPORT_FIGURES, command_line, gather, html_report, run_facts, settings_json, write_report
from engine.report.method import method
from engine.runs import Answers, Question, RunSettings, Selection, read_results


class Page(HTMLParser):
    """Collects elements and text outside of scripts and styles."""

    def __init__(self, document):
        super().__init__()
        self.elements, self.words, self._stack = [], [], []
        self.feed(document)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._stack.append(tag)

    def handle_endtag(self, tag):
        while self._stack and self._stack.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self._stack):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_report_says_the_answer_and_what_stands_behind_it(store, finished):
    text = Page(html_report(store, finished.id)).text
    for part in (
        "The mean star rating is 2.98, give or take 0.07",
        "What is the mean star rating of these 1,200 texts?",
        "The mean star rating of these 1,200 texts is 2.98; it lies from 2.91 to 3.05 with 95% confidence.",
        "300 labels did the work of 1,420; the interval is 47% narrower than by labels alone",
        "+0.43",
        "It would have said 3.41, outside the interval",
        "Twelve texts were cut to 256 tokens.",
        made_plan().why,
        "Predicted and achieved",
        "arXiv 2311.01453",
        "arXiv 2309.16598",
        "arXiv 2511.19486",
        "arXiv 2512.24991",
        "all-MiniLM-L6-v2",
        store.study(finished.study_id).labels_file.hash,
        "labelwise run labels.csv 'the pool.csv' --text 'review text' --label star_rating",
    ):
        assert part in text, part


def test_a_small_bias_is_told_with_its_sign(store):
    near = replace(made_mean(), model_only=2.9776)
    run = made_run(store, made_study(store), estimate=near.to_dict())
    assert f"Bias of the model alone {near.bias()} It would have said 2.98" in Page(html_report(store, run.id)).text
    assert near.bias() == "−0.0024"


def test_report_is_one_file_that_loads_nothing(store, finished):
    document = html_report(store, finished.id)
    page = Page(document)
    loading = [attributes for tag, attributes in page.elements if attributes.get("src") or tag in ("link", "iframe")]
    assert loading == []
    assert "default-src 'none'" in str(page.all("meta"))
    style = re.search(r"<style>(.*?)</style>", document, re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style
    assert "@media print" in style


def test_plotly_is_embedded_once_and_every_figure_has_its_data(store, finished):
    document = html_report(store, finished.id)
    assert document.count("plotly.js v") == 1
    data = re.findall(r'<script type="application/json" id="data-(\w+)">(.*?)</script>', document, re.S)
    assert {key for key, _ in data} == set(REPORT_FIGURES)
    assert all(json.loads(text)["data"] for _, text in data)
    assert all(plot["aria-label"] for plot in Page(document).all("div") if plot.get("class") == "plot")


def test_hostile_text_never_becomes_markup(store):
    study = made_study(store, label=HOSTILE, classes=["praise", HOSTILE], estimand="shares")
    run = made_run(store, study, estimate=made_shares().to_dict(), details={HOSTILE: HOSTILE, "notes": [HOSTILE]})
    document = html_report(store, run.id, headline=HOSTILE)
    assert "<script>alert" not in document
    assert "</script>alert" not in document
    page = Page(document)
    assert page.text.count(HOSTILE) >= 3
    assert len(page.all("script")) == 4


def test_shares_are_told_in_per_cent(store):
    study = made_study(store, label="topic", classes=["praise", "complaint"], estimand="shares", population="larger")
    plan = made_plan(label_variance=0.24).to_dict()
    run = made_run(store, study, estimate=made_shares(("praise", "complaint")).to_dict(), plan=plan)
    text = Page(html_report(store, run.id)).text
    assert "58% are “complaint”, give or take 3 points" in text
    assert "Of all texts like these 1,200, 58% are “complaint” (55% to 61%) and 42% are “praise” (39% to 45%)." in text
    assert "−10 points" in text or "+10 points" in text
    assert "--estimand shares --population larger" in text


def test_groups_are_told_from_highest_to_lowest_with_what_is_certain(store):
    study = made_study(store, group="sales_point", estimand="groups")
    plan = made_plan().to_dict()
    run = made_run(store, study, estimate=made_groups().to_dict(), plan=plan)
    document = html_report(store, run.id)
    text = Page(document).text
    for part in (
        "for shop 0 to",
        "the mean star rating is highest for shop 2 (",
        "and lowest for shop 0 (",
        "All 3 differences are certain: shop 2 is above shop 1 and shop 0; shop 1 is above shop 0.",
        "3 of 3",
        "Sales point",
        "shop 0 − shop 1",
        "a group, with fewer labels, has a wider interval and takes more",
        "--by sales_point --estimand groups",
    ):
        assert part in text, part
    assert "Predicted and achieved" not in text


def test_twenty_groups_stay_readable(store):
    study = made_study(store, group="shop", estimand="groups")
    run = made_run(store, study, estimate=made_groups(20, 0.05).to_dict())
    page = Page(html_report(store, run.id))
    assert "These are the 30 clearest of 190." in page.text
    assert len(page.all("tr")) < 20 + 30 + 30


def test_names_of_groups_never_become_markup(store):
    study = made_study(store, group="shop", estimand="groups")
    run = made_run(store, study, estimate=made_groups(2, names=[HOSTILE, "shop"]).to_dict())
    assert "<script>alert" not in html_report(store, run.id)


def test_shares_of_two_classes_by_group_are_told_in_per_cent(store):
    study = made_study(store, label="topic", classes=["no", "yes"], group="shop", estimand="groups")
    run = made_run(store, study, estimate=made_groups(3, 0.3, share=True).to_dict())
    text = Page(html_report(store, run.id)).text
    assert re.search(r"the share of “yes” is highest for shop 2 \(\d+%, \d+% to \d+%\)", text)
    assert re.search(r"shop 0 − shop 2 −[\d.]+ points −[\d.]+ to −[\d.]+ yes", text)


@pytest.mark.parametrize("lost", [False, True])
def test_the_widths_of_several_classes_are_told_as_what_they_are(store, lost):
    mean_square = "The half-width of several classes is the root mean square of theirs."
    for classes in (("a", "b"), ("a", "b", "c")):
        study = made_study(store, label="topic", classes=list(classes), estimand="shares")
        plan = made_plan(label_variance=0.22, shares=(1 / len(classes),) * len(classes))
        k = np.resize([0, 1], len(classes))
        made = replace(made_shares(classes), labels_only=None)
        made = replace(
            made, **{name: getattr(made, name)[k] for name in ("estimate", "ci_low", "ci_high", "model_only")}
        )
        run = made_run(store, study, estimate=made.to_dict(), plan=plan.to_dict())
        if lost:
            study.labels_file.path.unlink()
        text, several = Page(html_report(store, run.id)).text, len(classes) > 2
        assert "Predicted and achieved" in text
        assert (mean_square in text) == several
        assert ("a share near a half has a wider interval and takes more" in text) == several


@pytest.mark.parametrize(("q", "name", "option"), [(0.5, "median", "0.5"), (0.9, "0.9 quantile", "0.9")])
def test_quantiles_are_named(store, q, name, option):
    study = made_study(store, estimand="quantile", q=q)
    run = made_run(store, study, estimate=made_quantile(q).to_dict(), plan=made_plan().to_dict())
    text = Page(html_report(store, run.id)).text
    assert re.search(rf"The {name} star rating is [\d.]+ \([\d.]+ to [\d.]+\)", text)
    assert f"The {name} star rating of these 1,200 texts is" in text
    assert f"--estimand quantile={option}" in text
    assert "are those of the mean; the interval of a quantile has another width" in text


def test_a_mean_beside_a_group_column_says_what_it_asks_for(store):
    study = made_study(store, group="shop")
    assert "--by shop --estimand mean" in command_line(study, made_run(store, study))


@pytest.mark.parametrize("made", [made_mean, made_shares, made_groups])
def test_a_report_of_labels_only_claims_no_model(store, made):
    asked = {made_mean: {}, made_shares: {"estimand": "shares"}, made_groups: {"estimand": "groups", "group": "shop"}}
    study = made_study(store, classes=["praise", "complaint"] if made is made_shares else None, **asked[made])
    settings = RunSettings(strategy="labels-only")
    run = made_run(store, study, settings=settings, estimate=made().labels_only.to_dict())
    text = Page(html_report(store, run.id)).text
    assert "The answer, by labels only" in text
    assert "Labels only: no model has a part in this answer." in text
    assert "no model has a part in them" in text
    for part in ("ectif", "Model only", "Model:", "model alone", "three ways", "arXiv"):
        assert part not in text, part


@pytest.mark.parametrize("scores", [None, {0: 0.0, 50: 0.4}])
@pytest.mark.parametrize("family", ["sentence-transformers/all-MiniLM-L6-v2", "explained variance"])
def test_the_method_says_what_the_curve_of_this_run_rests_on(store, family, scores):
    curve = efficiency(0.2, family=family, scores=scores, test_size=50 if scores else None)
    details = {"calibration": shipped()[family].summary()}
    run = made_run(
        store, made_study(store), estimate=made_mean().to_dict(), efficiency=curve.to_dict(), details=details
    )
    text = Page(html_report(store, run.id)).text
    assert ("How far labels carry was measured on the pilot" in text) == bool(scores)
    assert ("predicted before any training" in text) != bool(scores)
    unused = not shipped()[family].link.coefficients
    assert ("was measured too, but is not used for this model" in text) == unused
    assert ("the curves of other tasks and CoS-Low" in text) != unused


@pytest.mark.parametrize(("made", "said"), [(made_mean, True), (made_shares, False)])
def test_the_method_speaks_of_cross_fitting_where_it_was_done(store, made, said):
    study = made_study(store, classes=None if made is made_mean else ["praise", "complaint"])
    run = made_run(store, study, estimate=made().to_dict())
    text = Page(html_report(store, run.id)).text
    assert ("Under cross-fitting" in text) == said
    assert ("arXiv 2309.16598" in text) == said
    assert "arXiv 2512.24991" not in text  # no curve was drawn


@pytest.mark.parametrize(("scores", "usual"), [({0: 0.0}, True), ({0: 0.0, 50: 0.4}, False)])
def test_a_curve_that_rests_on_none_of_the_users_data_says_so(store, scores, usual):
    curve = efficiency(family=RunSettings().model, scores=scores, test_size=50)
    assert bool(curve.usual_words()) == usual
    said = "with this model, into which your texts and labels do not enter"
    run = made_run(store, made_study(store), "efficiency", efficiency=curve.to_dict())
    (figure,) = gather(store, run.id).key_figures
    assert (said in figure.note) == usual
    # Beside a plan its caption alone tells.
    beside = made_run(store, made_study(store), plan=made_plan().to_dict(), efficiency=curve.to_dict())
    for each in (run, beside):
        captions = re.findall(r"<figcaption>(.*?)</figcaption>", html_report(store, each.id))
        assert any(f"{curve.summary()} {curve.usual_words()}".strip() in caption for caption in captions)
        assert any(f"{said}." in caption for caption in captions) == usual


CROSS, ALONE = "Under cross-fitting", "no model has a part in them"


@pytest.mark.parametrize(
    ("settings", "recommended", "said"),
    [
        ({"strategy": "split"}, "cross-fit", {"Rectifying:"}),
        ({"strategy": "cross-fit"}, None, {"Rectifying:", CROSS}),
        ({"strategy": "labels-only"}, None, {ALONE}),
        ({}, "zero-shot", {"Rectifying:"}),
        ({}, "cross-fit", {"Rectifying:", CROSS}),
        ({}, None, set()),
    ],
)
def test_without_an_estimate_the_method_is_what_was_asked_for_or_is_recommended(store, settings, recommended, said):
    steps = {"plan": replace(made_plan(), recommended=recommended).to_dict()} if recommended else {}
    run = made_run(store, made_study(store), state="stopped", settings=RunSettings(**settings), **steps)
    text = Page(html_report(store, run.id)).text
    assert {part for part in ("Rectifying:", CROSS, ALONE) if part in text} == said
    assert ("arXiv 2309.16598" in text) == (CROSS in said)
    assert "The interval speaks of exactly these texts" in text


def test_papers_are_numbered_as_the_method_cites_them(store, finished):
    found = method(store.study(finished.study_id), finished, read_results(store, finished))
    cited = [int(number) for number in re.findall(r"\[(\d)\]", " ".join(found[0]))]
    assert list(dict.fromkeys(cited)) == [1, 2, 3, 4]
    assert [source.text.split(",")[0] for source in found[1]][-1] == f"Model: {finished.settings.model}"
    assert len(found[1]) == 5


DETAILS = {
    "coslow": 0.2361, "examples": 20, "calibration": "CoS-Low was not tried on this model.", "strategy": "cross-fit",
    "finetune": 0, "seconds": 130.2, "cores": 2, "pilot_labels": 150, "texts_cut": 0, "device": "cpu",
    "model": RunSettings().model,
}  # fmt: skip


def test_how_it_was_done_is_told_in_words_without_what_means_nothing(store, finished):
    store.save_step_result(finished.id, "details", "other", DETAILS)
    assert run_facts(read_results(store, finished)) == [
        ("Strategy carried out", "Cross-fit"),
        ("Labels opened by the pilot", "150"),
        ("CoS-Low", "0.2361"),
        ("Texts CoS-Low was measured on", "20"),
        ("What CoS-Low tells", "CoS-Low was not tried on this model."),
        ("Compute time", "2 min"),
        ("Processor cores", "2"),
        ("Device", "cpu"),
        ("Model", RunSettings().model),
    ]
    alone = made_run(store, made_study(store), details={"strategy": "labels-only", "finetune": 0, "nothing": None})
    assert run_facts(read_results(store, alone)) == [("Strategy carried out", "Labels only")]


@pytest.mark.parametrize("strategy", ["auto", "labels-only", "zero-shot", "split", "cross-fit"])
def test_no_setting_is_told_twice_or_empty_or_without_meaning(store, strategy):
    done = {"strategy": "cross-fit" if strategy == "auto" else strategy, "model": RunSettings().model}
    run = made_run(store, made_study(store), settings=RunSettings(strategy=strategy, finetune=40), details=done)
    rows = gather(store, run.id).settings.rows
    names = [name for name, _ in rows]
    assert len(set(names)) == len(names)
    assert all(value for _, value in rows)
    assert ("Strategy carried out" in names) == (strategy == "auto")
    assert ("Labels to fine-tune" in names) == (strategy == "split")
    assert ("Folds of cross-fit" in names) == (strategy == "cross-fit")
    assert ("Learner" in names) == (strategy not in ("labels-only", "zero-shot"))
    assert not {"Losses reported to", "Price of a label", "Texts to select", "Drawn by"} & set(names)


def test_a_plan_without_an_estimate_says_so(store):
    run = made_run(store, made_study(store), "plan", plan=made_plan().to_dict())
    text = Page(html_report(store, run.id)).text
    assert "There is no estimate yet: this run was asked for a plan only. It shows a plan." in text
    assert made_plan().why in text
    assert "The answer, three ways" not in text


def test_a_report_of_labels_without_a_pool_asks_nothing_of_texts(store):
    frame = pd.DataFrame({"text": [f"a review, number {i}" for i in range(60)], "rating": np.resize([1, 2, 3], 60)})
    labels = store.save_file("labels.csv", frame.to_csv(index=False).encode())
    study = store.create_study("Reviews", labels, None, Roles("text", "rating"), Question())
    content = gather(store, made_run(store, study, "efficiency", efficiency=efficiency(0.2).to_dict()).id)
    text = Page(html_report(store, content.run.id)).text
    assert content.question == "How far do labels carry with this model?"
    assert content.dataset.n == 60
    assert not content.warnings
    assert "60 labelled texts." in text
    assert "How far labels carry was predicted before any training" in text
    for word in ("these 0", "these 60", "could not be read", "Rectifying", "interval speaks", "Question", "mean"):
        assert word not in text
    assert [source.text for source in content.sources][1:] == [f"Model: {RunSettings().model}"]


@pytest.mark.parametrize("labelled", [0, 30])
def test_a_report_of_a_selection_says_how_texts_were_chosen(store, labelled):
    frame = pd.DataFrame({"text": [f"a review, number {i}" for i in range(60)], "label": np.resize([1, 2, 3], 60)})
    frame["label"] = frame["label"].where(frame.index < labelled)
    pool = store.save_file("pool.csv", frame.to_csv(index=False).encode())
    study = store.create_study("Reviews", pool, None, Roles("text", "label"), Question())
    chosen = Selection((3,), (frame["text"][3],), (), "These 1 are a random sample of the pool.")
    content = gather(store, made_run(store, study, "select", selection=chosen.to_dict()).id)
    assert (content.headline, content.answer) == ("Reviews: what to label", chosen.why)
    assert content.method == (chosen.why,)
    assert not content.sources
    assert not any("could not be read" in warning for warning in content.warnings)
    assert (content.dataset is None) == (labelled == 0)
    assert "There is no pool" not in html_report(store, content.run.id)


def test_labels_saved_are_told_as_surely_as_they_are_known(store):
    sure = made_plan()
    alone = sure[sure.recommended].labels_alone
    assert not sure.may_gain_nothing
    text = Page(html_report(store, made_run(store, made_study(store), "plan", plan=sure.to_dict()).id)).text
    assert f"Labels it would save {sure.share_saved(sure[sure.recommended]):.0%} of the {alone:,} that" in text
    assert "not sure" not in text
    wide = tuple(replace(record, interval=(record.half_width, 1.0)) for record in sure.strategies)
    run = made_run(store, made_study(store), "plan", plan=replace(sure, strategies=wide).to_dict())
    text = Page(html_report(store, run.id)).text
    assert "Labels it would probably save" in text
    assert f"of the {alone:,} that labels alone would probably need; this is not sure" in text


def test_every_band_whose_ends_differ_is_shown(store):
    made = made_plan(label_degrees_of_freedom=40.0, zero_shot_degrees_of_freedom=40.0)
    assert all(record.interval[1] > record.interval[0] for record in made.strategies)
    run = made_run(store, made_study(store), plan=made.to_dict(), estimate=made_mean().to_dict())
    content = gather(store, run.id)
    assert all(re.search(r"^±[\d.]+ \([\d.]+ to [\d.]+\)$", row[3]) for row in content.strategies.rows)
    assert all(re.search(r"^[\d.]+ to [\d.]+$", row[2]) for row in content.achieved.rows)
    assert [row[0] for row in content.achieved.rows] == ["Cross-fit, 10 folds", "Labels only"]
    certain = made_run(store, made_study(store), plan=made_plan().to_dict(), estimate=made_mean().to_dict())
    content = gather(store, certain.id)
    bands = [row[3] for row in content.strategies.rows if row[0] in ("Labels only", "Rectify as it came")]
    assert not any("(" in band for band in bands)
    assert content.achieved.rows[1][2] == "–"


def test_a_failed_run_with_nothing_still_gives_a_report(store):
    run = made_run(store, made_study(store), state="failed")
    store.update_run(run.id, error="The memory did not suffice; choose a smaller model.")
    text = Page(html_report(store, run.id)).text
    assert "There is no estimate yet" in text
    assert "This run failed: the report shows what it has found so far. The memory did not suffice" in text


def test_lost_data_are_named_and_the_rest_is_shown(store, finished):
    store.study(finished.study_id).pool_file.path.unlink()
    text = Page(html_report(store, finished.id)).text
    assert "The data could not be read again for this report" in text
    assert "2.98" in text


def test_headline_and_figures_can_be_chosen(store, finished):
    document = html_report(store, finished.id, headline="Guests are lukewarm", figures=["plan"])
    page = Page(document)
    assert "Guests are lukewarm" in page.text
    assert [plot["id"] for plot in page.all("div") if plot.get("class") == "plot"] == ["plot-plan"]
    assert "plotly.js v" not in html_report(store, finished.id, figures=[])


def test_an_unknown_figure_or_run_is_named(store, finished):
    with pytest.raises(ArgumentError, match="'pie'; it can hold answer, efficiency"):
        html_report(store, finished.id, figures=["pie"])
    with pytest.raises(RunError, match="There is no run nowhere"):
        html_report(store, "nowhere")


def test_split_is_compared_with_the_plan_at_the_users_split(store):
    plan = made_plan(label_variance=0.24, population="larger")
    study = made_study(store, label="topic", classes=["praise", "complaint"], estimand="shares")
    settings = RunSettings(strategy="split", finetune=150)
    run = made_run(store, study, settings=settings, estimate=made_shares().to_dict(), plan=plan.to_dict())
    assert f"±{100 * plan.width(150):.1f} points" in Page(html_report(store, run.id)).text


@pytest.mark.parametrize(
    ("asked", "used", "why"),
    [
        (20, 37, ". The pilot opens 37 labels first, which cannot rectify any more: 37 labels fine-tune, not 20."),
        (40, 75, ". Earlier pilots opened 75 labels, which cannot rectify any more: 75 labels fine-tune, not 40."),
        (40, 40, ""),
    ],
)
def test_a_split_of_fewer_labels_than_pilots_open_is_explained(store, asked, used, why):
    settings = RunSettings(strategy="split", finetune=asked)
    made = made_plan(finetune_minimum=used)
    steps = {"plan": made.to_dict(), "details": {"strategy": "split", "finetune": used}}
    rows = dict(gather(store, made_run(store, made_study(store), settings=settings, **steps).id).settings.rows)
    assert rows["Labels that fine-tuned"] == str(used)
    assert rows["Labels to fine-tune"] == f"{asked}{why}"


def test_settings_hold_what_a_repetition_needs(store, finished):
    record = json.loads(settings_json(store, finished.id))
    study = store.study(finished.study_id)
    assert record["study"]["labels_file"]["sha256"] == study.labels_file.hash
    assert record["study"]["roles"]["text"] == "review text"
    assert record["run"]["settings"] == finished.settings.to_dict()
    assert record["command"] == command_line(study, finished)
    assert record["versions"]["python"]


@pytest.mark.parametrize(("population", "words"), [("these", "these texts"), ("larger", "all texts like these")])
def test_settings_say_of_which_texts_the_question_is(store, population, words):
    run = made_run(store, made_study(store, population=population))
    assert dict(gather(store, run.id).settings.rows)["Question"] == f"mean, {words}, 95%"


def test_command_names_only_what_differs_from_the_defaults(store):
    study = made_study(store, confidence=0.9)
    run = made_run(store, study, settings=RunSettings(strategy="split", finetune=40, half_width=0.2, keep="end"))
    assert command_line(study, run) == (
        "labelwise run labels.csv 'the pool.csv' --text 'review text' --label star_rating --confidence 0.9 "
        f"--strategy split --finetune 40 --half-width 0.2 --keep end -o run-{run.id}"
    )


def test_commands_before_a_plan_name_all_that_they_are_given(store):
    study = made_study(store)
    run = made_run(store, study, "efficiency", settings=RunSettings(seed=7, keep="end"))
    assert command_line(study, run).endswith(f"--model {RunSettings().model} --keep end --seed 7")
    run = made_run(store, study, "calibration", settings=RunSettings(learner="lora"))
    assert command_line(study, run).startswith("labelwise calibrate labels.csv ")
    assert command_line(study, run).endswith(f"--model {RunSettings().model} --learner lora ...")
    for answers, words in ((Answers(low=-1, high=5), "--rating=-1:5"), (Answers(("no", "a b")), "--classes 'no,a b'")):
        run = made_run(store, study, "select", settings=RunSettings(count=5, answers=answers))
        assert command_line(study, run).endswith(f"--label star_rating --count 5 {words}")


def test_command_names_nothing_that_the_strategy_does_not_look_at(store):
    run = made_run(store, study := made_study(store), settings=RunSettings(folds=20, finetune=40))
    assert "--folds" not in command_line(study, run)
    assert "--finetune" not in command_line(study, run)


def test_write_report_writes_the_file_whole(store, finished, tmp_path):
    path = write_report(store, finished.id, tmp_path / "new folder" / "report.html", headline="Lukewarm")
    assert "Lukewarm" in path.read_text(encoding="utf-8")
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("name", ["report.pdf", "report"])
def test_other_endings_are_refused_in_one_sentence(store, finished, tmp_path, name):
    with pytest.raises(ArgumentError, match=r"name it \.html for a web page or \.pptx for slides"):
        write_report(store, finished.id, tmp_path / name)


def test_a_folder_in_the_way_is_named(store, finished, tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(ArgumentError, match="cannot be written"):
        write_report(store, finished.id, tmp_path / "report.html")
    assert [file.name for file in tmp_path.iterdir() if file.name.endswith(".part")] == []


def test_the_extra_that_the_message_names_exists():
    settings = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert "python-pptx" in settings["project"]["optional-dependencies"]["report"]
