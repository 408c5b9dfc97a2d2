"""labelwise: the command line. Exit status 0, or 2 with one plain line that says what to do next."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any, NoReturn

from tqdm import tqdm

from engine.data import Roles, Table, check_data, guess_roles, prepare, read_table
from engine.errors import ArgumentError, DataError, LabelwiseError, RunError
from engine.rectification import Estimate
from engine.rectification.dataset import rectify_dataset
from engine.report import settings_json, write_report
from engine.runs import (
    DEFAULT_MODEL,
    Question,
    Run,
    RunSettings,
    RunState,
    Store,
    Study,
    application,
    open_store,
    read_results,
    reconcile,
    resume_run,
    sample_study,
    start_run,
    stop_run,
)
from engine.runs.states import ESTIMANDS, LEARNERS, OBJECTIVES, POPULATIONS, STRATEGIES

Arguments = argparse.Namespace


class _Parser(argparse.ArgumentParser):
    """An argument parser whose faults are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"labelwise: {message}; see `{self.prog} --help`.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.do(options) or 0)
    except LabelwiseError as fault:
        print(f"labelwise: {' '.join(str(fault).split())}", file=sys.stderr)
    except BrokenPipeError:
        # The reader of our output (head, less) has enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 2


# ----------------------------------------------------------------------- the grammar


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="labelwise", description="How far each label carries, how to split labels, an honest estimate."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    app = _command(commands, "app", _app, "open the dashboard in the browser")
    app.add_argument("--port", type=int, default=8501)
    app.add_argument("--address", default="127.0.0.1", help="default 127.0.0.1: this computer alone")

    demo = _command(commands, "demo", _demo, "from the sample data to a report, no questions", as_json=True)
    demo.add_argument("-o", "--output", type=Path, default=Path("labelwise-demo"), metavar="DIR")

    check = _command(commands, "check", _check, "look the files over", as_json=True)
    _data_arguments(check)

    plan = _command(commands, "plan", _plan, "pilot, and the strategies side by side", as_json=True)
    _data_arguments(plan)
    _run_arguments(plan)

    run = _command(commands, "run", _run, "pilot, fine-tune, predict the pool, rectify", as_json=True)
    _data_arguments(run)
    _run_arguments(run)
    run.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for estimate and report")

    estimate = _command(commands, "estimate", _estimate, "rectify predictions of your own", as_json=True)
    _data_arguments(estimate)
    _question_arguments(estimate)

    runs = _command(commands, "runs", None, "list, show, stop, resume or delete runs")
    actions = runs.add_subparsers(required=True, metavar="ACTION", parser_class=_Parser)
    _command(actions, "list", _list_runs, "all runs, newest first", as_json=True)
    for name, do, sentence in (
        ("show", _show_run, "state, results and log of a run"),
        ("stop", _stop_run, "stop a run; what it has is kept"),
        ("resume", _resume_run, "go on with a stopped run"),
        ("delete", _delete_run, "delete a run with its results"),
    ):
        action = _command(actions, name, do, sentence, as_json=True)
        action.add_argument("run", metavar="RUN")
        if name == "stop":
            action.add_argument("--discard", action="store_true", help="delete what the run has computed")

    report = _command(commands, "report", _report, "write the report of a run")
    report.add_argument("run", metavar="RUN")
    report.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".html or .pptx")
    report.add_argument("--headline", help="first line of the report; by default the answer")
    return parser


def _command(
    commands: Any, name: str, do: Callable[[Arguments], int | None] | None, sentence: str, *, as_json: bool = False
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=sentence, description=sentence.capitalize() + ".")
    if do is not None:
        parser.set_defaults(do=do)
    if as_json:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("labels", type=Path, metavar="LABELS", help="CSV, TSV, Excel, JSONL or Parquet")
    parser.add_argument(
        "pool", type=Path, nargs="?", metavar="POOL", help="default: the rows of LABELS without a label"
    )
    parser.add_argument("--text", metavar="COLUMN", help="column with the text")
    parser.add_argument("--label", metavar="COLUMN", help="column with the human label")
    parser.add_argument("--prediction", metavar="COLUMN", help="column with a model's prediction")
    parser.add_argument("--weight", metavar="COLUMN", help="column with how much each row counts")
    parser.add_argument("--by", "--group", dest="group", metavar="COLUMN", help="column with the group")


