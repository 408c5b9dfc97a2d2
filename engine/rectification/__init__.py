"""Rectifying a model's predictions with labels: prediction-powered inference for means, shares and more."""

import warnings

# scipy adds warnings filters of its own when it is imported; importing this leaves them as they were.
with warnings.catch_warnings():
    from engine.rectification.estimate import Estimate
    from engine.rectification.groups import rectified_groups
    from engine.rectification.logistic import rectified_logistic
    from engine.rectification.mean import rectified_mean
    from engine.rectification.ols import rectified_ols
    from engine.rectification.pool import PoolSummary
    from engine.rectification.quantile import rectified_quantile
    from engine.rectification.shares import rectified_shares
    from engine.rectification.wording import interval_words, worth

__all__ = [
    "Estimate",
    "PoolSummary",
    "interval_words",
    "rectified_groups",
    "rectified_logistic",
    "rectified_mean",
    "rectified_ols",
    "rectified_quantile",
    "rectified_shares",
    "worth",
]
