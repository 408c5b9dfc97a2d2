"""Embeddings kept on disk under a hash of model and text, so that no text is embedded twice."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.learning.models import Encoder, Progress, embed, silent

Vectors = NDArray[np.float32]
_PER_QUERY = 500


class EmbeddingCache:
    """Embeddings of one model in one SQLite file.

    Args:
        folder: Where the file lies; made if it is not there.
        encoder: The model whose embeddings are kept.
    """

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._encoder = encoder
        self._connection = sqlite3.connect(folder / f"embeddings-{encoder.key}.db", timeout=60)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS embeddings (text BLOB PRIMARY KEY, vector BLOB)")

    def embed(self, texts: list[str], progress: Progress = silent) -> Vectors:
        """Return embeddings of shape (len(texts), width), computing only those not kept yet."""
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        known = self._read(sorted(set(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            vectors = embed(self._encoder, list(missing.values()), progress)
            known.update(zip(missing, vectors, strict=True))
            rows = [(key, known[key].tobytes()) for key in missing]
            with self._connection:
                self._connection.executemany("INSERT OR IGNORE INTO embeddings VALUES (?, ?)", rows)
        progress(1.0)
        return np.stack([known[key] for key in keys]) if keys else np.empty((0, self._encoder.width), np.float32)

    def _read(self, keys: list[bytes]) -> dict[bytes, Vectors]:
        known = {}
        for start in range(0, len(keys), _PER_QUERY):
            part = keys[start : start + _PER_QUERY]
            marks = ",".join("?" * len(part))
            query = f"SELECT text, vector FROM embeddings WHERE text IN ({marks})"
            for key, vector in self._connection.execute(query, part):
                known[key] = np.frombuffer(vector, dtype=np.float32)
        return known
