"""Small studies made of words, in whatever home is set."""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.data import Roles
from engine.runs import Question

GOOD = ("excellent", "lovely", "wonderful", "great", "fine")
BAD = ("awful", "dreadful", "terrible", "poor", "broken")
THINGS = ("kettle", "lamp", "chair", "radio", "table", "clock", "phone", "coat")


def rows(count, seed):
    """Texts that say how good a thing is, and the rating they came from."""
    rng = np.random.default_rng(seed)
    ratings = rng.integers(1, 6, count)
    texts = []
    for i, rating in enumerate(ratings):
        words = [str(rng.choice(GOOD if rng.uniform() < (rating - 1) / 4 else BAD)) for _ in range(5)]
        texts.append(f"the {rng.choice(THINGS)} number {i} of lot {seed} is {' and '.join(words)}")
    return texts, ratings


def make_study(store, *, kind="numbers", labels=60, pool=200, predictions=False, weights=False, **question):
    """A study of numbers or of three classes."""
    frames = []
    for count, seed in ((labels, 1), (pool, 2)):
        texts, ratings = rows(count, seed)
        names = np.array(["bad", "bad", "middling", "good", "good"])[ratings - 1]
        frame = pd.DataFrame({"text": texts, "label": ratings if kind == "numbers" else names})
        if predictions:
            shift = np.random.default_rng(seed).normal(0, 0.5, count)
            frame["guess"] = ratings + shift if kind == "numbers" else names
        if weights:
            frame["weight"] = np.random.default_rng(seed).uniform(0.5, 2, count)
        frames.append(frame)
    own = store.save_file("labels.csv", frames[0].to_csv(index=False).encode())
    rest = store.save_file("pool.csv", frames[1].drop(columns="label").to_csv(index=False).encode())
    roles = Roles("text", "label", prediction="guess" if predictions else None, weight="weight" if weights else None)
    estimand = "mean" if kind == "numbers" else "shares"
    return store.create_study(f"{kind} of words", own, rest, roles, Question(estimand=estimand, **question))
