"""Figures, tables, the HTML report and the slides."""

from engine.report.content import Content, gather, promised
from engine.report.facts import run_facts
from engine.report.figures import (
    data_efficiency_figure,
    estimate_figure,
    label_histogram,
    loss_figure,
)
from engine.report.html import REPORT_FIGURES, html_report
from engine.report.plan_figures import law_figure, move_split, plan_figure, trials_figure
from engine.report.settings import command_line, settings_json
from engine.report.writing import write_report

__all__ = [
    "REPORT_FIGURES",
    "Content",
    "command_line",
    "data_efficiency_figure",
    "estimate_figure",
    "gather",
    "html_report",
    "label_histogram",
    "law_figure",
    "loss_figure",
    "move_split",
    "plan_figure",
    "promised",
    "run_facts",
    "settings_json",
    "trials_figure",
    "write_report",
]
