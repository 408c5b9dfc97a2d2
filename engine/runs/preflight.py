"""What a run will need, said before it starts: device, memory, time. Light: no model is loaded to tell."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import psutil

from engine.allocation.inputs import FEWEST
from engine.allocation.strategies import FEWEST_TO_RECTIFY
from engine.data import Dataset
from engine.data.sealing import Sealing, fewest_to_finetune
from engine.errors import ArgumentError, DataError
from engine.rectification.dataset import check_population
from engine.runs.pace import SECONDS_TO_FIT, SECONDS_TO_PREDICT, UNTRAINED, pilot_work, strategy_seconds
from engine.runs.states import DEFAULT_MODEL, RunKind, RunSettings

# As measured with the default model on two cores; a GPU is some twenty times faster.
_SECONDS_TO_START = 8.0
_IDLE_BYTES = 520 << 20  # of a worker that loads no model
_WORKER_BYTES = {"probe": 900 << 20, "lora": 1600 << 20, "full": 2200 << 20, "auto": 1600 << 20}
_GPU_SPEEDUP = 20.0


@dataclass(frozen=True)
class Preflight:
    """What a run will need.

    Attributes:
        device: Name of the GPU, or the number of CPU cores.
        memory_needed: Bytes the worker will take.
        memory_free: Bytes free now.
        seconds: Rough time of the run.
        sentences: What the user should know before the start.
    """

    device: str
    memory_needed: int
    memory_free: int
    seconds: float
    sentences: tuple[str, ...]


@cache
def gpu_name() -> str | None:
    """Return the first NVIDIA GPU's name as the driver's own tool tells it, or None."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.SubprocessError):  # a driver that hangs is none
        return None
    names = answer.stdout.strip().splitlines()
    return names[0] if answer.returncode == 0 and names else None


def require_seed(seed: int) -> None:
    """Require a seed that every generator takes; a run of an earlier day may be stored with another.

    Raises:
        ArgumentError: It is negative or too large.
    """
    if not 0 <= seed < 2**63:
        raise ArgumentError(f"seed is {seed}, but it must lie from 0 to {2**63 - 1}, such as 1.")


def require_service(name: str) -> None:
    """Require the package of the service that a run reports to; an empty name is none.

    Raises:
        ArgumentError: It is not installed.
    """
    if name and find_spec(name) is None:
        raise ArgumentError(
            f"The run is to report to {name}, which is not installed; `pip install {name}`, or report to nothing."
        )


def is_planned(kind: RunKind, settings: RunSettings) -> bool:
    """Return whether a run pilots a learner and makes a plan: one that trains nothing asks for neither."""
    return kind == "plan" or (kind == "run" and settings.strategy not in UNTRAINED)


def require_predictions(name: str, given: bool, kind: RunKind, settings: RunSettings) -> None:
    """Require predictions that the strategy zero-shot can rectify, before anything is loaded or trained.

    Whether a model writes its answers is known once its configuration has been read, which the worker does; that the
    default model writes none is known without.

    Args:
        name: Name of the labels file.
        given: Whether predictions come with the data.
        kind: What kind of run.
        settings: Its settings.

    Raises:
        ArgumentError: No predictions come with the data, and the default model writes none.
    """
    asked = kind in ("plan", "run") and settings.strategy == "zero-shot" and not given
    if asked and settings.model == DEFAULT_MODEL:
        raise no_predictions(name, settings.model)


def no_predictions(name: str, model: str) -> ArgumentError:
    """Return what is to be raised where the strategy zero-shot has nothing to rectify: no column, and no answers.

    Args:
        name: Name of the labels file.
        model: The model, which does not write.
    """
    return ArgumentError(
        f"The strategy zero-shot rectifies predictions, but no prediction column of {name} is named and {model} does "
        "not write answers; name the column (--prediction COLUMN on the command line, or on the Data page), a model "
        "that writes, or another strategy."
    )


def require_labels(dataset: Dataset, kind: RunKind, settings: RunSettings) -> None:
    """Require labels that a run can work with, and settings that suit them, before anything is loaded or trained.

    Args:
        dataset: The data; the pool is not looked at.
        kind: What kind of run.
        settings: Its settings.

    Raises:
        ArgumentError: The objective is one of classes, and the labels are numbers.
        DataError: The labels are fewer than a plan needs.
    """
    if not is_planned(kind, settings):
        return
    # The probe has a closed form: no objective is asked for.
    if settings.objective == "cross-entropy" and not dataset.classes and settings.learner != "probe":
        raise ArgumentError(
            f"The objective cross-entropy is one of classes, and the labels of {dataset.name} are numbers; take "
            "variance or mean-square."
        )
    if dataset.n < FEWEST:
        raise DataError(
            f"{dataset.name} has {dataset.n} labels, and a plan needs at least {FEWEST}; label {FEWEST - dataset.n} "
            "more, or run with the strategy labels-only."
        )


