"""The result of rectifying: the answer with labels-only and model-only beside it."""

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from engine.errors import ArgumentError
from engine.rectification.inputs import Alternative, Floats, Value

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True, eq=False)
class Estimate:
    """A rectified answer. Numbers for one quantity; arrays in the order of `names` for shares, groups, coefficients.

    estimate, ci_low, ci_high: the answer and its interval (an open side of a one-sided interval is infinite, that of a
    share 0 or 1).
    standard_error: of the estimate, in units of the label. confidence: nominal level, between 0 and 1.
    method: "rectified", "labels-only", or the strategy that made the predictions. power: lambda.
    correlation: of labels and predictions. n, m: labels and pool rows. n_effective: how many labels alone would
    give the same standard error. labels_saved: 1 - (width / labels-only width)^2. labels_only: the answer without
    predictions. model_only: the predictions' own answer, uncorrected. names: what the entries are.
    notes: plain sentences. alternative: side of the interval. p_value: of the null value asked about.
    degrees_of_freedom: of the t quantile behind the interval. covariance: of the estimates, (k, k), for groups and
    coefficients. multiplicity: how intervals and p-values allow for several comparisons.
    """

    estimate: Value
    ci_low: Value
    ci_high: Value
    standard_error: Value
    confidence: float
    method: str
    power: Value
    correlation: Value
    n: int | Floats
    m: int | Floats
    n_effective: Value
    labels_saved: Value
    labels_only: "Estimate | None"
    model_only: Value | None
    names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    alternative: Alternative = "two-sided"
    p_value: Value | None = None
    degrees_of_freedom: Value = math.inf
    covariance: Floats | None = None
    multiplicity: str | None = None

    @property
    def is_labels_alone(self) -> bool:
        """Whether no model has a part in the answer."""
        return self.method == "labels-only"

    @property
    def width(self) -> Value:
        """Width of the interval; of a one-sided one the distance from estimate to its closed bound."""
        return interval_width(self.estimate, self.ci_low, self.ci_high, self.alternative)

    def to_frame(self) -> pd.DataFrame:
        """One row per name and way of answering: name, answer, estimate, ci_low, ci_high, standard_error, n, m, ..."""
        parts = [_rows(self, "labels-only" if self.is_labels_alone else "rectified")]
        if self.labels_only is not None:
            parts.append(_rows(self.labels_only, "labels-only"))
        if self.model_only is not None:
            parts.append(_model_rows(self))
        return pd.concat(parts, ignore_index=True)

    def plot(self, title: str | None = None) -> "Figure":
        """Labels-only, model-only and rectified side by side with their intervals; a forest plot for several names."""
        from engine.rectification.drawing import draw

        return draw(self, title)

    def summary(self, *, share: bool = False) -> str:
        """Plain words: the answer, what it is worth in labels, how biased the model alone was; shares in per cent."""
        from engine.rectification.wording import summarise

        return summarise(self, share=share)

    def bias(self, place: int = 0, *, share: bool = False) -> str:
        """How far off the model alone would have been at a place, in words such as "+0.43", of shares in per cent."""
        from engine.rectification.wording import bias_words

        return bias_words(self, place, share=share)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-serialisable copy; infinite numbers become the strings "inf" and "-inf"."""
        out: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            out[field.name] = value.to_dict() if isinstance(value, Estimate) else _plain(value)
        return out

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """The inverse of to_dict. Raises: ArgumentError where a field is missing or unknown."""
        known = {field.name for field in fields(cls)}
        if not isinstance(record, dict) or set(record) - known or {"estimate", "ci_low", "ci_high"} - set(record):
            raise ArgumentError("This record is no estimate: use a dictionary made by to_dict().")
        values = {name: _restored(name, value) for name, value in record.items()}
        if record.get("labels_only") is not None:
            # An answer of the labels alone was once stored beside itself.
            itself = record.get("method") == "labels-only"
            values["labels_only"] = None if itself else cls.from_dict(record["labels_only"])
        try:
            return cls(**values)
        except TypeError:
            raise ArgumentError(
                "This record of an estimate lacks fields: use a dictionary made by to_dict()."
            ) from None


def interval_width(estimate: Value, low: Value, high: Value, alternative: Alternative = "two-sided") -> Value:
    """high - low; of a one-sided interval from the estimate to the closed bound, whatever the open side ends at."""
    low, high = estimate if alternative == "smaller" else low, estimate if alternative == "larger" else high
    if isinstance(low, float) and isinstance(high, float) and isinstance(estimate, float):
        return (estimate if math.isinf(high) else high) - (estimate if math.isinf(low) else low)
    return np.asarray(np.where(np.isinf(high), estimate, high) - np.where(np.isinf(low), estimate, low))


def _rows(estimate: Estimate, answer: str) -> pd.DataFrame:
    columns = ("estimate", "ci_low", "ci_high", "standard_error", "n", "m", "n_effective", "labels_saved", "power",
               "correlation", "p_value")  # fmt: skip
    count = np.size(estimate.estimate)
    record: dict[str, Any] = {"name": list(estimate.names or ("",) * count), "answer": [answer] * count}
    for column in columns:
        value = getattr(estimate, column)
        if value is not None:
            record[column] = np.broadcast_to(value, (count,))
    return pd.DataFrame(record)


def _model_rows(estimate: Estimate) -> pd.DataFrame:
    count = np.size(estimate.estimate)
    names = list(estimate.names or ("",) * count)
    values = np.broadcast_to(np.asarray(estimate.model_only, dtype=float), (count,))
    return pd.DataFrame({"name": names, "answer": ["model-only"] * count, "estimate": values})


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(entry) for entry in value.tolist()]
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return "inf" if value > 0 else "-inf" if value < 0 else None
    return value


def _restored(name: str, value: Any) -> Any:
    if name in ("names", "notes"):
        return None if value is None else tuple(str(entry) for entry in value)
    if isinstance(value, list):
        return np.asarray([_restored("", entry) for entry in value])
    if value in ("inf", "-inf"):
        return float(value)
    return value
