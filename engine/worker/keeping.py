"""Predictions kept part by part: a run that was stopped goes on with the part in which it stopped."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.learning.models import Progress
from engine.runs import fingerprint

Floats = NDArray[np.float64]
Predict = Callable[[list[str], Progress], Floats]


def kept(predict: Predict, folder: Path, *key: object) -> Predict:
    """Return what takes the predictions of texts from a folder, or makes them and keeps them there.

    Args:
        predict: Makes them, shape (texts,) or (texts, k).
        folder: Where they are kept; made if it is not there.
        key: What tells them from other predictions of the same texts.
    """

    def take(texts: list[str], progress: Progress) -> Floats:
        path = folder / f"{fingerprint(*key, texts)}.npy"
        if not path.exists():
            predictions = predict(texts, progress)
            write(path, lambda file: np.save(file, predictions))
        progress(1.0)
        values: Floats = np.load(path)
        return values

    return take


def write(path: Path, save: Callable[[BinaryIO], None]) -> None:
    """Write a file that is there in full or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.part")
    with unfinished.open("wb") as file:
        save(file)
    os.replace(unfinished, path)