def preflight(dataset: Dataset, settings: RunSettings, population: str = "these") -> Preflight:
    """Estimate device, memory and time of a run.

    Args:
        dataset: The data.
        settings: The run's settings.
        population: What the answer is to speak of, "these" texts or a "larger" population.

    Raises:
        ArgumentError: The service that the run reports to is not installed, the objective does not suit the labels, or
            the strategy zero-shot has no predictions.
        DataError: The labels are fewer than a plan needs, or the pool too small for the population.
    """
    require_service(settings.report_to)
    require_predictions(dataset.name, dataset.predictions is not None, "run", settings)
    check_population(dataset, population)
    require_labels(dataset, "run", settings)
    gpu, cores = gpu_name(), psutil.cpu_count() or 1
    seconds = _SECONDS_TO_START + _seconds(dataset, settings) / (_GPU_SPEEDUP if gpu else max(cores / 2, 0.5))
    needed = _worker_bytes(dataset, settings) + _pool_bytes(dataset)
    free = int(psutil.virtual_memory().available)
    sentences = _sentences(dataset, settings, gpu, needed, free)
    return Preflight(gpu or f"CPU, {cores} cores", needed, free, seconds, sentences)


def _asks(dataset: Dataset, settings: RunSettings) -> bool:
    """Whether a model is asked for its answers, which did not come with the data."""
    return settings.strategy == "zero-shot" and dataset.predictions is None


def _worker_bytes(dataset: Dataset, settings: RunSettings) -> int:
    """What the worker takes beside the pool; a model that is asked is only read with, as under the probe."""
    if settings.strategy not in UNTRAINED:
        return _WORKER_BYTES[settings.learner]
    return _WORKER_BYTES["probe"] if _asks(dataset, settings) else _IDLE_BYTES


def _pool_bytes(dataset: Dataset) -> int:
    """The most that a pool takes: while its file is read, or with what is kept of each text and its prediction."""
    return 1000 * dataset.m + 8 * sum(map(len, dataset.pool_texts))


def _seconds(dataset: Dataset, settings: RunSettings) -> float:
    if settings.strategy in UNTRAINED:
        return SECONDS_TO_PREDICT * (dataset.n + dataset.m) if _asks(dataset, settings) else 0.0
    embedding = SECONDS_TO_PREDICT * (dataset.n + dataset.m if settings.learner == "probe" else dataset.n)
    sealing = Sealing.of(dataset.key, dataset.n, settings.seed, dataset.clusters)
    pace = SECONDS_TO_FIT[settings.learner]
    return embedding + pace * pilot_work(settings, sealing) + strategy_seconds(settings, dataset, pace)


def split_caution(n: int, settings: RunSettings, opened: int = 0) -> str:
    """Say how many of n labels fine-tune where a split cannot be as it is set; empty elsewhere.

    `opened` has the number of labels that earlier pilots have opened.
    """
    asked, first, last = settings.finetune, fewest_to_finetune(n), n - FEWEST_TO_RECTIFY
    fewest = max(first, opened)
    if settings.strategy != "split" or asked is None or fewest <= asked <= last:
        return ""
    if asked > last:
        return f"At least {FEWEST_TO_RECTIFY} labels must rectify: {last:,} labels fine-tune, not {asked:,}."
    seen = f"The pilot opens {first} labels first" if fewest == first else f"Earlier pilots opened {opened:,} labels"
    return f"{seen}, which cannot rectify any more: {fewest:,} labels fine-tune, not {asked:,}."


def _sentences(dataset: Dataset, settings: RunSettings, gpu: str | None, needed: int, free: int) -> tuple[str, ...]:
    trains = settings.strategy not in UNTRAINED
    sentences = []
    if caution := split_caution(dataset.n, settings):
        sentences.append(caution)
    if needed > free:
        remedy = "close other programs or choose the probe" if trains else "close other programs"
        sentences.append(
            f"The run needs about {needed / 2**30:.1f} GB of memory and {free / 2**30:.1f} GB are free; {remedy}."
        )
    if trains and settings.learner != "probe" and gpu is None:
        sentences.append("There is no GPU here, so fine-tuning runs on the CPU; the probe takes seconds instead.")
    if settings.model != DEFAULT_MODEL and (trains or _asks(dataset, settings)):
        sentences.append("Time and memory were measured with the default model; a larger one takes more of both.")
    return tuple(sentences)
