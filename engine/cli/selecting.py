"""The commands before there is a plan: select what to label, and how far labels carry."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace as Arguments
from pathlib import Path
from tempfile import TemporaryFile

from engine.cli.following import follow, not_written, run_record, writing_told
from engine.cli.studies import chosen_roles, read_tables
from engine.data import Roles, guess_roles, prepare, prepare_pool, read_table
from engine.data.matching import with_label_column
from engine.data.values import has_no_label
from engine.errors import ArgumentError, DataError, LabelwiseError
from engine.runs import (
    Answers,
    Question,
    Run,
    RunSettings,
    Selection,
    Store,
    StoredFile,
    Study,
    open_store,
    read_results,
    selected_table,
    start_run,
)

_NEW_LABEL = "label"


def select(options: Arguments) -> None:
    """Choose texts of a pool and write them into a file to be labelled."""
    check_output(options.output, _label(options), options.force)
    asked = {name: getattr(options, name) for name in ("model", "keep", "count", "draw", "seed")}
    settings = RunSettings(**asked, answers=_answers(options))
    store = open_store()
    study = _pool_study(options, store)
    finish(options, store, start_run(store, study, "select", settings))


def finish(options: Arguments, store: Store, run: Run) -> None:
    """Follow a selection to its end and write the texts into the output file."""
    output: Path = options.output
    run = follow(store, run, output, force=options.force)
    study, chosen = store.study(run.study_id), read_results(store, run).selection
    assert chosen is not None
    try:
        selected_table(study, chosen, {}).to_csv(output, index=False, encoding="utf-8")
    except OSError as fault:
        raise not_written(run, output, "OTHER.csv", fault) from None
    following = _following(study, output, run.settings)
    if options.json:
        record = {"output": str(output), "count": len(chosen.rows), **chosen.to_dict(), "next": following}
        print(json.dumps({"run": run_record(run), "selection": record}, ensure_ascii=False))
        return
    _say(chosen, study, output, following)


def _say(chosen: Selection, study: Study, output: Path, following: str) -> None:
    print(chosen.why)
    if chosen.by_confidence:
        print("They are no random sample: no estimate may rest on their labels alone (--draw random draws one).")
    print(f"They are in {output}. Fill its column '{study.roles.label}', then:\n{following}")


def _answers(options: Arguments) -> Answers | None:
    """What may be answered, where that was said."""
    if options.rating and options.classes:
        raise ArgumentError("--rating and --classes exclude each other; an answer is a number or a class.")
    if options.classes:
        return Answers(tuple(name.strip() for name in options.classes.split(",")))
    if not options.rating:
        return None
    try:
        low, high = map(float, options.rating.split(":"))
    except ValueError:
        raise ArgumentError(f"--rating is {options.rating!r}; a range is written as 1:5.") from None
    return Answers(low=low, high=high, whole=low.is_integer() and high.is_integer())


def _label(options: Arguments) -> str:
    """The column that answers stand in; the files are looked into only where there is an output that may hold some."""
    if options.label or options.labels is None or not options.output.exists():
        return options.label or _NEW_LABEL
    return chosen_roles(options, read_table(options.labels), read_table(options.pool)).label


def check_output(output: Path, label: str, force: bool) -> None:
    """Refuse a file that cannot be written, or holds what must not be lost unawares, before any work is done.

    Raises:
        ArgumentError: It is such a file.
    """
    if output.suffix.lower() != ".csv":
        raise ArgumentError(f"{output} does not end in .csv; name a CSV file with -o.")
    if not output.parent.is_dir():
        raise ArgumentError(f"There is no folder {output.parent}; make it, or name another file with -o.")
    if output.exists() and not force:
        raise ArgumentError(f"{_held(output, label)}; name another with -o, or add --force.")
    with writing_told(output, "file"):
        TemporaryFile(dir=output.parent).close()


def _held(output: Path, label: str) -> str:
    """Say what an existing file holds."""
    try:
        frame = read_table(output).frame
        answers = int((~has_no_label(frame[label])).sum()) if label in frame else 0
    except LabelwiseError:
        answers = 0
    held = f" and holds {answers:,} answer{'s' * (answers != 1)} in '{label}'" if answers else ""
    return f"{output} exists already{held}"


def _following(study: Study, output: Path, settings: RunSettings) -> str:
    words = ["labelwise", "efficiency", str(output), "--text", study.roles.text, "--label", study.roles.label]
    usual = RunSettings()
    for name in ("model", "keep"):
        if (chosen := getattr(settings, name)) != getattr(usual, name):
            words += [f"--{name}", chosen]
    return shlex.join(words)


def _pool_study(options: Arguments, store: Store) -> Study:
    """Store the pool, with the labels at hand where there are any, and return their study."""
    pool = read_table(options.pool)
    if options.labels is None:
        blank = with_label_column(pool, options.label or _NEW_LABEL)
        roles = Roles(options.text or guess_roles(blank).text, options.label or _NEW_LABEL)
        prepare_pool(pool, None, roles)
        return store.create_study(options.pool.stem, _kept(store, options.pool), None, roles, Question())
    labels = read_table(options.labels)
    roles = chosen_roles(options, labels, pool)
    question = Question("shares" if prepare(labels, pool, roles).classes else "mean")
    files = [_kept(store, path) for path in (options.labels, options.pool)]
    return store.create_study(options.pool.stem, files[0], files[1], roles, question)


def _kept(store: Store, path: Path) -> StoredFile:
    return store.save_file(path.name, path)


def efficiency(options: Arguments) -> None:
    """Print how far labels carry with a model, before anything is trained on them."""
    store = open_store()
    # Without a pool nothing is rectified, and every label is used.
    without_pool = options.pool is None
    settings = RunSettings(model=options.model, keep=options.keep, seed=options.seed, without_pool=without_pool)
    run = follow(store, start_run(store, _labels_study(options, store), "efficiency", settings))
    found = read_results(store, run).efficiency
    assert found is not None
    if options.json:
        print(json.dumps({name: value for name, value in found.to_dict().items() if name != "draws"}))
    else:
        print(found.summary())
        if usual := found.usual_words():
            print(f"{usual}; `labelwise plan` measures theirs.")


def _labels_study(options: Arguments, store: Store) -> Study:
    """Store the labels, and the pool where there is one."""
    labels, pool = read_tables(options)
    roles = chosen_roles(options, labels, pool)
    if roles.label in labels.frame and has_no_label(labels.frame[roles.label]).all():
        raise DataError(
            f"{labels.name}, column '{roles.label}': none of its {len(labels.frame):,} rows has a label yet; "
            "fill in at least 10, then run this again."
        )
    data = prepare(labels, pool, roles, needs_pool=False)
    question = Question("shares" if data.classes else "mean")
    pool_file = _kept(store, options.pool) if options.pool else None
    return store.create_study(options.labels.stem, _kept(store, options.labels), pool_file, roles, question)
