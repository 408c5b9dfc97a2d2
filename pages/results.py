"""Results: the answer with its interval, for one quantity, for shares or for groups."""

from collections.abc import Iterable

import pandas as pd
import streamlit as st

import engine
from pages import advice, parts

COLUMNS = {
    "name": "Class",
    "answer": "Answer",
    "estimate": "Estimate",
    "ci_low": "Low",
    "ci_high": "High",
    "standard_error": "Standard error",
    "n": "Labels",
    "m": "Pool",
    "n_effective": "Effective labels",
    "power": "Lambda",
    "correlation": "Correlation",
}

OF_SHARES = {"estimate", "ci_low", "ci_high", "standard_error"}
OF_PREDICTIONS = {"m", "n_effective", "power", "correlation"}


def single_metrics(estimate: engine.Estimate) -> Iterable[tuple[str, str, str, str]]:
    """Return name, value, addition and explanation of each figure for a single quantity."""
    value, low, high = (written(end) for end in (estimate.estimate, estimate.ci_low, estimate.ci_high))
    level = f"{parts.level(estimate.confidence)} interval from {low} to {high}."
    yield "Estimate", value, f"{low} to {high}", level
    if estimate.is_labels_alone:
        yield "Labels", f"{engine.worth(estimate)[0]:,.0f}", "no model", "No model has a part in this answer."
        return
    used, effective, _ = engine.worth(estimate)
    fewer = "How many fewer labels there were than labels alone would need for the same standard error."
    saved = f"{1 - used / effective:.0%}" if effective > used else "none"
    yield "Labels saved", saved, narrower(float(estimate.labels_saved)), fewer
    worth = "So many labels alone would give the same standard error."
    yield "Effective labels", f"{effective:,.0f}", f"from {used:,.0f}", worth
    if estimate.model_only is not None:
        said = f"The model's predictions alone say {written(float(estimate.model_only))}."
        yield "Bias of the model alone", estimate.bias(), "corrected here", said


def narrower(saved: float) -> str:
    """Say how much narrower the interval is than by labels alone, from the share of labels saved."""
    share = 1 - (1 - min(saved, 1.0)) ** 0.5
    if abs(share) < 0.005:
        return "interval as by labels alone"
    return f"interval {abs(share):.0%} {'narrower' if share > 0 else 'wider'}"


def show_single(estimate: engine.Estimate) -> None:
    """Show the figures of a single quantity as cards."""
    show_cards(single_metrics(estimate))


def show_cards(cards: Iterable[tuple[str, str, str, str]]) -> None:
    """Show name, value, addition and explanation of each figure as a card."""
    with st.grid(4, min_column_width=180):
        for name, value, addition, help_ in cards:
            st.metric(name, value, addition, delta_color="off", delta_arrow="off", border=True, help=help_)


def show_groups(estimate: engine.Estimate, share: bool) -> None:
    """Show the highest and the lowest group, what is certain, and where the predictions gained most."""
    rows = answers(estimate)
    groups = rows.head(parts.group_count(estimate))
    cards = []
    for title, place in (("Highest", groups["estimate"].idxmax()), ("Lowest", groups["estimate"].idxmin())):
        value, interval = engine.interval_words(estimate, place, share=share)
        cards.append((f"{title}: {parts.plain(groups['name'][place])}", value, interval, "With its own interval."))
    pairs = rows.tail(len(rows) - len(groups))
    certain = int(((pairs["low"] >= 0) | (pairs["high"] <= 0)).sum())
    rule = "Intervals of differences that leave 0 out, or end there; they hold together (Holm)."
    cards.append(
        ("Certain differences", f"{certain} of {len(pairs)}", f"{parts.level(estimate.confidence)} together", rule)
    )
    if estimate.labels_only is not None:
        best = groups.loc[groups["saved"].idxmax()]
        worth = f"{best['n']:,.0f} labels of this group did the work of about {best['worth']:,.0f}."
        cards.append(("Largest gain", gain(float(best["saved"])), parts.plain(best["name"]), worth))
    show_cards(cards)


