"""Commands and options, and the function that does each command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from engine.cli import calibrating as do_calibrating
from engine.cli import commands as do
from engine.cli import planning as do_planning
from engine.cli import predicting as do_predicting
from engine.cli import runs as do_runs
from engine.cli import selecting as do_selecting
from engine.cli.estimating import estimate as do_estimate
from engine.runs import DEFAULT_MODEL, RunSettings
from engine.runs.states import DRAWS, ENDS, ESTIMANDS, LEARNERS, OBJECTIVES, POPULATIONS, SERVICES, STRATEGIES

Arguments = argparse.Namespace
_FORMATS = "CSV, TSV, Excel, JSONL or Parquet"


class _Parser(argparse.ArgumentParser):
    """An argument parser whose faults are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"labelwise: {message}; see `{self.prog} --help`.\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = _Parser(prog="labelwise", description="How far each label carries, how to split labels, an honest estimate.")
    commands = top.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    app = _command(commands, "app", do.app, "open the dashboard in the browser")
    app.add_argument("--port", type=int, default=8501)
    app.add_argument("--address", default="127.0.0.1", help="default 127.0.0.1: this computer alone")

    demo = _command(commands, "demo", do.demo, "from the sample data to a report, no questions", as_json=True)
    output = Path("labelwise-demo")
    demo.add_argument("-o", "--output", type=Path, default=output, metavar="DIR", help=f"default: {output}")

    check = _command(commands, "check", do.check, "look the files over", as_json=True)
    _data_arguments(check)

    select = _command(commands, "select", do_selecting.select, "choose texts of a pool to be labelled", as_json=True)
    _selecting_arguments(select)

    efficiency = _command(
        commands,
        "efficiency",
        do_selecting.efficiency,
        "how far labels carry, before anything is trained",
        as_json=True,
    )
    _data_arguments(efficiency, needs_pool=False)
    _model_arguments(efficiency)

    sentence = "measure a model on several tasks and learn what CoS-Low says about it"
    calibrate = _command(commands, "calibrate", do_calibrating.calibrate, sentence, as_json=True)
    calibrate.add_argument("tasks", type=Path, nargs="+", metavar="TASK", help="files of labels, 250 or more in each")
    calibrate.add_argument("--text", metavar="COLUMN", help="column with the text, in all of them")
    calibrate.add_argument("--label", metavar="COLUMN", help="column with the human label, in all of them")
    calibrate.add_argument("--learner", choices=LEARNERS, default=RunSettings().learner)
    calibrate.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the calibration there instead")
    _model_arguments(calibrate)

    plan = _command(commands, "plan", do_planning.plan, "pilot, and the strategies side by side", as_json=True)
    _data_arguments(plan)
    _run_arguments(plan)
    plan.add_argument(
        "--money", type=float, metavar="SUM", help="what it buys, labels and compute together; needs --cost-per-label"
    )

    run = _command(commands, "run", do.run, "pilot, fine-tune, predict the pool, rectify", as_json=True)
    _data_arguments(run)
    _run_arguments(run)
    run.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for estimate and report")

    estimate = _command(commands, "estimate", do_estimate, "rectify predictions of your own", as_json=True)
    _data_arguments(estimate)
    _question_arguments(estimate)

    runs = _command(commands, "runs", None, "list, show, stop, resume or delete runs")
    actions = runs.add_subparsers(required=True, metavar="ACTION", parser_class=_Parser)
    _command(actions, "list", do_runs.list, "all runs, newest first", as_json=True)
    for name, function, sentence in (
        ("show", do_runs.show, "state, results and log of a run"),
        ("stop", do_runs.stop, "stop a run; what it has is kept"),
        ("resume", do_runs.resume, "go on with a stopped run"),
        ("delete", do_runs.delete, "delete a run with its results"),
    ):
        action = _command(actions, name, function, sentence, as_json=True)
        action.add_argument("run", metavar="RUN")
        if name == "stop":
            action.add_argument("--discard", action="store_true", help="delete what the run has computed")
        if name == "resume":
            written = "follow the run to its end and write what came of it there, as the commands run and select do"
            action.add_argument("-o", "--output", type=Path, metavar="PATH", help=written)
            action.add_argument("--force", action="store_true", help="overwrite the file of a selection")

    sentence = "predict a further pool of any size with the models of a run"
    predict = _command(commands, "predict", do_predicting.predict, sentence, as_json=True)
    predict.add_argument("run", metavar="RUN")
    predict.add_argument("pool", type=Path, metavar="POOL", help="a Parquet file")
    predict.add_argument("--text", metavar="COLUMN", help="column with the text; default: as in the run")
    output = Path("predictions")
    predict.add_argument("-o", "--output", type=Path, default=output, metavar="DIR", help=f"default: {output}")
    predict.add_argument("--force", action="store_true", help="replace what DIR holds of other predictions or programs")

    report = _command(commands, "report", do.report, "write the report of a run")
    report.add_argument("run", metavar="RUN")
    report.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".html or .pptx")
    report.add_argument("--headline", help="first line of the report; by default the answer")
    return top


