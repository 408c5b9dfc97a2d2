"""Rectifying a model's predictions with labels: prediction-powered inference for means, shares and more."""

from engine.rectification.estimate import Estimate
from engine.rectification.mean import rectified_mean
from engine.rectification.pool import PoolSummary
from engine.rectification.shares import rectified_shares

__all__ = ["Estimate", "PoolSummary", "rectified_mean", "rectified_shares"]
