"""A browser for the tests that need one."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
)
from served import chromium, launch  # noqa: E402


def _missing(sentence: str) -> None:
    if os.environ.get("LABELWISE_REQUIRE_BROWSER") == "1":
        pytest.fail(sentence)
    pytest.skip(sentence)


@pytest.fixture(scope="session")
def browser() -> Iterator["playwright_api.Browser"]:
    """Chromium without a window; skips where there is none, fails there if LABELWISE_REQUIRE_BROWSER=1."""
    named = os.environ.get("LABELWISE_CHROMIUM")
    if named and not shutil.which(named):
        _missing(f"LABELWISE_CHROMIUM names {named}, which is not an executable file.")
    with playwright_api.sync_playwright() as playwright:
        if chromium() is None and not Path(playwright.chromium.executable_path).exists():
            _missing("There is no Chromium: install one, or name it in LABELWISE_CHROMIUM.")
        opened = launch(playwright)
        yield opened
        opened.close()
