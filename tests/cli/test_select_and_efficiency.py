"""The commands before there is a plan: what is selected, and how far labels carry."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import fault

from engine.cli import calibrating, commands, main, planning, selecting
from engine.errors import ArgumentError
from engine.report import gather, html_report
from engine.runs import open_store, read_results


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "run", "select", "efficiency", "calibrate"])
def test_a_models_folder_may_be_named_from_where_one_stands(command, capsys, files, tmp_path, monkeypatch):
    def started(_store, _study, _kind, settings):
        raise ArgumentError(settings.model)

    for module in (commands, planning, selecting, calibrating):
        monkeypatch.setattr(module, "start_run", started)
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    given = {"select": files[1:], "efficiency": files[:1]}.get(command, files)
    if command == "calibrate":
        given = [shutil.copyfile(files[0], tmp_path / f"{k}.csv") for k in range(5)]
    more = ["-o", "made.csv"] if command in ("run", "select") else []
    said = fault(capsys, command, *given, "--text", "text", "--model", "own", *more)
    assert said == f"labelwise: {tmp_path / 'own'}\n"


def test_from_a_pool_without_labels_to_the_curve(capsys, pool, offline_model):
    output = pool.with_name("to_label.csv")
    assert main(["select", str(pool), "--text", "remarks", "--label", "how good", "-o", str(output)]) == 0
    said = capsys.readouterr().out
    assert "32 texts were drawn at random from the 150 of the pool, because sentence-transformers/" in said
    command = said.strip().splitlines()[-1]
    frame = pd.read_csv(output)
    assert list(frame) == ["no", "remarks", "how good", "confidence"]
    assert frame["how good"].isna().all()
    assert frame["no"].nunique() == 32
    efficiency = shlex.split(command)[1:]
    assert efficiency == ["efficiency", str(output), "--text", "remarks", "--label", "how good"]
    assert "none of its 32 rows has a label yet" in fault(capsys, *efficiency)

    frame["how good"] = [1 + (4 if "good" in text else 0) - i % 2 for i, text in enumerate(frame["remarks"])]
    frame.loc[30:, "how good"] = np.nan
    frame.to_csv(output, index=False)
    assert "holds 30 answers in 'how good'" in fault(capsys, "select", pool, "--label", "how good", "-o", output)
    assert main([*efficiency, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert {"auc", "interval", "coslow", "calibrated", "curve", "labels_to"} <= set(record)
    assert "draws" not in record
    assert [row["n"] for row in record["curve"]][:3] == [0, 50, 100]
    assert record["rests_on_data"] is False  # of the default model CoS-Low tells too little to be used
    assert main(efficiency) == 0
    said = capsys.readouterr().out
    assert "do not enter; `labelwise plan` measures theirs.\n" in said
    store = open_store()
    study = next(study for study in store.studies() if study.name == "to_label")
    assert study.dataset(needs_pool=False).n == 30
    run = store.runs(study.id)[0]
    assert read_results(store, run).details["pilot_labels"] == 30  # the two rows without one are no pool
    content = gather(store, run.id)
    assert (
        content.command
        == f"labelwise efficiency {output.name} {shlex.join(efficiency[2:])} --model {run.settings.model}"
    )
    assert study.labels_file.path.read_bytes() == output.read_bytes()
    assert "30 labelled texts.<" in html_report(store, run.id)
    assert main(["runs", "show", run.id]) == 0
    assert "do not enter.\n" in capsys.readouterr().out


@pytest.mark.parametrize(("asked", "told"), [([], []), (["--keep", "end"], ["--keep", "end"])])
def test_the_command_after_a_selection_reads_texts_in_the_same_way(capsys, pool, asked, told):
    output = pool.with_name("to label.csv")
    assert main(["select", str(pool), "--text", "remarks", "--draw", "random", *asked, "-o", str(output)]) == 0
    command = shlex.split(capsys.readouterr().out.strip().splitlines()[-1])
    assert command == ["labelwise", "efficiency", str(output), "--text", "remarks", "--label", "label", *told]


@pytest.mark.slow
def test_labels_at_hand_fit_a_head_that_says_which_texts_are_hard(capsys, pool, files, offline_model):
    labels, rest = files
    output = pool.with_name("more.csv")
    asked = ["select", str(rest), "--labels", str(labels), "--text", "text", "--label", "rating", "--count", "12"]
    assert main([*asked, "-o", str(output), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["run"]["state"] == "finished"
    assert record["selection"]["count"] == 12
    assert "a head fitted to the 60 labels" in record["selection"]["why"]
    frame = pd.read_csv(output)
    assert list(frame) == ["text", "rating", "confidence"]
    assert frame["confidence"].tolist() == pytest.approx(record["selection"]["confidence"])
    with_pool = ["efficiency", str(labels), str(rest), "--text", "text", "--label", "rating"]
    assert main(with_pool) == 0
    output.write_text("text,rating\n")
    assert main([*asked, "--draw", "random", "-o", str(output), "--force"]) == 0
    assert "drawn at random" in capsys.readouterr().out


def test_select_loses_no_file_and_explains_its_faults(capsys, pool, tmp_path):
    output = tmp_path / "to_label.csv"
    output.write_text("remarks,label\nGood,5\nBad,\n")
    line = fault(capsys, "select", pool, "-o", output)
    assert "exists already and holds 1 answer in 'label'" in line
    assert "--force" in line
    output.unlink()
    assert "no column 'remark'" in fault(capsys, "select", pool, "--text", "remark", "-o", output)
    assert ".csv" in fault(capsys, "select", pool, "-o", tmp_path / "to_label.xlsx")
    for wrong, said in (
        (["--count", "0"], "count is 0"),
        (["--rating", "1-5"], "written as 1:5"),
        (["--rating", "5:1"], "smaller to a larger"),
        (["--classes", "good"], "at least two"),
        (["--classes", "good,bad", "--rating", "1:5"], "exclude each other"),
    ):
        assert said in fault(capsys, "select", pool, *wrong, "-o", output)
    assert "There is no folder" in fault(capsys, "select", pool, "-o", tmp_path / "nowhere" / "to_label.csv")
    assert "nowhere.csv" in fault(capsys, "select", tmp_path / "nowhere.csv", "-o", output)
    pool.write_text("no,remarks\n1,\n2,\n")
    assert "holds no text in 'remarks'" in fault(capsys, "select", pool, "--text", "remarks", "-o", output)
    assert not output.exists()


def test_select_counts_the_answers_in_the_column_of_the_labels_at_hand(capsys, files):
    labels, rest = files
    asked = ["select", rest, "--labels", labels]
    assert "labels.csv exists already and holds 60 answers in 'rating'" in fault(capsys, *asked, "-o", labels)
    assert "labels.csv exists already; name another" in fault(capsys, *asked, "--label", "grade", "-o", labels)
