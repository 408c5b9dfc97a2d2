"""What a plan says: the recommendation, the cards of a split, the strategies side by side, and both directions."""

import pandas as pd
import streamlit as st

import engine
from pages import parts
from pages.wishes import Wishes

NAMES = {"labels-only": "Labels only", "zero-shot": "Zero-shot", "split": "Best split", "cross-fit": "Cross-fit"}
_MORE = 100


def half_width(value: float, share: bool) -> str:
    """Write a half-width, of shares in percentage points."""
    return f"± {100 * value:.1f} points" if share else f"± {parts.number(value)}"


def bare(value: float, share: bool) -> str:
    """Write a half-width as a number alone, of shares in percentage points."""
    return f"{100 * value:.1f}" if share else parts.number(value)


def strategy_words(record: engine.StrategyPlan) -> str:
    """Name a strategy with what it does to the labels."""
    if record.name == "split":
        return f"split, {record.finetune:,} labels to fine-tune and {record.rectify:,} to rectify"
    if record.name == "cross-fit":
        return f"cross-fit with {record.folds} folds"
    return NAMES[record.name].lower()


# ---------------------------------------------------------------- the recommendation


def show_recommendation(plan: engine.Plan, unit: str, share: bool) -> None:
    """Say what to do, with its width and its reason; labelling first and not fine-tuning are answers too."""
    record = plan[plan.recommended]
    low, high = record.interval
    width = half_width(record.half_width, share)
    words = (
        f"**{width}{'' if share else ' ' + unit}** (80% between {bare(low, share)} and {bare(high, share)}). "
        f"{_saved(plan, record)}{parts.plain(plan.why)}"
    )
    if plan.label_more is None:
        st.warning(words, title="Out of reach with this pool", icon=":material/block:")
    elif plan.label_more > 0:
        st.warning(words, title=f"Label {plan.label_more:,} more first", icon=":material/edit_note:")
    elif record.name == "labels-only":
        st.info(words, title="Do not fine-tune", icon=":material/do_not_disturb_on:")
    else:
        st.success(words, title=f"Recommended: {strategy_words(record)}", icon=":material/recommend:")


def _saved(plan: engine.Plan, record: engine.StrategyPlan) -> str:
    saved = (record.labels_alone or 0) - plan.n
    if record.name == "labels-only" or saved <= 0:
        return ""
    if plan.may_gain_nothing:
        return f"Labels-only would probably need {record.labels_alone:,} labels for that, but this is not sure. "
    worth = f", worth {plan.costs.per_label * saved:,.2f}" if plan.costs.per_label else ""
    return f"Labels-only would need {record.labels_alone:,} labels for that: you save {saved:,}{worth}. "


# -------------------------------------------------------------------------- the cards


def show_cards(plan: engine.Plan, s: int, unit: str, share: bool) -> None:
    """Show width, labels saved, cost and time of the chosen split, each beside the recommended strategy's."""
    record, best = plan.at(s), plan[plan.recommended]
    regret = float(plan.regret(s))
    where = "at the best split" if regret < 0.005 else f"{regret:.0%} wider than at the best split"
    st.markdown(
        f"**Your split:** {record.finetune:,} fine-tune, {record.rectify:,} rectify; {where}. "
        ":gray[In grey: what is recommended.]"
    )
    widths = half_width(record.half_width, share), half_width(best.half_width, share)
    cards = [
        (f"Interval{'' if share else ', ± ' + unit}", *widths),
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
    narrowest = min(record.half_width for record in plan.strategies)
    rows = [_row(plan, record, narrowest, share) for record in plan.strategies]
    # A narrow screen scrolls sideways; cells that break into lines are harder to compare.
    frame = pd.DataFrame(rows).set_index("Strategy").replace(" ", "\N{NO-BREAK SPACE}", regex=True).reset_index()
    if not priced(plan.costs):
        frame = frame.drop(columns="Cost")
    st.table(frame, border="horizontal", hide_index=True, alt="The strategies side by side")
    st.caption(
        "In bold: recommended. 80% interval: of the half-width. Regret: how much wider it is than the narrowest. "
        "Labels-only needs: the labels that would give this width without a model."
    )


def _row(plan: engine.Plan, record: engine.StrategyPlan, narrowest: float, share: bool) -> dict[str, str]:
    name = f"{NAMES[record.name]}, {record.folds} folds" if record.name == "cross-fit" else NAMES[record.name]
    low, high = record.interval
    regret = record.half_width / narrowest - 1
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
    low, high = plan.flat_region
    flat = f"Any split from {low:,} to {high:,} fine-tuning labels is within 2% of the best."
    lines = {
        "Flat region": flat,
        **_next_labels(plan, share),
        "Target": _target_words(plan, share),
        "Money": _money_words(plan, wishes, share),
    }
    st.markdown("\n".join(f"- **{name}.** {words}" for name, words in lines.items()))


def _next_labels(plan: engine.Plan, share: bool) -> dict[str, str]:
    more = min(_MORE, plan.m - 1) if plan.design.population == "these" else _MORE
    if more < 1:
        return {}
    now, gain = plan[plan.recommended].half_width, plan.gain_of_labels(more)
    price = f", for {plan.costs.per_label * more:,.2f}" if plan.costs.per_label else ""
    words = f"They would narrow the interval from {half_width(now, share)} to {half_width(now * (1 - gain), share)}"
    return {f"The next {more:,} labels": f"{words} ({gain:.0%}){price}."}


def _target_words(plan: engine.Plan, share: bool) -> str:
    """Say how many labels the target takes, with a model and without."""
    target = plan.half_width
    if target is None:
        return "Name one above to see the fewest labels that reach it."
    needed, without = plan.labels_needed(target), plan.labels_only_needed(target)
    if needed is None:
        return f"No number of labels reaches {half_width(target, share)} with this pool."
    words = f"About {needed:,} labels reach {half_width(target, share)}"
    words += f", without a model {without:,}." if without is not None else "; labels alone never do."
    return words + (" You have enough." if needed <= plan.n else f" That is {needed - plan.n:,} more than you have.")


def _money_words(plan: engine.Plan, wishes: Wishes, share: bool) -> str:
    """Say what a sum of money buys."""
    if wishes.money is None:
        return "Name a sum above to see the narrowest interval that it buys."
    if not plan.costs.per_label:
        return f"Give the price of a label above to see what {wishes.money:,.2f} buys."
    try:
        record = plan.affordable(wishes.money)
    except engine.ArgumentError as fault:
        return parts.plain(fault)
    labels = record.rectify + (record.finetune if record.name == "split" else 0)
    return (
        f"{wishes.money:,.2f} buys {labels:,} labels in all, {strategy_words(record)}: "
        f"{half_width(record.half_width, share)}, for {record.cost:,.2f}."
    )
