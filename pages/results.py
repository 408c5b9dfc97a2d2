"""Results: the answer with its interval."""

from collections.abc import Iterable

import pandas as pd
import streamlit as st

import engine
from pages import parts

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
    "labels_saved": "Labels saved",
    "power": "Lambda",
    "correlation": "Correlation",
}


def pick(runs: list[engine.Run]) -> engine.Run:
    """Let the reader choose among the finished runs; the choice is kept in the address."""
    known = {run.id: run for run in runs}
    words = {run.id: f"{parts.when(run)} · {run.settings.learner}, {run.settings.strategy} · {run.id}" for run in runs}
    if len(runs) == 1:
        st.caption(f"Run of {parts.plain(words[runs[0].id])}")
        return runs[0]
    named = st.query_params.get("run")
    index = list(known).index(named) if named in known else 0
    chosen = st.selectbox("Run", list(known), index=index, format_func=words.get, key="result_run")
    st.query_params["run"] = chosen
    return known[chosen]


def mean_metrics(estimate: engine.Estimate) -> Iterable[tuple[str, str, str, str]]:
    """Return name, value, addition and explanation of each figure for a single quantity."""
    low, high = (parts.number(end, 4) for end in (estimate.ci_low, estimate.ci_high))
    half = parts.number((estimate.ci_high - estimate.ci_low) / 2)
    level = f"{estimate.confidence:.0%} interval from {low} to {high}."
    yield "Estimate", parts.number(estimate.estimate, 4), f"± {half}", level
    saved = max(float(estimate.labels_saved), 0.0)
    yield "Labels saved", f"{saved:.0%}", "of labels alone", "The share of labels that the model replaced."
    worth = "So many labels alone would give the same standard error."
    yield "Effective labels", f"{float(estimate.n_effective):,.0f}", f"from {estimate.n:,}", worth
    if estimate.model_only is not None:
        bias = float(estimate.model_only) - float(estimate.estimate)
        said = f"The model's predictions alone say {parts.number(estimate.model_only, 4)}."
        yield "Bias of the model alone", f"{bias:+.3g}", "corrected here", said


def show_metrics(estimate: engine.Estimate) -> None:
    """Show the figures of a single quantity as cards."""
    with st.grid(4, min_column_width=180):
        for name, value, addition, help_ in mean_metrics(estimate):
            st.metric(name, value, addition, delta_color="off", delta_arrow="off", border=True, help=help_)


def show_shares(estimate: engine.Estimate) -> None:
    """Show the largest shares as cards."""
    shares = pd.DataFrame(
        {"name": estimate.names, "estimate": estimate.estimate, "low": estimate.ci_low, "high": estimate.ci_high}
    ).sort_values("estimate", ascending=False)
    with st.grid(4, min_column_width=180):
        for row in shares.head(4).itertuples():
            interval = f"{row.low:.1%} to {row.high:.1%}"
            st.metric(
                parts.plain(row.name),
                f"{row.estimate:.1%}",
                interval,
                delta_color="off",
                delta_arrow="off",
                border=True,
            )


def show_promise(results: engine.Results, estimate: engine.Estimate) -> None:
    """Put the predicted half-width beside the achieved one."""
    plan = results.plan
    if plan is None:
        return
    strategy = str(results.details.get("strategy") or plan.recommended)
    record = next((record for record in plan.strategies if record.name == strategy), plan[plan.recommended])
    achieved = half_width(estimate)
    low, high = record.interval
    inside = "inside" if low <= achieved <= high else "outside"
    band = f"80% between {parts.number(low)} and {parts.number(high)}" if high > low else "no band"
    st.markdown(
        f"**Kept promise?** The plan predicted ± {parts.number(record.half_width)} ({band}) for {record.name}; "
        f"the run achieved ± {parts.number(achieved)}" + (f", {inside} that band." if high > low else ".")
    )


def half_width(estimate: engine.Estimate) -> float:
    """Return the half-width; over classes the root of its mean square, as the plan counts it."""
    halves = (pd.Series(estimate.ci_high) - pd.Series(estimate.ci_low)) / 2
    return float((halves**2).mean() ** 0.5)


def show_table(estimate: engine.Estimate, run: engine.Run) -> None:
    """Show all figures as a table, with its download."""
    frame = estimate.to_frame()
    shown = frame[[name for name in COLUMNS if name in frame and not (name == "name" and (frame[name] == "").all())]]
    st.dataframe(
        shown.rename(columns=COLUMNS), hide_index=True, alt="All answers with their intervals", key="answers",
        placeholder="",
        column_config={title: st.column_config.NumberColumn(format="%.4g") for title in list(COLUMNS.values())[2:]},
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
    st.markdown(f"#### {parts.plain(estimate.summary())}")
    (show_metrics if estimate.names is None else show_shares)(estimate)
    parts.chart(engine.estimate_figure(estimate), "estimate", estimate.summary())
    for note in estimate.notes:
        st.warning(parts.plain(note), icon=":material/info:")
    show_promise(results, estimate)
    show_table(estimate, run)
    if results.details:
        with st.expander("How it was done", icon=":material/info:"):
            st.markdown(
                "\n".join(
                    f"- {parts.plain(name)}: {parts.plain(detail(value))}" for name, value in results.details.items()
                )
            )


def detail(value: object) -> str:
    """Write a fact of the run in a line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {detail(entry)}" for name, entry in value.items())
    return parts.number(value, 4) if isinstance(value, float) else str(value)


def main() -> None:
    """Show the chosen run's answer, or the way to one."""
    store = parts.open_store()
    study = parts.open_study(store)
    runs = [run for run in store.runs(study.id) if run.kind == parts.RUN and run.state is engine.RunState.FINISHED]
    if not runs:
        st.info("There is no finished run of this study yet.", icon=":material/hourglass_empty:")
        if st.button("Go to the run", type="primary", icon=":material/arrow_forward:", icon_position="right"):
            st.switch_page("pages/run.py", query_params={"study": study.id})
        return
    run = pick(runs)
    data_sentence(study)
    show(store, study, run)
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Continue to the report", type="primary", icon=":material/arrow_forward:", icon_position="right"):
            st.switch_page("pages/report.py", query_params={"study": study.id, "run": run.id})


def data_sentence(study: engine.Study) -> None:
    """Repeat the question that is answered here."""
    data = parts.dataset(study)
    st.markdown(f":gray[{parts.plain(study.question.sentence(study.roles, data.n + data.m))}]")


parts.heading("Results", "The answer with its interval, beside what labels alone and the model alone would have said.")
with parts.explained():
    main()
