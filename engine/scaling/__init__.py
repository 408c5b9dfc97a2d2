"""How residual variance falls with fine-tuning labels: the law."""

from engine.scaling.errors import effective_freedom
from engine.scaling.law import Law, fit_law

__all__ = ["Law", "effective_freedom", "fit_law"]
