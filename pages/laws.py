"""The law behind a plan: while trials land on it, and once it is known, beside the laws of other learners."""

from collections.abc import Iterable
from typing import Any

import streamlit as st

import engine
from pages import parts


def has_plan(store: engine.Store, run: engine.Run) -> bool:
    """Whether a run has ended with a plan."""
    made = run.kind in (parts.PLAN, parts.RUN) and run.state is engine.RunState.FINISHED
    return made and parts.results_of(store, run).plan is not None


def made_with(run: engine.Run) -> dict[str, Any]:
    """Return the settings on which a pilot's trials depend."""
    return {name: getattr(run.settings, name) for name in ("learner", "model", "seed", "objective", "keep")}


def pilots(store: engine.Store, study: engine.Study) -> tuple[engine.Run, ...]:
    """Return the runs with a plan, the newest first; of those made alike the one that opened most labels.

    The pilot of a run with a strategy of its own may have stopped before an earlier one that weighed all of them.
    """
    found: dict[tuple[Any, ...], tuple[float, engine.Run]] = {}
    for run in store.runs(study.id):
        made = tuple(made_with(run).values())
        if has_plan(store, run):
            largest = parts.results_of(store, run).plan.law.sizes.max()
            found[made] = max(found.get(made, (0, run)), (largest, run), key=lambda one: one[0])
    return tuple(run for _, run in found.values())


def name(run: engine.Run, others: Iterable[engine.Run]) -> str:
    """Name a pilot by its learner; beside others of that learner by its model too, by its seed, or else by its time."""
    words = parts.LEARNERS[run.settings.learner]
    alike = [one for one in others if one.settings.learner == run.settings.learner]
    for told in (_model, _seed, _time):
        if any(told(one) != told(run) for one in alike):
            words = f"{words}, {told(run)}"
            alike = [one for one in alike if told(one) == told(run)]
    return words


def _model(run: engine.Run) -> str:
    return parts.plain(run.settings.model)


def _seed(run: engine.Run) -> str:
    return f"seed {run.settings.seed}"


def _time(run: engine.Run) -> str:
    return f"{parts.when(run)} · {run.id}"


def beside(store: engine.Store, study: engine.Study, run: engine.Run) -> dict[str, engine.Law]:
    """The laws of the study's newest pilots of other learners, by their names."""
    known: dict[str, engine.Law] = {}
    for one in pilots(store, study):
        law = parts.results_of(store, one).law
        if one.settings.learner != run.settings.learner and law is not None:
            known.setdefault(parts.LEARNERS[one.settings.learner], law)
    return known


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
