"""The command line: results, or one plain line and exit status 2."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from command_line import HEADER, ON_SAMPLE, ROW, SAMPLE, fault

from engine.cli import commands, estimating, following, main
from engine.runs import RunSettings, open_store, sample_study


def test_check_says_what_is_in_order(capsys):
    assert main(["check", *ON_SAMPLE]) == 0
    assert "400 labels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"empty"),
        (HEADER.encode(), r"no rows|empty|header"),
        (b"text,stars\n" + b"a b c,3\n" * 40, r"rating.*stars"),
        (HEADER.encode() + b"".join(ROW.format(i, 3 + i % 2).encode() for i in range(40)) + b"late,many\n", r"many"),
        (b"\x00\x01\x02\xff" * 50, r"labels\.csv"),
    ],
    ids=["empty", "header only", "no such column", "text for numbers", "binary"],
)
def test_a_faulty_file_is_one_line(capsys, files, content, said):
    labels, pool = files
    labels.write_bytes(content)
    for command in ("check", "run"):
        rest = ["-o", labels.parent / "out"] if command == "run" else []
        line = fault(capsys, command, labels, pool, "--text", "text", "--label", "rating", *rest)
        assert re.search(said, line)
        assert "labels.csv" in line


@pytest.mark.parametrize(("encoding", "delimiter"), [("utf-16", ","), ("utf-8-sig", ";"), ("cp1252", ";")])
def test_encodings_and_delimiters_are_understood(capsys, files, encoding, delimiter):
    labels, pool = files
    frame = pd.read_csv(labels)
    frame["text"] = "Größe " + frame["text"]
    labels.write_bytes(frame.to_csv(index=False, sep=delimiter).encode(encoding))
    assert main(["check", str(labels), str(pool), "--text", "text", "--label", "rating"]) == 0
    assert "60 labels" in capsys.readouterr().out


def test_missing_files_options_and_runs_are_one_line(capsys, files, tmp_path):
    labels, pool = files
    assert "nowhere.csv" in fault(capsys, "check", tmp_path / "nowhere.csv")
    assert "--label" in fault(capsys, "run", labels, pool, "--label")
    assert "COMMAND" in fault(capsys)
    assert "no run" in fault(capsys, "runs", "show", "none")
    assert "no run" in fault(capsys, "report", "none", "-o", tmp_path / "r.html")
    mean_of_classes = ["--text", "text", "--label", "rating", "--estimand", "shares"]
    assert "Shares" in fault(capsys, "plan", labels, pool, *mean_of_classes)
    assert "folds" in fault(
        capsys, "plan", labels, pool, "--text", "text", "--label", "rating", "--strategy", "cross-fit", "--folds", "1"
    )
    assert "is for --strategy cross-fit" in fault(
        capsys, "plan", labels, pool, "--text", "text", "--label", "rating", "--folds", "4"
    )


@pytest.mark.parametrize("command", ["plan", "run"])
def test_zero_shot_without_predictions_starts_nothing(capsys, files, tmp_path, command):
    asked = [command, *files, "--text", "text", "--label", "rating", "--strategy", "zero-shot"]
    said = fault(capsys, *asked, *(["-o", tmp_path / "out"] if command == "run" else []))
    assert "--prediction COLUMN on the command line, or on the Data page" in said
    assert open_store().runs() == ()


def test_a_target_that_no_share_can_have_is_refused(capsys, files):
    labels, pool = files
    labels.write_text(HEADER + "".join(ROW.format(i, ("bad", "good")[i % 2]) for i in range(60)))
    said = fault(capsys, "plan", labels, pool, "--text", "text", "--label", "rating", "--half-width", "3")
    assert "--half-width is 3, but the labels are classes, and shares lie below 1: 0.03 are three percentage" in said
    assert open_store().studies() == ()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("calibrate", "Measure a model on several tasks and learn what CoS-Low says about it."),
        ("demo", "default: labelwise-demo"),
        ("select", "column for the label; default: that of --labels, else label"),
    ],
)
def test_help_says_what_holds(capsys, monkeypatch, command, said):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("command", ["plan", "run", "estimate"])
def test_a_pool_of_one_text_says_nothing_of_a_larger_population(capsys, tmp_path, command):
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(61)], "rating": 3.5, "guess": 3.5})
    frame["rating"] += np.arange(61) % 2
    frame[:60].to_csv(tmp_path / "labels.csv", index=False)
    frame[60:].drop(columns="rating").to_csv(tmp_path / "pool.csv", index=False)
    named = ["--text", "text", "--label", "rating", "--prediction", "guess", "--population", "larger"]
    folder = ["-o", tmp_path / "out"] if command == "run" else []
    said = fault(capsys, command, tmp_path / "labels.csv", tmp_path / "pool.csv", *named, *folder)
    assert "The pool has 1 text, and an answer about a larger population needs at least 2" in said
    assert open_store().studies() == ()


def test_estimate_rectifies_own_predictions(capsys):
    files = [str(SAMPLE / "labels.csv"), str(SAMPLE / "pool.csv")]
    assert main(["estimate", *files, "--label", "rating", "--prediction", "model_rating", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    truth = json.loads((SAMPLE / "truth.json").read_text())["mean_rating"]
    assert record["ci_low"] <= truth <= record["ci_high"]
    assert record["labels_saved"] > 0.2
    assert record["labels_only"]["method"] == "labels-only"


def test_estimate_needs_no_text_column(capsys, tmp_path):
    rng = np.random.default_rng(1)
    truth = rng.normal(3, 1, 300)
    frame = pd.DataFrame({"score": truth, "llm": truth + rng.normal(0.5, 0.5, 300)})
    frame[:60].to_csv(tmp_path / "labels.csv", index=False)
    frame[60:][["llm"]].to_csv(tmp_path / "pool.csv", index=False)
    files = [str(tmp_path / "labels.csv"), str(tmp_path / "pool.csv")]
    assert main(["estimate", *files, "--label", "score", "--prediction", "llm", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["ci_low"] <= truth.mean() <= record["ci_high"]


def test_a_column_that_is_missing_is_sought_among_those_of_the_file(capsys, tmp_path):
    frame = pd.DataFrame({"score": np.arange(60) / 4, "llm": np.arange(60) / 3})
    frame.to_csv(tmp_path / "labels.csv", index=False)
    files = [tmp_path / "labels.csv", tmp_path / "labels.csv"]
    said = fault(capsys, "estimate", *files, "--label", "score", "--prediction", "row")
    assert "labels.csv has no column 'row' for the prediction; it has 'score', 'llm'. Name one of these" in said


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_estimate_takes_two_files_of_one_name_for_two_and_one_file_for_one(capsys, tmp_path, ending):
    rng = np.random.default_rng(2)
    pool = pd.DataFrame({"llm": np.sort(rng.normal(size=1500))})
    labels = pool.sample(200, random_state=0).reset_index(drop=True)
    labels["score"] = (labels["llm"] + rng.normal(size=200)).mask(labels.index < 20)
    (tmp_path / "other").mkdir()
    paths = [tmp_path / f"data.{ending}", tmp_path / "other" / f"data.{ending}", tmp_path / "other" / f"pool.{ending}"]
    for frame, path in zip((labels, pool, pool), paths, strict=True):
        frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
    answers = []
    for path in (*paths[1:], paths[0]):
        assert main(["estimate", str(paths[0]), str(path), "--label", "score", "--prediction", "llm", "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]
    assert [answer["n"] for answer in answers] == [180, 180, 180]
    assert [answer["m"] for answer in answers] == [1520, 1520, 20]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_estimate_knows_labelled_texts_in_the_pool_though_no_column_is_named_for_them(capsys, tmp_path, ending):
    rng = np.random.default_rng(4)
    pool = pd.DataFrame({"note": [f"what customer {i} had to say" for i in range(600)], "llm": rng.normal(size=600)})
    pool["shop"] = rng.choice(["the one in the east", "the one in the west"], 600)
    labels = pool[400:480].assign(score=pool["llm"] + rng.normal(size=600))
    labels.to_csv(tmp_path / "labels.csv", index=False)
    sizes = {}
    for name, frame in (("whole", pool), ("rest", pool[:400]), ("without", pool.drop(columns="note"))):
        path = tmp_path / f"{name}.{ending}"
        frame.to_csv(path, index=False) if ending == "csv" else frame.to_parquet(path)
        files = [str(tmp_path / "labels.csv"), str(path)]
        assert main(["estimate", *files, "--label", "score", "--prediction", "llm", "--json"]) == 0
        told = capsys.readouterr()
        sizes[name] = json.loads(told.out)["m"]
        assert ("is the whole collection" in told.err) == (name == "whole")
    assert sizes == {"whole": 520, "rest": 400, "without": 600}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_estimate_learns_nothing_from_labels_given_twice(capsys, tmp_path, ending):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"text": [f"what customer {i} had to say" for i in range(600)], "llm": rng.normal(size=600)})
    labels = frame[:80].assign(score=frame["llm"] + rng.normal(size=600))
    pool = tmp_path / f"pool.{ending}"
    frame[80:].to_csv(pool, index=False) if ending == "csv" else frame[80:].to_parquet(pool)
    answers = []
    for times in (1, 2):
        pd.concat([labels] * times).to_csv(tmp_path / "labels.csv", index=False)
        command = ["estimate", str(tmp_path / "labels.csv"), str(pool), "--label", "score", "--prediction", "llm"]
        assert main([*command, "--population", "larger", "--json"]) == 0
        told = capsys.readouterr()
        answers.append(json.loads(told.out))
        assert ("80 labels of a text that has another one" in told.err) == (times == 2)
    assert [answer["n"] for answer in answers] == [80, 160]
    for bound in ("ci_low", "ci_high"):
        assert answers[1][bound] == pytest.approx(answers[0][bound], rel=1e-9)


def test_estimate_tells_what_was_done_to_the_data(capsys, tmp_path):
    frame = pd.DataFrame({"score": np.arange(60) / 4, "llm": np.arange(60) / 4 + np.arange(60) % 3})
    for name, rows in (("labels.tsv", frame.assign(score=frame["score"].mask(frame.index > 50))), ("pool.tsv", frame)):
        rows.to_csv(tmp_path / name, index=False, sep="\t", decimal=",")
    files = [str(tmp_path / "labels.tsv"), str(tmp_path / "pool.tsv")]
    command = ["estimate", *files, "--label", "score", "--prediction", "llm"]
    remarks = [
        "labels.tsv: Decimal commas were read as decimal points in 'score', 'llm'.",
        "labels.tsv: 9 rows without a label joined the pool.",
    ]
    assert main(command) == 0
    told = capsys.readouterr()
    assert set(remarks) < set(told.out.splitlines())
    assert told.err == ""
    assert main([*command, "--json"]) == 0
    told = capsys.readouterr()
    assert set(remarks) < set(told.err.splitlines())
    assert json.loads(told.out)["n"] == 51


def test_words_for_a_missing_label_are_no_class_of_the_estimate(capsys, tmp_path):
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"text": [f"remark {i}" for i in range(900)], "verdict": rng.choice(["no", "yes"], 900)})
    frame["llm"] = frame["verdict"].where(rng.random(900) < 0.8, "no")
    frame[200:].drop(columns="verdict").to_csv(tmp_path / "pool.csv", index=False)
    frame[:200].assign(verdict=frame["verdict"].mask(frame.index % 4 == 0)).to_csv(
        tmp_path / "labels.csv", index=False, na_rep="NA"
    )
    files = [str(tmp_path / "labels.csv"), str(tmp_path / "pool.csv")]
    said = "labels.csv, column 'verdict': 50 rows hold 'NA' (rows 2, 6, 10, ...) and count as blank."
    assert main(["check", *files]) == 0
    assert said in capsys.readouterr().out
    assert main(["estimate", *files, "--label", "verdict", "--prediction", "llm"]) == 0
    told = capsys.readouterr().out
    assert said in told
    assert "NA:" not in told
    assert main(["estimate", *files, "--label", "verdict", "--prediction", "llm", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["n"], record["m"]) == (150, 750)


@pytest.mark.slow
def test_plan_run_report_and_delete(capsys, tmp_path):
    # The model reads every text once; a part of the pool speaks of the larger population as well.
    pool, out = tmp_path / "pool.csv", tmp_path / "out"
    pd.read_csv(SAMPLE / "pool.csv").head(300).to_csv(pool, index=False)
    files = [ON_SAMPLE[0], str(pool), *ON_SAMPLE[2:], "--population", "larger"]
    settings = ["--learner", "probe", "--strategy", "cross-fit"]
    assert main(["run", *files, *settings, "-o", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record) == {"run", "plan", "estimate"}
    truth = json.loads((SAMPLE / "truth.json").read_text())["mean_rating"]
    assert record["estimate"]["ci_low"] <= truth <= record["estimate"]["ci_high"]
    assert record["estimate"]["method"] == "cross-fit"
    assert {path.name for path in out.iterdir()} == {
        "estimate.csv",
        "estimate.json",
        "labels.csv",
        "predictions.parquet",
        "report.html",
        "settings.json",
    }
    run_id = record["run"]["id"]

    assert main(["plan", *files, *settings[:2], "--half-width", "0.05", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert {row["name"] for row in plan["strategies"]} == {"labels-only", "split", "cross-fit"}
    assert plan["recommended"] in {row["name"] for row in plan["strategies"]}

    assert main(["report", run_id, "-o", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").stat().st_size > 1_000_000
    assert main(["runs", "list"]) == 0
    assert run_id in capsys.readouterr().out
    assert main(["runs", "show", run_id]) == 0
    assert "finished" in capsys.readouterr().out
    assert "finished" in fault(capsys, "runs", "resume", run_id)
    assert main(["runs", "delete", run_id]) == 0
    assert run_id not in [run.id for run in open_store().runs()]


def stopped(capsys, monkeypatch, *arguments: object) -> list[str]:
    """Press Ctrl-C as soon as a run is followed; return the words of the command that is told."""

    def interrupt(_seconds):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(following, "sleep", interrupt)
        line = fault(capsys, *arguments)
    told = re.fullmatch(r"labelwise: Stopped; `labelwise (runs resume .*)` goes on with it\.\n", line)
    assert told, line
    return shlex.split(told[1])


def test_ctrl_c_outside_a_followed_run_is_one_line(capsys, monkeypatch):
    def interrupt(_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "read_tables", interrupt)
    assert main(["check", *ON_SAMPLE]) == 130
    line = capsys.readouterr().err
    assert re.fullmatch(r"labelwise: interrupted; the same command [^\n]*\n", line)


def test_ctrl_c_while_the_command_imports_is_one_line():
    code = """
