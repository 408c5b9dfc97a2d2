"""Pooled states kept on disk under a hash of model and text, so that no text is embedded twice.

Of each text the mean token states of the last three layers are kept, as half-precision numbers: 2.3 kB at width 384.
"""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.learning.models import Encoder, Progress, batches, mean_pool, silent

Vectors = NDArray[np.float32]
_PER_QUERY = 500
_LAYERS = 3
_LARGEST = 65504.0  # of half precision


@torch.inference_mode()
def pooled_states(encoder: Encoder, texts: list[str], progress: Progress = silent) -> NDArray[np.float16]:
    """Return mean token states of the last three layers (fewer where there are fewer), the last layer last.

    Shape (len(texts), layers, width).
    """
    ids = encoder.tokenize(texts) if texts else []
    out: NDArray[np.float16] | None = None
    done = 0
    for batch in batches(ids):
        inputs, mask = encoder.pad([ids[i] for i in batch])
        layers = _last_layers(encoder.model, inputs, mask)
        pooled = torch.stack([mean_pool(states.float(), mask) for states in layers], dim=1)
        rows = pooled.clamp(-_LARGEST, _LARGEST).cpu().numpy().astype(np.float16)
        out = np.empty((len(ids), *rows.shape[1:]), np.float16) if out is None else out
        out[batch] = rows
        done += len(batch)
        progress(done / len(texts))
    return np.empty((0, 1, encoder.width), np.float16) if out is None else out


def _last_layers(model: Any, inputs: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    """States of the last layers, each (batch, tokens, width); of the last one alone where the layers are no list."""
    count = getattr(model.config, "num_hidden_layers", 0)
    lists = (part for part in model.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == count)
    below = list(next(lists, []))[-_LAYERS:-1]
    kept: list[torch.Tensor] = []
    # Asking transformers for the hidden states would leave its hooks on the model for good.
    hooks = [layer.register_forward_hook(lambda _layer, _inputs, out: kept.append(_states(out))) for layer in below]
    try:
        last = model(input_ids=inputs, attention_mask=mask).last_hidden_state
    finally:
        for hook in hooks:
            hook.remove()
    return [*kept, last]


def _states(out: Any) -> torch.Tensor:
    return torch.as_tensor(out[0] if isinstance(out, tuple) else out)


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
        self._connection.execute("CREATE TABLE IF NOT EXISTS states (text BLOB PRIMARY KEY, vector BLOB)")

    def embed(self, texts: list[str], progress: Progress = silent) -> Vectors:
        """Return mean-pooled last states of length one, shape (len(texts), width)."""
        last = self.states(texts, progress)[:, -1]
        return np.asarray(last / np.maximum(np.linalg.norm(last, axis=1, keepdims=True), 1e-12), dtype=np.float32)

    def states(self, texts: list[str], progress: Progress = silent) -> Vectors:
        """Return mean-pooled states, shape (len(texts), layers, width), computing only those not kept yet."""
        keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
        known = self._read(sorted(set(keys)))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            vectors = pooled_states(self._encoder, list(missing.values()), progress)
            known.update(zip(missing, vectors, strict=True))
            rows = [(key, known[key].tobytes()) for key in missing]
            with self._connection:
                self._connection.executemany("INSERT OR IGNORE INTO states VALUES (?, ?)", rows)
        progress(1.0)
        if not keys:
            return np.empty((0, 1, self._encoder.width), np.float32)
        return np.stack([known[key] for key in keys]).astype(np.float32)

    def _read(self, keys: list[bytes]) -> dict[bytes, NDArray[np.float16]]:
        known = {}
        for start in range(0, len(keys), _PER_QUERY):
            part = keys[start : start + _PER_QUERY]
            marks = ",".join("?" * len(part))
            query = f"SELECT text, vector FROM states WHERE text IN ({marks})"
            for key, vector in self._connection.execute(query, part):
                known[key] = np.frombuffer(vector, dtype=np.float16).reshape(-1, self._encoder.width)
        return known
