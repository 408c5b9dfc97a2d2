"""Strategies, their cost, and the plan that puts them side by side."""

from engine.allocation.advice import further_labels, plan_directions, saved_words, split_words
from engine.allocation.plan import Plan, plan
from engine.allocation.rampup import RampUpStep, weigh
from engine.allocation.strategies import Costs, StrategyPlan, best_folds, best_split, fold_size
from engine.allocation.widths import Design
from engine.allocation.wording import strategy_words

__all__ = [
    "Costs",
    "Design",
    "Plan",
    "RampUpStep",
    "StrategyPlan",
    "best_folds",
    "best_split",
    "fold_size",
    "further_labels",
    "plan",
    "plan_directions",
    "saved_words",
    "split_words",
    "strategy_words",
    "weigh",
]
