"""Pools read from Parquet in batches."""

import numpy as np
import pandas as pd
import pytest

from engine.errors import DataError
from engine.rectification import PoolSummary, rectified_mean, rectified_shares


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.dirichlet([1, 2, 3], 5000), columns=["a", "b", "c"])
    frame["w"] = rng.uniform(0.5, 2, 5000)
    frame["holes"] = np.where(np.arange(5000) == 4321, np.nan, 1.0)
    frame["words"] = "x"
    frame.to_parquet(tmp_path / "pool.parquet", row_group_size=700)
    return tmp_path / "pool.parquet"


def test_batches_give_the_same_answer_as_the_array(path):
    rng = np.random.default_rng(1)
    f = rng.random(40)
    y = f + 0.2 * rng.normal(size=40)
    frame = pd.read_parquet(path)
    summary = PoolSummary.from_parquet(path, "a", weight="w", batch_rows=333)
    got = rectified_mean(y, f, summary)
    plain = rectified_mean(y, f, frame["a"], pool_weights=frame["w"])
    assert (got.estimate, got.standard_error, got.m) == pytest.approx((plain.estimate, plain.standard_error, 5000))


def test_shares_from_several_columns(path):
    rng = np.random.default_rng(2)
    p = rng.dirichlet([1, 2, 3], 60)
    y = np.array([rng.choice(list("abc"), p=row) for row in p])
    got = rectified_shares(y, p, PoolSummary.from_parquet(path, ["a", "b", "c"], batch_rows=512))
    plain = rectified_shares(y, p, pd.read_parquet(path)[["a", "b", "c"]])
    assert np.allclose(got.ci_low, plain.ci_low, rtol=1e-9)


@pytest.mark.parametrize(
    ("column", "words"),
    [("z", "no column 'z'"), ("holes", "row 4,322"), ("words", "must hold numbers")],
)
def test_faults_name_file_column_and_row(path, column, words):
    with pytest.raises(DataError, match=words):
        PoolSummary.from_parquet(path, column)


def test_a_file_that_is_not_parquet(tmp_path):
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        PoolSummary.from_parquet(tmp_path / "x.parquet", "a")
