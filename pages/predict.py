"""Predict: how far further labels would carry, before anything is trained."""

import streamlit as st

import engine
from pages import labelling, parts, selecting


def first_run(store: engine.Store, study: engine.Study) -> engine.Run:
    """Return the study's prediction, started here if it never was, or holds no curve of today's form."""
    run = parts.latest(store, study, parts.EFFICIENCY)
    finished = run is not None and run.state is engine.RunState.FINISHED
    if run is None or (finished and parts.results_of(store, run).efficiency is None):
        run = engine.start_run(store, study, parts.EFFICIENCY, engine.RunSettings())
        st.rerun()
    return run


def best_known(store: engine.Store, study: engine.Study) -> engine.Run:
    """Return the newest run whose curve trials have moved, else the study's prediction.

    A run that trains nothing has no curve; and a prediction made after trials knows less than they do.
    """
    for run in store.runs(study.id):
        if run.kind in (parts.PLAN, parts.RUN) and run.state is engine.RunState.FINISHED:
            efficiency = parts.results_of(store, run).efficiency
            if efficiency is not None and efficiency.measured:
                return run
    return first_run(store, study)


def show(store: engine.Store, run: engine.Run) -> None:
    """Show the curve and what it says in words."""
    results = parts.results_of(store, run)
    efficiency = results.efficiency
    if efficiency is None:
        return
    with st.container(horizontal=True):
        measured = efficiency.measured
        st.badge(
            "Measured on trials" if measured else "Prediction, nothing trained yet",
            color="green" if measured else "orange",
            icon=":material/straighten:" if measured else ":material/online_prediction:",
        )
        if not efficiency.calibrated:
            st.badge("Model not calibrated", color="gray", icon=":material/tune:")
    st.markdown(f"##### {parts.plain(efficiency.summary())}")
    if usual := efficiency.usual_words():
        st.markdown(f"{usual}; trials on the Plan page measure theirs.")
    trials = results.trials if len(results.trials) else None
    figure = engine.data_efficiency_figure(efficiency, trials)
    figure.layout.annotations = ()  # the badge above says it in the page's own type
    parts.chart(figure, "efficiency", efficiency.summary(), height=420)
    show_numbers(efficiency)
    explain(efficiency, run, results.details.get("calibration"))


def show_live(store: engine.Store, before: engine.Run, run: engine.Run) -> None:
    """Show the curve while trials are made: each moves it as it is measured. Until then, that of the run before."""

    @st.fragment(run_every=2, key="trials_landing")
    def watch() -> None:
        with parts.explained():
            known = parts.under_way(store, run)
            parts.progress(known)
            show(store, known if parts.results_of(store, known).efficiency else before)

    watch()


def show_numbers(efficiency: engine.Efficiency) -> None:
    """Show how many labels reach which part of the way, each with its 80% interval."""
    st.subheader("Labels that reach a share of what this model can", anchor=False)
    with st.grid(3, min_column_width=200):
        for share in (0.5, 0.8, 0.9):
            median, low, high = efficiency.words_to(share)
            st.metric(
                f"{share:.0%} of the way", median, border=True,
                delta=low if low == high else f"{low} to {high}", delta_color="off", delta_arrow="off",
            )  # fmt: skip


def explain(efficiency: engine.Efficiency, run: engine.Run, calibration: str | None) -> None:
    """Say what the curve rests on."""
    with st.expander("What this rests on", icon=":material/info:"):
        if efficiency.coslow is not None:
            st.markdown(
                f"The gradients of the texts that the model is least sure of point the same way to the degree "
                f"CoS-Low = {efficiency.coslow:.2f}. For the large models it was published for, the more they agree, "
                "the fewer labels it takes."
            )
        if calibration:
            st.markdown(parts.plain(calibration))
        if not efficiency.calibrated:
            st.markdown(
                f"For {parts.plain(run.settings.model)} nothing is calibrated, so the band is wide; a few trials on "
                "the Plan page narrow it, and `labelwise calibrate` learns from tasks of your own."
            )
        st.markdown("The band holds the curve with a probability of 80%.")


def curve(store: engine.Store, study: engine.Study) -> None:
    """Show the curve, or the run that leads to it; then the ways to more labels and to the plan."""
    run = best_known(store, study)
    if not run.is_finished:
        st.write("Reading the texts with the model. This takes seconds, and is kept.")
        parts.follow(store, run, key="follow_prediction")
        st.skeleton(height=380)
    elif run.state is engine.RunState.FINISHED:
        trying = parts.latest(store, study, parts.PLAN, parts.RUN)
        if trying is not None and not trying.is_finished:
            show_live(store, run, trying)
        else:
            show(store, run)
        parts.caution(study)
        selecting.offer(store, study, run.settings.model)
    else:
        parts.ended_badly(store, run)
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Continue to the plan", type="primary", icon=":material/arrow_forward:", icon_position="right"):
            st.switch_page("pages/plan.py", query_params={"study": study.id})


def main() -> None:
    """Show the curve, or the texts to be labelled where that was asked for or nothing is labelled yet."""
    store = parts.open_store()
    study = parts.open_study(store)
    asked = selecting.current(store, study)
    named = asked is not None and asked.id == st.query_params.get("labelling")
    if not named and parts.has_labels(study):
        curve(store, study)
        return
    labelling.show(store, study, asked)


parts.heading("Predict", "How far further labels would carry with this model, told before anything is trained on them.")
with parts.explained():
    main()
