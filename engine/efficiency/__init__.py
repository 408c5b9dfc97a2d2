"""How far each label will carry, before and during the pilot."""

from engine.efficiency.calibration import Calibration, family_of, learn, shipped
from engine.efficiency.curve import SIZES, Efficiency, area, closed_form
from engine.efficiency.link import COEFFICIENTS
from engine.efficiency.posterior import efficiency

__all__ = [
    "COEFFICIENTS",
    "SIZES",
    "Calibration",
    "Efficiency",
    "area",
    "closed_form",
    "efficiency",
    "family_of",
    "learn",
    "shipped",
]
