"""How far each label will carry, before and during the pilot."""

from engine.efficiency.curve import COEFFICIENTS, SIZES, Efficiency, area, efficiency

__all__ = ["COEFFICIENTS", "SIZES", "Efficiency", "area", "efficiency"]
