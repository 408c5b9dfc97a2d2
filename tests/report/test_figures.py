"""The figures: what they show, and that the themes of pages can colour them."""

import numpy as np
import pandas as pd
import pytest
from made_results import made_efficiency, made_groups, made_law, made_mean, made_plan, made_shares, made_trials

from engine.data import Dataset
from engine.efficiency import efficiency
from engine.report import (
    data_efficiency_figure,
    estimate_figure,
    label_histogram,
    law_figure,
    loss_figure,
    move_split,
    plan_figure,
    trials_figure,
)


def texts_in(figure):
    return [annotation.text for annotation in figure.layout.annotations]


def trace(figure, name):
    return next(trace for trace in figure.data if trace.name == name)


def dataset(y, classes=None):
    y = np.asarray(y)
    return Dataset("labels.csv", ("a text",) * y.size, y, classes, ("another text",))


def losses(rows=9000):
    steps = np.arange(rows // 3)
    return pd.DataFrame(
        {"fit": np.repeat(["a", "b", "c"], rows // 3), "step": np.tile(steps, 3), "loss": 1.0, "rate": 1e-3}
    )


ALL = {
    "efficiency": lambda: data_efficiency_figure(made_efficiency(), made_trials()),
    "prediction": lambda: data_efficiency_figure(efficiency(0.3)),
    "law": lambda: law_figure(made_law(), made_trials(), upto=300),
    "plan": lambda: plan_figure(made_plan(half_width=0.1), 80, "stars"),
    "estimate": lambda: estimate_figure(made_mean()),
    "shares": lambda: estimate_figure(made_shares(), share=True),
    "groups": lambda: estimate_figure(made_groups()),
    "differences": lambda: estimate_figure(made_groups(), part="differences"),
    "numbers": lambda: label_histogram(dataset(np.linspace(0, 1, 90))),
    "classes": lambda: label_histogram(dataset([0, 1, 1], ("no", "yes"))),
    "loss": lambda: loss_figure(losses()),
    "trials": lambda: trials_figure(made_trials()),
}


@pytest.mark.parametrize("name", ALL)
def test_grounds_are_transparent_and_no_text_is_black(name):
    figure = ALL[name]()
    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert figure.layout.font.color not in ("black", "#000", "#000000")
    assert figure.to_json()


def test_badge_tells_prediction_from_measurement():
    assert texts_in(data_efficiency_figure(made_efficiency())) == ["measured"]
    assert texts_in(data_efficiency_figure(efficiency(0.3))) == ["prediction, nothing trained yet"]


def test_efficiency_curve_is_the_median_on_a_log_axis_to_5000():
    made = made_efficiency()
    figure = data_efficiency_figure(made, made_trials())
    curve = trace(figure, "curve")
    assert figure.layout.xaxis.type == "log"
    assert (min(curve.x), max(curve.x)) == (1, pytest.approx(5000))
    assert curve.y[-1] == pytest.approx(made.curve([5000])["median"][0])
    assert len(trace(figure, "trials").x) == 6
    assert list(trace(figure, "mean of the trials").y) == list(made.scores.values())


def test_zero_shot_score_stands_at_the_start_of_the_log_axis():
    figure = data_efficiency_figure(efficiency(scores={0: 0.2, 50: 0.5}))
    points = trace(figure, "mean of the trials")
    assert list(points.x) == [1, 50]
    assert list(points.customdata) == [0, 50]


def test_law_is_solid_up_to_the_largest_trial_and_dashed_beyond():
    law = made_law()
    figure = law_figure(law, upto=300)
    solid, dashed = (part for part in figure.data if part.name == "law")
    assert (solid.line.dash, dashed.line.dash) == ("solid", "dash")
    assert max(solid.x) == min(dashed.x) == 100
    assert max(dashed.x) == pytest.approx(300)
    assert "variance of the labels" in texts_in(figure)


def test_trials_are_shown_before_there_is_a_law():
    first = made_trials().query("size == size.min()")
    figure = trials_figure(first)
    assert list(trace(figure, "trials").y) == first["variance"].tolist()
    assert figure.layout.xaxis.range[0] < np.log10(first["size"].min()) < figure.layout.xaxis.range[1]


def test_laws_of_other_learners_stand_beside_by_their_names():
    law = made_law()
    figure = law_figure(law, made_trials(), name="LoRA", others={"Probe": law})
    assert {"LoRA", "Probe"} <= set(texts_in(figure))
    assert sum(part.name == "law" for part in figure.data) == 4
    assert sum(part.name == "trials" for part in figure.data) == 2


def test_plan_marks_the_optimum_the_flat_region_and_the_users_split():
    made = made_plan(half_width=0.1)
    figure = plan_figure(made, 80, "stars")
    best, chosen = trace(figure, "best split"), trace(figure, "your split")
    assert (best.x[0], best.y[0]) == (made["split"].finetune, made["split"].half_width)
    assert (chosen.x[0], chosen.y[0]) == (80, made.width(80))
    region = next(shape for shape in figure.layout.shapes if shape.type == "rect")
    assert (region.x0, region.x1) == made.flat_region
    assert {"labels-only", "zero-shot", "cross-fit, 10 folds", "your target"} <= set(texts_in(figure))
    assert "(stars)" in figure.layout.yaxis.title.text


def test_plan_shades_what_the_pilot_has_opened():
    assert "opened by the pilot" not in texts_in(plan_figure(made_plan()))
    figure = plan_figure(made_plan(finetune_minimum=60))
    assert "opened by the pilot" in texts_in(figure)
    assert 0 < figure.layout.xaxis.range[0] < 60


def test_a_split_out_of_reach_is_drawn_at_the_end_of_the_curve():
    made = made_plan()
    assert trace(plan_figure(made, 10_000), "your split").x[0] == made.splits.max()


def test_a_moved_split_is_drawn_as_if_it_had_been_there_at_first():
    made = made_plan()
    figure = plan_figure(made, 80)
    move_split(figure, made, 120)
    assert figure.to_json() == plan_figure(made, 120).to_json()


def test_half_widths_of_shares_are_in_percentage_points():
    figure = plan_figure(made_plan(), unit="share")
    assert figure.layout.yaxis.tickformat == ".1%"
    assert "percentage points" in figure.layout.yaxis.title.text


def test_whole_numbers_get_a_bar_each_and_others_a_histogram():
    bars = label_histogram(dataset([1.0, 2.0, 2.0, 5.0])).data[0]
    assert (bars.type, list(bars.x), list(bars.y)) == ("bar", [1, 2, 5], [1, 2, 1])
    assert label_histogram(dataset(np.linspace(0, 1, 90))).data[0].type == "histogram"


def test_classes_stand_in_the_order_of_their_counts():
    figure = label_histogram(dataset([0, 1, 1], ("no", "yes")))
    assert list(figure.data[0].x) == [2, 1]
    assert list(figure.layout.yaxis.ticktext) == ["yes", "no"]


def test_many_classes_are_cut_to_twenty_and_say_so():
    names = tuple(f"class {i}" for i in range(30))
    figure = label_histogram(dataset(np.arange(30), names))
    assert len(figure.data[0].x) == 20
    assert "most frequent of 30" in figure.layout.xaxis.title.text


def test_losses_are_thinned_and_keep_the_newest_point():
    figure = loss_figure(losses())
    assert sum(len(part.x) for part in figure.data) <= 2000 + 3
    assert all(part.x[-1] == 2999 for part in figure.data)
    assert len(loss_figure(losses(0)).data) == 0
