"""A data folder of its own for every test, and the app in it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import stored
from streamlit.testing.v1 import AppTest

import engine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder of its own."""
    monkeypatch.setenv("LABELWISE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LABELWISE_DATABASE_URL", raising=False)
    return tmp_path / "home"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kinds of the runs that a page asked for; none gets a process of its own."""
    asked: list[str] = []

    def start(store: engine.Store, study: engine.Study, kind: str, settings: engine.RunSettings) -> engine.Run:
        for run in store.runs(study.id):
            if not run.is_finished and (run.kind, run.settings) == (kind, settings):
                return run
        asked.append(kind)
        return store.create_run(study.id, kind, settings)

    monkeypatch.setattr(engine, "start_run", start)
    monkeypatch.setattr(engine, "reconcile", lambda store: None)
    return asked


@pytest.fixture
def store(home: Path, started: list[str]) -> engine.Store:
    """The store in that folder."""
    return engine.open_store()


@pytest.fixture
def visit(store: engine.Store) -> Callable[..., AppTest]:
    """Open a page of the app as a fresh visitor whose address has these parameters."""

    def open_page(page: str = "data", **parameters: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        for name, value in parameters.items():
            app.query_params[name] = value
        app.run()
        if page != "data":
            # Going to another page clears the address, as it does in a browser: the session carries the study.
            for name, value in parameters.items():
                app.query_params[name] = value
            app.switch_page(f"pages/{page}.py").run()
        assert not app.exception, app.exception[0].value
        return app

    return open_page


@pytest.fixture
def planned(store: engine.Store) -> engine.Study:
    """The sample with a finished pilot."""
    study = stored.sample(store)
    stored.add_plan(store, study)
    return study
