"""Where a user's own calibrations lie, and which of them holds for a model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.efficiency import shipped
from engine.runs.calibrations import calibration_of, calibration_path

KIND = "explained variance"


def of(model):
    return replace(shipped()[KIND], name=model)


@pytest.mark.parametrize(
    ("one", "other"), [("/模型/日本", "/模型/中国"), ("me/bert_base", "me/bert-base"), ("/models/ü", "/models/é")]
)
def test_models_whose_names_differ_by_signs_alone_have_calibrations_of_their_own(one, other):
    for model in (one, other):
        of(model).save(calibration_path(model, "probe"))
    assert [calibration_of(model, "probe", KIND).name for model in (one, other)] == [one, other]
    assert calibration_of(one, "lora", KIND).name == KIND


def test_a_folder_deep_down_has_a_calibration():
    model = "/".join(["models"] * 60)
    assert calibration_of(model, "probe", KIND).name == KIND
    of(model).save(calibration_path(model, "probe"))
    assert calibration_of(model, "probe", KIND).name == model


def test_a_calibration_of_an_earlier_version_holds_for_the_model_that_it_names():
    of("me/bert_base").save(calibration_path("me/bert_base", "probe").with_name("me-bert-base-probe.json"))
    assert calibration_of("me/bert_base", "probe", KIND).name == "me/bert_base"
    assert calibration_of("me/bert-base", "probe", KIND).name == KIND
    of("/模型/日本").save(calibration_path("/模型/日本", "probe").with_name("-probe.json"))
    assert calibration_of("/模型/日本", "probe", KIND).name == "/模型/日本"
    assert calibration_of("/模型/中国", "probe", KIND).name == KIND
