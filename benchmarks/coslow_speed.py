"""Time and memory of CoS-Low's cosines beside the plain loop, in one run.

    python benchmarks/coslow_speed.py [--rounds 21]

The plain loop is PEFT's LoRA (r = 64, all linear layers) and torch.autograd.grad for one example after another, each
gradient written into its row of a matrix made beforehand. Both see the same 32 examples: EmoBank sentences of low
confidence where the shared data is there, else rows of the sample data. They take turns, round by round, in float32 on
the CPU with torch's own number of threads. Models: the default encoder, and a Llama-type decoder with random weights
(6 layers, width 256, feed-forward 768, 8 heads over 2 key-value heads, 4,000 tokens learned from the texts).
Peak memory is what the process holds at most beyond the loaded model, each measured in a process of its own.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from engine.learning.cosines import cosines
from engine.learning.decoders import Answered, Decoder
from engine.learning.dialogues import answers, instruction
from engine.learning.gradients import Labelled, confidences, low_confidence, median_cosine
from engine.learning.models import embed, load_encoder
from engine.learning.probe import fit_ridge
from engine.learning.regressor import Regressor

LABELS = 320
WANTED = {"encoder": 4, "decoder": 2}
TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
Loss = Callable[[Any, int], torch.Tensor]


def main() -> None:
    """Time both ways in turns, measure their memory, print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--peak", nargs=2, metavar=("MODEL", "WAY"), help="measure the memory of one way and stop")
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*is_gradient_checkpointing")
    if chosen.peak:
        model, way = chosen.peak
        print(peak(*prepared(model), way))
        return
    print("model    tokens   loop s   ours s  faster  wanted  loop MB  ours MB")
    figures = {model: measured(model, chosen.rounds) for model in WANTED}
    print(json.dumps({"threads": torch.get_num_threads(), "rounds": chosen.rounds, **figures}))


def measured(model: str, rounds: int) -> dict[str, Any]:
    """Medians over rounds, and the memory of both ways."""
    examples, loss = prepared(model)
    seconds: dict[str, list[float]] = {"loop": [], "ours": []}
    for _ in range(rounds + 1):
        fresh = copy.deepcopy(examples.model)
        for way, call in (("loop", lambda fresh=fresh: loop(fresh, loss)), ("ours", lambda: cosines(examples))):
            begun = time.perf_counter()
            found = call()
            seconds[way].append(time.perf_counter() - begun)
            assert found.shape == (len(examples.ids), len(examples.ids))
    # The first round warms up.
    pairs = list(zip(seconds["loop"][1:], seconds["ours"][1:], strict=True))
    memory = {way: float(_alone("--peak", model, way)) for way in seconds}
    figure = {
        "tokens": sum(len(ids) for ids in examples.ids),
        "loop_seconds": round(statistics.median(a for a, _ in pairs), 3),
        "seconds": round(statistics.median(b for _, b in pairs), 3),
        "times_faster": round(statistics.median(a / b for a, b in pairs), 2),
        "wanted": WANTED[model],
        "loop_megabytes": memory["loop"],
        "megabytes": memory["ours"],
        "coslow": round(median_cosine(cosines(examples)), 4),
        "loop_coslow": round(median_cosine(loop(copy.deepcopy(examples.model), loss)), 4),
    }
    print(
        f"{model:8} {figure['tokens']:6,d} {figure['loop_seconds']:8.2f} {figure['seconds']:8.2f} "
        f"{figure['times_faster']:6.1f}x {figure['wanted']:6d}x {memory['loop']:8.0f} {memory['ours']:8.0f}",
        flush=True,
    )
    return figure


