"""How residual variance falls with fine-tuning labels: the law."""

from engine.scaling.law import Law, fit_law

__all__ = ["Law", "fit_law"]
