"""The command plan: what it says, and what it refuses."""

import json
import re

import pytest
from command_line import HEADER, ON_SAMPLE, ROW, fault

from engine.allocation import Costs, plan
from engine.cli import main, planning
from engine.runs import RunSettings, fingerprint, open_store
from engine.scaling import fit_law

SIZES, VARIANCES = (25, 50, 100) * 2, (0.82, 0.70, 0.61, 0.79, 0.72, 0.60)


@pytest.fixture
def piloted(monkeypatch):
    """A pilot of the sample that has ended at once, and its plan under the settings that were asked for."""
    made = plan(fit_law(SIZES, VARIANCES, label_variance=1.3), n=400, m=1600, label_variance=1.3, population="these")

    def started(store, study, kind, settings):
        run = store.create_run(study.id, kind, settings)
        asked = made.replanned(half_width=settings.half_width, costs=Costs(per_label=settings.cost_per_label))
        store.save_step_result(run.id, "plan", fingerprint(run.id), asked.to_dict())
        store.save_step_result(run.id, "details pilot", fingerprint(run.id, 1), {"warnings": ["All 37 are “no”."]})
        store.update_run(run.id, state="finished")
        return store.run(run.id)

    monkeypatch.setattr(planning, "start_run", started)
    return made


def test_the_plan_says_what_a_target_takes(capsys, piloted):
    assert main(["plan", *ON_SAMPLE, "--half-width", "1e-5"]) == 0
    exact = "Target. Only labelling all 2,000 texts reaches it: then the answer is exact.\n"
    assert exact in capsys.readouterr().out
    assert main(["plan", *ON_SAMPLE, "--half-width", "0.05"]) == 0
    said = capsys.readouterr().out
    needed, without = piloted.labels_needed(0.05), piloted.labels_only_needed(0.05)
    assert f"Target. About {needed:,} labels reach it, without a model {without:,}. That is" in said
    assert main(["plan", *ON_SAMPLE]) == 0
    said = capsys.readouterr().out
    assert "Target" not in said
    assert "\nAll 37 are “no”.\n" in said
    assert "The next 100 labels. They would narrow the interval from ± 0.0" in said


def test_widths_of_shares_are_told_in_points(capsys, piloted, files):
    labels, pool = files
    labels.write_text(HEADER + "".join(ROW.format(i, ("bad", "good")[i % 2]) for i in range(60)))
    assert main(["plan", str(labels), str(pool), "--text", "text", "--label", "rating"]) == 0
    said = capsys.readouterr().out
    assert "half_width (points)" in said
    assert f" {100 * piloted['cross-fit'].half_width:.4g} " in said
    assert re.search(r"narrow the interval from ± [\d.]+ points to ± [\d.]+ points", said)


def test_large_sums_are_told_to_the_last_figure(capsys, piloted):
    assert main(["plan", *ON_SAMPLE, "--cost-per-label", "1234.56"]) == 0
    table = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert all(f" {1234.56 * piloted.n:,.2f} " in row for row in table[1:])


def test_the_plan_is_told_as_the_page_tells_it(capsys, piloted):
    assert main(["plan", *ON_SAMPLE, "--cost-per-label", "0.5", "--money", "150"]) == 0
    said = capsys.readouterr().out
    table = [line.split() for line in said.split("\n\n")[0].splitlines()]
    regrets = [f"{piloted.wider(record):.0%}" for record in piloted.strategies]
    assert {"regret", "share_saved"} < set(table[0])
    saved = [f"{piloted.share_saved(record):.0%}" for record in piloted.strategies]
    assert all(share in row for share, row in zip(saved, table[1:], strict=True))
    assert all(regret in row for regret, row in zip(regrets, table[1:], strict=True))
    low, high = piloted.flat_region
    assert f"Flat region. Any split from {low:,} to {high:,} fine-tuning labels is within 2% of the best.\n" in said
    assert "Money. 150.00 buys 300 labels in all, cross-fit with" in said
    assert f"Law. {piloted.law.summary()} R² {piloted.law.r2:.2f} over 6 trials.\n" in said
    assert "Your split" not in said
    assert main(["plan", *ON_SAMPLE, "--strategy", "split", "--finetune", "300"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"Your split\. ± 0\.\d+: 300 fine-tune, 100 rectify; \d+% wider than at the best split\.\n", said)
    assert "Money" not in said


def test_a_split_of_fewer_labels_than_the_pilot_opens_is_told_at_the_start(capsys, piloted):
    for finetune, told in (("20", "50 labels fine-tune, not 20.\n"), ("50", "")):
        assert main(["plan", *ON_SAMPLE, "--strategy", "split", "--finetune", finetune, "--json"]) == 0
        captured = capsys.readouterr()
        assert captured.err.endswith(told)
        assert ("The pilot opens" in captured.err) == bool(told)
        assert json.loads(captured.out)
    store = open_store()
    earlier = store.create_run(store.studies()[0].id, "plan", RunSettings(learner="lora"))
    store.save_step_result(earlier.id, "trial lora 00200 00100 0", "of the earlier one", {"size": 100})
    assert main(["plan", *ON_SAMPLE, "--strategy", "split", "--finetune", "60"]) == 0
    told = "Earlier pilots opened 200 labels, which cannot rectify any more: 200 labels fine-tune, not 60.\n"
    assert capsys.readouterr().err.endswith(told)


def test_the_plan_as_json_has_what_it_answers(capsys, piloted):
    asked = ["--half-width", "0.05", "--cost-per-label", "0.5", "--money", "150"]
    assert main(["plan", *ON_SAMPLE, *asked, "--strategy", "split", "--finetune", "395", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["plan"]
    assert set(piloted.to_dict()) < set(made)
    assert made["labels_needed"] == piloted.labels_needed(0.05)
    assert made["labels_only_needed"] == piloted.labels_only_needed(0.05)
    assert made["further_labels"] == 100
    assert made["gain_of_further_labels"] == piloted.gain_of_labels(100)
    for told, record in zip(made["strategies"], piloted.strategies, strict=True):
        assert told["labels_saved"] == pytest.approx(record.labels_saved)
        assert told["share_saved"] == pytest.approx(piloted.share_saved(record))
    assert made["chosen_split"]["share_saved"] == pytest.approx(piloted.share_saved(piloted.at(390)))
    assert made["affordable"]["rectify"] == 300
    assert (made["chosen_split"]["finetune"], made["chosen_split"]["rectify"]) == (390, 10)
    assert made["chosen_split"]["regret"] == pytest.approx(piloted.regret(390))
    assert main(["plan", *ON_SAMPLE, "--cost-per-label", "0.5", "--money", "5", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    made = record["plan"]
    assert record["warnings"] == ["All 37 are “no”."]
    nothing = ("labels_needed", "labels_only_needed", "affordable", "chosen_split")
    assert [made[name] for name in nothing] == [None] * 4


@pytest.mark.parametrize("money", ["0", "-3", "nan", "inf"])
def test_a_sum_of_money_that_buys_nothing_is_refused(capsys, money):
    said = fault(capsys, "plan", *ON_SAMPLE, "--cost-per-label", "1", "--money", money)
    assert "it must be a number above zero" in said
    assert "name that with --cost-per-label" in fault(capsys, "plan", *ON_SAMPLE, "--money", "100")
