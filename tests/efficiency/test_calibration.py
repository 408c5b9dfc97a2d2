"""Calibrations: the shipped figures, learning from curves, the link to CoS-Low, tables at fault."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from engine.efficiency import COEFFICIENTS, Calibration, efficiency, family_of, learn, shipped
from engine.efficiency.levels import Recalibration
from engine.efficiency.link import Link, learn_link
from engine.efficiency.published import accuracy_calibrations, calibrations
from engine.efficiency.tasks import read_tasks, task_area
from engine.errors import ArgumentError, DataError


@pytest.fixture(scope="module")
def published(shared_data):
    return pd.read_csv(shared_data / "dataefficiency_curves.csv"), pd.read_csv(shared_data / "coslow_llama.csv")


def test_the_shipped_figures_are_those_of_the_published_curves(published):
    found = calibrations(*published)
    assert set(found) == {"llama", "mistral", "qwen", "accuracy", "explained variance"} <= set(shipped())
    for name, calibration in found.items():
        again = Calibration.from_dict(json.loads(json.dumps(calibration.to_dict())))
        there = shipped()[name]
        assert (again.kind, again.source, again.link.coefficients) == (
            there.kind,
            there.source,
            there.link.coefficients,
        )
        assert again.recalibration.sizes == there.recalibration.sizes
        for what in ("scores", "area", "labels"):
            np.testing.assert_allclose(
                getattr(again.recalibration, what), getattr(there.recalibration, what), atol=0.01
            )
        assert again.link.area_error == pytest.approx(there.link.area_error, abs=1e-5)
        for (weight, process), (old_weight, old) in zip(again.components, there.components, strict=True):
            assert (weight, process.sizes) == (old_weight, old.sizes)
            np.testing.assert_allclose(process.mean, old.mean, atol=1e-4)
            np.testing.assert_allclose(process.scatter, old.scatter, atol=1e-4)


def test_nothing_shipped_is_a_published_score(published):
    kept = {round(float(score), 6) for score in published[0]["score"] if 0.01 < score < 0.99}
    for calibration in shipped().values():
        for _, process in calibration.components:
            assert not kept & set(np.round(process.mean, 6))


def test_a_family_left_out_is_not_learned_from(published):
    curves, coslow = published
    one = accuracy_calibrations(curves[curves["family"] == "qwen"], coslow)
    assert [len(calibration.components) for calibration in one.values()] == [1, 1, 1, 1]
    assert {pair for c in one.values() for pair in c.link.coefficients} == set(COEFFICIENTS.values())


def test_a_families_own_process_is_likelier_until_the_scores_tell():
    weights = {name: [round(weight, 6) for weight, _ in shipped()[name].components] for name in ("llama", "qwen")}
    assert weights == {"llama": [0.8, 0.2], "qwen": [0.2, 0.8]}
    assert [weight for weight, _ in shipped()["mistral"].components] == [0.5, 0.5]


def test_coefficients_of_other_models_leave_more_doubt():
    area, variance = shipped()["accuracy"].link.area(0.3)
    lines = [c * 0.3 + intercept for c, intercept in COEFFICIENTS.values()]
    assert area == pytest.approx(np.mean(lines))
    assert variance == pytest.approx(np.var(lines, ddof=1) * 4 / 3)
    assert shipped()["llama"].link.area(0.3) == (pytest.approx(0.4735), 0.0)
    assert [shipped()[name].own for name in ("llama", "mistral", "accuracy", "explained variance")] == [
        True,
        True,
        False,
        False,
    ]


def made_curves(tasks=10, slope=0.0, seed=0):
    """Curves of explained variances that rise by a task's own amount, and a CoS-Low with or without a link to them."""
    rng = np.random.default_rng(seed)
    rows, cosines = [], []
    for i in range(tasks):
        # How early a task rises decides its area.
        early = rng.uniform(0.3, 2.5)
        for n in (0, 50, 100, 200, 500, 1000, 2500, 5000):
            x = np.log2(max(n, 1)) / np.log2(5000)
            rows.append((f"task{i}", n, 0.6 * x**early, 1000))
        cosines.append((f"task{i}", 0.4 - slope * early + rng.normal(0, 0.02)))
    curves = pd.DataFrame(rows, columns=["task", "n", "score", "test_size"])
    return curves, pd.DataFrame(cosines, columns=["task", "coslow"])