def _question_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--estimand", choices=ESTIMANDS, help="default: mean of numbers, shares of classes")
    parser.add_argument("--population", choices=POPULATIONS, default="these", help="default: labels and pool are all")
    parser.add_argument("--confidence", type=float, default=0.95)


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _question_arguments(parser)
    defaults = RunSettings()
    parser.add_argument("--learner", choices=LEARNERS, default=defaults.learner)
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="hub name or folder")
    parser.add_argument("--objective", choices=OBJECTIVES, default=defaults.objective)
    parser.add_argument("--strategy", choices=STRATEGIES, default=defaults.strategy)
    parser.add_argument("--finetune", type=int, metavar="S", help="labels that fine-tune under split")
    parser.add_argument("--folds", type=int, default=defaults.folds, metavar="K")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--cost-per-label", type=float, default=0.0, metavar="MONEY")
    parser.add_argument("--half-width", type=float, metavar="H", help="target half-width, in units of the label")


# ------------------------------------------------------------------ data and studies


def _tables(options: Arguments) -> tuple[Table, Table | None]:
    return read_table(options.labels), read_table(options.pool) if options.pool else None


def _roles(options: Arguments, labels: Table, pool: Table | None) -> Roles:
    """The roles that were named; text and label are guessed where they were not."""
    text, label = options.text, options.label
    if text is None or label is None:
        guess = guess_roles(labels, pool)
        text, label = text or guess.text, label or guess.label
    return Roles(text, label, options.prediction, options.weight, options.group)


def _question(options: Arguments, classes: bool) -> Question:
    estimand = options.estimand or ("shares" if classes else "mean")
    if classes and estimand == "mean":
        raise ArgumentError("--estimand mean needs numbers, but the labels are classes; leave it out for their shares.")
    if not classes and estimand == "shares":
        raise ArgumentError("--estimand shares needs classes, but the labels are numbers; leave it out for their mean.")
    return Question(estimand, options.population, options.confidence)


def _study(options: Arguments, store: Store) -> Study:
    labels, pool = _tables(options)
    roles = _roles(options, labels, pool)
    dataset = prepare(labels, pool, roles)
    question = _question(options, dataset.classes is not None)
    files = [store.save_file(path.name, path) if path else None for path in (options.labels, options.pool)]
    assert files[0] is not None
    return store.create_study(options.labels.stem, files[0], files[1], roles, question)


def _settings(options: Arguments) -> RunSettings:
    names = ("learner", "model", "objective", "strategy", "finetune", "folds", "seed", "cost_per_label", "half_width")
    return RunSettings(**{name: getattr(options, name) for name in names})


# -------------------------------------------------------------------------- commands


def _app(options: Arguments) -> int:
    command = [sys.executable, "-m", "streamlit", "run", str(application() / "app.py")]
    command += ["--server.port", str(options.port), "--server.address", options.address]
    print(f"The dashboard opens at http://{options.address}:{options.port} (Ctrl-C ends it; runs go on).", flush=True)
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 0


def _demo(options: Arguments) -> None:
    store = open_store()
    _finish(options, store, start_run(store, sample_study(store), "run", RunSettings()))


def _check(options: Arguments) -> int:
    labels, pool = _tables(options)
    checks = check_data(labels, pool, _roles(options, labels, pool))
    if options.json:
        print(json.dumps({"checks": [vars(check) for check in checks]}, ensure_ascii=False))
    else:
        signs = {"ok": "ok     ", "warning": "warning", "error": "error  "}
        for check in checks:
            print(f"{signs[check.level]}  {check.finding} {check.remedy}".rstrip())
    faults = [check for check in checks if check.level == "error"]
    if faults:
        raise DataError(f"{faults[0].finding} {faults[0].remedy}")
    return 0


