"""Rectifying a model's predictions with labels: prediction-powered inference for means, shares and more."""

from engine.rectification.estimate import Estimate
from engine.rectification.groups import rectified_groups
from engine.rectification.logistic import rectified_logistic
from engine.rectification.mean import rectified_mean
from engine.rectification.ols import rectified_ols
from engine.rectification.pool import PoolSummary
from engine.rectification.quantile import rectified_quantile
from engine.rectification.shares import rectified_shares

__all__ = [
    "Estimate",
    "PoolSummary",
    "rectified_groups",
    "rectified_logistic",
    "rectified_mean",
    "rectified_ols",
    "rectified_quantile",
    "rectified_shares",
]
