"""Make the sample data: invented product reviews with ratings, of which 400 are labelled.

    python sample_data/make_sample.py [FOLDER]

writes labels.csv, pool.csv and truth.json, the same bytes on every machine. The reviewers, products and opinions are
made up; their words are in phrases.toml. A review has a hidden opinion; its sentences and its rating both follow that
opinion, each with noise of its own. The column model_rating stands for a language model that reads well but flatters,
most of all the headphones.
"""

import csv
import json
import random
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SEED = 20261101
ROWS = 4400
LABELS = 400
FOLDER = Path(__file__).resolve().parent

# Mean opinion of each product, on the scale of the ratings.
OPINION = {"kettle": 3.7, "headphones": 3.1, "backpack": 3.9, "lamp": 3.3, "shoes": 3.5}
OPINION_SPREAD = 1.6
SENTENCE_NOISE = 0.38
RATING_NOISE = 0.36
MODEL_NOISE = 1.3
FLATTERY = {"headphones": 1.1}
USUAL_FLATTERY = 0.48

MISSPELT = {
    "definitely": "definately", "received": "recieved", "a lot": "alot", "because": "becuase", "separate": "seperate",
    "really": "realy", "their": "thier", "disappointed": "dissapointed", "too": "to", "it's": "its",
    "would": "woud", "quality": "qualitiy", "brilliant": "briliant", "beautiful": "beautifull", "with": "wiht",
}  # fmt: skip

# Clauses with a subject of their own can follow "although" or "unlike my old one"; fragments cannot.
STANDS_ALONE = re.compile(
    r"(it|it's|the|they|they're|there|there's|I|I've|I'm|my|you|water|everything|nobody|both|this)\b"
)

# Stories that tell of the purchase already need no "so I ordered it".
BOUGHT = re.compile(r"bought|got these|got this|picked|wanted something|it replaced|long story|took it")


