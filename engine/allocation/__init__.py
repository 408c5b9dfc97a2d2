"""Strategies, their cost, and the plan that puts them side by side."""

from engine.allocation.plan import Plan, plan
from engine.allocation.strategies import Costs, StrategyPlan, best_split
from engine.allocation.widths import Design

__all__ = ["Costs", "Design", "Plan", "StrategyPlan", "best_split", "plan"]
