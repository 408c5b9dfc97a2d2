"""Plan: how to split the labels, with the width, money and time of each way."""

from typing import Any
from urllib.parse import urlencode

import streamlit as st

import engine
from pages import parts

NAMES = {
    "labels-only": "Labels only",
    "zero-shot": "Zero-shot",
    "split": "Split",
    "cross-fit": "Cross-fit",
}
LEARNERS = {"probe": "Probe, seconds", "lora": "LoRA, minutes", "full": "Full fine-tuning"}
MORE = 100
OTHER_WIDTHS = {
    "quantile": "The widths below are those of the mean; the interval of a quantile has another width.",
    "groups": "The widths below are those of one answer for all texts; each group, with fewer labels, has a wider one.",
}


# ------------------------------------------------------------------------- the pilot


def planned_run(store: engine.Store, study: engine.Study) -> engine.Run:
    """Return the newest run with a plan; the pilot is started here if there never was one."""
    done = parts.latest(store, study, parts.PLAN, parts.RUN, finished=True)
    pilot = done or parts.latest(store, study, parts.PLAN)
    if pilot is None:
        pilot = engine.start_run(store, study, parts.PLAN, engine.RunSettings())
        st.rerun()
    return pilot


def offer_pilot(store: engine.Store, study: engine.Study, run: engine.Run) -> None:
    """Offer to pilot another learner."""
    with st.expander("Pilot another learner", icon=":material/science:"):
        st.write(f"This plan rests on trials of the **{run.settings.learner}** learner.")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            others = [name for name in LEARNERS if name != run.settings.learner]
            learner = st.selectbox("Learner", others, format_func=LEARNERS.get, key="pilot_learner", width=260)
            if st.button("Start the pilot", key="start_pilot", icon=":material/play_arrow:"):
                engine.start_run(store, study, parts.PLAN, engine.RunSettings(learner=learner))
                st.rerun()
        active = parts.latest(store, study, parts.PLAN)
        if active and not active.is_finished:
            parts.follow(store, active, key="follow_other_pilot")


# ------------------------------------------------------------------ the user's wishes


def ask_wishes(plan: engine.Plan) -> dict[str, Any]:
    """Ask for split, folds, target and price; all of them are kept in the address."""
    low, high = int(plan.splits[0]), int(plan.splits[-1])
    best = plan["split"].finetune
    left, middle, right = st.columns(3)
    folds = left.slider("Folds of cross-fit", 2, 20, min(plan.folds, 20), key="folds", bind="query-params")
    target = middle.number_input(
        "Target half-width", min_value=0.0, value=plan.half_width, step=0.01, format="%.4g", key="target",
        bind="query-params", placeholder="none", help="Half the width you can live with, in units of the label.",
    )  # fmt: skip
    price = right.number_input(
        "Price of a label", min_value=0.0, value=float(plan.costs.per_label), step=0.5, format="%.2f", key="price",
        bind="query-params", help="In your currency. Prices the strategies and the labels that are saved.",
    )  # fmt: skip
    split = low
    if low < high:
        split = st.slider(
            "Labels used to fine-tune (the others rectify)",
            low,
            high,
            min(max(best, low), high),
            key="s",
            bind="query-params",
        )
    if plan.finetune_minimum > 0:
        st.caption(
            f"{plan.finetune_minimum:,} labels trained the pilot: they can fine-tune, but no longer rectify a split."
        )
    # What comes through the address is the visitor's: it is brought back into its bounds.
    return {
        "s": min(max(int(split), low), high),
        "folds": min(max(int(folds), 2), 20, plan.n),
        "target": float(target) if target else None,
        "price": max(float(price or 0.0), 0.0),
    }


@st.cache_data(max_entries=64, show_spinner=False)
def _replanned(key: str, more: int, folds: int, target: float | None, price: float, _plan: engine.Plan) -> engine.Plan:
    known = _plan.costs
    costs = engine.Costs(price, known.per_gpu_hour, known.seconds_per_label, known.seconds_per_thousand)
    return _plan.replanned(n=_plan.n + more, folds=folds, half_width=target, costs=costs)


def replan(stored: engine.Plan, run: engine.Run, wishes: dict[str, Any], more: int = 0) -> engine.Plan:
    """Return the plan under the user's wishes, for `more` labels than there are; instant, and kept by content."""
    key = f"{run.id} {run.finished}"
    return _replanned(key, more, wishes["folds"], wishes["target"], wishes["price"], stored)


# -------------------------------------------------------------------------- the cards


def show_cards(plan: engine.Plan, wishes: dict[str, Any], unit: str) -> None:
    """Put the chosen split beside the recommended strategy and labels-only."""
    recommended = plan[plan.recommended]
    cards = [("Your split", plan.at(wishes["s"]), "blue"), ("Recommended", recommended, "green")]
    if plan.recommended != "labels-only":
        cards.append(("Without a model", plan["labels-only"], "gray"))
    for column, (title, record, colour) in zip(st.columns(len(cards)), cards, strict=True):
        with column.container(border=True, height="stretch", gap="small"):
            st.badge(title, color=colour)
            st.markdown(f"**{strategy_words(record)}**")
            show_card(record, unit, wishes["price"])


