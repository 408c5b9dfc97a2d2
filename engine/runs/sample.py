"""The sample study, opened on a fresh start."""

from __future__ import annotations

from engine.data import Roles
from engine.errors import DataError
from engine.runs.states import Question, Study, application
from engine.runs.store import Store


def sample_study(store: Store) -> Study:
    """Return the study of the made-up product reviews; it is created where it is not there yet.

    Raises:
        DataError: The installation lacks the sample files.
    """
    folder = application() / "sample_data"
    paths = [folder / "labels.csv", folder / "pool.csv"]
    for path in paths:
        if not path.exists():
            raise DataError(f"The sample file {path} is missing; install labelwise again.")
    labels, pool = (store.save_file(path.name, path) for path in paths)
    roles = Roles(text="review", label="rating", group="product", id="id")
    return store.create_study("Sample: product reviews", labels, pool, roles, Question())
