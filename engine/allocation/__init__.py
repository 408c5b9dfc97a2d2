"""Strategies, their cost, and the plan that puts them side by side."""

from engine.allocation.plan import Costs, Plan, StrategyPlan, best_split, plan
from engine.allocation.widths import Design

__all__ = ["Costs", "Design", "Plan", "StrategyPlan", "best_split", "plan"]