def show_card(record: engine.StrategyPlan, unit: str, price: float) -> None:
    """Show width, labels saved, cost and time of one strategy."""
    low, high = record.interval
    st.metric(
        f"Interval, ± {unit}", f"± {parts.number(record.half_width)}", help="Predicted half-width of the interval."
    )
    band = (
        f"80% band: {parts.number(low)} to {parts.number(high)}" if high - low > 1e-9 else "from the labels seen so far"
    )
    st.caption(band)
    rows = [
        ("Labels saved", f"{max(record.labels_saved, 0):.0%}" if record.labels_saved >= 0 else "none"),
        ("Cost", f"{record.cost:,.2f}" if price else "no price set"),
        ("Compute time", parts.duration(record.seconds) if record.seconds else "none"),
    ]
    st.markdown("\n".join(f"{name}: **{value}**  " for name, value in rows))


def strategy_words(record: engine.StrategyPlan) -> str:
    """Say in a few words what a strategy does with the labels."""
    if record.name == "split":
        return f"{record.finetune:,} fine-tune, {record.rectify:,} rectify"
    if record.name == "cross-fit":
        return f"Cross-fit, {record.folds} folds, all {record.rectify:,} labels"
    return f"{NAMES[record.name]}, all {record.rectify:,} labels"


def show_advice(plan: engine.Plan, wider: engine.Plan, wishes: dict[str, Any]) -> None:
    """Say how flat the optimum is, what the target takes, and what more labels are worth."""
    low, high = plan.flat_region
    regret = float(plan.regret(wishes["s"]))
    where = "at the best split" if regret < 0.005 else f"{regret:.0%} wider than at the best split"
    lines = [
        f"**Flat region.** Any split from {low:,} to {high:,} fine-tuning labels is within 2% of the best; "
        f"yours is {where}."
    ]
    now, then = (min(record.half_width for record in each.strategies) for each in (plan, wider))
    more = wider.n - plan.n
    price = f", for {wishes['price'] * more:,.2f}" if wishes["price"] else ""
    lines.append(
        f"**The next {more:,} labels** would narrow the interval from ± {parts.number(now)} to ± {parts.number(then)} "
        f"({1 - then / now:.0%}){price}."
    )
    if plan.half_width:
        lines.append(f"**Target ± {parts.number(plan.half_width)}.** {target_words(plan)}")
    for line in lines:
        st.markdown(line)


def target_words(plan: engine.Plan) -> str:
    """Say how many labels the target takes, with a model and without."""
    target = plan.half_width
    needed, without = plan.labels_needed(target), plan.labels_only_needed(target)
    if needed is None:
        return "No number of labels reaches it with this pool."
    words = f"About {needed:,} labels reach it"
    words += f", without a model {without:,}." if without is not None else "; labels alone never do."
    return words + (" You have enough." if needed <= plan.n else f" That is {needed - plan.n:,} more than you have.")


def share(study: engine.Study, wishes: dict[str, Any]) -> None:
    """Give the address that brings back exactly this view."""
    parameters = {"study": study.id, "s": wishes["s"], "folds": wishes["folds"], "price": wishes["price"]}
    if wishes["target"]:
        parameters["target"] = wishes["target"]
    base = (st.context.url or "plan").split("?")[0]
    with st.popover("Share this view", icon=":material/link:"):
        st.caption("This address brings back these settings.")
        st.code(f"{base}?{urlencode(parameters)}", language=None, wrap_lines=True)


# --------------------------------------------------------------------------- the page


@st.fragment(key="planner")
def planner(run: engine.Run, study: engine.Study, stored: engine.Plan) -> None:
    """The slider and everything that moves with it; only this part is drawn anew."""
    with parts.explained():
        advice = st.container()
        with st.container(border=True):
            wishes = ask_wishes(stored)
            plan = replan(stored, run, wishes)
            unit = "share" if parts.dataset(study).classes is not None else study.roles.label
            best, yours = plan["split"].finetune, wishes["s"]
            alt = f"Half-width over the split: best at {best} fine-tuning labels, yours at {yours}."
            parts.chart(engine.plan_figure(plan, wishes["s"]), "plan", alt, height=400)
        with advice:
            st.markdown(f"##### {parts.plain(plan.why)}")
            if study.question.estimand in OTHER_WIDTHS:
                st.caption(OTHER_WIDTHS[study.question.estimand])
        show_cards(plan, wishes, parts.plain(unit))
        more = min(MORE, plan.m - 1) if plan.design.population == "these" else MORE
        if more > 0:
            show_advice(plan, replan(stored, run, wishes, more), wishes)
        with st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
            share(study, wishes)
            if st.button("Continue to the run", type="primary", icon=":material/arrow_forward:", icon_position="right"):
                st.session_state["wishes"] = {"study": study.id, **wishes}
                st.switch_page("pages/run.py", query_params={"study": study.id})


def main() -> None:
    """Show the pilot while it runs, then the plan."""
    store = parts.open_store()
    study = parts.open_study(store)
    if parts.lacks_labels(study):
        return
    run = planned_run(store, study)
    if not run.is_finished:
        st.write(
            "Trials at growing numbers of labels show how the model learns here. With the probe this takes seconds."
        )
        parts.follow(store, run, key="follow_pilot")
        st.skeleton(height=380)
        return
    results = parts.results_of(store, run)
    if run.state is not engine.RunState.FINISHED or results.plan is None:
        parts.ended_badly(store, run, key="pilot")
        return
    planner(run, study, results.plan)
    with st.expander("The law behind the plan", icon=":material/show_chart:"):
        st.write(results.plan.law.summary())
        parts.chart(engine.law_figure(results.plan.law, results.trials), "law", results.plan.law.summary(), height=340)
    offer_pilot(store, study, run)


parts.heading(
    "Plan", "How wide the interval will be for every way of using your labels, before you spend any time or money."
)
with parts.explained():
    main()
