"""The same pilot by a plain loop over transformers' Trainer with peft, and by Labelwise.

python benchmarks/pilot_speed.py [--sizes 50,100,200,400,800] [--seeds 5]

LoRA on EmoBank's valence with the default model: a trial for each size and seed, the labels of a seed nested, each
scored on the same 400 rows that no trial trains on. The plain loop is what one would write: a regression head, rank 8
on all linear layers, learning rate 1e-3, five epochs of batches of 16, the mean square, texts padded by the collator.
Trials take turns in one process. Printed are the time of all trials, their ratio, and the residual variance as a share
of the label variance, raw and under the best linear use of the predictions, with the difference over the trials and its
standard error (trials of a seed share their labels, so it is taken over seeds). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import warnings
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from peft import LoraConfig, TaskType, get_peft_model
from residual_variance import rows_of, shares
from tqdm import tqdm
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    logging,
)

from engine.learning.files import DEFAULT_MODEL, locate, offline_environment
from engine.learning.learners import Workbench

HELD_OUT = 400


def plainly(folder: str, texts: list[str], y: np.ndarray, unseen: list[str], seed: int) -> np.ndarray:
    """Fine-tune and predict as one would write it."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, problem_type="regression")
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, target_modules="all-linear")
    model = get_peft_model(model, config)
    mean, deviation = y.mean(), y.std()

    def rows(these: list[str], targets: np.ndarray) -> list[dict]:
        encoded = tokenizer(these, truncation=True, max_length=256)["input_ids"]
        return [{"input_ids": ids, "labels": float(t)} for ids, t in zip(encoded, targets, strict=True)]

    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output, learning_rate=1e-3, num_train_epochs=5, per_device_train_batch_size=16, seed=seed,
            per_device_eval_batch_size=32, report_to="none", save_strategy="no", logging_strategy="no",
            disable_tqdm=True,
        )  # fmt: skip
        train = rows(texts, (y - mean) / deviation)
        trainer = Trainer(model, arguments, train_dataset=train, data_collator=DataCollatorWithPadding(tokenizer))
        trainer.train()
        found = trainer.predict(rows(unseen, np.zeros(len(unseen)))).predictions
    return mean + deviation * np.asarray(found, dtype=float).reshape(-1)


def main() -> None:
    """Run the trials in turns and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="50,100,200,400,800")
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    sizes = [int(size) for size in chosen.sizes.split(",")]
    offline_environment()
    logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    texts, y = rows_of("valence")
    folder = locate(DEFAULT_MODEL)
    seconds = {"trainer": 0.0, "labelwise": 0.0}
    scores: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in seconds}
    with tempfile.TemporaryDirectory() as home, tqdm(total=2 * len(sizes) * chosen.seeds, leave=False) as bar:
        start = perf_counter()
        bench = Workbench.open(DEFAULT_MODEL, Path(home))  # a pilot loads the model once
        seconds["labelwise"] += perf_counter() - start
        for seed in range(chosen.seeds):
            order = np.random.default_rng(seed).permutation(len(y))
            held_out, rest = order[:HELD_OUT], order[HELD_OUT:]
            unseen = [texts[i] for i in held_out]
            for name in scores:
                scores[name].append([])
            for size in sizes:
                own, labels = [texts[i] for i in rest[:size]], y[rest[:size]]

                for name in seconds:
                    start = perf_counter()
                    if name == "trainer":
                        predictions = plainly(folder, own, labels, unseen, seed)
                    else:
                        model = bench.learner("lora", "variance", None).fit(own, labels, seed=seed)
                        predictions = model.predict(unseen, rough=True)  # as a trial of the pilot does
                    seconds[name] += perf_counter() - start
                    scores[name][-1].append(shares(y[held_out], predictions))
                    bar.update()
                    bar.write(f"seed {seed}, {size:3} labels, {name:9}: {scores[name][-1][-1][0]:.3f} raw, "
                              f"{scores[name][-1][-1][1]:.3f} linear, {perf_counter() - start:.1f} s")  # fmt: skip
    print(json.dumps(summary(sizes, seconds, {name: np.array(values) for name, values in scores.items()})))


def summary(sizes: list[int], seconds: dict[str, float], scores: dict[str, np.ndarray]) -> dict:
    """Print a table and return the figures; scores have shape (seeds, sizes, 2)."""
    print(f"{'labels':>8} {'trainer raw':>12} {'ours raw':>10} {'trainer linear':>15} {'ours linear':>12}")
    means = {name: values.mean(0) for name, values in scores.items()}
    for i, size in enumerate(sizes):
        theirs, ours = means["trainer"][i], means["labelwise"][i]
        print(f"{size:8} {theirs[0]:12.3f} {ours[0]:10.3f} {theirs[1]:15.3f} {ours[1]:12.3f}")
    gap = (scores["labelwise"] - scores["trainer"]).mean(1)  # (seeds, 2)
    error = gap.std(0, ddof=1) / np.sqrt(len(gap)) if len(gap) > 1 else np.full(2, np.nan)
    ratio = seconds["trainer"] / seconds["labelwise"]
    print(f"times faster: {ratio:.2f} (bar 2.5)")
    print(f"residual variance, ours less the Trainer's: raw {gap.mean(0)[0]:+.4f} (standard error {error[0]:.4f}), "
          f"linear {gap.mean(0)[1]:+.4f} ({error[1]:.4f})")  # fmt: skip
    return {
        "times_faster": round(ratio, 3),
        "sizes": sizes,
        "seeds": len(gap),
        "raw": {name: values[:, 0].round(4).tolist() for name, values in means.items()},
        "linear": {name: values[:, 1].round(4).tolist() for name, values in means.items()},
        "raw_difference": [round(float(gap.mean(0)[0]), 4), None if np.isnan(error[0]) else round(float(error[0]), 4)],
        "linear_difference": [
            round(float(gap.mean(0)[1]), 4), None if np.isnan(error[1]) else round(float(error[1]), 4)
        ],
        "cores": torch.get_num_threads(),
        "half_precision": bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()),
    }  # fmt: skip


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
