"""What a GPU gives: a step of an 8B model, a pilot of a 0.5B one, CoS-Low of the 8B model, and prediction.

    python benchmarks/gpu.py [--parts step,pilot,coslow,prediction] [--rounds 5]

No weights are fetched: models have the sizes of Llama 3.1 8B and Qwen2.5 0.5B and random weights, made on the GPU in
bfloat16; texts and their tokens are EmoBank's where the shared data is there, else the sample data's.

    step        LoRA steps of the 8B model on 8 texts of 256 tokens, by Labelwise and by a plain loop over peft: on all
                linear layers ("plain"), and on those that Labelwise adapts ("plain same"); with activations kept and
                computed again. Tokens per second, and the most memory beyond the loaded model.
    pilot       Fine-tuning of the 0.5B model at several sizes: the folds' adapters in one batch, and one after another.
    coslow      The cosines of 32 examples on the 8B model: seconds, and the most memory beyond the loaded model.
    prediction  5,000 texts with the default model, beside sentence-transformers' `encode` on the same GPU, as it comes
                and in bfloat16.

Ways take turns, round by round; ratios are medians over rounds. Where there is no CUDA device it says so and ends with
status 0. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any

import numpy as np
import torch
from coslow_speed import labels, learned
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, logging

from engine.learning.averaging import Adapters, adapted
from engine.learning.checkpoints import Checkpoints
from engine.learning.cosines import cosines
from engine.learning.decoders import Answered, Decoder
from engine.learning.dialogues import answers
from engine.learning.files import offline_environment
from engine.learning.finetuning import fine_tune
from engine.learning.gradients import EXAMPLES, median_cosine
from engine.learning.label_tokens import Choices, ask
from engine.learning.models import device, load_encoder, precision
from engine.learning.prediction import pooled_layers
from engine.learning.recipe import Recipe
from engine.learning.training import Training, Watch

RATINGS = Choices.between(1, 5, "valence")
WARM_UP = 2  # steps
Figures = dict[str, Any]
LLAMA_8B = {
    "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5,
    "rope_parameters": {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}  # fmt: skip
QWEN_HALF_B = {
    "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
    "num_attention_heads": 14, "num_key_value_heads": 2, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
}  # fmt: skip
_SMALL = {
    "vocab_size": 4096, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Size:
    """How large the parts are.

    Attributes:
        large, small: Configurations of the two models.
        tokens, batch, steps: Tokens of a text, texts of a step, steps that are timed.
        labels, folds: Labels of the pilot's fits, and numbers of adapters that train side by side.
        examples: Of CoS-Low.
        texts: That are predicted.
    """

    large: Figures = field(default_factory=lambda: LLAMA_8B)
    small: Figures = field(default_factory=lambda: QWEN_HALF_B)
    tokens: int = 256
    batch: int = 8
    steps: int = 5
    labels: tuple[int, ...] = (50, 100, 200)
    folds: tuple[int, ...] = (3, 8)
    examples: int = EXAMPLES
    texts: int = 5000


TINY = Size(_SMALL, _SMALL, tokens=60, batch=4, steps=1, labels=(12,), folds=(2,), examples=4, texts=20)


def main() -> None:
    """Measure the parts that were asked for; print what was found and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if not (torch.cuda.is_available() or chosen.tiny):
        print("There is no CUDA device here: nothing was measured.")
        print(json.dumps({"device": None}))
        return
    offline_environment()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, message=".*is_gradient_checkpointing")
    figures: Figures = {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"}
    size, rounds = (TINY, 1) if chosen.tiny else (Size(), chosen.rounds)
    for part in chosen.parts.split(","):
        try:
            figures[part] = PARTS[part](size, rounds)
        except torch.OutOfMemoryError:
            figures[part] = "the GPU has not enough memory"
        print(f"{part}: {json.dumps(figures[part], indent=2)}", flush=True)
        _emptied()
    print(json.dumps({**figures, "rounds": rounds, "tiny": chosen.tiny}))


# ------------------------------------------------------------------------------ parts


def step(size: Size, rounds: int) -> Figures:
    """LoRA steps of the large model."""
    decoder = random_decoder(LlamaConfig(**size.large))
    texts, y = long_texts(decoder, size.tokens, size.batch * (size.steps + WARM_UP))
    figures: Figures = {}
    for again in (False, True):
        recipe = Recipe.suited(decoder.model, "lora", "variance", len(texts))
        recipe = replace(recipe, checkpointing=again, batch_size=size.batch, micro_batch=size.batch, epochs=1, steps=1)
        ways: dict[str, Callable[[], list[float]]] = {
            "labelwise": lambda recipe=recipe: ours(decoder, texts, y, recipe),
            "plain": lambda recipe=recipe: plainly(decoder, texts, y, recipe, "all-linear"),
            "plain same": lambda recipe=recipe: plainly(
                decoder, texts, y, recipe, adapted(decoder.model, recipe.frozen)
            ),
        }
        found = in_turns(ways, rounds)
        for way, of in found.items():
            of["tokens_per_second"] = round(size.tokens * size.batch / of.pop("seconds"), 1)
            figures[f"{way}, activations {'computed again' if again else 'kept'}"] = of
    return figures


def pilot(size: Size, rounds: int) -> Figures:
    """Fits of the small model: the folds' adapters in one batch, and one after another."""
    decoder = random_decoder(Qwen2Config(**size.small))
    texts, y = labels()
    y, asked = np.clip(np.round(y), 1, 5), ask(decoder, RATINGS)
    figures: Figures = {}
    for folds in size.folds:
        recipe = replace(Recipe.suited(decoder.model, "lora", "variance", max(size.labels)), folds=folds)

        def fits(recipe: Recipe, beside: bool) -> list[float]:
            begun = time.perf_counter()
            for count in size.labels:
                settings = replace(recipe, side_by_side=beside)
                fine_tune(asked, texts[:count], y[:count], classes=None, recipe=settings, seed=0)
            return [time.perf_counter() - begun]

        ways = {
            "one after another": lambda recipe=recipe: fits(recipe, False),
            "in one batch": lambda recipe=recipe: fits(recipe, True),
        }
        found = in_turns(ways, rounds)
        figures[f"{folds} adapters"] = {**found, "times_faster": found["in one batch"].pop("times_the_first")}
    return {"labels": size.labels, **figures}


def coslow(size: Size, rounds: int) -> Figures:
    """The cosines of low-confidence examples on the large model, here of any examples."""
    decoder = random_decoder(LlamaConfig(**size.large))
    texts, y = labels()
    asked = decoder.questionnaire(RATINGS.instruction)
    written = answers(np.clip(np.round(y), 1, 5), None)
    dialogues = [asked.dialogue(*pair) for pair in zip(texts[: size.examples], written, strict=False)]
    examples, found = Answered(decoder, dialogues), []

    def once() -> list[float]:
        begun = time.perf_counter()
        found.append(median_cosine(cosines(examples)))
        return [time.perf_counter() - begun]

    once()
    figures = in_turns({"cosines": once}, rounds)["cosines"]
    return {"tokens": sum(map(len, examples.ids)), **figures, "coslow": found[-1]}


def prediction(size: Size, rounds: int) -> Figures:
    """The default model's pooled states, beside sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    encoder, own = load_encoder(), labels()[0]
    texts = [f"{own[i % len(own)]} {i}" for i in range(size.texts)]
    folder = encoder.model.config.name_or_path
    kept: dict[str, np.ndarray] = {}

    def timed(way: str, call: Callable[[], np.ndarray]) -> Callable[[], list[float]]:
        def once() -> list[float]:
            begun = time.perf_counter()
            kept[way] = call()
            return [time.perf_counter() - begun]

        once()
        return once

    plain, half = (SentenceTransformer(folder, device=device().type) for _ in range(2))
    half.bfloat16()
    ways = {
        "encode": timed("encode", lambda: plain.encode(texts)),
        "encode in bfloat16": timed("half", lambda: half.encode(texts, convert_to_tensor=True).float().cpu().numpy()),
        "labelwise": timed("labelwise", lambda: pooled_layers(encoder, encoder.tokenize(texts))[:, -1]),
    }
    figures = in_turns(ways, rounds)
    for of in figures.values():
        of["texts_per_second"] = round(len(texts) / of.pop("seconds"), 1)
    unit = {way: states / np.linalg.norm(states, axis=1, keepdims=True) for way, states in kept.items()}
    figures["labelwise"]["least_cosine_with_encode"] = round(
        float((unit["labelwise"] * unit["encode"]).sum(1).min()), 5
    )
    return {"dtype": str(encoder.model.dtype).removeprefix("torch."), **figures}


PARTS: dict[str, Callable[[Size, int], Figures]] = {
    "step": step, "pilot": pilot, "coslow": coslow, "prediction": prediction,
}  # fmt: skip


# --------------------------------------------------------------------- a step, two ways


def ours(decoder: Decoder, texts: list[str], y: np.ndarray, recipe: Recipe) -> list[float]:
    """Seconds of each of Labelwise's steps."""
    asked = ask(decoder, RATINGS)
    models = Adapters(decoder.model, recipe.rank, 0, frozen=recipe.frozen, checkpointing=recipe.checkpointing)
    targets = torch.as_tensor(y[:, None] / y.std(), dtype=torch.float32, device=decoder.device)
    head = asked.head(models.start())
    training = Training(asked, head, asked.tokenize(texts), targets, float(y.std()), recipe, 0)
    clock = [time.perf_counter()]
    watch = Watch(len(texts), lambda _: None, lambda *_: clock.append(time.perf_counter()))
    training.run(watch, Checkpoints(None), "")
    return list(np.diff(clock)[WARM_UP:])


def plainly(decoder: Decoder, texts: list[str], y: np.ndarray, recipe: Recipe, layers: str | list[str]) -> list[float]:
    """Seconds of each step of a plain loop: the loss of the answer's token, all logits, the model itself adapted."""
    asked = decoder.questionnaire(RATINGS.instruction)
    dialogues = [asked.dialogue(text, answer) for text, answer in zip(texts, answers(y, None), strict=True)]
    config = LoraConfig(r=recipe.rank, lora_alpha=2 * recipe.rank, lora_dropout=0.0, target_modules=layers)
    model = get_peft_model(decoder.model, config).train()
    if recipe.checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=recipe.learning_rate)
    clock = [time.perf_counter()]
    for start in range(0, len(dialogues), recipe.batch_size):
        batch = dialogues[start : start + recipe.batch_size]
        inputs, mask = decoder.pad([dialogue.ids for dialogue in batch])
        target = torch.full_like(inputs, -100)
        for row, dialogue in enumerate(batch):
            target[row, list(dialogue.answer)] = inputs[row, list(dialogue.answer)]
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=inputs.is_cuda):
            loss = model(input_ids=inputs, attention_mask=mask, labels=target).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        clock.append(time.perf_counter())
    if recipe.checkpointing:
        model.gradient_checkpointing_disable()
        model.disable_input_require_grads()
    model.unload().requires_grad_(True).eval()
    return list(np.diff(clock)[WARM_UP:])