class Chance:
    """Draws that rest on `random()` alone, whose sequence Python promises to keep."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def happens(self, probability: float) -> bool:
        return self._random() < probability

    def below(self, bound: int) -> int:
        return int(self._random() * bound)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.below(len(options))]

    def some(self, options: Sequence[Any], count: int) -> list[Any]:
        rest = list(options)
        return [rest.pop(self.below(len(rest))) for _ in range(min(count, len(rest)))]

    def normal(self) -> float:
        # Twelve uniforms less six: no library's logarithm or cosine decides about the last bit.
        return sum(self._random() for _ in range(12)) - 6.0


class Reviewer:
    """One invented person with one product and one opinion, who writes one review."""

    def __init__(self, phrases: dict[str, Any], product: str, opinion: float, chance: Chance) -> None:
        self.phrases, self.product, self.opinion, self.chance = phrases, product, opinion, chance
        self.about = phrases[product]
        self.plural = self.about.get("plural", False)
        self.aspects = chance.some(list(self.about["aspects"].values()), 5)
        self.said: list[int] = []

    def level(self, shift: float = 0.0) -> int:
        level = round(self.opinion + shift + SENTENCE_NOISE * self.chance.normal())
        return min(max(level, 1), 5)

    def clause(self, shift: float = 0.0) -> tuple[str, int]:
        """A clause about an aspect that has not come up yet, and how kind it is."""
        aspect = self.aspects.pop() if self.aspects else {str(k): self.phrases["overall"][str(k)] for k in range(1, 6)}
        level = self.level(shift)
        self.said.append(level)
        return self.coloured(self.agreeing(self.chance.pick(aspect[str(level)])), level), level

    def coloured(self, words: str, level: int) -> str:
        """The clause with a word of regret or relief before or after it, now and then."""
        mood = "bad" if level < 3 else "good"
        if level == 3 or not self.chance.happens(0.2):
            return words
        if self.chance.happens(0.5) and STANDS_ALONE.match(words):
            return f"{self.chance.pick(self.phrases['leads'][mood])} {words}"
        return f"{words}, {self.chance.pick(self.phrases['tails'][mood])}"

    def overall(self) -> str:
        level = self.level()
        self.said.append(level)
        words = self.chance.pick(self.phrases["overall"][str(level)])
        return self.agreeing(words)

    def musing(self) -> str:
        level = self.level()
        self.said.append(level)
        return self.agreeing(self.chance.pick(self.phrases["musings"][str(level)]))

    def agreeing(self, words: str) -> str:
        """One [of|among] two forms: the first for a thing, the second for a pair."""
        return re.sub(r"\[([^|\]]*)\|([^\]]*)\]", r"\2" if self.plural else r"\1", words)

    def sentence(self) -> str:
        """One or two clauses in a sentence, joined as their kindness asks for."""
        first, level = self.clause()
        if self.chance.happens(0.16) and STANDS_ALONE.match(first):
            first = self.compared(first)
        if not self.chance.happens(0.45):
            return first + "."
        second, other = self.clause(self.chance.pick([0.0, 0.0, -0.8, 0.8]))
        if not (STANDS_ALONE.match(first) and STANDS_ALONE.match(second)):
            return f"{first}. {capitalised(second)}."
        kind = "same" if abs(level - other) < 2 else "contrast" if other < level else "praise_after"
        return self.joined(self.chance.pick(self.phrases["joins"][kind]), a=first, b=second)

    def compared(self, clause: str) -> str:
        pattern = self.chance.pick(self.phrases["joins"]["compare"])
        if self.plural:
            pattern = pattern.replace("my old one", "my old pair").replace("the one {person}", "the pair {person}")
            pattern = pattern.replace("this is the one where", "this is the pair where")
        return self.joined(pattern, a=clause)

    def joined(self, pattern: str, **parts: str) -> str:
        for name, part in parts.items():
            pattern = pattern.replace("{" + name + "}", part)
        return pattern

    def named(self, sentence: str) -> str:
        name = self.chance.pick(self.about["names"])
        this = f"these {name}" if self.plural else f"this {name}"
        return self.joined(sentence, this=this, it="them" if self.plural else self.chance.pick(["it", "this"]))

    def opening(self) -> list[str]:
        draw = self.chance.below(10)
        joins = self.phrases["joins"]
        if draw < 3:
            story = self.chance.pick(self.about["stories"])
            told = "{s}." if BOUGHT.search(story) else self.chance.pick(joins["story"])
            return [self.named(self.joined(told, s=story))]
        if draw < 5:
            return [self.named(self.chance.pick(joins["since"]))]
        if draw < 6:
            return [self.overall() + "."]
        return []

    def extras(self) -> list[str]:
        """Delivery, service, use and asides: some follow the mood, most do not."""
        found = []
        mood = self.opinion + 0.9 * self.chance.normal()
        if self.chance.happens(0.15):
            kind = "bad" if mood < 2.3 else "good" if mood > 3.6 else "neutral"
            found.append(self.chance.pick(self.phrases["delivery"][kind]) + ".")
        if self.chance.happens(0.07):
            found.append(self.chance.pick(self.phrases["service"]["bad" if mood < 3 else "good"]) + ".")
        if self.chance.happens(0.16):
            found.append(self.chance.pick(self.about["uses"]) + ".")
        if self.chance.happens(0.16):
            found.append(self.chance.pick(self.phrases["asides"]["any"]) + ".")
        return self.chance.some(found, len(found))

    def list_of_points(self) -> list[str]:
        level = self.level()
        self.said.append(level)
        pros = self.chance.some(self.about["pros"], min(max(level - 1 + self.chance.below(2), 1), 4))
        cons = self.chance.some(self.about["cons"], min(max(5 - level + self.chance.below(2), 0), 4))
        pattern = self.chance.pick(
            ["Pros: {p}. Cons: {c}.", "+ {p} / - {c}.", "Likes: {p}. Dislikes: {c}.", "Good: {p}. Bad: {c}."]
        )
        return [self.joined(pattern, p=", ".join(pros), c=", ".join(cons) or self.chance.pick(["none", "none so far"]))]

    def short(self) -> list[str]:
        level = self.level()
        self.said.append(level)
        words = [self.chance.pick(self.phrases["blurts"][str(level)])]
        words = [self.agreeing(words[0])]
        if self.chance.happens(0.55):
            words.append(self.clause()[0] + ".")
        elif self.chance.happens(0.6):
            words.append(
                f"{'These' if self.plural else 'This'} {self.chance.pick(self.about['names'])}: {self.overall()}."
            )
        return words

    def full(self) -> list[str]:
        words = self.opening()
        words += [self.sentence() for _ in range(self.chance.pick([1, 1, 2, 2, 2, 3]))]
        words += self.extras()
        if self.opinion < 2.4 and self.chance.happens(0.2):
            words.insert(
                self.chance.below(len(words) + 1), self.chance.pick(self.phrases["sarcasm"][self.chance.pick("12")])
            )
        if self.chance.happens(0.34):
            words.append(self.musing() + ".")
        if self.chance.happens(0.6):
            words.append(self.overall() + ".")
        if self.aspects and self.chance.happens(0.07):
            pattern = self.chance.pick(self.phrases["joins"]["update"])
            shift = -1.0 if "too soon" in pattern else 0.0
            words.append(self.joined(pattern, b=self.clause(shift)[0]))
        return words

    def review(self) -> str:
        draw = self.chance.below(100)
        words = self.short() if draw < 14 else self.list_of_points() if draw < 20 else self.full()
        if 14 <= draw < 20 and self.chance.happens(0.6):
            words.append(self.overall() + ".")
        text = self.filled(self.varied(" ".join(capitalised(part) for part in words)))
        return self.styled(text)

    def varied(self, text: str) -> str:
        """Common words replaced by neighbours in meaning, so that nobody always puts things in the same way."""
        for word, neighbours in self.phrases["variants"].items():
            if f" {word}" in text:
                text = re.sub(rf"(?<= ){word}\b(?!:)", lambda _, options=neighbours: self.chance.pick(options), text)
        text = re.sub(r"\b([Aa]) (?=[aei])", r"\1n ", text)
        return re.sub(r"\b([Aa])n (?=[bcdfgjklmnpqrstvwz])", r"\1 ", text)

    def filled(self, text: str) -> str:
        """Every {slot} replaced by a word of its own draw."""
        slots = self.phrases["slots"]
        while found := re.search(r"\{(\w+)\}", text):
            text = text[: found.start()] + self.chance.pick(slots[found[1]]) + text[found.end() :]
        return re.sub(r"([.!?]['\")]?\s+|^)([a-z])", lambda part: part[1] + part[2].upper(), text)

    def styled(self, text: str) -> str:
        """The writer's habits: small letters, exclamation marks, trailing dots, typing errors."""
        if self.chance.happens(0.08):
            text = text.lower()
            text = text.replace("'", "") if self.chance.happens(0.5) else text
        if self.opinion > 4.2 and self.chance.happens(0.3):
            text = re.sub(r"\.$", self.chance.pick(["!", "!", "!!", "!!!"]), text)
        elif self.chance.happens(0.05):
            text = re.sub(r"\.$", "...", text)
        if self.chance.happens(0.06):
            text = text.rstrip(".")
        return self.mistyped(text) if self.chance.happens(0.13) else text

    def mistyped(self, text: str) -> str:
        known = [word for word in MISSPELT if re.search(rf"\b{word}\b", text)]
        if known and self.chance.happens(0.6):
            word = self.chance.pick(known)
            return re.sub(rf"\b{word}\b", MISSPELT[word], text, count=1)
        places = [found.start() for found in re.finditer(r"(?<=[a-z]{2})[a-z](?=[a-z]{2})", text)]
        if not places:
            return text
        place = self.chance.pick(places)
        return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


