"""The slides: five, editable, with native charts."""

import sys

import pytest
from made_results import (
    HOSTILE,
    made_efficiency,
    made_groups,
    made_mean,
    made_plan,
    made_run,
    made_shares,
    made_study,
)

from engine.efficiency import efficiency
from engine.errors import RunError
from engine.report import write_report
from engine.runs import RunSettings


def opened(path):
    return pytest.importorskip("pptx").Presentation(str(path))


def texts_of(slide):
    shapes = [shape.text_frame.text for shape in slide.shapes if shape.has_text_frame]
    tables = [cell.text for shape in slide.shapes if shape.has_table for cell in shape.table.iter_cells()]
    return "\n".join([*shapes, *tables])


def charts_of(slide):
    return [shape.chart for shape in slide.shapes if shape.has_chart]


def test_five_slides_with_the_answer_and_native_charts(store, finished, tmp_path):
    pytest.importorskip("pptx")
    slides = opened(write_report(store, finished.id, tmp_path / "report.pptx", headline="Lukewarm")).slides
    assert [slide.shapes.title.text for slide in slides] == [
        "Lukewarm",
        "The answer, three ways",
        "The plan",
        "Method",
        "Settings to do it again",
    ]
    assert "it lies from 2.91 to 3.05" in texts_of(slides[0])
    low, value, high = charts_of(slides[1])[0].plots[0].series
    assert list(low.values) == [2.91, 2.88, 3.41]
    assert list(value.values) == [2.98, 3.02, 3.41]
    assert list(high.values) == [3.05, 3.16, 3.41]
    halves = charts_of(slides[2])[0].plots[0].series[0].values
    assert list(halves) == pytest.approx([record.half_width for record in made_plan().strategies])
    assert "arXiv 2311.01453" in texts_of(slides[3])
    assert "labelwise run labels.csv" in texts_of(slides[4])


@pytest.mark.parametrize("made", [made_mean, made_shares, made_groups])
def test_slides_of_labels_only_claim_no_model(store, tmp_path, made):
    pytest.importorskip("pptx")
    asked = {made_mean: {}, made_shares: {"estimand": "shares"}, made_groups: {"estimand": "groups", "group": "shop"}}
    study = made_study(store, classes=["praise", "complaint"] if made is made_shares else None, **asked[made])
    settings = RunSettings(strategy="labels-only")
    run = made_run(store, study, settings=settings, estimate=made().labels_only.to_dict())
    slides = opened(write_report(store, run.id, tmp_path / "report.pptx")).slides
    assert slides[1].shapes.title.text == "The answer, by labels only"
    assert not any("ectified" in texts_of(slide) for slide in slides)
    (chart,) = charts_of(slides[1])
    if made is made_shares:
        assert [series.name for series in chart.plots[0].series] == ["Labels only"]
    if made is made_mean:
        assert list(chart.plots[0].categories) == ["Labels only"]


def test_shares_become_columns_by_class(store, tmp_path):
    pytest.importorskip("pptx")
    study = made_study(store, label="topic", classes=["praise", HOSTILE], estimand="shares")
    run = made_run(store, study, estimate=made_shares(("praise", f"{HOSTILE}\x07")).to_dict())
    slides = opened(write_report(store, run.id, tmp_path / "report.pptx")).slides
    plot = charts_of(slides[1])[0].plots[0]
    assert list(plot.categories) == [HOSTILE, "praise"]
    assert [series.name for series in plot.series] == ["Rectified", "Labels only", "Model only"]
    assert "This run has no plan yet." in texts_of(slides[2])


def test_groups_become_a_chart_of_intervals(store, tmp_path):
    pytest.importorskip("pptx")
    study = made_study(store, group="shop", estimand="groups")
    run = made_run(store, study, estimate=made_groups().to_dict())
    slides = opened(write_report(store, run.id, tmp_path / "report.pptx")).slides
    plot = charts_of(slides[1])[0].plots[0]
    assert list(plot.categories) == ["shop 2", "shop 1", "shop 0"]
    low, value, high = (list(series.values) for series in plot.series)
    assert all(a < b < c for a, b, c in zip(low, value, high, strict=True))
    assert "All 3 differences are certain" in texts_of(slides[1])


def test_a_run_without_an_estimate_gives_slides_that_say_so(store, tmp_path):
    pytest.importorskip("pptx")
    run = made_run(store, made_study(store), "plan", plan=made_plan().to_dict())
    slides = opened(write_report(store, run.id, tmp_path / "report.pptx")).slides
    assert "There is no estimate yet" in texts_of(slides[1])


def test_slides_of_a_run_that_plans_nothing_have_no_empty_plan(store, tmp_path):
    pytest.importorskip("pptx")
    run = made_run(store, made_study(store), "efficiency", efficiency=made_efficiency().to_dict())
    slides = opened(write_report(store, run.id, tmp_path / "report.pptx")).slides
    assert [slide.shapes.title.text_frame.text for slide in slides][1:] == ["Method", "Settings to do it again"]


def test_slides_of_a_curve_that_rests_on_none_of_the_users_data_say_so(store, tmp_path):
    pytest.importorskip("pptx")
    curve = efficiency(family=RunSettings().model, scores={0: 0.0})
    run = made_run(store, made_study(store), "efficiency", efficiency=curve.to_dict())
    slides = opened(write_report(store, run.id, tmp_path / "report.pptx")).slides
    assert "into which your texts and labels do not enter" in texts_of(slides[0])


def test_without_python_pptx_one_sentence_says_what_to_install(store, finished, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pptx.api", None)
    with pytest.raises(RunError, match=r"pip install labelwise\[report\]"):
        write_report(store, finished.id, tmp_path / "report.pptx")
    assert list(tmp_path.glob("*.pptx")) == []
