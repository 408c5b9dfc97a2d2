"""The result: fields, round trip, frame, figure and words."""

import json

import numpy as np
import pytest

from engine.errors import ArgumentError
from engine.rectification import Estimate, rectified_groups, rectified_mean, rectified_ols, rectified_shares

rng = np.random.default_rng(4)
N, M = 80, 600
Z = rng.normal(size=N + M)
Y = 3 + Z[:N] + 0.4 * rng.normal(size=N)
F, POOL = Z[:N] + 3.4, Z[N:] + 3.4
G, GP = rng.choice(list("ab"), N), rng.choice(list("ab"), M)
X, XP = np.column_stack([np.ones(N), rng.normal(size=N)]), np.column_stack([np.ones(M), rng.normal(size=M)])


def results() -> dict[str, Estimate]:
    p = np.column_stack([1 / (1 + np.exp(Z)), 1 / (1 + np.exp(-Z))])
    return {
        "mean": rectified_mean(Y, F, POOL),
        "one-sided": rectified_mean(Y, F, POOL, alternative="larger", null=2.5),
        "share": rectified_mean(Y > 3, F, POOL),
        "shares": rectified_shares(np.where(Y > 3, "up", "down"), p[:N], p[N:]),
        "groups": rectified_groups(Y, F, POOL, groups=G, pool_groups=GP),
        "ols": rectified_ols(Y, F, POOL, X, XP),
    }


@pytest.mark.parametrize("name", results())
def test_round_trip_through_json(name):
    estimate = results()[name]
    record = json.loads(json.dumps(estimate.to_dict(), allow_nan=False))
    again = Estimate.from_dict(record)
    assert again.to_dict() == estimate.to_dict()
    assert np.allclose(again.ci_low, estimate.ci_low)
    assert again.labels_only is not None
    assert np.allclose(again.labels_only.ci_high, estimate.labels_only.ci_high)
    assert again.names == estimate.names
    assert again.summary() == estimate.summary()


def test_records_that_are_no_estimates():
    for record in ({}, {"estimate": 1}, {"estimate": 1, "ci_low": 0, "ci_high": 2}, {"colour": "red"}):
        with pytest.raises(ArgumentError):
            Estimate.from_dict(record)


@pytest.mark.parametrize("name", results())
def test_figure_and_frame_share_their_numbers(name):
    estimate = results()[name]
    frame, figure = estimate.to_frame(), estimate.plot("Title")
    assert set(frame["answer"]) == {"rectified", "labels-only", "model-only"}
    colours = {"Rectified": "#0F766E", "Labels only": "#64748B", "Model only": "#D97706"}
    assert {trace.name: trace.marker.color for trace in figure.data} == colours
    shown = next(trace for trace in figure.data if trace.name == "Rectified")
    assert np.allclose(shown.x, frame.loc[frame["answer"] == "rectified", "estimate"])
    assert np.isfinite(np.asarray(shown.error_x.array, dtype=float)).all()
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.title.text == "Title"


def test_summary_in_plain_words():
    words = rectified_mean(Y, F, POOL).summary()
    for part in ("The answer is", "95% confidence interval", "worth it", "The model alone would have said", "above"):
        assert part in words


def test_labels_saved_is_a_ratio_of_widths():
    got = rectified_mean(Y, F, POOL)
    share = (got.ci_high - got.ci_low) / (got.labels_only.ci_high - got.labels_only.ci_low)
    assert got.labels_saved == pytest.approx(1 - share**2)


def test_timid_predictions_are_stretched():
    got = rectified_mean(Y, F / 10, POOL / 10)
    assert got.power > 5
    assert any("vary too little" in note for note in got.notes)
    assert got.labels_saved > 0.5


def test_one_sided_has_an_open_side():
    got = rectified_mean(Y, F, POOL, alternative="larger")
    assert np.isinf(got.ci_high)
    assert "or more" in got.summary()
    assert got.labels_saved > 0