def test_a_calibration_learns_the_curves_of_its_model():
    learned = learn(made_curves()[0], name="mine")
    pilot = {0: 0.0, 100: 0.25}
    mine, general = (
        efficiency(family=family, scores=pilot, test_size=1000) for family in (learned, "explained variance")
    )
    truth = 0.6
    assert abs(mine.curve([5000])["median"][0] - truth) < 0.05
    assert np.ptp(mine.curve([5000])[["low", "high"]]) < 0.85 * np.ptp(general.curve([5000])[["low", "high"]])
    assert (mine.family, mine.calibrated, general.calibrated) == ("mine", True, False)


def test_coslow_is_used_where_it_helps_and_not_where_it_does_not():
    helpful = learn(*made_curves(slope=0.15), name="mine")
    c, intercept = helpful.link.coefficients[0]
    assert helpful.link.errors["with"] < 0.5 * helpful.link.errors["without"]
    assert efficiency(0.3, family=helpful).auc == pytest.approx(c * 0.3 + intercept)
    assert "with it." in helpful.summary()
    useless = learn(*made_curves(slope=0.0, seed=0), name="mine")
    assert useless.link.coefficients == ()
    assert useless.link.errors["with"] >= useless.link.errors["without"]
    assert "says little for this model" in useless.summary()
    assert efficiency(0.3, family=useless).auc == efficiency(-0.3, family=useless).auc


def test_tasks_that_share_texts_are_left_out_together():
    areas = {"a-1": 0.2, "a-2": 0.2, "b": 0.4, "c": 0.6, "d": 0.8, "e": 0.5}
    coslow = {"a-1": 0.9, "a-2": 0.9, "b": 0.1, "c": 0.2, "d": 0.3, "e": 0.15}
    together = learn_link(areas, coslow)
    apart = learn_link(
        {k.replace("-", "_"): v for k, v in areas.items()}, {k.replace("-", "_"): v for k, v in coslow.items()}
    )
    assert together.errors["with"] > apart.errors["with"]


def test_the_error_of_the_link_is_that_of_a_loop_over_tasks(published):
    curves, coslow = published
    llama = curves[curves["family"] == "llama"].rename(columns={"human_ceiling": "ceiling"})
    areas = {task: task_area(part) for task, part in read_tasks(llama, "accuracy").items()}
    published_areas = llama.groupby("task")["published_auc"].first()
    assert all(areas[task] == pytest.approx(published_areas[task], abs=1e-9) for task in areas)
    x = coslow.set_index("task")["coslow"]
    errors = []
    for task in x.index:
        rest = x.drop(task)
        c, intercept = np.polyfit(rest, [areas[name] for name in rest.index], 1)
        errors.append(abs(c * x[task] + intercept - areas[task]))
    assert shipped()["llama"].link.errors["with"] == pytest.approx(np.mean(errors), abs=1e-5)


def test_a_few_tasks_draw_no_line():
    link = learn_link({"a": 0.3, "b": 0.5}, {"a": 0.1, "b": 0.2})
    assert link == Link((), 0.17, {}, 2)
    assert "Too few tasks" in learn(made_curves(3)[0], name="mine").summary()


def test_one_task_is_enough_to_lean_the_general_calibration():
    learned = learn(made_curves(1)[0], name="mine")
    assert all(np.linalg.eigvalsh(process.scatter).min() > 0 for _, process in learned.components)
    assert efficiency(family=learned, scores={0: 0.0, 50: 0.1}).measured


