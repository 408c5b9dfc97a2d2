"""The sample data are what their script makes, and the truth is the truth."""

import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.data import Roles, check_data, guess_roles, prepare, read_table

SAMPLE = Path(__file__).resolve().parents[2] / "sample_data"


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    runpy.run_path(str(SAMPLE / "make_sample.py"))["write"](folder)
    return folder


@pytest.mark.parametrize("name", ["labels.csv", "pool.csv", "truth.json"])
def test_the_script_reproduces_the_files_byte_for_byte(remade: Path, name: str) -> None:
    assert (remade / name).read_bytes() == (SAMPLE / name).read_bytes()


def test_the_truth_agrees_with_the_script_and_with_the_labels() -> None:
    truth = json.loads((SAMPLE / "truth.json").read_text())
    rows = pd.DataFrame(runpy.run_path(str(SAMPLE / "make_sample.py"))["make_rows"]())
    assert len(rows) == truth["rows"] == 4400
    assert truth["mean_rating"] == pytest.approx(rows["rating"].mean(), abs=1e-6)
    by_product = rows.groupby("product")["rating"].mean()
    assert truth["mean_rating_by_product"] == pytest.approx(by_product.to_dict(), abs=1e-6)
    assert sum(truth["share_by_rating"].values()) == pytest.approx(1, abs=1e-5)
    labels = read_table(SAMPLE / "labels.csv").frame["rating"]
    assert abs(labels.mean() - truth["mean_rating"]) < 3 * labels.std() / len(labels) ** 0.5


def test_the_model_flatters_as_the_readme_says() -> None:
    rows = pd.DataFrame(runpy.run_path(str(SAMPLE / "make_sample.py"))["make_rows"]())
    excess = rows["model_rating"] - rows["rating"]
    assert excess.mean() == pytest.approx(0.4, abs=0.05)
    assert excess.groupby(rows["product"]).mean().idxmax() == "headphones"
    assert np.corrcoef(rows["model_rating"], rows["rating"])[0, 1] == pytest.approx(0.6, abs=0.05)


def test_the_sample_goes_through_without_a_warning() -> None:
    labels, pool = read_table(SAMPLE / "labels.csv"), read_table(SAMPLE / "pool.csv")
    roles = guess_roles(labels, pool)
    assert roles == Roles("review", "rating", prediction="model_rating", group="product", id="id")
    assert {check.level for check in check_data(labels, pool, roles)} == {"ok"}
    data = prepare(labels, pool, roles)
    assert (data.n, data.m) == (400, 4000)
    assert len({*data.texts, *data.pool_texts}) == 4400
