"""The tasks from which the default model's calibration was learned, as one CSV file each.

    python benchmarks/calibration_tasks.py DIR
    labelwise calibrate DIR/*.csv

From EmoBank (CC-BY-SA 4.0) and the product- and film-review sentences of Hutto & Gilbert (MIT): the ratings as numbers
and as two classes, how strong a feeling is whatever its sign, the genre of a sentence, and which of the three
collections it comes from. Tasks whose names begin alike up to the first dash share labels: they are left out together.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from curve_prediction import shared

GENRES = {"fiction": "fiction", "letters": "letters", "newspaper": "newspaper", "travel-guides": "travel guides"}
MIXED = 8000  # sentences of the three collections together


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    folder = options.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for name, texts, labels in tasks():
        frame = pd.DataFrame({"text": texts.to_numpy(), "label": np.asarray(labels)}).dropna()
        frame = frame.drop_duplicates("text")
        frame.to_csv(folder / f"{name}.csv", index=False)
        rows[name] = len(frame)
        print(f"{name:28} {len(frame):6,d} labels")
    print(json.dumps(rows))


def tasks() -> Iterator[tuple[str, pd.Series, object]]:
    """Name, texts and labels of each task."""
    bank = shared("emobank.csv")
    products, films = (shared(f"{name}_snippets.csv") for name in ("amazon", "movie"))
    for rating in ("valence", "arousal", "dominance"):
        yield rating, bank["text"], bank[rating]
        yield f"{rating}-high", bank["text"], np.where(bank[rating] > 3, "high", "not high")
    yield "valence-strength", bank["text"], (bank["valence"] - 3).abs()
    for name, table in (("products", products), ("films", films)):
        yield name, table["text"], table["sentiment"]
        yield f"{name}-positive", table["text"], np.where(table["sentiment"] > 0, "positive", "not positive")
        yield f"{name}-strength", table["text"], table["sentiment"].abs()
    yield "genre", bank["text"], bank["category"]
    for category, words in GENRES.items():
        name = f"genre-{category.partition('-')[0]}"
        yield name, bank["text"], np.where(bank["category"] == category, words, f"not {words}")
    parts = {"sentences": bank, "products": products, "films": films}
    mixed = pd.concat([table[["text"]].assign(collection=name) for name, table in parts.items()])
    mixed = mixed.sample(MIXED, random_state=0)
    yield "collection", mixed["text"], mixed["collection"]


if __name__ == "__main__":
    main()