def test_an_explained_variance_starts_from_0_and_an_accuracy_does_not():
    curves = pd.DataFrame({"task": "a", "n": [50, 100], "score": [0.2, 0.3]})
    assert list(read_tasks(curves, "explained variance")["a"]["n"]) == [0, 50, 100]
    assert list(read_tasks(curves, "accuracy")["a"]["n"]) == [50, 100]
    assert task_area(read_tasks(curves, "accuracy")["a"]) is None
    assert task_area(read_tasks(curves.assign(score=-0.1), "explained variance")["a"]) is None


def test_a_calibration_survives_its_file(tmp_path):
    learned = learn(*made_curves(slope=0.1), name="org/model", source="made up")
    learned.save(tmp_path / "model.json")
    again = Calibration.load(tmp_path / "model.json")
    assert again.to_dict() == learned.to_dict()
    options = {"scores": {0: 0.0, 50: 0.1}, "test_size": 300}
    a, b = (efficiency(0.1, family=family, **options) for family in (learned, again))
    pd.testing.assert_frame_equal(a.curve(), b.curve(), atol=1e-3)
    assert (tmp_path / "model.json").stat().st_size < 20_000


def test_a_calibration_stored_without_levels_is_still_read():
    values = shipped()["llama"].to_dict()
    del values["recalibration"]
    assert Calibration.from_dict(values).recalibration == Recalibration()


def test_a_model_without_a_calibration_takes_the_general_one():
    assert family_of("org/unheard-of").name == "explained variance"
    assert family_of("org/unheard-of", "accuracy").name == "accuracy"
    assert family_of("llama", "accuracy").name == "llama"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"score": 1.2}, "Row 1 of curves has 1.2 as score; it must be at most 1."),
        ({"score": "good"}, "has good as score"),
        ({"n": -50}, "has -50 as n; it must be a whole number from 0"),
        ({"n": 2.5}, "has 2.5 as n"),
        ({"ceiling": 1.5}, "has 1.5 as ceiling"),
        ({"test_size": 0}, "has 0.0 as test_size; it must be above 0"),
        ({"n": 100}, "only once with the same n"),
        ({"task": None}, "has nan as task"),
    ],
)
def test_a_value_at_fault_is_named_with_its_row(change, sentence):
    curves = pd.DataFrame({"task": "a", "n": [50, 100, 200], "score": [0.1, 0.2, 0.3]}).astype(object)
    for column, value in change.items():
        curves[column] = [value, *curves.get(column, pd.Series([None] * 3))[1:]]
    with pytest.raises(DataError) as fault:
        learn(curves, name="mine")
    assert sentence in str(fault.value)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"curves": pd.DataFrame({"task": ["a"], "n": [50]})}, DataError, "curves has no column 'score'"),
        ({"curves": pd.DataFrame({"task": [], "n": [], "score": []})}, DataError, "curves holds no row"),
        ({"coslow": pd.DataFrame({"task": ["a"], "coslow": [1.4]})}, DataError, "1.4 for a, but a cosine"),
        ({"coslow": pd.DataFrame({"task": ["a"]})}, DataError, "coslow has no column 'coslow'"),
        ({"kind": "loss"}, ArgumentError, "kind is 'loss'; it can be accuracy or explained variance"),
    ],
)
def test_tables_at_fault_are_refused_in_a_sentence(options, error, sentence):
    given = {"curves": made_curves(2)[0], **options}
    with pytest.raises(error, match=sentence):
        learn(given.pop("curves"), name="mine", **given)


@pytest.mark.parametrize(("text", "sentence"), [(None, "cannot be read"), ("[1]", "no calibration"), ("{", "no calib")])
def test_a_file_that_holds_no_calibration_is_refused(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "wrong.json").write_text(text)
    with pytest.raises(DataError, match=sentence):
        Calibration.load(tmp_path / "wrong.json")
