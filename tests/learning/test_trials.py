"""What a hold-out tells of the variance that a model leaves."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.api import WLS

from engine.data import Dataset
from engine.data.sealing import Sealing
from engine.learning.trials import above_zero, class_shares, label_variance, residual_variance, weighed
from engine.rectification import rectified_mean


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
    # Twelve labels, of which as much is of the class that they lack as its share says.
    assert spread == pytest.approx(shares.prod())
    assert found == pytest.approx(shares.prod() * 12 / 11)
    assert freedom == 10


def test_each_class_of_a_hold_out_counts_by_its_share():
    rng = np.random.default_rng(1)
    y, predictions = one_hot([0] * 18 + [1] * 2), rng.random((20, 2))
    # Each label of the rare class is six of the other's in ninety-six: counted as often as that, they are the same.
    shares, often = np.array([0.6, 0.4]), [1] * 18 + [6] * 2
    found, spread, _ = residual_variance(y, predictions, shares)
    again, counted, _ = residual_variance(np.repeat(y, often, 0), np.repeat(predictions, often, 0))
    assert spread == pytest.approx(counted * 29 / 30)
    assert found == pytest.approx(again * 28 / 30 * 20 / 19)


def test_a_model_that_tells_a_rare_class_is_not_taken_for_a_useless_one():
    """Hold-outs of a pilot of 100 labels, one in twenty of them of the rare class, against the truth."""
    rng = np.random.default_rng(4)
    y = (rng.random(4000) < 0.05).astype(int)
    score = 3 * rng.normal(size=y.size) + 9 * y - 4.5 + np.log(0.05 / 0.95)
    predictions = np.column_stack([1 / (1 + np.exp(score)), 1 / (1 + np.exp(-score))])
    truth = residual_variance(one_hot(y), predictions)[0] / np.var(y)
    found = []
    for seed in range(40):
        sealing = Sealing.of(f"{seed:032x}", 4000, 0).opened(100)
        pilot = one_hot(y[sealing.pilot])
        for _, _, out in sealing.trials(5, y):
            scored = residual_variance(one_hot(y[out]), predictions[out], class_shares(pilot))[0]
            found.append(scored / label_variance(pilot, classes=True))
    assert truth < 0.4
    assert truth - 0.1 < np.mean(found) < truth + 0.1


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


def test_what_is_left_is_never_nothing_and_has_the_unit_of_the_labels():
    assert above_zero(0.0, 1e-18, 5, classes=False) == pytest.approx(1e-18 * above_zero(0.0, 1.0, 5, classes=False))
    assert above_zero(0.0, 0.0, 5, classes=False) > 0
    assert above_zero(3.0, 9.0, 5, classes=False) == 3
    assert above_zero(1e-6, 9.0, 5, classes=False) == 1e-6  # of numbers a little may be left of every label
    # None of nine was mistaken: half of ten is as much as can be left.
    assert above_zero(0.0, 9.0, 9, classes=False) == pytest.approx(0.45)
    assert above_zero(1e-6, 0.25, 9, classes=True) == pytest.approx(0.0125)


def test_what_is_weighed_leads_to_the_variance_of_a_weighted_estimate():
    """Against the rectified mean of many draws, weights that go with the labels."""
    rng, n, found, expected = np.random.default_rng(3), 400, [], []
    for _ in range(20):
        weights = np.where(np.arange(n) % 4 == 0, 5.0, 1.0)
        f = rng.normal(size=n) * weights
        y = f + rng.normal(size=n) * np.where(weights > 1, 0.2, 2.0)
        pool = rng.normal(size=200_000)
        kish = n * (weights**2).sum() / weights.sum() ** 2
        labels = weighed(y[:, None], weights)
        variance, spread, _ = residual_variance(labels, weighed(f[:, None], weights))
        assert spread == pytest.approx(label_variance(labels, classes=False))
        found.append(np.sqrt(kish * variance / n))
        estimate = rectified_mean(y, f, pool, weights=weights, pool_weights=np.ones(len(pool)))
        expected.append(estimate.standard_error)
    assert np.mean(found) == pytest.approx(np.mean(expected), rel=0.05)
    np.testing.assert_array_equal(weighed(y[:, None], None), y[:, None])
    np.testing.assert_array_equal(weighed(y[:, None], np.zeros(n)), y[:, None])


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 301.0)])
def test_labels_that_are_summed_by_text_lead_to_the_variance_of_a_clustered_estimate(weights):
    """Against the sandwich estimate of statsmodels, texts of two labels and of four."""
    rng = np.random.default_rng(4)
    codes = np.concatenate([np.repeat(np.arange(50), 2), np.repeat(np.arange(50, 100), 4)])
    y = rng.normal(size=100)[codes] + rng.normal(size=300)
    texts = [f"text {code}" for code in codes]
    data = Dataset("label", tuple(texts), y, None, ("another",), weights=weights)
    found = weighed(y[:, None], weights, texts)
    assert found.shape == (100, 1)
    w = np.ones(300) if weights is None else weights
    fit = WLS(y, np.ones(300), w).fit(cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False})
    assert data.design_effect * (found**2).mean() / 300 == pytest.approx(fit.bse[0] ** 2)
    np.testing.assert_allclose(weighed(y[:, None], weights, [str(i) for i in range(300)]).mean(), 0, atol=1e-9)


@pytest.mark.parametrize(("seen", "of"), [(0, 50), (1, 50), (25, 50)])
def test_the_variance_of_classes_is_never_zero_and_of_many_labels_the_usual_one(seen, of):
    y = one_hot([1] * seen + [0] * (of - seen))
    found = label_variance(y, classes=True)
    assert found > 0.009
    many = np.tile(y, (200, 1))
    assert label_variance(many, classes=True) == pytest.approx(many.var(0, ddof=1).mean(), abs=1e-4)