def gain(saved: float) -> str:
    """Say how much narrower than by labels alone an interval is, from the share of labels saved."""
    share = 1 - (1 - min(saved, 1.0)) ** 0.5
    return f"{share:.0%} narrower" if share > 0.005 else "none"


def answers(estimate: engine.Estimate) -> pd.DataFrame:
    """Return the answers, a row for each name."""
    return pd.DataFrame(
        {
            "name": estimate.names,
            "estimate": estimate.estimate,
            "low": estimate.ci_low,
            "high": estimate.ci_high,
            "saved": estimate.labels_saved,
            "worth": estimate.n_effective,
            "n": (estimate.labels_only or estimate).n,
        }
    )


def written(value: float) -> str:
    """Write a number, whole ones as such."""
    return f"{value:,.0f}" if float(value).is_integer() else parts.number(value, 4)


def show_shares(estimate: engine.Estimate) -> None:
    """Show the largest shares as cards."""
    shares = answers(estimate).sort_values("estimate", ascending=False)
    level = f"With its {parts.level(estimate.confidence)} interval."
    show_cards(
        (parts.plain(name), *engine.interval_words(estimate, place, share=True), level)
        for place, name in shares["name"].head(4).items()
    )


def show_promise(results: engine.Results, run: engine.Run, question: engine.Question, share: bool) -> None:
    """Put the predicted half-width beside the achieved one, where both are of the same thing."""
    if results.plan is None or question.estimand in ("quantile", "groups"):
        return
    strategy, (predicted, low, high) = engine.promised(run, results)
    achieved = half_width(results.estimate)
    inside = "inside" if low <= achieved <= high else "outside"
    band = f"80% between {advice.bare(low, share)} and {advice.bare(high, share)}" if high > low else "no band"
    several = "The half-width of several classes is the root mean square of theirs."
    promised, kept = (advice.half_width(value, share) for value in (predicted, achieved))
    st.markdown(
        f"**Kept promise?** The plan predicted {promised} ({band}) for {strategy}; the run achieved {kept}"
        + (f", {inside} that band." if high > low else ".")
        + (f" {several}" if len(results.estimate.names or ()) > 2 else "")
    )


def half_width(estimate: engine.Estimate) -> float:
    """Return the half-width; over classes the root of its mean square, as the plan counts it."""
    halves = (pd.Series(estimate.ci_high) - pd.Series(estimate.ci_low)) / 2
    return float((halves**2).mean() ** 0.5)


def show_table(estimate: engine.Estimate, run: engine.Run, name: str, share: bool) -> None:
    """Show all figures as a table with its download; `share`: the answers are shares, shown in per cent."""
    formats = {key: "percent" if share and key in OF_SHARES else "%.4g" for key in list(COLUMNS)[2:]}
    frame = estimate.to_frame()
    left_out = {"name"} if (frame["name"] == "").all() else set()
    left_out |= OF_PREDICTIONS if estimate.is_labels_alone else set()
    shown = frame[[name for name in COLUMNS if name in frame and name not in left_out]]
    st.dataframe(
        shown.rename(columns={**COLUMNS, "name": name}), hide_index=True, alt="All answers with their intervals",
        key="answers", placeholder="",
        column_config={COLUMNS[key]: st.column_config.NumberColumn(format=form) for key, form in formats.items()},
    )  # fmt: skip
    st.download_button(
        "Download CSV", data=lambda: frame.to_csv(index=False).encode("utf-8-sig"), file_name=f"labelwise-{run.id}.csv",
        mime="text/csv", icon=":material/download:", key="csv", on_click="ignore",
    )  # fmt: skip


