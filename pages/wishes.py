"""What the user wishes of a plan: folds, target, money, prices and the split. All of it is kept in the address."""

import math
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

import streamlit as st

import engine

_LARGEST = 1e12
_MOST_FOLDS = 20


@dataclass(frozen=True)
class Wishes:
    """The user's wishes.

    Attributes:
        folds: Number of folds K under cross-fit; None leaves the choice to the plan.
        target: Target half-width in units of the label, or None.
        money: Money for labels and compute in all, or None.
        costs: Prices, with the times that the pilot measured.
    """

    folds: int | None
    target: float | None
    money: float | None
    costs: engine.Costs

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the address that bring these wishes back."""
        named = {
            "folds": self.folds,
            "target": self.target or 0,  # said, since the pilot may have had a target
            "money": self.money,
            "price": self.costs.per_label,
            "hour": self.costs.per_gpu_hour,
            "thousand": self.costs.per_thousand,
        }
        return {name: value for name, value in named.items() if value is not None}


@st.cache_resource(max_entries=64, show_spinner=False)
def _replanned(
    key: str, folds: int | None, target: float | None, costs: engine.Costs, _plan: engine.Plan
) -> engine.Plan:
    return _plan.replanned(folds=folds, half_width=target, costs=costs)


def replanned(
    stored: engine.Plan, key: str, folds: int | None, target: float | None, costs: engine.Costs
) -> engine.Plan:
    """Return the plan of the pilot named by `key` under other wishes; kept, since the slider asks for it anew."""
    return _replanned(key, folds, target, costs, stored)


def ask(stored: engine.Plan, key: str, share: bool) -> tuple[Wishes, engine.Plan]:
    """Ask for the wishes; return them with the plan under them. `share`: widths are those of shares."""
    row = st.grid(4, min_column_width=150)
    with st.expander("Price of compute", icon=":material/memory:"):
        left, right = st.columns(2)
        hour = _price(left, "Price of a GPU hour", "hour", stored.costs.per_gpu_hour, "Of an hour of compute.")
        thousand = _price(
            right, "Price of a thousand predictions", "thousand", stored.costs.per_thousand,
            "What a provider asks for a thousand texts, beside the hours they take.",
        )  # fmt: skip
    with row:
        target = _ask_points(stored) if share else _ask_target(stored)
        price = _price(st, "Price of a label", "price", stored.costs.per_label, "In your currency.")
        money = st.number_input(
            "Money in all", min_value=0.0, max_value=_LARGEST, value=None, step=10.0, format="%.2f", key="money",
            bind="query-params", placeholder="none", help="For labels and compute; the labels at hand count too.",
        )  # fmt: skip
        costs = replace(stored.costs, per_label=price, per_gpu_hour=hour, per_thousand=thousand)
        folds = _ask_folds(stored, key, costs)
    if share and target is not None and target >= 1:
        st.error(
            f"A target of {100 * target:g} points is none: shares lie between 0 and 100 points. Name fewer, such as 3.",
            icon=":material/error:",
        )
        target = None
    plan = replanned(stored, key, folds, target, costs)
    return Wishes(folds, target, _positive(money), costs), plan


def _ask_target(stored: engine.Plan) -> float | None:
    return _positive(
        st.number_input(
            "Target half-width", min_value=0.0, max_value=_LARGEST, value=_within(stored.half_width), step=0.01,
            format="%.4g", key="target", bind="query-params", placeholder="none",
            help="Half the width you can live with. In units of the label.",
        )
    )  # fmt: skip


def _ask_points(stored: engine.Plan) -> float | None:
    """Ask for the target in percentage points; the address has it as a share, like the plan."""

    def keep() -> None:
        st.query_params["target"] = (st.session_state["target_points"] or 0.0) / 100

    if "target_points" not in st.session_state:
        known = _share_of(st.query_params.get("target"), stored.half_width)
        st.session_state["target_points"] = known and round(100 * known, 8)
    points = _positive(
        st.number_input(
            "Target half-width, points", min_value=0.0, max_value=_LARGEST, value=None, step=0.5, format="%.4g",
            key="target_points", placeholder="none", on_change=keep,
            help="Half the width you can live with, in percentage points: 3 means a share known to ± 3 points.",
        )
    )  # fmt: skip
    return points and points / 100


def _share_of(named: str | None, stored: float | None) -> float | None:
    """The target that the address names, if it names one as a number, else the stored one."""
    try:
        known = stored if named is None else float(named)
    except ValueError:
        known = stored
    return None if _positive(known) is None else min(known, _LARGEST / 100)


def _within(known: float | None) -> float | None:
    """A stored number as a box can show it: one beyond its bounds would break the page."""
    return None if known is None else min(float(known), _LARGEST)


def _price(place: Any, label: str, key: str, known: float, help_: str) -> float:
    price = place.number_input(
        label, min_value=0.0, max_value=_LARGEST, value=_within(known), step=0.5, format="%.2f", key=key,
        bind="query-params", help=help_,
    )  # fmt: skip
    return _positive(price) or 0.0


def _ask_folds(stored: engine.Plan, key: str, costs: engine.Costs) -> int | None:
    chosen = replanned(stored, key, None, None, costs).folds
    by = "chosen for you" if stored.folds_chosen else "as in the run"
    options = [None, *range(2, min(_MOST_FOLDS, stored.n) + 1)]
    return st.selectbox(
        "Folds of cross-fit", options, format_func=lambda folds: f"{chosen}, {by}" if folds is None else str(folds),
        key="folds", bind="query-params",
        help="More folds narrow the interval and cost more compute; the plan weighs the one against the other.",
    )  # fmt: skip


def ask_split(plan: engine.Plan) -> int:
    """Ask how many labels are to fine-tune under split; the best split at first."""
    low, high = int(plan.splits[0]), int(plan.splits[-1])
    best = plan.nearest_split(plan["split"].finetune)
    if low == high:
        return low
    known = st.session_state.get("s", best)
    if known != plan.nearest_split(known):  # a split of another pilot
        st.session_state["s"] = plan.nearest_split(known)
    s = st.slider("Labels used to fine-tune (the others rectify)", low, high, best, key="s", bind="query-params")
    return plan.nearest_split(s)


def _positive(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) and value > 0 else None


def share(study: engine.Study, run: engine.Run, wishes: Wishes, s: int) -> None:
    """Give the address that brings back exactly this view."""
    parameters = {"study": study.id, "pilot": run.id, "s": s, **wishes.parameters()}
    base = (st.context.url or "plan").split("?")[0]
    with st.popover("Share this view", icon=":material/link:"):
        st.caption("This address brings back these settings.")
        st.code(f"{base}?{urlencode(parameters)}", language=None, wrap_lines=True)
