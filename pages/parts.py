"""What several pages show: the open study, a chart, the progress of a run, a fault in plain words."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

import engine

PAGES = ("data", "predict", "plan", "run", "results", "report")
SELECT, EFFICIENCY, PLAN, RUN = "select", "efficiency", "plan", "run"
LEARNERS = {"probe": "Probe", "lora": "LoRA", "full": "Full", "auto": "Auto (probe and LoRA)"}
STRATEGIES = {
    "auto": "as the plan recommends",
    "labels-only": "labels only",
    "zero-shot": "zero-shot",
    "split": "split",
    "cross-fit": "cross-fit",
}
OWN_PREDICTIONS = engine.RunSettings(strategy="zero-shot")  # nothing is trained on the labels
_STEPS = {SELECT: "Selection", EFFICIENCY: "Prediction", PLAN: "Pilot", RUN: "Run"}
_BADGES = {
    engine.RunState.QUEUED: ("Waiting", "gray", ":material/schedule:"),
    engine.RunState.RUNNING: ("Under way", "blue", ":material/progress_activity:"),
    engine.RunState.STOPPING: ("Stopping", "orange", ":material/stop_circle:"),
    engine.RunState.FINISHED: ("Finished", "green", ":material/check:"),
    engine.RunState.STOPPED: ("Stopped", "gray", ":material/stop_circle:"),
    engine.RunState.FAILED: ("Failed", "red", ":material/error:"),
    engine.RunState.INTERRUPTED: ("Interrupted", "orange", ":material/power_off:"),
}


def plain(text: object) -> str:
    """Return a text in which nothing is taken for Markdown: names of files and columns are the user's."""
    return re.sub(r"([\\`*_{}\[\]<>#$~|:])", r"\\\1", str(text))


@contextmanager
def explained() -> Iterator[None]:
    """Show a fault that the engine explains as its sentence, and go on with the page below."""
    try:
        yield
    except engine.LabelwiseError as fault:
        st.error(plain(fault), icon=":material/error:")


def heading(title: str, sentence: str) -> None:
    """Open a page: its name, and in one sentence what it tells."""
    if not st.session_state.get("framed"):
        # Until the first `st.navigation` of a server's life, Streamlit runs a page of this folder without its frame.
        st.navigation([f"pages/{name}.py" for name in PAGES])
        st.rerun()
    st.title(title, anchor=False)
    st.markdown(f":gray[{sentence}]")


# ------------------------------------------------------------------ the open study


@st.cache_resource(max_entries=4, show_spinner=False)
def _store_at(_home: Path, place: str) -> engine.Store:
    return engine.open_store()


def open_store() -> engine.Store:
    """Return the store of the user's data folder, opened once."""
    home = engine.home()
    return _store_at(home, str(home))


def open_study(store: engine.Store) -> engine.Study:
    """Return the study that the address names: else the one last open, else the newest, else the sample."""
    known = {study.id: study for study in store.studies()}
    for named in (st.query_params.get("study"), st.session_state.get("study")):
        if named in known:
            return _opened(known[named])
        if named:
            st.warning(f"There is no study {plain(named[:20])} here; the newest one is open instead.")
    return _opened(next(iter(known.values())) if known else engine.sample_study(store))


def _opened(study: engine.Study) -> engine.Study:
    # The address is where a reload finds the study; the session only carries it from page to page.
    st.session_state["study"] = study.id
    if st.query_params.get("study") != study.id:
        st.query_params["study"] = study.id
    return study


@st.cache_resource(max_entries=8, show_spinner="Reading the data")
def _prepared(key: str, _study: engine.Study) -> Any:
    return _study.dataset()


def dataset(study: engine.Study) -> Any:
    """Return the study's prepared data; its id is a hash of files and roles, so it is read once."""
    return _prepared(f"{engine.home()} {study.id}", study)


def level(confidence: float) -> str:
    """Write a confidence level, such as 95% or 99.9%."""
    return f"{100 * confidence:g}%"


def is_share(study: engine.Study) -> bool:
    """Return whether the answers are shares, and their widths percentage points."""
    return dataset(study).classes is not None


@st.cache_resource(max_entries=64, show_spinner=False)
def _has_labels(key: str, _study: engine.Study) -> bool:
    try:
        dataset(_study)  # kept for the rest of the page
    except engine.LabelwiseError:
        return _study.has_labels()
    return True


