"""The law behind a plan: while trials land on it, and once it is known, beside the laws of other learners."""

import streamlit as st

import engine
from pages import parts


def has_plan(store: engine.Store, run: engine.Run) -> bool:
    """Whether a run has ended with a plan."""
    made = run.kind in (parts.PLAN, parts.RUN) and run.state is engine.RunState.FINISHED
    return made and parts.results_of(store, run).plan is not None


def pilots(store: engine.Store, study: engine.Study) -> dict[str, engine.Run]:
    """Return the newest run with a plan for each learner, the newest first."""
    found: dict[str, engine.Run] = {}
    for run in store.runs(study.id):
        if run.settings.learner not in found and has_plan(store, run):
            found[run.settings.learner] = run
    return found


def beside(store: engine.Store, study: engine.Study, run: engine.Run) -> dict[str, engine.Law]:
    """The laws of the study's pilots of other learners, by their names."""
    runs = [one for learner, one in pilots(store, study).items() if learner != run.settings.learner]
    known = {parts.LEARNERS[one.settings.learner]: parts.results_of(store, one).law for one in runs}
    return {name: law for name, law in known.items() if law is not None}


def show_law(run: engine.Run, results: engine.Results, others: dict[str, engine.Law]) -> None:
    """Show trials and law of a run as far as they are known, beside the laws of other learners."""
    trials, name = results.trials, parts.LEARNERS[run.settings.learner]
    law = results.law
    if law is not None:
        figure = engine.law_figure(law, trials if len(trials) else None, name=name if others else "", others=others)
        said = f"{parts.plain(law.summary())} {law.fit_summary(len(trials))}"
    elif others and len(trials):
        first = next(iter(others))
        figure = engine.law_figure(others[first], trials, name=first)
        said = f"The trials of {name} land on the law of {first}; theirs is drawn from the second size on."
    elif len(trials):
        figure = engine.trials_figure(trials)
        said = "Each point: a trial, scored on labels it has not seen. The law is drawn once two sizes are done."
    else:
        st.caption("The law is drawn once the trials of two sizes are done.")
        st.skeleton(height=340)
        return
    parts.chart(figure, f"law_{run.id}", said, height=340)
    st.caption(said)


def follow(store: engine.Store, study: engine.Study, run: engine.Run) -> None:
    """Show a pilot under way, with its trials landing on the law, until it has ended; then draw the page anew."""

    @st.fragment(run_every=2, key="follow_pilot")
    def watch() -> None:
        with parts.explained():
            now = parts.under_way(store, run)
            parts.progress(now)
            show_law(now, parts.results_of(store, now), beside(store, study, now))

    watch()
