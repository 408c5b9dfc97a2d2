"""Run: fine-tune, predict the pool, and rectify."""

from typing import Any

import streamlit as st

import engine
from pages import laws, parts

CAPTIONS = {
    "probe": "Head on frozen features: seconds.",
    "lora": "Adapter in the model: minutes.",
    "full": "All weights: slowest, most memory.",
    "auto": "Both, blended: usually best, slower.",
}
OBJECTIVES = {
    "variance": "Variance of the residual",
    "mean-square": "Mean square of the residual",
    "cross-entropy": "Cross-entropy",
}
SERVICES = {"": "Nothing", "tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "Weights & Biases"}
GIB = 2**30


# ----------------------------------------------------------------------- before a run


def wished(study: engine.Study) -> dict[str, Any]:
    """Return what was chosen on the Plan page for this study."""
    wishes = st.session_state.get("wishes", {})
    return wishes if wishes.get("study") == study.id else {}


def ask_settings(store: engine.Store, study: engine.Study) -> engine.RunSettings:
    """Ask how the run is to be done."""
    wishes = wished(study)
    usual = engine.RunSettings().to_dict() | wishes
    learner = st.radio(
        "Learner",
        list(CAPTIONS),
        list(CAPTIONS).index(usual["learner"]),
        format_func=parts.LEARNERS.get,
        captions=list(CAPTIONS.values()),
        key="learner",
        horizontal=True,
    )
    writes = st.session_state.get("model", usual["model"]) != engine.DEFAULT_MODEL
    strategies = [name for name in parts.STRATEGIES if name != "zero-shot" or study.roles.prediction or writes]
    left, right = st.columns(2)
    strategy = left.selectbox(
        "Strategy", strategies, strategies.index(wishes.get("strategy", "auto")),
        format_func=lambda name: parts.STRATEGIES[name].capitalize(), key="strategy",
    )  # fmt: skip
    folds = right.slider(
        "Folds of cross-fit", 2, 20, int(wishes.get("folds") or 10), key="run_folds",
        disabled=strategy != "cross-fit",
        help="To be set under the strategy cross-fit; where the plan chooses the strategy, it chooses the folds too.",
    )  # fmt: skip
    finetune = None
    if strategy == "split":
        n = parts.dataset(study).n
        first = engine.fewest_to_finetune(n)
        opened = store.opened_labels(study, int(st.session_state.get("seed", usual["seed"]) or 0))
        seen = f"The pilot opens {first} labels before anything else"
        if opened > first:
            seen = f"Earlier pilots have opened {opened} labels"
        fewest = min(max(first, opened), n - 10)
        finetune = left.number_input(
            "Labels used to fine-tune", min_value=fewest, max_value=n - 10, step=1,
            value=max(wishes["s"], fewest) if "s" in wishes else None, key="finetune",
            placeholder="as the plan finds best",
            help=f"{seen}, and what a pilot has seen cannot rectify.",
        )  # fmt: skip
    with st.expander("Model, objective, seed and reporting", icon=":material/tune:"):
        model = st.text_input("Model", usual["model"], key="model", max_chars=200)
        objectives = [name for name in OBJECTIVES if name != "cross-entropy" or parts.dataset(study).classes]
        objective = st.selectbox(
            "Fine-tuning objective", objectives,
            objectives.index(usual["objective"]) if usual["objective"] in objectives else 0,
            format_func=OBJECTIVES.get, key="objective",
        )  # fmt: skip
        ends = {"beginning": "Its beginning", "end": "Its end"}
        keep = st.selectbox(
            "Of a text longer than the model reads, keep", list(ends), list(ends).index(usual["keep"]),
            format_func=ends.get, key="keep",
        )  # fmt: skip
        seed = st.number_input(
            "Seed", min_value=0, max_value=max(2**31 - 1, usual["seed"]), value=usual["seed"], step=1, key="seed"
        )
        report_to = st.selectbox(
            "Report losses to", list(SERVICES), format_func=SERVICES.get, key="report_to",
            help="Settings, losses and residual variances are passed on; no text, label or prediction is.",
        )  # fmt: skip
    return engine.RunSettings(
        learner=learner,
        model=model.strip(),
        objective=objective,
        strategy=strategy,
        finetune=finetune,
        folds=folds,
        seed=int(seed or 0),
        cost_per_label=float(wishes.get("price") or 0.0),
        cost_per_gpu_hour=float(wishes.get("hour") or 0.0),
        cost_per_thousand=float(wishes.get("thousand") or 0.0),
        half_width=wishes.get("target") or None,
        keep=keep,
        report_to=report_to,
    )


def taken_over(wishes: dict[str, Any], settings: engine.RunSettings, share: bool) -> str:
    """Say what the run takes over from the Plan page; empty where that is nothing."""
    told = {
        "price of a label": settings.cost_per_label,
        "price of an hour of compute": settings.cost_per_gpu_hour,
        "price of a thousand predictions": settings.cost_per_thousand,
    }
    words = [f"{name} {value:,.10g}" for name, value in told.items() if value]
    if width := settings.half_width:
        words.insert(0, f"half-width {100 * width:.10g} points" if share else f"half-width {width:,.10g}")
    if settings.strategy == wishes.get("strategy"):
        if settings.strategy == "split" and settings.finetune == wishes["s"]:
            words.insert(0, f"split with {settings.finetune:,} labels used to fine-tune")
        if settings.strategy == "cross-fit" and settings.folds == wishes["folds"]:
            words.insert(0, f"cross-fit with {settings.folds} folds")
    for name in ("seed", "model"):
        if wishes.get(name) == (value := getattr(settings, name)) != getattr(engine.RunSettings(), name):
            words.insert(0, f"{name} {parts.plain(value)}")
    return f"Taken over from the Plan page: {', '.join(words)}." if words else ""


@st.cache_resource(max_entries=32, show_spinner="Looking at this computer", ttl=60)
def _preflight(key: str, _study: engine.Study, _settings: engine.RunSettings) -> engine.Preflight:
    return engine.preflight(parts.dataset(_study), _settings, _study.question.population)


def show_preflight(study: engine.Study, settings: engine.RunSettings) -> None:
    """Show what the run will need and what is there."""
    ahead = _preflight(f"{study.id} {settings}", study, settings)
    with st.grid(3, min_column_width=200):
        st.metric("Device", ahead.device, border=True)
        st.metric(
            "Memory needed, of what is free", f"{size(ahead.memory_needed)} / {size(ahead.memory_free)}", border=True
        )
        st.metric("Time, about", parts.duration(ahead.seconds), border=True)
    for sentence in ahead.sentences:
        st.caption(parts.plain(sentence))


def size(amount: int) -> str:
    """Write an amount of memory."""
    return f"{amount / GIB:.1f} GiB" if amount >= GIB / 10 else f"{amount / 2**20:.0f} MiB"


def prepare_run(store: engine.Store, study: engine.Study) -> None:
    """Ask for the settings, show what they take, and start."""
    with st.container(border=True):
        settings = ask_settings(store, study)
        if told := taken_over(wished(study), settings, share=parts.dataset(study).classes is not None):
            st.caption(told)
    show_preflight(study, settings)
    parts.caution(study)
    # Deleted elsewhere, this study gives way to another: of that one nothing is to be started by the same click.
    if st.button("Run", type="primary", icon=":material/play_arrow:", key=f"start_{study.id}"):
        run = engine.start_run(store, study, parts.RUN, settings)
        st.query_params["run"] = run.id
        st.session_state.pop("new_run", None)
        st.rerun()


# ------------------------------------------------------------------------ during a run


def settings_words(run: engine.Run, details: dict[str, Any]) -> str:
    """Say with which settings this run was started, and on how many labels a split has fine-tuned."""
    chosen = run.settings
    if chosen.strategy == "labels-only":
        return "Labels only, no model"
    words = [parts.LEARNERS[chosen.learner], parts.STRATEGIES[chosen.strategy]]
    finetune = details.get("finetune", chosen.finetune)
    if chosen.strategy == "split" and finetune is not None:
        asked = "" if chosen.finetune in (None, finetune) else f" ({chosen.finetune} asked for)"
        words.append(f"{finetune} labels to fine-tune{asked}")
    words += [f"{chosen.folds} folds"] if chosen.strategy == "cross-fit" else []
    words += [f"{OBJECTIVES[chosen.objective].lower()}", chosen.model, f"seed {chosen.seed}"]
    if chosen.report_to:
        words.append(f"losses to {SERVICES[chosen.report_to]}")
    return ", ".join(words)


def show_findings(results: engine.Results, run: engine.Run) -> None:
    """Show the trials on the curve, and the loss of a learner that has one."""
    if run.settings.strategy in ("labels-only", "zero-shot"):  # nothing is trained
        return
    if run.settings.learner == "probe":  # solved in closed form: there is no loss to follow
        show_trials(run, results)
        return
    left, right = st.columns(2, gap="medium")
    with left:
        show_trials(run, results)
    with right:
        st.markdown("**Fine-tuning loss**")
        if len(results.losses):
            parts.chart(
                engine.loss_figure(results.losses), "loss", f"Loss over {len(results.losses)} steps", height=340
            )
            st.caption(
                "The newest fit in colour. A fit averages several models, each trained from the start: "
                "the loss rises again with each."
            )
        else:
            st.caption("The plan recommends to train nothing." if run.is_finished else "No step yet.")


def show_trials(run: engine.Run, results: engine.Results) -> None:
    """Show the trials that have landed, on the law once there is one."""
    st.markdown("**Trials on the law**")
    laws.show_law(run, results, {})


def stop_buttons(store: engine.Store, run: engine.Run) -> None:
    """Offer to stop: keeping what there is, or discarding it after a question."""
    if run.state is engine.RunState.STOPPING:
        st.caption("Stopping: the run saves what it has.")
        return
    with st.popover("Stop", icon=":material/stop_circle:"):
        st.caption("Keep what was computed so far, to resume later, or discard the run.")
        st.button("Stop and keep", key="stop_keep", on_click=stop, args=(store, run.id, True))
        sure = st.checkbox("I want to lose what this run computed", key=f"discard_sure_{run.id}")
        st.button("Stop and discard", key="stop_discard", disabled=not sure, on_click=stop, args=(store, run.id, False))


def stop(store: engine.Store, run_id: str, keep: bool) -> None:
    """Stop a run."""
    with parts.explained():
        engine.stop_run(store, run_id, keep=keep)
        if not keep:
            st.query_params.pop("run", None)


def show_running(store: engine.Store, run: engine.Run) -> None:
    """Follow a run under way."""
    st.markdown(":material/tab_close: You can close this tab; the run goes on.")

    @st.fragment(run_every=2, key="watch_run")
    def watch() -> None:
        with parts.explained():
            now = parts.under_way(store, run)
            parts.progress(now)
            show_findings(parts.results_of(store, now), now)
            with st.expander("Log", icon=":material/terminal:"):
                st.code(now.log_tail(200) or "Nothing yet.", language=None, height=260)

    watch()
    stop_buttons(store, run)


# ------------------------------------------------------------------------- after a run


def show_run(store: engine.Store, run: engine.Run) -> None:
    """Show one run: its settings as stored with it, and where it stands."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            parts.state_badge(run)
            st.markdown(f"**Run {run.id}**, started {parts.when(run)}")
        st.caption(parts.plain(settings_words(run, parts.results_of(store, run).details)))
    if not run.is_finished:
        show_running(store, run)
    elif run.state is engine.RunState.FINISHED:
        show_finished(store, run)
    else:
        row = parts.ended_badly(store, run)
        row.button("Delete this run", key="delete_run", icon=":material/delete:", on_click=delete, args=(store, run.id))
        offer_new(row, run)


def delete(store: engine.Store, run_id: str) -> None:
    """Delete a run that has ended."""
    with parts.explained():
        store.delete_run(run_id)
        st.query_params.pop("run", None)


def show_finished(store: engine.Store, run: engine.Run) -> None:
    """Show that a run is done, and the way to its result."""
    results = parts.results_of(store, run)
    took = (run.finished - run.started).total_seconds() if run.finished and run.started else None
    share = parts.is_share(store.study(run.study_id))
    words = "It has its result." if results.estimate is None else results.estimate.summary(share=share)
    # Several answers are a list; what is said of them stands below it.
    lines = (("-" if line.startswith("  ") else "\n") + parts.plain(line) for line in words.split("\n"))
    st.success("\n".join(lines), title=f"Finished in {parts.duration(took)}", icon=":material/check_circle:")
    show_findings(results, run)
    row = st.container(horizontal=True)
    if row.button("See the results", type="primary", icon=":material/arrow_forward:", icon_position="right"):
        st.switch_page("pages/results.py", query_params={"study": run.study_id, "run": run.id})
    offer_new(row, run)


def offer_new(row: Any, run: engine.Run) -> None:
    """Offer to start another run of the same study."""
    row.button("New run", key="new_run_button", icon=":material/add:", on_click=again, args=(run.study_id,))


def chosen_run(store: engine.Store, study: engine.Study) -> engine.Run | None:
    """Return the run that the address names, else the newest of the study."""
    runs = [run for run in store.runs(study.id) if run.kind == parts.RUN]
    parts.tell_missing(runs, runs)
    named = st.query_params.get("run")
    return next((run for run in runs if run.id == named), runs[0] if runs else None)


def again(study_id: str) -> None:
    """Ask for a new run."""
    st.session_state["new_run"] = study_id


def main() -> None:
    """Show the run of this study, or what a new one needs."""
    store = parts.open_store()
    study = parts.open_study(store)
    engine.reconcile(store)
    if parts.lacks_labels(study):
        return
    run = chosen_run(store, study)
    if run and not run.is_finished:
        st.session_state.pop("new_run", None)  # asked for in vain: first this one comes to its end
    if run is None or st.session_state.get("new_run") == study.id:
        prepare_run(store, study)
        return
    show_run(store, run)


parts.heading("Run", "What the run needs and how far it is: it trains, predicts every text of the pool, and rectifies.")
with parts.explained():
    main()