def loop(model: Any, loss: Loss, count: int = 32) -> np.ndarray:
    """The cosines by PEFT's adapter, one example at a time; the model is given away."""
    adapted = get_peft_model(model, LoraConfig(r=64, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear"))
    # A pooler's B takes no part.
    ups = [weight for name, weight in adapted.named_parameters() if "lora_B" in name and "pooler" not in name]
    rows = torch.empty(count, sum(weight.numel() for weight in ups))
    for i in range(count):
        start = 0
        for gradient in torch.autograd.grad(loss(adapted, i), ups):
            rows[i, start : start + gradient.numel()] = gradient.flatten()
            start += gradient.numel()
    rows /= rows.norm(dim=1, keepdim=True)
    return (rows @ rows.T).numpy()


def peak(examples: Labelled | Answered, loss: Loss, way: str) -> float:
    """Megabytes that a way takes at most beyond what is there before, the weights having been read once."""
    with torch.no_grad():
        loss(examples.model, 0)
    gc.collect()
    with suppress(OSError, AttributeError):  # on Linux: give back what is free, and take the highest mark down
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = highest()
    _ = loop(examples.model, loss) if way == "loop" else cosines(examples)
    return round(highest() - before, 1)


def highest() -> float:
    """Megabytes that this process held at most."""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def _alone(*arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]


def prepared(model: str) -> tuple[Labelled | Answered, Loss]:
    """The examples, and the loss of one of them under an adapted model."""
    texts, y = labels()
    encoder = load_encoder()
    vectors = embed(encoder, texts)
    chosen = low_confidence(confidences(vectors, y, None), np.random.default_rng(0))
    some = [texts[i] for i in chosen]
    if model == "decoder":
        return for_decoder(texts, some, y, chosen)
    target = (y - y.mean()) / y.std()
    head = fit_ridge(vectors, target)
    examples = Labelled(encoder, Regressor(encoder.model, head).eval(), encoder.tokenize(some), target[chosen, None])

    def loss(adapted: Any, i: int) -> torch.Tensor:
        module = examples.module
        states = adapted(input_ids=torch.tensor([examples.ids[i]])).last_hidden_state
        return ((module.read(states.mean(1)) - torch.tensor(examples.targets[i], dtype=torch.float32)) ** 2).sum()

    return examples, loss


def for_decoder(texts: list[str], some: list[str], y: np.ndarray, chosen: np.ndarray) -> tuple[Answered, Loss]:
    """The same texts, asked of a decoder."""
    tokenizer = learned(texts)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=8,
        num_key_value_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    decoder = Decoder("random", "random", tokenizer, LlamaForCausalLM(config).eval(), torch.device("cpu"))
    asked = decoder.questionnaire(instruction(y, None))
    pairs = zip(some, answers(y[chosen], None), strict=True)
    examples = Answered(decoder, [asked.dialogue(text, answer) for text, answer in pairs])

    def loss(adapted: Any, i: int) -> torch.Tensor:
        dialogue = examples.dialogues[i]
        ids, place = torch.tensor([dialogue.ids]), torch.tensor(dialogue.answer)
        logits = adapted(input_ids=ids, logits_to_keep=place - 1, use_cache=False).logits[0]
        return torch.nn.functional.cross_entropy(logits, ids[0, place])

    return examples, loss


def learned(texts: list[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of 4,000 byte pairs learned from texts (fewer where they do not hold so many)."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        [*texts, instruction(np.array([1.0, 4.5]), None)],
        trainers.BpeTrainer(vocab_size=4000, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", additional_special_tokens=special[1:])
    made.chat_template = TEMPLATE
    return made


def labels() -> tuple[list[str], np.ndarray]:
    """Texts with ratings: EmoBank's valence, or the sample data's."""
    root = Path(__file__).parents[1]
    shared = Path(os.environ.get("LABELWISE_SHARED", root / ".." / "shared"))
    file = next((f for f in (shared / "data" / "emobank.csv", shared / "emobank.csv") if f.exists()), None)
    frame = pd.read_csv(file or root / "sample_data" / "labels.csv").sample(LABELS, random_state=0)
    text, label = ("text", "valence") if file else ("review", "rating")
    return frame[text].astype(str).tolist(), frame[label].to_numpy(dtype=float)


if __name__ == "__main__":
    main()
