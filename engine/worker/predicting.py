"""python -m engine.worker.predicting RUN POOL TEXT DIR [--json] [--force]: a further pool through the models of a run.

POOL is a Parquet file of any size, TEXT its column (empty: named as in the run's study), DIR the folder of the shards.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pyarrow.parquet as pq
from tqdm import tqdm

from engine.data.wording import count_of
from engine.errors import LabelwiseError, RunError
from engine.learning.files import files_of, offline_environment
from engine.learning.models import Progress, silent
from engine.learning.saved import load_predictors
from engine.learning.streaming import Streamed, predict_parquet
from engine.runs import Run, RunState, Store, open_store


def predict_pool(
    store: Store,
    run_id: str,
    source: Path,
    target: Path,
    *,
    text: str = "",
    force: bool = False,
    progress: Progress = silent,
) -> Streamed:
    """Predict a Parquet file with the mean of a run's models; see `predict_parquet`.

    Raises:
        RunError: The run kept no model, or the model that they were trained on is another now.
        ModelError: A model cannot be loaded.
        DataError, ArgumentError: The file, its columns or the folder do not serve.
    """
    run = store.run(run_id)
    study = store.study(run.study_id)
    folders = _folders(run)
    _require_base(run, folders)
    models = load_predictors(folders, run.settings.model, run.settings.keep)
    _require_base(run, folders)  # of a new revision the hub has given the weights only now
    classes = study.dataset().classes or ()
    column = text or study.roles.text
    return predict_parquet(models, source, target, text=column, classes=classes, force=force, progress=progress)


def _folders(run: Run) -> list[Path]:
    if run.state is not RunState.FINISHED:
        raise RunError(f"Run {run.id} is {run.state}; its models serve once it is finished.")
    # A file manager may leave files of its own there.
    folders = [path for path in (run.folder / "models").glob("*") if path.name.isdecimal() and path.is_dir()]
    if not folders:
        raise RunError(
            f"Run {run.id} kept no model: it fitted none, or took its predictions from an earlier run; "
            "name a run that fitted one."
        )
    return sorted(folders, key=lambda folder: int(folder.name))


def _require_base(run: Run, folders: list[Path]) -> None:
    """Require the model that a run's models were trained on to be as it was then."""
    now = files_of(run.settings.model)
    # An earlier version did not write down which files it had.
    for path in (folder / "base.json" for folder in folders if (folder / "base.json").is_file()):
        then = json.loads(path.read_text(encoding="utf-8"))
        # The hub gives the files that are asked for: one that is missing may not have been needed.
        changed = [name for name, digest in then.items() if now.get(name, digest) != digest]
        if changed:
            raise RunError(
                f"Model {run.settings.model} has changed since run {run.id} was trained on it ({changed[0]} is another "
                "now); put back what was there, or start a new run."
            )


def models_of(run: Run) -> tuple[int, int]:
    """Return how many models a finished run kept, and how many made its predictions.

    It keeps those that it fitted itself: predictions of a fold may come from an earlier run that was stopped.
    """
    path = run.folder / "predictions.parquet"
    folded = "fold" in pq.read_schema(path).names
    return len(_folders(run)), len(pq.read_table(path, columns=["fold"])["fold"].unique()) if folded else 1


def main(run_id: str, source: str, text: str, target: str, *flags: str) -> int:
    """Predict, and say what came of it; return the exit status."""
    bar = tqdm(total=100, disable=None, bar_format="Predicting {percentage:3.0f}% |{bar}| {elapsed}")

    def progress(share: float) -> None:
        bar.update(100 * share - bar.n)

    try:
        with bar:
            store = open_store()
            made = predict_pool(
                store, run_id, Path(source), Path(target), text=text, force="--force" in flags, progress=progress
            )
            models, every = models_of(store.run(run_id))
    except LabelwiseError as fault:
        print(f"labelwise: {' '.join(str(fault).split())}", file=sys.stderr)
        return 2
    record = {"output": target, "rows": made.rows, "missing": made.missing, "shards": len(made.shards)}
    record |= {"models": models, "models_of_run": every}
    if "--json" in flags:
        print(json.dumps({"run": run_id, "prediction": {**record, "computed": made.computed}}))
        return 0
    without = f", {made.missing:,} of them without a text and so without a prediction" if made.missing else ""
    print(f"The predictions of {made.rows:,} rows{without} are in {target} ({count_of(len(made.shards), 'file')}).")
    if models < every:
        print(
            f"They are the mean of {models:,} of the run's {every:,} models: it took the predictions of the others "
            "from an earlier run, without their models."
        )
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the bar ends, and no shard is left half written
    offline_environment()
    sys.exit(main(*sys.argv[1:]))
