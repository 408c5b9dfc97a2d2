"""The question that a study asks of its texts: what, of which whole, and how sure."""

from typing import Any

import streamlit as st

import engine
from pages import parts

ESTIMANDS = {
    "mean": "Mean",
    "median": "Median",
    "quantile": "Another quantile",
    "shares": "Shares",
    "groups": "By group",
}
POPULATIONS = {
    "these": ("These texts", "Labels and pool are everything I speak of."),
    "larger": ("A larger population", "Labels and pool are a sample of more texts like them."),
}


def choices(data: Any) -> list[str]:
    """Return what can be asked of these labels; groups only where a column names them."""
    if data.classes is None:
        return ["mean", "median", "quantile", *(["groups"] if data.groups is not None else [])]
    return ["shares", *(["groups"] if data.groups is not None and len(data.classes) == 2 else [])]


def closed_way(data: Any) -> str:
    """Say how groups come to be compared, where they cannot be yet."""
    if data.classes is not None and len(data.classes) > 2:
        return "Groups are compared for numbers, or for two classes; these labels have more."
    if data.groups is None:
        return "To compare groups, choose the column that names them under More columns, Group."
    return ""


def ask_estimand(data: Any, preset: engine.Question, suffix: str) -> tuple[str, float]:
    """Ask for mean, quantile, shares or groups; return the estimand and which quantile, kept in the address."""
    options = choices(data)
    before = "median" if (preset.estimand, preset.q) == ("quantile", 0.5) else preset.estimand
    chosen = st.segmented_control(
        "Asked for",
        options,
        default=before if before in options else options[0],
        format_func=ESTIMANDS.get,
        key=f"asked{len(options)}_{suffix}",
        required=True,
        bind="query-params",
    )
    closed = closed_way(data)
    if closed:
        st.caption(closed)
    if chosen == "groups" and data.classes is not None:
        st.caption(f"Compared is the share of {parts.plain(data.classes[1])} in each group.")
    q = 0.5
    if chosen == "quantile":
        named = preset.q if before == "quantile" else 0.9
        q = st.number_input(
            "Which quantile", min_value=0.05, max_value=0.95, value=min(max(named, 0.05), 0.95), step=0.05,
            format="%.2f", key=f"q_{suffix}", bind="query-params", width=180,
            help="0.9 asks for the value that nine tenths of the texts do not exceed.",
        )  # fmt: skip
    return ("quantile" if chosen == "median" else chosen or options[0]), round(float(q or 0.5), 4)


def ask_question(data: Any, preset: engine.Question, suffix: str) -> engine.Question:
    """Ask what is wanted, what the answer is to speak of, and how sure it is to be."""
    estimand, q = ask_estimand(data, preset, suffix)
    left, right = st.columns([3, 2])
    with left:
        population = st.radio(
            "The answer is about",
            list(POPULATIONS),
            index=list(POPULATIONS).index(preset.population),
            format_func=lambda name: POPULATIONS[name][0],
            captions=[caption for _, caption in POPULATIONS.values()],
            key=f"population_{suffix}",
            bind="query-params",
        )
    with right:
        confidence = st.segmented_control(
            "Confidence",
            sorted({0.90, 0.95, 0.99, preset.confidence}),
            default=preset.confidence,
            format_func=parts.level,
            key=f"confidence_{suffix}",
            required=True,
            help="How often intervals made this way hold the true value.",
            bind="query-params",
        )
    return engine.Question(estimand, population, confidence or preset.confidence, q)
