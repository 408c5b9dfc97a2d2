"""What a plan says: the recommendation, the cards of a split, the strategies side by side, and both directions."""

import pandas as pd
import streamlit as st

import engine
from pages import parts
from pages.wishes import Wishes

NAMES = {"labels-only": "Labels only", "zero-shot": "Zero-shot", "split": "Best split", "cross-fit": "Cross-fit"}


def half_width(value: float, share: bool) -> str:
    """Write a half-width, of shares in percentage points."""
    return f"± {bare(value, share)}{' points' if share else ''}"


def bare(value: float, share: bool) -> str:
    """Write a half-width as a number alone, of shares in percentage points."""
    if not share:
        return parts.number(value)
    points = 100 * value
    return f"{points:.1f}" if points >= 0.95 else parts.number(points, 2)


# ---------------------------------------------------------------- the recommendation


def show_recommendation(plan: engine.Plan, unit: str, share: bool) -> None:
    """Say what to do, with its width and its reason; labelling first and not fine-tuning are answers too."""
    record = plan[plan.recommended]
    low, high = record.interval
    width = half_width(record.half_width, share)
    words = (
        f"**{width}{'' if share else ' ' + unit}** (80% between {bare(low, share)} and {bare(high, share)}). "
        + f"{engine.saved_words(plan)} {parts.plain(plan.why)}".lstrip()
    )
    if plan.label_more is None:
        st.warning(words, title="Out of reach with this pool", icon=":material/block:")
    elif plan.label_more > 0:
        st.warning(words, title=f"Label {plan.label_more:,} more first", icon=":material/edit_note:")
    elif record.name == "labels-only":
        st.info(words, title="Do not fine-tune", icon=":material/do_not_disturb_on:")
    else:
        st.success(words, title=f"Recommended: {engine.strategy_words(record)}", icon=":material/recommend:")


# -------------------------------------------------------------------------- the cards


def show_cards(plan: engine.Plan, s: int, unit: str, share: bool) -> None:
    """Show width, labels saved, cost and time of the chosen split, each beside the recommended strategy's."""
    record, best = plan.at(s), plan[plan.recommended]
    st.markdown(f"**Your split:** {engine.split_words(plan, s)}. :gray[In grey: what is recommended.]")
    cards = [
        # The unit is told above the figure, which has to fit on a phone.
        (f"Interval, ± {'points' if share else unit}", *(f"± {bare(one.half_width, share)}" for one in (record, best))),
        ("Labels saved", _share_saved(plan, record), _share_saved(plan, best)),
        ("Cost", _money(record), _money(best)) if priced(plan.costs) else ("Cost", "no price", "no price"),
        ("Compute time", _time(record), _time(best)),
    ]
    with st.grid(4, min_column_width=150):
        for label, value, recommended in cards:
            st.metric(label, value, delta=recommended, delta_color="off", delta_arrow="off", border=True)


def _share_saved(plan: engine.Plan, record: engine.StrategyPlan) -> str:
    saved = plan.share_saved(record)
    return f"{saved:.0%}" if saved >= 0.005 else "none"


def priced(costs: engine.Costs) -> bool:
    """Whether anything has a price."""
    return costs.per_label > 0 or costs.per_gpu_hour > 0 or costs.per_thousand > 0


def _money(record: engine.StrategyPlan) -> str:
    return f"{record.cost:,.2f}"


def _time(record: engine.StrategyPlan) -> str:
    return parts.duration(record.seconds) if record.seconds else "none"


# ------------------------------------------------------------- the strategies side by side


def show_strategies(plan: engine.Plan, share: bool) -> None:
    """Show the strategies as a table, each with the interval of its width and its regret."""
    rows = [_row(plan, record, share) for record in plan.strategies]
    # A narrow screen scrolls sideways; cells that break into lines are harder to compare.
    frame = pd.DataFrame(rows).set_index("Strategy").replace(" ", "\N{NO-BREAK SPACE}", regex=True).reset_index()
    if not priced(plan.costs):
        frame = frame.drop(columns="Cost")
    st.table(frame, border="horizontal", hide_index=True, alt="The strategies side by side")
    st.caption(
        "In bold: recommended. 80% interval: of the half-width. Regret: how much wider it is than the narrowest. "
        "Labels-only needs: the labels that would give this width without a model."
    )


def _row(plan: engine.Plan, record: engine.StrategyPlan, share: bool) -> dict[str, str]:
    name = f"{NAMES[record.name]}, {record.folds} folds" if record.name == "cross-fit" else NAMES[record.name]
    low, high = record.interval
    regret = plan.wider(record)
    return {
        "Strategy": f"**{name}**" if record.name == plan.recommended else name,
        "Fine-tune": f"{record.finetune:,}" if record.finetune else "none",
        "Rectify": f"{record.rectify:,}",
        "Half-width, points" if share else "Half-width": bare(record.half_width, share),
        "80% interval": f"{bare(low, share)} to {bare(high, share)}",
        "Regret": f"{regret:.0%}" if regret >= 0.005 else "none",
        "Labels saved": _share_saved(plan, record),
        "Labels-only needs": f"{record.labels_alone:,}" if record.labels_alone is not None else "unknown",
        "Cost": _money(record),
        "Time": _time(record),
    }


# ------------------------------------------------------------------- both directions


def show_directions(plan: engine.Plan, wishes: Wishes, share: bool) -> None:
    """Say how flat the optimum is, what further labels give, what the target takes and what the money buys."""
    hints = {
        "Target": "Name one above to see the fewest labels that reach it.",
        "Money": "Name a sum above to see the narrowest interval that it buys."
        if wishes.money is None
        else f"Give the price of a label above to see what {wishes.money:,.2f} buys.",
    }
    said = engine.plan_directions(plan, lambda value: half_width(value, share), wishes.money)
    st.markdown("\n".join(f"- **{name}.** {parts.plain(words) or hints[name]}" for name, words in said.items()))
