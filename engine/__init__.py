"""Labelwise: how far each label carries, how to split the labels, and an estimate with an honest interval.

The facade: every public name. Importing it loads no torch; models live in the worker's process.
"""

import warnings

# Libraries add warnings filters of their own when they are imported; importing Labelwise leaves them as they were.
with warnings.catch_warnings():
    from engine.allocation import Costs, Design, Plan, StrategyPlan, plan
    from engine.data import Check, Dataset, Roles, Table, check_data, guess_roles, prepare, read_table
    from engine.efficiency import Efficiency, efficiency
    from engine.errors import ArgumentError, DataError, LabelwiseError, ModelError, RunError
    from engine.rectification import (
        Estimate,
        PoolSummary,
        rectified_groups,
        rectified_logistic,
        rectified_mean,
        rectified_ols,
        rectified_quantile,
        rectified_shares,
    )
    from engine.report import (
        REPORT_FIGURES,
        data_efficiency_figure,
        estimate_figure,
        html_report,
        label_histogram,
        law_figure,
        loss_figure,
        plan_figure,
        settings_json,
        write_report,
    )
    from engine.runs import (
        DEFAULT_MODEL,
        Preflight,
        Question,
        Results,
        Run,
        RunSettings,
        RunState,
        Store,
        StoredFile,
        Study,
        home,
        open_store,
        preflight,
        read_results,
        reconcile,
        resume_run,
        sample_study,
        start_run,
        stop_run,
    )
    from engine.scaling import Law, fit_law

__all__ = [
    "DEFAULT_MODEL",
    "REPORT_FIGURES",
    "ArgumentError",
    "Check",
    "Costs",
    "DataError",
    "Dataset",
    "Design",
    "Efficiency",
    "Estimate",
    "LabelwiseError",
    "Law",
    "ModelError",
    "Plan",
    "PoolSummary",
    "Preflight",
    "Question",
    "Results",
    "Roles",
    "Run",
    "RunError",
    "RunSettings",
    "RunState",
    "Store",
    "StoredFile",
    "StrategyPlan",
    "Study",
    "Table",
    "check_data",
    "data_efficiency_figure",
    "efficiency",
    "estimate_figure",
    "fit_law",
    "guess_roles",
    "home",
    "html_report",
    "label_histogram",
    "law_figure",
    "loss_figure",
    "open_store",
    "plan",
    "plan_figure",
    "preflight",
    "prepare",
    "read_results",
    "read_table",
    "reconcile",
    "rectified_groups",
    "rectified_logistic",
    "rectified_mean",
    "rectified_ols",
    "rectified_quantile",
    "rectified_shares",
    "resume_run",
    "sample_study",
    "settings_json",
    "start_run",
    "stop_run",
    "write_report",
]
