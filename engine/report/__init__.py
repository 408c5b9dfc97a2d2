"""Figures, tables, the HTML report and the slides."""

from engine.report.figures import (
    data_efficiency_figure,
    estimate_figure,
    label_histogram,
    law_figure,
    loss_figure,
    plan_figure,
)

__all__ = [
    "data_efficiency_figure",
    "estimate_figure",
    "label_histogram",
    "law_figure",
    "loss_figure",
    "plan_figure",
]
