"""The commands on data: app, demo, check, run, report."""

from __future__ import annotations

import json
import shutil
import sys
from argparse import Namespace as Arguments
from pathlib import Path
from tempfile import TemporaryFile

from engine.cli.following import follow, not_written, run_record, writing_told
from engine.cli.processes import carry_out
from engine.cli.studies import answer_told, chosen_roles, chosen_settings, open_study, read_tables
from engine.data import check_data
from engine.errors import DataError
from engine.report import html_report, settings_json, write_report
from engine.runs import Run, RunSettings, Store, application, open_store, read_results, sample_study, start_run


def app(options: Arguments) -> int:
    """Open the dashboard; Ctrl-C ends it, runs go on."""
    command = [sys.executable, "-m", "streamlit", "run", str(application() / "app.py")]
    command += ["--server.port", str(options.port), "--server.address", options.address]
    print(f"The dashboard opens at http://{options.address}:{options.port} (Ctrl-C ends it; runs go on).", flush=True)
    try:
        return carry_out(command)
    except KeyboardInterrupt:
        return 0


def demo(options: Arguments) -> None:
    """Go from the sample data to a report."""
    make_folder(options.output)
    store = open_store()
    finish(options, store, start_run(store, sample_study(store), "run", RunSettings()))


def check(options: Arguments) -> int:
    """Print the check-list of the files."""
    labels, pool = read_tables(options)
    checks = check_data(labels, pool, chosen_roles(options, labels, pool))
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


def run(options: Arguments) -> None:
    """Do the whole way and write what came of it into a folder."""
    store = open_store()
    study, settings = open_study(options, store), chosen_settings(options)
    make_folder(options.output)
    finish(options, store, start_run(store, study, "run", settings))


def make_folder(folder: Path) -> None:
    """Make the output folder, and see that files can be made in it, before any work is done for it.

    Raises:
        ArgumentError: They cannot.
    """
    with writing_told(folder, "folder"):
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()


def finish(options: Arguments, store: Store, run: Run) -> None:
    """Follow a run to its end and write what came of it into the output folder."""
    folder: Path = options.output
    run = follow(store, run, folder)
    results = read_results(store, run)
    assert results.estimate is not None
    plan = results.plan.to_dict() if results.plan else None
    record = {"run": run_record(run), "plan": plan, "estimate": results.estimate.to_dict()}
    settings, page = settings_json(store, run.id), html_report(store, run.id)
    try:
        (folder / "estimate.json").write_text(json.dumps(record, indent=2), encoding="utf-8")
        results.estimate.to_frame().to_csv(folder / "estimate.csv", index=False)
        (folder / "settings.json").write_text(settings, encoding="utf-8")
        for name in ("predictions.parquet", "labels.csv"):
            shutil.copyfile(run.folder / name, folder / name)
        (folder / "report.html").write_text(page, encoding="utf-8")
    except OSError as fault:
        raise not_written(run, folder, "OTHER", fault) from None
    if options.json:
        print(json.dumps(record))
        return
    if run.settings.strategy == "auto" and results.plan:
        print(results.plan.why)
    print(answer_told(results.estimate, store.study(run.study_id)))
    print(f"Report, estimate and predictions are in {folder}.")


def report(options: Arguments) -> None:
    """Write the report of a run."""
    store = open_store()
    path = write_report(store, options.run, options.output, headline=options.headline)
    print(f"The report is in {path}.")
