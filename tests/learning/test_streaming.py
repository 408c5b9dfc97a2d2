"""Streaming a pool through a predictor: the same rows, resumed where it stopped, and faults told in a sentence."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import ArgumentError, DataError
from engine.learning.models import silent
from engine.learning.streaming import predict_parquet


class Lengths:
    """Predicts the length of a text, and remembers what it was asked."""

    def __init__(self, key="a", stop_after=None):
        self.key, self.asked, self.stop_after = key, [], stop_after

    def predict(self, texts, progress=silent):
        if len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(len(texts))
        progress(1.0)
        return np.array([[len(text)] for text in texts], dtype=float)


@pytest.fixture
def pool(tmp_path):
    texts = [None if i % 50 == 7 else f"text {i}" for i in range(230)]
    frame = pd.DataFrame({"id": np.arange(230), "text": pd.array(texts, "string"), "area": ["north", "south"] * 115})
    frame.to_parquet(tmp_path / "pool.parquet", row_group_size=37)
    return tmp_path / "pool.parquet"


def stream(predictor, pool, **options):
    return predict_parquet(predictor, pool, pool.parent / "out", text="text", shard_rows=100, **options)


def test_rows_come_back_in_order_with_their_predictions(pool):
    done = []
    made = stream(Lengths(), pool, progress=done.append)
    assert [pq.read_metadata(path).num_rows for path in made.shards] == [100, 100, 30]
    assert (made.rows, made.missing, made.computed) == (230, 5, 3)
    found, expected = pd.read_parquet(pool.parent / "out"), pd.read_parquet(pool)
    pd.testing.assert_frame_equal(found[["id", "text", "area"]], expected, check_dtype=False)
    lengths = expected["text"].str.len().astype(float)
    np.testing.assert_array_equal(found["prediction"].to_numpy(float, na_value=np.nan), lengths)
    table = pq.read_table(made.shards[0])
    assert table.column("prediction").null_count == 2  # missing, not nan
    assert done == sorted(done)
    assert done[-1] == 1


def test_an_interrupted_stream_goes_on(pool):
    with pytest.raises(KeyboardInterrupt):
        stream(Lengths(stop_after=2), pool)
    assert sorted(os.listdir(pool.parent / "out")) == ["part-00000.parquet", "part-00001.parquet"]
    again = Lengths()
    assert stream(again, pool).computed == 1
    assert again.asked == [29]  # one row of the last thirty has no text
    assert stream(again, pool).computed == 0


def test_what_a_killed_process_had_begun_is_passed_over_and_then_removed(pool):
    out = pool.parent / "out"
    code = """
import os, sys
from pathlib import Path
import numpy as np, pyarrow.parquet as pq
from engine.learning import streaming

class Zeros:
    key = "zeros"
    def predict(self, texts, progress):
        return np.zeros((len(texts), 1))

write, pool = pq.write_table, Path(sys.argv[1])
def half(table, part):
    write(table, part)
    if len(list(part.parent.glob("*.parquet"))) == 1:
        part.write_bytes(part.read_bytes()[:99])
        os._exit(9)