def _plan(options: Arguments) -> None:
    store = open_store()
    run = _follow(store, start_run(store, _study(options, store), "plan", _settings(options)), "plan")
    results = read_results(store, run)
    assert results.plan is not None
    if options.json:
        print(json.dumps({"run": _run_record(run), "plan": results.plan.to_dict()}))
        return
    table = results.plan.to_frame()
    table["labels_saved"] = table["labels_saved"].map("{:.0%}".format)
    table["interval"] = table["interval"].map(lambda ends: f"{ends[0]:.4g} to {ends[1]:.4g}")
    columns = ["name", "finetune", "rectify", "folds", "half_width", "interval", "labels_saved", "cost", "seconds"]
    print(table[columns].to_string(index=False, float_format="{:.4g}".format))
    print(f"\n{results.plan.why}")
    target = results.plan.half_width
    if target is not None:
        needed = results.plan.labels_needed(target)
        print(f"For a half-width of {target:g}: {needed or 'more labels than there are texts'} labels.")


def _run(options: Arguments) -> None:
    store = open_store()
    _finish(options, store, start_run(store, _study(options, store), "run", _settings(options)))


def _finish(options: Arguments, store: Store, run: Run) -> None:
    """Follow a run to its end and write what came of it into the output folder."""
    folder: Path = options.output
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"{folder} cannot be made ({error.strerror}); name another folder with -o.") from None
    run = _follow(store, run, folder.name)
    results = read_results(store, run)
    assert results.plan is not None
    assert results.estimate is not None
    record = {"run": _run_record(run), "plan": results.plan.to_dict(), "estimate": results.estimate.to_dict()}
    (folder / "estimate.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
    results.estimate.to_frame().to_csv(folder / "estimate.csv", index=False)
    (folder / "settings.json").write_text(settings_json(store, run.id), encoding="utf-8")
    shutil.copyfile(run.folder / "predictions.parquet", folder / "predictions.parquet")
    write_report(store, run.id, folder / "report.html")
    if options.json:
        print(json.dumps(record))
        return
    if run.settings.strategy == "auto":
        print(results.plan.why)
    print(results.estimate.summary())
    print(f"Report, estimate and predictions are in {folder}.")


def _estimate(options: Arguments) -> None:
    labels, pool = _tables(options)
    if options.prediction is None:
        options.prediction = guess_roles(labels, pool).prediction
        if options.prediction is None:
            raise ArgumentError("Name the column with your predictions: --prediction COLUMN.")
    if options.text is None:
        # Predictions can be rectified without the texts they were made for.
        labels, pool = _named_rows(labels), pool and _named_rows(pool)
        options.text = _ROW
    roles = _roles(options, labels, pool)
    data = prepare(labels, pool, roles)
    question = _question(options, data.classes is not None)
    assert data.predictions is not None
    assert data.pool_predictions is not None
    estimate = rectify_dataset(
        data, data.predictions, data.pool_predictions, population=question.population, confidence=question.confidence
    )
    _print_estimate(options, estimate)


_ROW = "row of the file"


def _named_rows(table: Table) -> Table:
    names = [f"{table.name} row {table.row(i)}" for i in range(len(table.frame))]
    return replace(table, frame=table.frame.assign(**{_ROW: names}))


def _print_estimate(options: Arguments, estimate: Estimate) -> None:
    if options.json:
        print(json.dumps(estimate.to_dict()))
        return
    print(estimate.summary())


def _list_runs(options: Arguments) -> None:
    store = open_store()
    reconcile(store)
    runs = store.runs()
    if options.json:
        print(json.dumps({"runs": [_run_record(run) for run in runs]}))
        return
    for run in runs:
        name = store.study(run.study_id).name
        print(f"{run.id}  {run.created:%Y-%m-%d %H:%M}  {run.kind:10}  {run.state:11}  {run.progress:4.0%}  {name}")
    if not runs:
        print("There are no runs yet; `labelwise demo` makes one.")


def _show_run(options: Arguments) -> None:
    store = open_store()
    reconcile(store)
    run = store.run(options.run)
    results = read_results(store, run)
    if options.json:
        parts: dict[str, Any] = {"run": _run_record(run)}
        for name in ("efficiency", "plan", "estimate"):
            value = getattr(results, name)
            parts[name] = value.to_dict() if value is not None else None
        print(json.dumps(parts))
        return
    print(f"Run {run.id} ({run.kind}) is {run.state}: {run.stage}, {run.progress:.0%}.")
    for sentence in (run.error, results.plan and results.plan.why, results.estimate and results.estimate.summary()):
        if sentence:
            print(sentence)
    print(f"\nLog ({run.log}):\n{run.log_tail(40)}")


def _stop_run(options: Arguments) -> None:
    store = open_store()
    run = store.run(options.run)
    if run.is_finished:
        raise RunError(f"Run {run.id} is {run.state} already.")
    stop_run(store, run.id, keep=not options.discard)
    _say(options, _settled(store, run.id))


def _resume_run(options: Arguments) -> None:
    store = open_store()
    reconcile(store)
    _say(options, resume_run(store, options.run))


def _delete_run(options: Arguments) -> None:
    store = open_store()
    reconcile(store)
    run = store.run(options.run)
    store.delete_run(run.id)
    _say(options, None, f"Run {run.id} is deleted.")


def _say(options: Arguments, run: Run | None, sentence: str | None = None) -> None:
    if options.json:
        print(json.dumps({"run": _run_record(run) if run else None}))
    else:
        print(sentence or (f"Run {run.id} is {run.state}." if run else "The run is stopped and deleted."))


def _report(options: Arguments) -> None:
    store = open_store()
    path = write_report(store, options.run, options.output, headline=options.headline)
    print(f"The report is in {path}.")


# ------------------------------------------------------------------- following a run


def _follow(store: Store, run: Run, output: str) -> Run:
    """Show a run's progress until it ends.

    Raises:
        RunError: It did not finish; the sentence says why and how to go on.
    """
    bar = tqdm(total=100, disable=None, bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}{postfix}")
    try:
        while not run.is_finished:
            sleep(0.4)
            reconcile(store)
            run = store.run(run.id)
            bar.set_description_str(run.stage, refresh=False)
            bar.set_postfix_str(f", {run.seconds_left:.0f} s left" if run.seconds_left else "", refresh=False)
            bar.update(100 * run.progress - bar.n)
    except KeyboardInterrupt:
        stop_run(store, run.id)
        raise RunError(f"Stopped; `labelwise runs resume {run.id}` goes on with it ({output}).") from None
    finally:
        bar.close()
    if run.state is not RunState.FINISHED:
        reason = run.error or f"The run is {run.state}."
        raise RunError(f"{reason} (run {run.id}; `labelwise runs show {run.id}` prints its log)")
    return run


def _settled(store: Store, run_id: str) -> Run | None:
    """Wait for a run that was asked to stop; None if it was discarded."""
    while True:
        reconcile(store)
        runs = [run for run in store.runs() if run.id == run_id]
        if not runs or runs[0].is_finished:
            return runs[0] if runs else None
        sleep(0.3)


def _run_record(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "study": run.study_id,
        "kind": run.kind,
        "state": run.state.value,
        "stage": run.stage,
        "progress": run.progress,
        "error": run.error,
        "settings": run.settings.to_dict(),
        "folder": str(run.folder),
        "created": run.created.isoformat(),
        "finished": run.finished.isoformat() if run.finished else None,
    }


if __name__ == "__main__":
    sys.exit(main())
