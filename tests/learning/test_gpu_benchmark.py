"""The benchmark of a GPU: what it runs there, in small on the CPU, and what it says where there is no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def last_line(*arguments):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "LABELWISE_SHARED": "nowhere", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return json.loads(done.stdout.splitlines()[-1]), done.stdout


def test_without_a_gpu_it_says_so():
    figures, said = last_line()
    assert figures == {"device": None}
    assert "no CUDA device" in said


@pytest.mark.slow
@pytest.mark.usefixtures("offline_model")
def test_every_part_runs_in_small():
    parts = ["step", "pilot", "coslow", *(["prediction"] if find_spec("sentence_transformers") else [])]
    figures, _ = last_line("--tiny", "--parts", ",".join(parts))
    assert figures["device"] == "cpu"
    assert all(of["tokens_per_second"] > 0 for of in figures["step"].values())
    assert len(figures["step"]) == 6
    assert figures["pilot"]["2 adapters"]["times_faster"] > 0
    assert -1 <= figures["coslow"]["coslow"] <= 1
    if "prediction" in parts:
        assert figures["prediction"]["labelwise"]["least_cosine_with_encode"] > 0.999


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device.")
def test_every_part_runs_in_small_on_a_gpu():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--tiny", "--parts", "step,pilot,coslow"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["device"] != "cpu"
