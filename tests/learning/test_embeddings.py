"""The cache of embeddings: nothing is computed twice, also not by two processes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from engine.learning import embeddings
from engine.learning.embeddings import EmbeddingCache
from engine.learning.models import embed


def counted(monkeypatch):
    asked = []

    def count(encoder, texts, progress):
        asked.extend(texts)
        return embed(encoder, texts, progress)

    monkeypatch.setattr(embeddings, "embed", count)
    return asked


def test_nothing_is_computed_twice(tiny_encoder, phrases, tmp_path, monkeypatch):
    asked = counted(monkeypatch)
    cache = EmbeddingCache(tmp_path, tiny_encoder)
    first = cache.embed([*phrases[:30], *phrases[:10]])
    assert asked == phrases[:30]
    np.testing.assert_array_equal(first[:10], first[30:])
    cache.embed(phrases[:40])
    assert asked == phrases[:40]
    again = EmbeddingCache(tmp_path, tiny_encoder).embed(phrases[:40])
    assert asked == phrases[:40]
    np.testing.assert_array_equal(again[:30], first[:30])
    np.testing.assert_allclose(again, embed(tiny_encoder, phrases[:40]), atol=1e-5)


def test_models_do_not_share(tiny_encoder, phrases, tmp_path, monkeypatch):
    asked = counted(monkeypatch)
    EmbeddingCache(tmp_path, tiny_encoder).embed(phrases[:3])
    EmbeddingCache(tmp_path, replace(tiny_encoder, key="another")).embed(phrases[:3])
    assert len(asked) == 6


def test_many_texts_odd_texts_and_none(tiny_encoder, tmp_path):
    cache = EmbeddingCache(tmp_path, tiny_encoder)
    texts = [f"text {i}" for i in range(1203)]
    assert cache.embed(texts).shape == (1203, 32)
    assert cache.embed([]).shape == (0, 32)
    assert np.isfinite(cache.embed(["", "\ud800 broken", "🙂", "'; DROP TABLE embeddings; --"])).all()
    done = []
    cache.embed(texts, done.append)
    assert done == [1.0]


SCRIPT = """
import sys
from types import SimpleNamespace
import numpy as np
from pathlib import Path
from engine.learning import embeddings
embeddings.embed = lambda _encoder, texts, _progress: np.array([[float(t)] * 4 for t in texts], dtype=np.float32)
cache = embeddings.EmbeddingCache(Path(sys.argv[1]), SimpleNamespace(key="k", width=4))
print("ready", flush=True)
for start in range(0, 400, 20):
    values = cache.embed([str(i) for i in range(start, start + 40)])
    assert (values[:, 0] == np.arange(start, start + 40)).all()
"""


def test_two_processes_at_once_share_what_they_have(tmp_path, monkeypatch):
    asked = []

    def count(_encoder, texts, _progress):
        asked.extend(texts)
        return np.array([[float(text)] * 4 for text in texts], dtype=np.float32)

    monkeypatch.setattr(embeddings, "embed", count)
    cache = EmbeddingCache(tmp_path, SimpleNamespace(key="k", width=4))
    other = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with subprocess.Popen(other, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        for start in range(400, -20, -20):
            assert (cache.embed([str(i) for i in range(start, start + 40)])[:, 0] == range(start, start + 40)).all()
        assert process.wait() == 0
    asked.clear()
    cache.embed([str(i) for i in range(420)])
    assert asked == []