def has_labels(study: engine.Study) -> bool:
    """Whether a study has labels enough to be used, and is not a pool that waits to be labelled."""
    return _has_labels(f"{engine.home()} {study.id}", study)


def lacks_labels(study: engine.Study) -> bool:
    """Whether a study has no labels yet; then say so, and show the way to them."""
    if has_labels(study):
        return False
    st.info("Nothing is labelled yet, or too little. Label some texts first.", icon=":material/edit_note:")
    if st.button("Label texts", type="primary", icon=":material/arrow_forward:", icon_position="right"):
        st.switch_page("pages/predict.py", query_params={"study": study.id})
    return True


def caution(study: engine.Study) -> None:
    """Warn where no estimate may rest on a study's labels."""
    if study.caution:
        st.warning(plain(study.caution), icon=":material/warning:")


def latest(store: engine.Store, study: engine.Study, *kinds: str) -> engine.Run | None:
    """Return the newest run of these kinds, if any."""
    return next((run for run in store.runs(study.id) if run.kind in kinds), None)


def own_run(store: engine.Store, study: engine.Study) -> engine.Run | None:
    """Return the run that rectified the predictions of the data as they came, if that was done."""
    runs = [run for run in store.runs(study.id) if (run.kind, run.settings) == (RUN, OWN_PREDICTIONS)]
    return next((run for run in runs if run.state is engine.RunState.FINISHED), None)


@st.cache_resource(max_entries=16, show_spinner=False)
def _finished_results(key: str, _store: engine.Store, _run: engine.Run) -> engine.Results:
    return engine.read_results(_store, _run)


def results_of(store: engine.Store, run: engine.Run) -> engine.Results:
    """Return what a run has found so far; that of a finished run is read once."""
    if run.state is not engine.RunState.FINISHED:
        return engine.read_results(store, run)
    return _finished_results(f"{engine.home()} {run.id} {run.finished}", store, run)


# --------------------------------------------------------------------------- charts


# The figures' colours are chosen for a light ground; on a dark one their lighter sisters are easier to see.
_ON_DARK = {
    "#0F766E": "#3DB8A9",
    "#64748B": "#A3B1C2",
    "#D97706": "#F0A04B",
    "#2563EB": "#7BA7F7",
    "rgba(15,118,110,": "rgba(61,184,169,",
    "rgba(100,116,139,": "rgba(163,177,194,",
    "rgba(217,119,6,": "rgba(240,160,75,",
    "rgba(37,99,235,": "rgba(123,167,247,",
}


def for_theme(figure: Any) -> Any:
    """Return a figure in the colours of the reader's theme; one that has them already is left as it is."""
    if st.context.theme.type != "dark" or figure.layout.meta == "dark":
        return figure
    text = figure.to_json()
    for light, dark in _ON_DARK.items():
        text = text.replace(light, dark)
    return type(figure)(json.loads(text)).update_layout(meta="dark")


def chart(figure: Any, key: str, alt: str, height: int | None = None) -> None:
    """Draw a figure with a stable key, a text for screen readers, and a picture button that names its file."""
    bar = {"bgcolor": "rgba(0,0,0,0)", "color": "rgba(128,128,128,0.7)", "activecolor": "#1A9488"}
    figure.update_layout(modebar=bar, height=height or figure.layout.height)
    config = {
        "displaylogo": False,
        "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
        "toImageButtonOptions": {"format": "png", "filename": f"labelwise-{key}", "scale": 2},
    }
    st.plotly_chart(for_theme(figure), key=key, alt=alt, config=config)


# ---------------------------------------------------------------------- words for figures


def number(value: float, digits: int = 3) -> str:
    """Write a number as a person would: few significant digits, thousands separated, no powers of ten."""
    value = float(value)
    if not math.isfinite(value):
        return "unknown"
    if value == 0:
        return "0"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):,.{min(max(decimals, 0), 8)}f}"


def counted(count: int, noun: str) -> str:
    """Write a number with its noun, in the plural unless it is 1."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """Write a time as a person would say it."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def when(run: engine.Run) -> str:
    """Say when a run was started, in the reader's own time where the browser tells it."""
    zone = st.context.timezone or "UTC"
    local = pd.Timestamp(run.created).tz_localize("UTC").tz_convert(zone)
    return f"{local:%d %b %Y, %H:%M}" + (" UTC" if zone == "UTC" else "")


