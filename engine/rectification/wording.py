"""An estimate in plain words."""

import numpy as np

from engine.rectification.estimate import Estimate


def summarise(estimate: Estimate) -> str:
    """The answer, what it was worth, how far off the model alone would have been, and the notes."""
    sentences = _answers(estimate) + _worth(estimate) + _bias(estimate) + list(estimate.notes)
    return "\n".join(sentences)


def _answers(estimate: Estimate) -> list[str]:
    level = f"{100 * estimate.confidence:g}% confidence interval"
    if estimate.names is None:
        return [f"The answer is {number(estimate.estimate)} ({level} {_range(estimate, 0)})."]
    heading = f"The answers, each with its {level}:"
    values = np.atleast_1d(estimate.estimate)
    return [heading] + [
        f"  {name}: {number(values[i])} ({_range(estimate, i)})" for i, name in enumerate(estimate.names)
    ]


def _range(estimate: Estimate, place: int) -> str:
    low, high = float(np.atleast_1d(estimate.ci_low)[place]), float(np.atleast_1d(estimate.ci_high)[place])
    if np.isinf(high):
        return f"{number(low)} or more"
    return f"{number(high)} or less" if np.isinf(low) else f"{number(low)} to {number(high)}"


def _worth(estimate: Estimate) -> list[str]:
    labels = estimate.labels_only
    if labels is None:
        return []
    saved = float(np.median(estimate.labels_saved))
    used, worth = float(np.sum(labels.n)), float(np.median(estimate.n_effective))
    typical = " (typically)" if estimate.names is not None else ""
    if saved > 0.02:
        if np.ndim(labels.n):
            return [f"Rectifying was worth it: it saved {saved:.0%} of the labels{typical}."]
        return [
            f"Rectifying was worth it: the {used:,.0f} labels did the work of about {worth:,.0f}{typical}, "
            f"so {saved:.0%} of the labels were saved."
        ]
    if saved < -0.02:
        return ["Rectifying was not worth it: all the labels without predictions give a narrower interval."]
    return ["Rectifying made little difference: labels alone give about the same interval."]


def _bias(estimate: Estimate) -> list[str]:
    if estimate.model_only is None:
        return []
    values, model = np.atleast_1d(estimate.estimate), np.atleast_1d(estimate.model_only)
    low, high = np.atleast_1d(estimate.ci_low), np.atleast_1d(estimate.ci_high)
    if estimate.names is None:
        gap = float(model[0] - values[0])
        side = "above" if gap > 0 else "below"
        verdict = "inside" if low[0] <= model[0] <= high[0] else "outside"
        return [
            f"The model alone would have said {number(model[0])}, {number(abs(gap))} {side} the answer "
            f"and {verdict} its interval."
        ]
    off = int(((model < low) | (model > high)).sum())
    return [f"The model alone would have been outside the interval for {off} of {len(values)}."]


def number(value: object) -> str:
    """Four significant digits, without an exponent where that reads well."""
    amount = float(np.asarray(value, dtype=float))
    if amount != 0 and (abs(amount) < 1e-4 or abs(amount) >= 1e7):
        return f"{amount:.3g}"
    if abs(amount) >= 1000:
        return f"{amount:,.1f}"
    return f"{amount:.4g}"
