"""Report: the answer for others, as document, slides and table."""

import tempfile
from importlib.util import find_spec
from pathlib import Path

import streamlit as st

import engine
from pages import parts

PREVIEW_HEIGHT = 820
WITH_SLIDES = find_spec("pptx") is not None


@st.cache_data(max_entries=8, show_spinner="Writing the report")
def document(key: str, headline: str, figures: tuple[str, ...], _store: engine.Store, _run_id: str) -> str:
    """Return the report as one HTML file, written once for each choice."""
    return engine.html_report(_store, _run_id, headline=headline or None, figures=figures)


def slides(store: engine.Store, run_id: str, headline: str) -> bytes:
    """Return the report as editable slides."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.pptx"
        engine.write_report(store, run_id, path, headline=headline or None)
        return path.read_bytes()


def present(results: engine.Results) -> list[str]:
    """Return the names of the figures that this run can show."""
    there = {
        "answer": results.estimate is not None,
        "plan": results.plan is not None,
        "law": results.law is not None,
        "efficiency": results.efficiency is not None,
        "labels": True,
        "loss": len(results.losses) > 0,
    }
    return [name for name in engine.REPORT_FIGURES if there[name]]


def figure_title(name: str, estimate: engine.Estimate | None) -> str:
    """Name a figure of the report."""
    alone = estimate is not None and estimate.is_labels_alone
    return "The answer, by labels only" if name == "answer" and alone else engine.REPORT_FIGURES[name]


def compose(store: engine.Store, run: engine.Run) -> tuple[str, tuple[str, ...]]:
    """Ask for headline and figures."""
    results = parts.results_of(store, run)
    headline = st.text_input(
        "Headline", key=f"headline_{run.id}", max_chars=200, placeholder="The answer in a sentence"
    )
    names = present(results)
    ticked = st.pills(
        "Figures",
        names,
        selection_mode="multi",
        default=names,
        format_func=lambda name: figure_title(name, results.estimate),
        key=f"figures_{run.id}",
    )
    return headline.strip(), tuple(name for name in names if name in ticked)


def downloads(store: engine.Store, run: engine.Run, headline: str, figures: tuple[str, ...]) -> None:
    """Offer the report in every form; each is written when it is asked for."""
    estimate = parts.results_of(store, run).estimate
    name = f"labelwise-{run.id}"
    with st.container(horizontal=True):
        st.download_button(
            "HTML", lambda: document(f"{engine.home()} {run.id}", headline, figures, store, run.id), f"{name}.html",
            "text/html", key="html", type="primary", icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        st.download_button(
            "Slides", lambda: slides(store, run.id, headline), f"{name}.pptx",
            "application/vnd.openxmlformats-officedocument.presentationml.presentation", key="pptx",
            icon=":material/slideshow:", on_click="ignore", disabled=not WITH_SLIDES,
            help=None if WITH_SLIDES else "Slides need one more package: pip install 'labelwise[report]'",
        )  # fmt: skip
        if estimate is not None:
            st.download_button(
                "Table", lambda: estimate.to_frame().to_csv(index=False).encode("utf-8-sig"), f"{name}.csv", "text/csv",
                key="csv", icon=":material/table:", on_click="ignore",
            )  # fmt: skip
        st.download_button(
            "Settings", lambda: engine.settings_json(store, run.id), f"{name}.json", "application/json", key="json",
            icon=":material/data_object:", on_click="ignore",
        )  # fmt: skip


def main() -> None:
    """Compose the report of a run, show it, and hand it out."""
    store = parts.open_store()
    study = parts.open_study(store)
    known = [run for run in store.runs(study.id) if run.kind == parts.RUN]
    runs = [run for run in known if run.state is engine.RunState.FINISHED]
    parts.tell_missing(known, runs)
    if not runs:
        st.info("There is no finished run of this study yet.", icon=":material/hourglass_empty:")
        if st.button("Go to the run", type="primary", icon=":material/arrow_forward:", icon_position="right"):
            st.switch_page("pages/run.py", query_params={"study": study.id})
        return
    run = parts.choose_run(runs, key="report_run")
    headline, figures = compose(store, run)
    downloads(store, run, headline, figures)
    html = document(f"{engine.home()} {run.id}", headline, figures, store, run.id)
    with st.container(border=True):
        st.iframe(html, height=PREVIEW_HEIGHT, alt="Preview of the report")


parts.heading("Report", "The answer as you would hand it to others: one file with figures, method and settings.")
with parts.explained():
    main()