def _command(
    commands: Any, name: str, action: Callable[[Arguments], int | None] | None, sentence: str, *, as_json: bool = False
) -> argparse.ArgumentParser:
    description = f"{sentence[0].upper()}{sentence[1:]}."
    parser: argparse.ArgumentParser = commands.add_parser(name, help=sentence, description=description)
    if action is not None:
        parser.set_defaults(do=action)
    if as_json:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _data_arguments(parser: argparse.ArgumentParser, *, needs_pool: bool = True) -> None:
    parser.add_argument("labels", type=Path, metavar="LABELS", help=_FORMATS)
    default = "the rows of LABELS without a label" if needs_pool else "none; every label is then used"
    parser.add_argument("pool", type=Path, nargs="?", metavar="POOL", help=f"default: {default}")
    parser.add_argument("--text", metavar="COLUMN", help="column with the text")
    parser.add_argument("--label", metavar="COLUMN", help="column with the human label")
    parser.add_argument("--prediction", metavar="COLUMN", help="column with a model's prediction")
    parser.add_argument("--weight", metavar="COLUMN", help="column with how much each row counts")
    parser.add_argument("--by", "--group", dest="group", metavar="COLUMN", help="column with the group")


def _selecting_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = RunSettings()
    parser.add_argument("pool", type=Path, metavar="POOL", help=_FORMATS)
    parser.add_argument("--text", metavar="COLUMN", help="column with the text")
    parser.add_argument("--label", metavar="COLUMN", help="column for the label; default: that of --labels, else label")
    parser.add_argument("--labels", type=Path, metavar="LABELS", help="labels at hand, to fit a head that is unsure")
    _model_arguments(parser)
    parser.add_argument("--count", type=int, default=defaults.count, help=f"default: {defaults.count}")
    parser.add_argument(
        "--draw", choices=DRAWS, default=defaults.draw, help="where the model is least sure, or anywhere"
    )
    parser.add_argument("--rating", metavar="LOW:HIGH", help="what may be answered, for a model that writes")
    parser.add_argument("--classes", metavar="A,B", help="or the classes that may be answered")
    output = Path("to_label.csv")
    parser.add_argument("-o", "--output", type=Path, default=output, metavar="FILE", help=f"default: {output}")
    parser.add_argument("--force", action="store_true", help="overwrite FILE, whatever it holds")
    parser.set_defaults(prediction=None, weight=None, group=None)


def _model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=DEFAULT_MODEL, metavar="NAME", help="hub name or folder")
    parser.add_argument(
        "--keep", choices=ENDS, default=RunSettings().keep, help="of a text longer than the model reads"
    )
    parser.add_argument("--seed", type=int, default=RunSettings().seed)


def _question_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--estimand",
        metavar="|".join(ESTIMANDS).replace("quantile", "quantile=Q"),
        help="default: groups with --by, else mean of numbers or shares of classes",
    )
    parser.add_argument("--population", choices=POPULATIONS, default="these", help="default: labels and pool are all")
    parser.add_argument("--confidence", type=float, default=0.95)


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    _question_arguments(parser)
    defaults = RunSettings()
    parser.add_argument("--learner", choices=LEARNERS, default=defaults.learner)
    _model_arguments(parser)
    parser.add_argument("--objective", choices=OBJECTIVES, default=defaults.objective)
    parser.add_argument("--strategy", choices=STRATEGIES, default=defaults.strategy)
    parser.add_argument("--finetune", type=int, metavar="S", help="labels that fine-tune under split")
    parser.add_argument("--folds", type=int, metavar="K", help=f"of the strategy cross-fit; default {defaults.folds}")
    parser.add_argument("--cost-per-label", type=float, default=0.0, metavar="MONEY")
    parser.add_argument("--cost-per-gpu-hour", type=float, default=0.0, metavar="MONEY", help="of an hour of compute")
    parser.add_argument(
        "--cost-per-thousand", type=float, default=0.0, metavar="MONEY", help="of a thousand predictions, beside that"
    )
    parser.add_argument(
        "--half-width", type=float, metavar="H",
        help="target half-width, in units of the label; of classes as a share, such as 0.03",
    )  # fmt: skip
    parser.add_argument("--report-to", choices=SERVICES, default="", help="service that is passed losses, but no text")