# ------------------------------------------------------------------------------ runs


def _how(settings: engine.RunSettings) -> str:
    if settings.strategy == "labels-only":
        return "Labels only"
    return f"{LEARNERS[settings.learner]}, {STRATEGIES[settings.strategy]}"


def tell_missing(known: list[engine.Run], shown: list[engine.Run]) -> None:
    """Say where the address names a run that is not there, or not among those that can be shown."""
    named = st.query_params.get("run")
    if not named or any(run.id == named for run in shown):
        return
    there = any(run.id == named for run in known)
    name = plain(named[:20])
    said = f"Run {name} has no result" if there else f"There is no run {name} of this study here"
    st.warning(f"{said}; the newest one is shown instead." if shown else f"{said}.")
    del st.query_params["run"]


def choose_run(runs: list[engine.Run], *, key: str) -> engine.Run:
    """Let the reader choose among finished runs where there are several; the choice is kept in the address."""
    known = {run.id: run for run in runs}
    words = {run.id: f"{when(run)} · {_how(run.settings)} · {run.id}" for run in runs}
    if len(runs) == 1:
        st.caption(f"Run of {plain(words[runs[0].id])}")
        return runs[0]
    named = st.query_params.get("run")
    index = list(known).index(named) if named in known else 0
    chosen = st.selectbox("Run", list(known), index=index, format_func=words.get, key=key)
    st.query_params["run"] = chosen
    return known[chosen]


# --------------------------------------------------------------------------- groups


def group_count(estimate: engine.Estimate) -> int:
    """Return how many groups an estimate compares, 0 for one that compares none: k groups, then k (k - 1) / 2 pairs."""
    if estimate.multiplicity is None or estimate.names is None:
        return 0
    return (math.isqrt(8 * len(estimate.names) + 1) - 1) // 2


# ----------------------------------------------------------------------------- runs


def state_badge(run: engine.Run) -> None:
    """Show a run's state as a badge."""
    label, colour, icon = _BADGES[run.state]
    st.badge(label, color=colour, icon=icon)


def step_name(run: engine.Run) -> str:
    """Name what a run does."""
    return _STEPS[run.kind]


def progress(run: engine.Run) -> None:
    """Show how far a run is and how long it will take."""
    left = f", about {duration(run.seconds_left)} left" if run.seconds_left is not None else ""
    st.progress(min(max(run.progress, 0.0), 1.0), text=f"{plain(run.stage)}{left}")


def under_way(store: engine.Store, seen: engine.Run) -> engine.Run:
    """Return a run as it stands; once its state is another, or it was discarded, the page is drawn anew instead."""
    engine.reconcile(store)
    run = next((run for run in store.runs() if run.id == seen.id), None)
    if run is None or run.state is not seen.state:
        st.rerun(scope="app")
    return run


def follow(store: engine.Store, run: engine.Run, *, key: str) -> None:
    """Show a run's progress every two seconds until it has ended, then draw the page anew."""

    @st.fragment(run_every=2, key=key)
    def watch() -> None:
        with explained():
            progress(under_way(store, run))

    watch()


def ended_badly(store: engine.Store, run: engine.Run) -> Any:
    """Say why a run has no result, and offer to go on with it; return the row of buttons, for more of them."""
    causes = {
        engine.RunState.STOPPED: "It was stopped; what was computed until then is kept.",
        engine.RunState.INTERRUPTED: "The process ended before it was done.",
    }
    words = run.error or causes.get(run.state, "It ended without a result.")
    # To have been stopped is no fault.
    show = st.error if run.state is engine.RunState.FAILED else st.warning
    show(plain(words), title=f"{step_name(run)} {run.state.value}", icon=_BADGES[run.state][2])
    row = st.container(horizontal=True)
    kept = "Steps already done are kept."
    if row.button("Resume", key=f"resume_{run.id}", icon=":material/play_arrow:", type="primary", help=kept):
        with explained():
            engine.resume_run(store, run.id)
            st.rerun()
    log = run.log_tail(60)
    if log:
        with st.expander("Log", icon=":material/terminal:"):
            st.code(log, language=None, height=260)
    return row