import sys
class Interrupted:
    def find_spec(self, name, *_):
        if name == "engine":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
import labelwise
sys.exit(labelwise.main())
"""
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root)
    assert (done.returncode, done.stderr) == (130, "labelwise: interrupted.\n")


def ignores_ctrl_c(pid: int) -> bool:
    """Whether a process leaves SIGINT unheard now."""
    ignored = re.search(r"SigIgn:\s+(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(ignored[1], 16) & 1 << signal.SIGINT - 1)


def test_ctrl_c_while_the_models_process_imports_is_one_line(tmp_path):
    # Its imports never end.
    imports = "import sys, time; 'engine.worker.predicting' in sys.orig_argv and time.sleep(600)"
    (tmp_path / "sitecustomize.py").write_text(imports)
    # What is started in the background by a shell does not hear Ctrl-C, nor do the tests then.
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    asked = f"from engine.cli import main; sys.exit(main(['predict', 'x', 'x', '-o', {str(tmp_path)!r}]))"
    code = f"import sys; {hears}; {asked}"
    command = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[2]}"},
    )
    end = time.monotonic() + 120
    # While it starts the process the command itself is deaf too, a second where the machine is busy.
    while (not psutil.Process(command.pid).children() or ignores_ctrl_c(command.pid)) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(command.pid, signal.SIGINT)  # as the terminal does
    said, _ = command.communicate(timeout=60)
    assert said == "labelwise: stopped; the same command goes on after the last shard.\n"
    assert command.returncode == 130


@pytest.mark.slow
def test_what_ctrl_c_tells_goes_on_to_the_results(capsys, monkeypatch, tmp_path):
    out = tmp_path / "its  results"
    command = stopped(capsys, monkeypatch, "run", *ON_SAMPLE, "--strategy", "labels-only", "-o", out)
    assert command[3:] == ["-o", str(out)]
    assert list(out.iterdir()) == []
    assert stopped(capsys, monkeypatch, *command) == command
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert set(record) == {"run", "plan", "estimate"}
    assert record["run"]["id"] == command[2]
    assert {"estimate.csv", "estimate.json", "labels.csv", "predictions.parquet", "report.html", "settings.json"} == {
        path.name for path in out.iterdir()
    }
    again = tmp_path / "again"
    assert main([*command[:3], "-o", str(again)]) == 0  # of a run that has its result
    assert (again / "estimate.csv").read_text() == (out / "estimate.csv").read_text()
    assert f"are in {again}" in capsys.readouterr().out
    assert "finished" in fault(capsys, *command[:3])


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="There is no folder in which nobody may write a file.")
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(capsys):
    assert "/proc/self cannot be written (" in fault(capsys, "demo", "-o", "/proc/self")
    line = fault(capsys, "select", SAMPLE / "pool.csv", "-o", "/proc/self/chosen.csv")
    assert "/proc/self/chosen.csv cannot be written (" in line
    assert open_store().runs() == ()


@pytest.mark.slow
def test_results_that_cannot_be_written_can_be_written_elsewhere(capsys, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    (out / "estimate.json").mkdir(parents=True)
    line = fault(capsys, "run", *ON_SAMPLE, "--strategy", "labels-only", "-o", out)
    told = re.search(r"out/estimate\.json cannot be written \(Is a directory\); `labelwise (.*) OTHER` writes", line)
    assert main([*told[1].split(), str(other)]) == 0
    (run,) = open_store().runs()
    assert json.loads((other / "estimate.json").read_text())["run"]["id"] == run.id
    assert "<html" in (other / "report.html").read_text()


@pytest.mark.slow
def test_a_selection_that_was_stopped_goes_on_to_its_file(capsys, monkeypatch, pool, offline_model):
    output = pool.with_name("to label.csv")
    output.write_text("remarks,how good\nGood,5\n")
    asked = ["select", pool, "--text", "remarks", "--label", "how good", "--count", "8", "-o", output, "--force"]
    command = stopped(capsys, monkeypatch, *asked)
    assert command[3:] == ["-o", str(output), "--force"]
    assert "holds 1 answer in 'how good'" in fault(capsys, *command[:-1])
    assert main(command) == 0
    assert f"They are in {output}. Fill its column 'how good'" in capsys.readouterr().out
    assert len(pd.read_csv(output)) == 8


def test_a_run_that_writes_nothing_takes_no_output(capsys, tmp_path):
    store = open_store()
    run = store.create_run(sample_study(store).id, "plan", RunSettings())
    assert "(plan) writes nothing" in fault(capsys, "runs", "resume", run.id, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "There is no run none" in fault(capsys, "runs", "resume", "none", "-o", tmp_path / "out")


def test_the_command_is_installed_and_needs_no_torch_to_answer():
    code = "import sys, engine.cli; assert 'torch' not in sys.modules and 'streamlit' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    command = Path(sys.executable).with_name("labelwise")
    answer = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    assert "estimate" in answer.stdout


def test_the_server_ends_with_the_command_that_started_it(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def answers():
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", port)) == 0

    def until(state):
        end = time.monotonic() + 120
        while answers() != state and time.monotonic() < end:
            time.sleep(0.2)
        return answers() == state

    command = [Path(sys.executable).with_name("labelwise"), "app", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as app:
        assert until(True)
        app.terminate()
        app.wait(60)
    assert until(False)


def test_estimate_sums_a_parquet_pool_batch_by_batch(capsys, tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    pool = pd.DataFrame({"llm": rng.normal(size=5000), "w": rng.uniform(0.5, 2, 5000)})
    labels = pool.sample(100, random_state=0)
    labels["score"] = labels["llm"] + rng.normal(size=100)
    labels.loc[labels.index[:10], "score"] = np.nan  # rows without a label belong to the pool
    labels.to_csv(tmp_path / "labels.csv", index=False)
    pool.to_csv(tmp_path / "pool.csv", index=False)
    pool.to_parquet(tmp_path / "pool.parquet", row_group_size=700)
    answers, read = [], estimating.read_table

    def not_the_pool(path):
        assert path.suffix != ".parquet", "a pool that is summed may be larger than the memory"
        return read(path)

    monkeypatch.setattr(estimating, "read_table", not_the_pool)
    for name in ("pool.csv", "pool.parquet"):
        files = [str(tmp_path / "labels.csv"), str(tmp_path / name)]
        columns = ["--label", "score", "--prediction", "llm", "--weight", "w"]
        assert main(["estimate", *files, *columns, "--json"]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[1]["m"] == answers[0]["m"] == 5010
    for field in ("estimate", "ci_low", "ci_high", "model_only", "n_effective"):
        assert answers[1][field] == pytest.approx(answers[0][field], rel=1e-9)
    pool.assign(llm=pool["llm"].mask(pool.index == 4321)).to_parquet(tmp_path / "holes.parquet")
    sentence = fault(capsys, "estimate", files[0], str(tmp_path / "holes.parquet"), *columns)
    assert "row 4,322" in sentence


def test_the_answer_of_groups_says_what_the_shares_are_shares_of(capsys, tmp_path):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"said": rng.choice(["no", "yes"], 400), "shop": rng.choice(["east", "west"], 400)})
    frame["llm"] = np.where(rng.random(400) < 0.8, frame["said"], "no")
    frame[:200].to_csv(tmp_path / "labels.csv", index=False)
    frame[200:].drop(columns="said").to_csv(tmp_path / "pool.csv", index=False)
    files = [str(tmp_path / "labels.csv"), str(tmp_path / "pool.csv")]
    assert main(["estimate", *files, "--label", "said", "--prediction", "llm", "--by", "shop"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"  east: \d+(\.\d)?% \(\d+(\.\d)?% to \d+(\.\d)?%\)\n", said)
    assert "\nThe shares are those of “yes”.\n" in said


def test_estimate_answers_groups_and_quantiles(capsys):
    files = [str(SAMPLE / "labels.csv"), str(SAMPLE / "pool.csv"), "--label", "rating", "--prediction", "model_rating"]
    truth = json.loads((SAMPLE / "truth.json").read_text())["mean_rating_by_product"]
    assert main(["estimate", *files, "--by", "product", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    groups = dict(zip(record["names"], zip(record["ci_low"], record["ci_high"], strict=True), strict=True))
    assert all(groups[name][0] <= value <= groups[name][1] for name, value in truth.items())
    assert len(groups) == 5 + 10
    assert main(["estimate", *files, "--estimand", "quantile=0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["estimate"] in (3.0, 4.0)
    assert "quantile=0.5" in fault(capsys, "estimate", *files, "--estimand", "quantile=half")