def show(store: engine.Store, study: engine.Study, run: engine.Run) -> None:
    """Show the answer of one run."""
    results = parts.results_of(store, run)
    estimate = results.estimate
    if estimate is None:
        st.error("This run holds no estimate; start a new run on the Run page.")
        return
    st.session_state["seen_results"] = True
    share = parts.is_share(study)
    show_words(estimate, share)
    groups = parts.group_count(estimate) if study.question.estimand == "groups" else 0
    if groups:
        show_groups(estimate, share)
        show_comparison(estimate, groups, share)
    else:
        (show_single if estimate.names is None else show_shares)(estimate)
        parts.chart(engine.estimate_figure(estimate, share=share), "estimate", estimate.summary(share=share))
    for note in estimate.notes:
        st.warning(parts.plain(note), icon=":material/info:")
    show_promise(results, run, study.question, share)
    show_table(estimate, run, "Group" if groups else "Class", share)
    if facts := engine.run_facts(results):
        with st.expander("How it was done", icon=":material/info:"):
            st.markdown("\n".join(f"- {parts.plain(name)}: {parts.plain(value)}" for name, value in facts))


def show_words(estimate: engine.Estimate, share: bool) -> None:
    """Say the answer, what it was worth and how far off the model alone would have been; the notes stand below."""
    said = [line for line in estimate.summary(share=share).split("\n") if line not in estimate.notes]
    first, *rest = [line for line in said if not line.startswith("  ") and not line.endswith(":")] or said
    st.markdown(f"#### {parts.plain(first)}")
    if rest:
        st.markdown("\n\n".join(parts.plain(line) for line in rest))


def show_comparison(estimate: engine.Estimate, groups: int, share: bool) -> None:
    """Draw the groups, and in another tab their differences."""
    if groups < 2:
        parts.chart(engine.estimate_figure(estimate, share=share), "estimate", estimate.summary(share=share))
        return
    pairs = len(estimate.names) - groups
    for tab, part in zip(st.tabs([f"{groups} groups", f"{pairs} differences"]), ("groups", "differences"), strict=True):
        with tab:
            figure = engine.estimate_figure(estimate, share=share, part=part)
            parts.chart(figure, f"estimate_{part}", estimate.summary(share=share))


def main() -> None:
    """Show the chosen run's answer, or the way to one."""
    store = parts.open_store()
    study = parts.open_study(store)
    engine.reconcile(store)
    known = [run for run in store.runs(study.id) if run.kind == parts.RUN]
    runs = [run for run in known if run.state is engine.RunState.FINISHED]
    parts.tell_missing(known, known)
    coming = awaited(known, bool(runs))
    if coming is not None:
        show_coming(store, study, coming)
        return
    if not runs:
        st.info("There is no finished run of this study yet.", icon=":material/hourglass_empty:")
        if st.button("Go to the run", type="primary", icon=":material/arrow_forward:", icon_position="right"):
            st.switch_page("pages/run.py", query_params={"study": study.id})
        return
    run = parts.choose_run(runs, key="result_run")
    data_sentence(study)
    show(store, study, run)
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Continue to the report", type="primary", icon=":material/arrow_forward:", icon_position="right"):
            st.switch_page("pages/report.py", query_params={"study": study.id, "run": run.id})


def awaited(known: list[engine.Run], some_done: bool) -> engine.Run | None:
    """Return the run that the address names while it has no result; without any result, one that is under way."""
    named = next((run for run in known if run.id == st.query_params.get("run")), None)
    if named is not None:
        return None if named.state is engine.RunState.FINISHED else named
    return None if some_done else next((run for run in known if not run.is_finished), None)


def show_coming(store: engine.Store, study: engine.Study, run: engine.Run) -> None:
    """Follow a run until its result is there."""
    data_sentence(study)
    if run.is_finished:
        parts.ended_badly(store, run)
        return
    parts.follow(store, run, key="follow_result")
    st.skeleton(height=320)


def data_sentence(study: engine.Study) -> None:
    """Repeat the question that is answered here."""
    data = parts.dataset(study)
    st.markdown(f":gray[{parts.plain(study.question.sentence(study.roles, data.n + data.m))}]")


parts.heading("Results", "The answer with its interval, beside what labels alone and the model alone would have said.")
with parts.explained():
    main()