def capitalised(words: str) -> str:
    return words[:1].upper() + words[1:]


def clipped(value: float, digits: int = 0) -> float:
    return round(min(max(value, 1.0), 5.0), digits)


def make_rows() -> list[dict[str, Any]]:
    """All reviews with their ratings, in the order of their ids; no two texts are equal."""
    phrases = tomllib.loads((FOLDER / "phrases.toml").read_text(encoding="utf-8"))
    chance = Chance(SEED)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    while len(rows) < ROWS:
        product = chance.pick(list(OPINION))
        opinion = OPINION[product] + OPINION_SPREAD * chance.normal()
        reviewer = Reviewer(phrases, product, opinion, chance)
        text = reviewer.review()
        if text in seen:
            continue
        seen.add(text)
        tone = sum(reviewer.said) / len(reviewer.said)
        # The stars follow the opinion and what was written about it alike.
        rating = int(clipped(0.4 * min(max(opinion, 1), 5) + 0.6 * tone + RATING_NOISE * chance.normal()))
        flattery = FLATTERY.get(product, USUAL_FLATTERY)
        model = clipped(0.55 + 0.84 * tone + flattery + MODEL_NOISE * chance.normal(), 1)
        label = phrases[product].get("label", product)
        identifier = f"r{len(rows) + 1:04d}"
        rows.append({"id": identifier, "review": text, "rating": rating, "product": label, "model_rating": model})
    return rows


def truth_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What an estimate should find: means over all rows, labelled or not."""
    products = sorted({row["product"] for row in rows})
    return {
        "what": "Made-up product reviews. Labelled rows are a simple random sample of all rows.",
        "rows": len(rows),
        "labels": LABELS,
        "mean_rating": mean(row["rating"] for row in rows),
        "mean_rating_by_product": {
            product: mean(row["rating"] for row in rows if row["product"] == product) for product in products
        },
        "share_by_rating": {str(stars): mean(row["rating"] == stars for row in rows) for stars in range(1, 6)},
        "mean_model_rating": mean(row["model_rating"] for row in rows),
    }


def mean(values: Any) -> float:
    values = [float(value) for value in values]
    return round(sum(values) / len(values), 6)


def write(folder: Path) -> None:
    """Write the three files into the folder."""
    rows = make_rows()
    labelled = set(Chance(SEED + 1).some([row["id"] for row in rows], LABELS))
    columns = ["id", "review", "rating", "product", "model_rating"]
    write_csv(folder / "labels.csv", columns, [row for row in rows if row["id"] in labelled])
    unlabelled = [name for name in columns if name != "rating"]
    write_csv(folder / "pool.csv", unlabelled, [row for row in rows if row["id"] not in labelled])
    truth = json.dumps(truth_of(rows), indent=2) + "\n"
    (folder / "truth.json").write_bytes(truth.encode())


def write_csv(path: Path, columns: list[str], rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
