"""Streaming a pool through a predictor: the same rows, resumed where it stopped, and faults told in a sentence."""

from __future__ import annotations

import os

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


def test_what_has_changed_is_predicted_anew(pool):
    stream(Lengths(), pool)
    assert stream(Lengths("another"), pool).computed == 3
    frame = pd.read_parquet(pool)
    frame.loc[150, "area"] = "east"
    frame[:199].to_parquet(pool)
    made = stream(Lengths("another"), pool)
    assert made.computed == 1
    assert len(list((pool.parent / "out").iterdir())) == 2
    assert pd.read_parquet(pool.parent / "out")["area"][150] == "east"
    broken = made.shards[0]
    broken.write_bytes(broken.read_bytes()[:100])
    assert stream(Lengths("another"), pool).computed == 1


def test_files_of_others_stay(pool):
    out = pool.parent / "out"
    out.mkdir()
    pd.DataFrame({"x": [1]}).to_parquet(out / "part-00009.parquet")
    stream(Lengths(), pool)
    assert (out / "part-00009.parquet").exists()


def test_classes_are_columns(pool):
    class Shares(Lengths):
        def predict(self, texts, progress=silent):
            return np.tile([0.25, 0.75], (len(texts), 1))

    stream(Shares(), pool, classes=["no", "yes"])
    found = pd.read_parquet(pool.parent / "out")
    assert found["probability of yes"].dropna().eq(0.75).all()
    with pytest.raises(ArgumentError, match=r"predicts 2 columns, but 3"):
        stream(Shares("b"), pool, classes=["a", "b", "c"])


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


def test_faults(pool, tmp_path):
    with pytest.raises(DataError, match=r"no column 'words'; it has 'id', 'text', 'area'"):
        predict_parquet(Lengths(), pool, tmp_path / "out", text="words")
    with pytest.raises(DataError, match=r"column 'id' holds int64, not text"):
        predict_parquet(Lengths(), pool, tmp_path / "out", text="id")
    with pytest.raises(DataError, match="There is no file"):
        predict_parquet(Lengths(), tmp_path / "nowhere.parquet", tmp_path / "out", text="text")
    csv = tmp_path / "pool.csv"
    csv.write_text("text\nhello\n")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        predict_parquet(Lengths(), csv, tmp_path / "out", text="text")
    with pytest.raises(ArgumentError, match=r"pool\.csv cannot be written"):
        predict_parquet(Lengths(), pool, csv, text="text")
    with pytest.raises(DataError, match=r"is a folder: name a Parquet file in it"):
        predict_parquet(Lengths(), tmp_path, tmp_path / "out", text="text")
    with pytest.raises(DataError, match=r"cannot be read \(Not a directory\)"):
        predict_parquet(Lengths(), pool / "inside.parquet", tmp_path / "out", text="text")
    taken = tmp_path / "taken.parquet"
    pd.DataFrame({"text": ["a"], "prediction": [1.0]}).to_parquet(taken)
    with pytest.raises(DataError, match="already"):
        predict_parquet(Lengths(), taken, tmp_path / "out", text="text")
