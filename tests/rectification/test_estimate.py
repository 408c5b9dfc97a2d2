"""The result: fields, round trip, frame, figure and words."""

import json
import re

import numpy as np
import pytest

from engine.errors import ArgumentError
from engine.rectification import (
    Estimate,
    rectified_groups,
    rectified_mean,
    rectified_ols,
    rectified_quantile,
    rectified_shares,
)
from engine.rectification.drawing import draw
from engine.rectification.wording import certain_differences, group_count, group_pairs, rounded, worth

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
    shown = [trace for trace in figure.data if trace.name == "Rectified"]
    assert len(shown) == (2 if name == "groups" else 1)
    points = np.concatenate([np.asarray(trace.x, dtype=float) for trace in shown])
    assert np.allclose(np.sort(points), np.sort(frame.loc[frame["answer"] == "rectified", "estimate"]))
    assert all(np.isfinite(np.asarray(trace.error_x.array, dtype=float)).all() for trace in shown)
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.title.text == "Title"


@pytest.mark.parametrize("name", results())
def test_an_answer_by_labels_only_claims_no_model(name):
    alone = results()[name].labels_only
    assert "Labels only: no model has a part in this answer." in alone.summary()
    assert "ectif" not in alone.summary()
    assert set(alone.to_frame()["answer"]) == {"labels-only"}
    figure = alone.plot()
    assert {trace.name for trace in figure.data} == {"Labels only"}
    if alone.names is None:
        assert figure.layout.yaxis.ticktext == ("Labels only",)
        assert list(figure.data[0].y) == [0]


def test_an_answer_by_labels_only_that_was_stored_beside_itself_is_read_once():
    record = results()["mean"].labels_only.to_dict()
    assert Estimate.from_dict(record | {"labels_only": record}).to_dict() == record


def test_summary_in_plain_words():
    words = rectified_mean(Y, F, POOL).summary()
    for part in ("The answer is", "95% confidence interval", "worth it", "The model alone would have said", "above"):
        assert part in words


def test_what_labels_were_worth_is_told_with_the_width_it_gave():
    words = rectified_mean(Y, F, POOL, finite_population=True).summary()
    found = re.search(r"the 80 labels did the work of about (\d+), and the interval is (\d+)% narrower", words)
    got = rectified_mean(Y, F, POOL, finite_population=True)
    assert int(found[1]) == round(got.n_effective)
    assert int(found[2]) == round(100 * (1 - got.width / got.labels_only.width))
    assert "saved" not in words


def test_labels_whose_interval_is_no_narrower_did_their_own_work():
    alone = Estimate(3.3, 3.19, 3.41, 0.055, 0.95, "labels-only", 0.0, 0.0, 40, 0, 40.0, 0.0, None, None)
    values = (3.3, 3.188, 3.412, 0.053, 0.95, "rectified", 0.2, 0.3, 40, 4000, 45.0, -0.036, alone, 3.4)
    used, same, narrower = worth(Estimate(*values))
    assert used == same == 40
    assert narrower == pytest.approx(1 - 1.036**0.5)


def test_shares_that_are_known_well_keep_their_digits():
    assert rounded(0.99892, 0.0005, share=True) == "99.89%"
    assert rounded(0.0005, 0.0005, share=True) == "0.05%"
    assert rounded(0.2224, 0.047, share=True) == "22%"


@pytest.mark.parametrize(("shift", "side"), [(0.4, "above"), (-0.4, "below")])
def test_numbers_are_as_exact_as_the_interval(shift, side):
    alone = Estimate(3.3, 3.19, 3.41, 0.055, 0.95, "labels-only", 0.0, 0.0, 400, 0, 400.0, 0.0, None, None)
    values = (3.30151, 3.20549, 3.39813, 0.049, 0.95, "rectified", 0.9, 0.6, 400, 4000, 597.2, 0.36, alone)
    words = Estimate(*values, 3.30151 + shift + 0.0221).summary()
    assert "The answer is 3.302 (95% confidence interval 3.205 to 3.398)." in words
    assert f"{'0.42' if shift > 0 else '0.38'} {side} the answer and outside its interval" in words


def test_shares_are_told_in_per_cent():
    alone = Estimate(0.2208, 0.175, 0.275, 0.025, 0.95, "labels-only", 0.0, 0.0, 240, 0, 240.0, 0.0, None, None)
    values = (0.2224, 0.178, 0.272, 0.024, 0.95, "rectified", 0.9, 0.6, 240, 1960, 270.0, 0.12, alone, 0.295)
    words = Estimate(*values).summary(share=True)
    assert "The answer is 22.2% (95% confidence interval 17.8% to 27.2%)." in words
    assert "would have said 29.5%, 7 points above the answer and outside" in words
    several = {**results()["shares"].to_dict(), "notes": []}
    first, told = (Estimate.from_dict(several).summary(share=share).split("\n") for share in (False, True))
    assert len(first) == len(told)
    assert all(line.count("%") == 3 for line in told if line.startswith("  "))


