"""The command plan: the strategies side by side, and what the plan answers beyond them."""

from __future__ import annotations

import json
import math
from argparse import Namespace as Arguments
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from engine.allocation import Plan, StrategyPlan, further_labels, plan_directions, saved_words, split_words
from engine.cli.following import follow, run_record
from engine.cli.studies import chosen_settings, open_study
from engine.errors import ArgumentError
from engine.report.wording import width_words
from engine.runs import open_store, read_results, start_run


def plan(options: Arguments) -> None:
    """Pilot the learner and print the strategies side by side."""
    _check_money(options)
    store = open_store()
    study = open_study(options, store)
    run = follow(store, start_run(store, study, "plan", chosen_settings(options)))
    results = read_results(store, run)
    assert results.plan is not None
    warnings = results.details.get("warnings", [])
    if options.json:
        record = {"run": run_record(run), "plan": _plan_record(options, results.plan), "warnings": warnings}
        print(json.dumps(record, ensure_ascii=False))
        return
    classes = study.dataset().classes
    print(_table(results.plan, share=classes is not None))
    for line in _advice(options, results.plan, share=classes is not None):
        print(line)
    for warning in warnings:
        print(warning)
    if caution := study.question.caution_of_widths(len(classes or ()) or None):
        print(caution)


def _check_money(options: Arguments) -> None:
    """Refuse a sum of money that buys nothing, or nothing that is known."""
    if options.money is None:
        return
    if not 0 < options.money < math.inf:
        raise ArgumentError(f"--money is {options.money:g}, but it must be a number above zero.")
    if not options.cost_per_label > 0:
        raise ArgumentError("--money needs the price of a label to tell what it buys; name that with --cost-per-label.")


def _plan_record(options: Arguments, made: Plan) -> dict[str, Any]:
    """The plan with what it answers beyond its strategies; None where nothing was asked or nothing answers."""
    target, s, more = made.half_width, _asked_split(options, made), further_labels(made)
    return {
        **made.to_dict(),
        "strategies": [_record(made, record) for record in made.strategies],
        "labels_needed": None if target is None else made.labels_needed(target),
        "labels_only_needed": None if target is None else made.labels_only_needed(target),
        "further_labels": more,
        "gain_of_further_labels": made.gain_of_labels(more),
        "affordable": _affordable(made, options.money),
        "chosen_split": None if s is None else {**_record(made, made.at(s)), "regret": float(made.regret(s))},
    }


def _record(made: Plan, record: StrategyPlan) -> dict[str, Any]:
    """A strategy with the share of labels that it saves; its `labels_saved` is a ratio of widths."""
    return {**asdict(record), "share_saved": made.share_saved(record)}


def _affordable(made: Plan, money: float | None) -> dict[str, Any] | None:
    try:
        return None if money is None else asdict(made.affordable(money))
    except ArgumentError:  # it buys fewer labels than a plan needs
        return None


def _asked_split(options: Arguments, made: Plan) -> int | None:
    return None if options.finetune is None else made.nearest_split(options.finetune)


def _table(made: Plan, *, share: bool) -> str:
    """The strategies side by side; widths of shares in percentage points."""
    table, unit = made.to_frame(), 100 if share else 1
    table["half_width"] *= unit
    table["share_saved"] = [f"{made.share_saved(record):.0%}" for record in made.strategies]
    table["regret"] = [f"{made.wider(record):.0%}" for record in made.strategies]
    table["half_width"] = table["half_width"].map("{:.4g}".format)
    table["cost"] = table["cost"].map("{:,.2f}".format)
    table["interval"] = table["interval"].map(lambda ends: f"{unit * ends[0]:.4g} to {unit * ends[1]:.4g}")
    columns = ["name", "finetune", "rectify", "folds", "half_width", "interval", "regret", "share_saved", "cost"]
    shown = table[[*columns, "seconds"]].rename(columns={"half_width": "half_width (points)"} if share else {})
    return shown.to_string(index=False, float_format="{:,.0f}".format)


def _advice(options: Arguments, made: Plan, *, share: bool) -> Iterator[str]:
    """What the plan says, in lines: why, labels saved, the split that was asked for, both directions, the law."""

    def written(value: float) -> str:
        return f"± {width_words(value, value, share=share)}"

    yield f"\n{made.why}"
    if saved := saved_words(made):
        yield saved
    s = _asked_split(options, made)
    if s is not None:
        yield f"Your split. {written(made.at(s).half_width)}: {split_words(made, s)}."
    for name, words in plan_directions(made, written, options.money).items():
        if words:
            yield f"{name}. {words}"
    yield f"Law. {made.law.summary()} {made.law.fit_summary(len(made.law.sizes))}"