# -------------------------------------------------------------------------- what it takes


def in_turns(ways: dict[str, Callable[[], list[float]]], rounds: int) -> dict[str, Figures]:
    """Median seconds of each way, how often faster than the first, and the most memory beyond what was there."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    most = dict.fromkeys(ways, 0)
    for _ in range(rounds):
        for way, call in ways.items():
            before = _emptied()
            seconds[way].append(statistics.median(call()))
            if torch.cuda.is_available():
                most[way] = max(most[way], torch.cuda.max_memory_allocated() - before)
    first = seconds[next(iter(ways))]
    return {
        way: {
            "seconds": round(statistics.median(of), 4),
            "times_the_first": round(statistics.median(a / b for a, b in zip(first, of, strict=True)), 2),
            "most_gib_beyond_the_model": round(most[way] / 2**30, 2) or None,
        }
        for way, of in seconds.items()
    }


def _emptied() -> int:
    """Give back what is free; the bytes that are held, from which the highest mark is counted anew."""
    gc.collect()
    if not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return int(torch.cuda.memory_allocated())


def random_decoder(config: Any) -> Decoder:
    """A decoder with random weights, made where it runs, under a tokenizer learned from the texts."""
    place = device()
    torch.manual_seed(0)
    with torch.device(place):
        model = AutoModelForCausalLM.from_config(config, dtype=precision(place)).eval()
    return Decoder("random", "random", learned(labels()[0]), model, place)


def long_texts(decoder: Decoder, tokens: int, count: int) -> tuple[list[str], np.ndarray]:
    """Texts whose prompts have some `tokens` tokens each, and whole ratings for them."""
    words = (word for text in cycle(labels()[0]) for word in text.split())
    tokenizer, room = decoder.tokenizer, tokens - len(ask(decoder, RATINGS).tokenize([""])[0])
    texts = []
    for _ in range(count):
        text = next(words)
        while len(tokenizer(text)["input_ids"]) < room:
            text += " " + next(words)
        texts.append(text)
    return texts, np.arange(count) % 5 + 1.0


if __name__ == "__main__":
    main()