@pytest.mark.parametrize(
    ("model", "said", "bias"),
    [
        (2.9686, "would have said 2.969, nearly the same as the answer", "−0.0024"),
        (2.9712, "would have said 2.971, the same as the answer", "+0.00020"),
        (2.971, "would have said 2.971, the same as the answer", "0"),
        (3.401, "would have said 3.401, 0.43 above the answer", "+0.43"),
    ],
)
def test_a_small_bias_is_told_as_what_it_is(model, said, bias):
    alone = Estimate(3.0, 2.9, 3.1, 0.05, 0.95, "labels-only", 0.0, 0.0, 400, 0, 400.0, 0.0, None, None)
    values = (2.971, 2.905, 3.037, 0.033, 0.95, "rectified", 0.9, 0.6, 400, 4000, 597.2, 0.36, alone, model)
    assert said in Estimate(*values).summary()
    assert Estimate(*values).bias() == bias
    assert Estimate(*values).bias(share=True).endswith("%")


def test_whole_numbers_are_written_as_such():
    ratings = np.repeat([1.0, 2, 3, 4, 5], [20, 30, 55, 55, 40])
    got = rectified_quantile(ratings, ratings, np.tile(ratings, 3))
    assert (got.ci_low, got.ci_high) == (3, 4)
    assert re.search(r"The answer is \d \(95% confidence interval 3 to 4\)", got.summary())


def compared(k=3, gap=1.0, noise=0.3):
    """Groups named g0, g1, ... with answers that rise by `gap`."""
    chance = np.random.default_rng(9)
    codes, pool_codes = np.arange(30 * k) % k, np.arange(300 * k) % k
    y = gap * codes + noise * chance.normal(size=codes.size)
    f = gap * codes + 0.5 + 0.5 * noise * chance.normal(size=codes.size)
    pool = gap * pool_codes + 0.5 + 0.5 * noise * chance.normal(size=pool_codes.size)
    names = np.array([f"g{i}" for i in range(k)])
    return rectified_groups(y, f, pool, groups=names[codes], pool_groups=names[pool_codes])


def test_groups_say_which_differ_for_certain():
    words = compared().summary()
    assert words.startswith("Highest is g2 (")
    assert "All 3 differences are certain: g2 is above g1 and g0; g1 is above g0." in words
    assert "g0 - g1" not in words
    assert "outside the interval for 3 of 3" in words
    assert "The difference is certain: g1 is above g0." in compared(2).summary()
    assert "every interval holds 0" in compared(3, gap=0.0).summary()


def test_certain_differences_agree_with_their_p_values():
    for got in (compared(4, gap=0.12), compared(5, gap=0.1), compared(3, gap=0.0)):
        count = group_count(got)
        certain = certain_differences(got)
        assert list(certain) == list(np.asarray(got.p_value)[count:] <= 1 - got.confidence)
        assert len(group_pairs(got)) == len(certain) == len(got.names) - count


def test_many_groups_stay_readable():
    got = compared(20)
    figure = got.plot()
    groups, differences = (trace for trace in figure.data if trace.name == "Rectified")
    assert (len(groups.x), len(differences.x)) == (20, 30)
    assert list(groups.x) == sorted(groups.x, reverse=True)
    assert any("30 clearest of 190" in note.text for note in figure.layout.annotations)
    assert all(len(line) < 400 for line in got.summary().split("\n"))


def test_what_is_not_certain_is_drawn_hollow():
    figure = draw(compared(3, gap=0.0), part="differences")
    assert set(figure.data[0].marker.symbol) == {"circle-open"}
    assert set(draw(compared(), part="differences").data[0].marker.symbol) == {"circle"}
    assert len(draw(compared(), part="groups").data[0].x) == 3


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


@pytest.mark.parametrize("side", ["larger", "smaller"])
def test_the_open_side_of_a_share_has_no_width(side):
    def reach(estimate):
        gaps = (estimate.estimate - estimate.ci_low, estimate.ci_high - estimate.estimate)
        return gaps[side == "smaller"]

    p = np.column_stack([1 / (1 + np.exp(Z)), 1 / (1 + np.exp(-Z))])
    for got in (
        rectified_mean(Y > 3, F, POOL, alternative=side),
        rectified_shares(np.where(Y > 3, "up", "down"), p[:N], p[N:], alternative=side),
        rectified_groups(Y > 3, F, POOL, groups=G, pool_groups=GP, alternative=side),
    ):
        assert np.allclose(got.width, reach(got))
        assert np.allclose(got.labels_saved, 1 - (reach(got) / reach(got.labels_only)) ** 2)
        assert Estimate.from_dict(got.to_dict()).width == pytest.approx(got.width)
    words = rectified_mean(Y > 3, F, POOL, alternative=side)
    narrower = 1 - reach(words) / reach(words.labels_only)
    assert f"{narrower:.0%} narrower" in words.summary()


def test_a_bound_on_the_estimate_saves_nothing():
    never = np.zeros(N)
    got = rectified_mean(never, F, POOL, alternative="larger")
    assert (got.estimate, got.ci_low, got.width, got.labels_saved) == (0, 0, 0, 0)
    several = rectified_shares(["a"] * N, ["a"] * N, ["a"] * M, classes=["a", "b"], alternative="larger")
    assert several.labels_saved[1] == 0
    once = np.arange(N) == 0  # the share of the rectified answer is cut off at 0, that of the labels is not
    f = np.where(once, 1.0, 0.0) + 0.9
    clipped = rectified_mean(once, f, np.zeros(M), alternative="larger", power_tuning=False)
    assert clipped.estimate == clipped.ci_low == 0 < clipped.labels_only.width
    assert clipped.labels_saved == 0
