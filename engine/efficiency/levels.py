"""Which central posterior interval is reported as the 80% interval.

The posterior is learned from a few dozen curves that no model fits exactly, and where labels end at 5,000 an atom of
probability lies. So the interval reported is the central one of that level which covered 80% of tasks left out, learned
for scores, area and labels apart (`recalibration`): quantile recalibration as in Kuleshov, Fenner & Ermon, arXiv
1807.00263, the level chosen as in distributional conformal prediction, Chernozhukov, Wuthrich & Zhu, arXiv 1909.07889.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COVERAGE = 0.8


@dataclass(frozen=True)
class Levels:
    """Levels, between 0 and 1, of the central posterior intervals that stand for 80%; 0.8 where none was learned."""

    scores: float = COVERAGE
    area: float = COVERAGE
    labels: float = COVERAGE


@dataclass(frozen=True)
class Recalibration:
    """Levels learned at several stages of a pilot; without stages every level is 0.8.

    Attributes:
        sizes: Largest pilot size at each stage, rising; 0 stands for the zero-shot score or CoS-Low alone.
        scores: Level for scores at each stage.
        area: Level for the area at each stage.
        labels: Level for labels at each stage.
    """

    sizes: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    area: tuple[float, ...] = ()
    labels: tuple[float, ...] = ()

    def at(self, size: int) -> Levels:
        """Return the levels of a pilot up to this size: straight over log2 n between stages, flat beyond them."""
        if not self.sizes:
            return Levels()
        x, known = np.log2(max(size, 1)), np.log2(np.maximum(self.sizes, 1))
        return Levels(*(float(np.interp(x, known, learned)) for learned in (self.scores, self.area, self.labels)))


def tails(level: float) -> tuple[float, float, float]:
    """Return the probabilities below the low end, the median and the high end of a central interval."""
    return (1 - level) / 2, 0.5, (1 + level) / 2
