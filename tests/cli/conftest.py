"""Files that a user of the command line brings."""

import numpy as np
import pytest
from command_line import HEADER, ROW


@pytest.fixture
def files(tmp_path):
    """Sixty labels and forty texts in well-formed CSV files."""
    rng = np.random.default_rng(0)
    labels, pool = tmp_path / "labels.csv", tmp_path / "pool.csv"
    labels.write_text(HEADER + "".join(ROW.format(i, rng.integers(1, 6)) for i in range(60)))
    pool.write_text("text\n" + "".join(f'"pool number {i}, and a bit of text"\n' for i in range(40)))
    return labels, pool


@pytest.fixture
def pool(tmp_path):
    """A pool without a label, with columns of its own."""
    pool = tmp_path / "my pool.csv"
    pool.write_text(
        "no,remarks\n" + "".join(f'{i},"Order {i}, which was {"good" if i % 3 else "bad"}"\n' for i in range(150))
    )
    return pool
