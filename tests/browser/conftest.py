"""A browser for the tests that need one."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

playwright_api = pytest.importorskip(
    "playwright.sync_api", reason="Playwright is not installed: pip install playwright"
)
from served import chromium, launch  # noqa: E402

# Streamlit asks for its own health before the server answers, and Chromium reports any such request as an error.
OWN = re.compile(r"(https?|wss?)://127\.0\.0\.1[:/]|data:|blob:|about:")
HARMLESS = ("favicon", "_stcore/health", "_stcore/host-config", "ResizeObserver")


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


@pytest.fixture
def page(browser: "playwright_api.Browser") -> Iterator["playwright_api.Page"]:
    """A window whose console must stay free of errors, and which may speak to no other host."""
    window = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True).new_page()
    errors: list[str] = []

    def note(message: "playwright_api.ConsoleMessage") -> None:
        where = f"{message.text} {message.location.get('url', '')}"
        if message.type == "error" and not any(word in where for word in HARMLESS):
            errors.append(where)

    window.on("console", note)
    window.on("pageerror", lambda error: errors.append(str(error)))
    window.on("request", lambda request: OWN.match(request.url) or errors.append(f"asked {request.url}"))
    yield window
    window.context.close()
    assert errors == []