pq.write_table = half
streaming.predict_parquet(Zeros(), pool, pool.parent / "out", text="text", shard_rows=100)
"""
    killed = subprocess.run([sys.executable, "-c", code, str(pool)], check=False)
    assert killed.returncode == 9
    assert len(list(out.iterdir())) == 2
    assert len(pd.read_parquet(out)) == 100
    for name in (f"part-00007.{os.getpid()}.part", ".part-00007.1.part", "my.1234567.part", f"part-0.{10**20}.part"):
        (out / name).write_bytes(b"half")
    stream(Lengths(), pool, force=True)
    assert sorted(os.listdir(out)) == [
        ".part-00007.1.part",  # of a process that lives
        "my.1234567.part",
        f"part-0.{10**20}.part",  # no process has such a number
        *(f"part-0000{number}.parquet" for number in range(3)),
    ]


def test_where_that_is_asked_for_what_has_changed_is_predicted_anew(pool):
    stream(Lengths(), pool)
    assert stream(Lengths("another"), pool, force=True).computed == 3
    frame = pd.read_parquet(pool)
    frame.loc[150, "area"] = "east"
    frame[:199].to_parquet(pool)
    made = stream(Lengths("another"), pool, force=True)
    assert made.computed == 1
    assert len(list((pool.parent / "out").iterdir())) == 2
    assert pd.read_parquet(pool.parent / "out")["area"][150] == "east"
    broken = made.shards[0]
    broken.write_bytes(broken.read_bytes()[:100])
    assert stream(Lengths("another"), pool, force=True).computed == 1


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(said, predictor, pool, out, **options):
    """The folder is refused before a text is predicted, and left as it was."""
    before = contents(out)
    with pytest.raises(ArgumentError, match=said) as fault:
        predict_parquet(predictor, pool, out, text="text", shard_rows=100, **options)
    assert "name another folder with -o" in str(fault.value)
    assert predictor.asked == []
    assert contents(out) == before


@pytest.mark.parametrize("force", [False, True])
def test_the_folder_of_the_source_is_refused(pool, tmp_path, force):
    own = tmp_path / "own"
    own.mkdir()
    for number in (0, 1):
        (own / f"part-0000{number}.parquet").write_bytes(pool.read_bytes())
    refused("lies in the folder", Lengths(), own / "part-00000.parquet", own, force=force)
    (tmp_path / "link").symlink_to(own)
    refused("lies in the folder", Lengths(), own / "part-00000.parquet", tmp_path / "link", force=force)
    (own / "linked.parquet").symlink_to(pool)
    refused("lies in the folder", Lengths(), own / "linked.parquet", own, force=force)
    inner = own / "years" / "pool.parquet"
    inner.parent.mkdir()
    inner.write_bytes(pool.read_bytes())
    with pytest.raises(ArgumentError, match="lies in the folder"):
        predict_parquet(Lengths(), inner, own, text="text", force=force)
    assert sorted(os.listdir(own)) == ["linked.parquet", "part-00000.parquet", "part-00001.parquet", "years"]


def test_files_of_others_are_replaced_only_where_that_is_asked_for_and_in_the_way(pool):
    out = pool.parent / "out"
    out.mkdir()
    for number in (0, 9):
        pd.DataFrame({"x": [1]}).to_parquet(out / f"part-0000{number}.parquet")
    refused(r"part-00000\.parquet was not written by Labelwise", Lengths(), pool, out)
    other = (out / "part-00009.parquet").read_bytes()
    (out / "part-00000.parquet").unlink()
    refused(r"part-00009\.parquet was not written by Labelwise", Lengths(), pool, out)
    assert stream(Lengths(), pool, force=True).computed == 3
    assert (out / "part-00009.parquet").read_bytes() == other


def test_the_folder_of_another_prediction_is_refused(pool, tmp_path):
    made = stream(Lengths(), pool)
    out, frame = tmp_path / "out", pd.read_parquet(pool)
    said = "holds predictions of other rows or texts, or by other models.*add --force"
    refused(said, Lengths("another"), pool, out)
    with pytest.raises(ArgumentError, match=said):
        predict_parquet(Lengths(), pool, out, text="text", classes=["length"], shard_rows=100)
    other = tmp_path / "other.parquet"
    for rows in (frame[:150], frame[:100], frame[:0], frame[::-1]):  # of fewer rows the later shards would be removed
        rows.to_parquet(other)
        refused(said, Lengths(), other, out)
    made.shards[0].unlink()
    refused(said, Lengths("another"), pool, out)
    assert stream(Lengths(), pool).computed == 1
    frame[:100].to_parquet(other)
    assert predict_parquet(Lengths(), other, out, text="text", shard_rows=100, force=True).computed == 0
    assert sorted(os.listdir(out)) == ["part-00000.parquet"]
    assert stream(Lengths(), pool).computed == 2  # the first of its shards is there


def test_another_text_column_is_another_prediction(pool):
    frame = pd.read_parquet(pool)
    frame["title"] = "title of " + frame["area"]
    frame.to_parquet(pool)
    stream(Lengths(), pool)
    out = pool.parent / "out"
    with pytest.raises(ArgumentError, match="holds predictions of other rows or texts"):
        predict_parquet(Lengths(), pool, out, text="title", shard_rows=100)
    assert predict_parquet(Lengths(), pool, out, text="title", shard_rows=100, force=True).computed == 3
    found = pd.read_parquet(out)
    np.testing.assert_array_equal(found["prediction"], frame["title"].str.len())


def test_texts_are_read_as_a_run_reads_them(tmp_path):
    class Heard(Lengths):
        def predict(self, texts, progress=silent):
            self.asked += texts
            return np.zeros((len(texts), 1))

    texts = [" lead", "first\r\nsecond\r\n", "", " \r\n", None, "a\0b"]
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        pq.write_table(pa.table({"text": pa.array(texts).cast(kind)}), tmp_path / "pool.parquet")
        predictor = Heard()
        made = stream(predictor, tmp_path / "pool.parquet", force=True)
        assert predictor.asked == ["lead", "first\nsecond", "ab"]
        table = pq.read_table(made.shards[0])
        assert table.column("text").to_pylist() == texts
        assert table.column("prediction").to_pylist() == [0, 0, None, None, None, 0]
        assert made.missing == 3


def test_classes_are_columns(pool):
    class Shares(Lengths):
        def predict(self, texts, progress=silent):
            return np.tile([0.25, 0.75], (len(texts), 1))

    stream(Shares(), pool, classes=["no", "yes"])
    found = pd.read_parquet(pool.parent / "out")
    assert found["probability of yes"].dropna().eq(0.75).all()
    with pytest.raises(ArgumentError, match=r"predicts 2 columns, but 3"):
        stream(Shares("b"), pool, classes=["a", "b", "c"], force=True)


def test_an_empty_pool(tmp_path):
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "pool.parquet")
    assert stream(Lengths(), tmp_path / "pool.parquet").shards == []


@pytest.mark.parametrize("compression", ["snappy", "none"])
@pytest.mark.parametrize("place", [0.02, 0.6, 0.99])  # the first page, one behind it, and the footer
def test_damage_is_the_pools_fault_wherever_it_is(tmp_path, compression, place):
    pool = tmp_path / "pool.parquet"
    frame = pd.DataFrame({"text": [f"text number {i}" for i in range(300)]})
    frame.to_parquet(pool, row_group_size=50, compression=compression)
    content = bytearray(pool.read_bytes())
    at = int(place * len(content)) if place < 0.9 else len(content) - 60
    content[at : at + 40] = b"\xff" * 40
    pool.write_bytes(content)
    with pytest.raises(DataError, match=r"^pool\.parquet cannot be read as Parquet: export it again"):
        stream(Lengths(), pool)


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "xlsx"])
def test_a_pool_of_another_format_becomes_one_by_the_line_that_is_told(tmp_path, ending):
    frame, other = pd.DataFrame({"text": [f"text, {i}" for i in range(30)]}), tmp_path / f"a pool.{ending}"
    write = {"csv": frame.to_csv, "tsv": frame.to_csv, "json": frame.to_json, "xlsx": frame.to_excel}.get(ending)
    options = {"csv": {"index": False}, "tsv": {"index": False, "sep": "\t"}, "xlsx": {"index": False}}.get(ending, {})
    write(other, **options) if write else frame.to_json(other, orient="records", lines=True)
    with pytest.raises(DataError, match=r"a pool\.\w+ is no Parquet file") as told:
        stream(Lengths(), other)
    eval(re.search(r"pandas\..*(?= writes one)", str(told.value))[0], {"pandas": pd})
    assert stream(Lengths(), tmp_path / "a pool.parquet").rows == 30


def test_faults(pool, tmp_path):
    with pytest.raises(DataError, match=r"no column 'words'; it has 'id', 'text', 'area'"):
        predict_parquet(Lengths(), pool, tmp_path / "out", text="words")
    with pytest.raises(DataError, match=r"column 'id' holds int64, not text"):
        predict_parquet(Lengths(), pool, tmp_path / "out", text="id")
    with pytest.raises(DataError, match="There is no file"):
        predict_parquet(Lengths(), tmp_path / "nowhere.parquet", tmp_path / "out", text="text")
    csv = tmp_path / "pool.csv"
    csv.write_text("text\nhello\n")
    with pytest.raises(DataError, match=r"pool\.csv is no Parquet file"):
        predict_parquet(Lengths(), csv, tmp_path / "out", text="text")
    with pytest.raises(ArgumentError, match=r"pool\.csv cannot be written"):
        predict_parquet(Lengths(), pool, csv, text="text")
    with pytest.raises(DataError, match=r"is a folder: name a Parquet file in it"):
        predict_parquet(Lengths(), tmp_path, tmp_path / "out", text="text")
    with pytest.raises(DataError, match=r"cannot be read \(Not a directory\)"):
        predict_parquet(Lengths(), pool / "inside.parquet", tmp_path / "out", text="text")
    twice = tmp_path / "twice.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), twice)
    with pytest.raises(DataError, match=r"^twice\.parquet has more than one column called 'text': give each column"):
        predict_parquet(Lengths(), twice, tmp_path / "out", text="text")
    taken = tmp_path / "taken.parquet"
    pd.DataFrame({"text": ["a"], "prediction": [1.0]}).to_parquet(taken)
    with pytest.raises(DataError, match="already"):
        predict_parquet(Lengths(), taken, tmp_path / "out", text="text")
