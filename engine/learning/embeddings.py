"""Pooled states kept on disk under a hash of model and text, so that no text is embedded twice.

Of each text the mean token states of the last three layers are kept, as single-precision numbers: 4.6 kB at width 384.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from engine.learning.faults import memory_told
from engine.learning.models import Encoder, Progress, silent
from engine.learning.prediction import pooled_layers

Vectors = NDArray[np.float32]
_PER_QUERY = 500
# Texts whose states are computed, then kept: 19 MB at width 384, and a stop loses seconds to minutes of work. With
# far fewer, the texts of a part would seldom find others of their length.
_PER_PART = 4096
_LAYERS = 3


def pooled_states(encoder: Encoder, texts: list[str], progress: Progress = silent) -> Vectors:
    """Return mean token states of the last three layers (fewer where there are fewer), the last layer last.

    Shape (len(texts), layers, width).

    Raises:
        ModelError: The memory does not suffice.
    """
    with memory_told(f"read texts with model {encoder.name}", "choose a smaller model"):
        return pooled_layers(encoder, encoder.tokenize(texts) if texts else [], layers=_LAYERS, progress=progress)


class EmbeddingCache:
    """Embeddings of one model in one SQLite file.

    Args:
        folder: Where the file lies; made if it is not there.
        encoder: The model whose embeddings are kept.
    """

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._encoder = encoder
        # Of two processes that turn a new file to WAL at once SQLite lets neither wait: one would fail.
        with FileLock(folder / "states.lock"):
            self._connection = sqlite3.connect(folder / f"states-{encoder.key}.db", timeout=60)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("CREATE TABLE IF NOT EXISTS states (text BLOB PRIMARY KEY, vector BLOB)")

    def embed(self, texts: list[str], progress: Progress = silent) -> Vectors:
        """Return mean-pooled last states of length one, shape (len(texts), width)."""
        last = self.states(texts, progress)[:, -1]
        return np.asarray(last / np.maximum(np.linalg.norm(last, axis=1, keepdims=True), 1e-12))

    def states(self, texts: list[str], progress: Progress = silent) -> Vectors:
        """Return mean-pooled states, shape (len(texts), layers, width), computing only those not kept yet.

        What is computed is kept part by part: where a run is stopped, the next one goes on after the last part.
        """
        keys = [_hash(text) for text in texts]
        places: dict[bytes, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        out = np.empty((0, 1, self._encoder.width), np.float32)
        for key, vector in self._vectors(dict(zip(keys, texts, strict=True)), progress):
            if not len(out):
                out = np.empty((len(texts), *vector.shape), np.float32)
            out[places[key]] = vector
        progress(1.0)
        return out

    def keep(self, texts: list[str], progress: Progress = silent) -> None:
        """Compute and keep the states of texts, of which no more than a part is held in memory."""
        for _ in self._vectors({_hash(text): text for text in texts}, progress):
            pass
        progress(1.0)

    def _vectors(self, missing: dict[bytes, str], progress: Progress) -> Iterator[tuple[bytes, Vectors]]:
        """Hashes and states of texts: first those that were kept, then the others, which are kept from now on."""
        for key, vector in self._read(sorted(missing)):
            del missing[key]
            yield key, vector
        keys, texts = list(missing), list(missing.values())
        for start in range(0, len(texts), _PER_PART):
            part = slice(start, start + _PER_PART)

            def whole(share: float, start: int = start, count: int = len(texts[part])) -> None:
                progress((start + share * count) / len(texts))

            vectors = pooled_states(self._encoder, texts[part], whole)
            rows = [(key, vector.tobytes()) for key, vector in zip(keys[part], vectors, strict=True)]
            with self._connection:
                self._connection.executemany("INSERT OR IGNORE INTO states VALUES (?, ?)", rows)
            yield from zip(keys[part], vectors, strict=True)

    def _read(self, keys: list[bytes]) -> Iterator[tuple[bytes, Vectors]]:
        for start in range(0, len(keys), _PER_QUERY):
            part = keys[start : start + _PER_QUERY]
            marks = ",".join("?" * len(part))
            query = f"SELECT text, vector FROM states WHERE text IN ({marks})"
            for key, vector in self._connection.execute(query, part).fetchall():
                yield key, np.frombuffer(vector, dtype=np.float32).reshape(-1, self._encoder.width)


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
