"""Checkpoints: where a fine-tuning stands, in files that outlive the process.

A checkpoint is called by the hash of what is trained on what and how, so that none is taken for another's. All that a
step depends on is in it or follows from the seed: a resumed training ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from time import monotonic
from typing import Any

import torch

_SECONDS = 30.0


@dataclass
class Checkpoints:
    """The checkpoints of a fine-tuning.

    Attributes:
        folder: Where they lie; None keeps none.
        seconds: A training that has come further is written down no more often than this.
        holding: Whether those that a fit has done with stay until `let_go`, for one who has yet to predict with it and
            may be stopped there.
    """

    folder: Path | None
    seconds: float = _SECONDS
    holding: bool = False
    _written: float = field(default_factory=monotonic)
    _held: list[str] = field(default_factory=list)

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a checkpoint, on the CPU; None where there is none or it cannot be read."""
        path = self._path(name)
        if path is None or not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (
            OSError,
            RuntimeError,
            EOFError,
            ValueError,
            KeyError,
            UnpicklingError,
        ):  # half written by a full disk: begin anew
            return None
        return state

    def is_due(self) -> bool:
        """Whether it is time to write down how far training has come."""
        return self.folder is not None and monotonic() - self._written >= self.seconds

    def write(self, name: str, state: dict[str, Any]) -> None:
        """Keep a state under a name; one that was there is replaced at once, or not at all.

        Where the disk has no room for it training goes on: what is lost is the time that it would have saved.
        """
        path = self._path(name)
        if path is None:
            return
        part, self._written = path.with_suffix(".part"), monotonic()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, part)
            os.replace(part, path)
        except (OSError, RuntimeError):  # torch tells a full disk as the latter
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def drop(self, names: Iterable[str]) -> None:
        """Delete some, and the folder once it is empty."""
        for path in filter(None, map(self._path, names)):
            path.unlink(missing_ok=True)
        if self.folder is not None and self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def done_with(self, names: Iterable[str]) -> None:
        """Delete those that a fit which has ended needs no more, at once or with `let_go`."""
        self._held += names
        if not self.holding:
            self.let_go()

    def let_go(self) -> None:
        """Delete those that were held."""
        self.drop(self._held)
        self._held.clear()

    def _path(self, name: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{name}.pt"
