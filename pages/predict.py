"""Predict: how far further labels would carry, before anything is trained."""

import streamlit as st
from pages.parts import EFFICIENCY, chart, ended_badly, explained, follow, heading, latest, number
from pages.parts import open_store, open_study, plain, results_of

import engine


def first_run(store: engine.Store, study: engine.Study) -> engine.Run:
    """Return the study's prediction, started here if it never was."""
    run = latest(store, study, EFFICIENCY)
    if run is None:
        run = engine.start_run(store, study, EFFICIENCY, engine.RunSettings())
        st.rerun()
    return run


def show(store: engine.Store, study: engine.Study, run: engine.Run) -> None:
    """Show the curve and what it says in words."""
    results = results_of(store, run)
    efficiency = results.efficiency
    if efficiency is None:
        st.error("This prediction holds no curve; start it again.")
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
    st.markdown(f"##### {plain(efficiency.summary())}")
    trials = results.trials if len(results.trials) else None
    figure = engine.data_efficiency_figure(efficiency, trials)
    chart(figure, "efficiency", efficiency.summary(), height=420)
    show_numbers(efficiency)
    explain(efficiency, run)


def show_numbers(efficiency: engine.Efficiency) -> None:
    """Show how many labels reach which part of the way, each with its 80% interval."""
    st.subheader("Labels that reach a share of what this model can", anchor=False)
    with st.grid(3, min_column_width=200):
        for share in (0.5, 0.8, 0.9):
            to = efficiency.labels_to(share)
            st.metric(
                f"{share:.0%} of the way", number(to["median"], 2), border=True,
                delta=f"{number(to['low'], 2)} to {number(to['high'], 2)}", delta_color="off", delta_arrow="off",
            )  # fmt: skip


def explain(efficiency: engine.Efficiency, run: engine.Run) -> None:
    """Say what the curve rests on."""
    with st.expander("What this rests on", icon=":material/info:"):
        if efficiency.coslow is not None:
            st.markdown(
                f"The gradients of the texts that the model is least sure of point the same way to the degree "
                f"CoS-Low = {efficiency.coslow:.2f}. The more they agree, the fewer labels it takes."
            )
        if not efficiency.calibrated:
            st.markdown(
                f"The link from CoS-Low to the curve was published for other models. For {plain(run.settings.model)} "
                "it is not calibrated, so the band is wide; a few trials on the Plan page narrow it."
            )
        st.markdown("The band holds the curve with a probability of 80%.")


heading("Predict", "How far further labels would carry with this model, told before anything is trained on them.")
the_store = open_store()
the_study = open_study(the_store)
with explained():
    the_run = first_run(the_store, the_study)
    if not the_run.is_finished:
        st.write("Reading the texts with the model. This takes seconds, and is kept.")
        follow(the_store, the_run.id, key="follow_prediction")
        st.skeleton(height=380)
    elif the_run.state is engine.RunState.FINISHED:
        show(the_store, the_study, the_run)
    else:
        ended_badly(the_store, the_run, key="prediction")
with st.container(horizontal=True, horizontal_alignment="right"):
    if st.button("Continue to the plan", type="primary", icon=":material/arrow_forward:", icon_position="right"):
        st.switch_page("pages/plan.py", query_params={"study": the_study.id})
