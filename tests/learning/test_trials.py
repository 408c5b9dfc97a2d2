"""What a hold-out tells of the variance that a model leaves."""

import numpy as np
import pytest
from scipy import stats

from engine.learning.trials import class_shares, label_variance, residual_variance


def one_hot(labels):
    return np.eye(2)[labels]


def test_the_residual_variance_is_that_of_a_line_through_the_predictions():
    rng = np.random.default_rng(0)
    predictions = rng.normal(size=60)
    y = 2 * predictions + rng.normal(size=60)
    line = stats.linregress(predictions, y)
    expected = np.sum((y - line.intercept - line.slope * predictions) ** 2) / 58
    found, spread, freedom = residual_variance(y[:, None], predictions[:, None])
    assert (found, spread, freedom) == (pytest.approx(expected), pytest.approx(np.var(y, ddof=1)), 58)


def test_a_hold_out_without_a_class_says_nothing_of_how_well_it_is_told():
    shares = class_shares(one_hot([0] * 49 + [1]))
    assert shares == pytest.approx([49.5 / 51, 1.5 / 51])
    sure = np.tile([1.0, 0.0], (12, 1))
    found, spread, freedom = residual_variance(one_hot([0] * 12), sure, shares)
    # Twelve labels and as much of the class that they lack as its share says.
    total = 12 / shares[0]
    assert spread == pytest.approx(shares.prod() * total / (total - 1))
    assert found == pytest.approx(shares.prod() * total / (total - 2))
    assert freedom == 10


def test_where_every_class_is_held_out_its_share_changes_nothing():
    rng = np.random.default_rng(1)
    y, predictions = one_hot(rng.integers(0, 2, 30)), rng.random((30, 2))
    assert residual_variance(y, predictions, np.array([0.9, 0.1])) == residual_variance(y, predictions)


def test_of_many_classes_those_not_held_out_weigh_no_more_than_their_share():
    rng = np.random.default_rng(2)
    y = np.eye(60)[rng.integers(0, 60, 80)]
    held_out, shares = y[:10], class_shares(y)
    unseen = held_out.sum(0) == 0
    assert shares[unseen].sum() > 1  # sixty half labels more than there are
    found, spread, freedom = residual_variance(held_out, rng.random((10, 60)), shares)
    normal = shares / shares.sum()
    assert spread == pytest.approx(float((normal * (1 - normal)).mean()), rel=0.1)
    assert (found > 0.8 * spread, freedom) == (True, 8)


@pytest.mark.parametrize(("seen", "of"), [(0, 50), (1, 50), (25, 50)])
def test_the_variance_of_classes_is_never_zero_and_of_many_labels_the_usual_one(seen, of):
    y = one_hot([1] * seen + [0] * (of - seen))
    found = label_variance(y, classes=True)
    assert found > 0.009
    many = np.tile(y, (200, 1))
    assert label_variance(many, classes=True) == pytest.approx(many.var(0, ddof=1).mean(), abs=1e-4)
