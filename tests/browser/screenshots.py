"""Pictures of all six pages with the sample study: light and dark, wide and narrow.

    python tests/browser/screenshots.py [-o screenshots] [--home FOLDER]

Runs the sample study with the probe first, unless --home names a data folder in which that was done before.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
from served import app, launch, settled  # noqa: E402

import engine  # noqa: E402

PAGES = ("data", "predict", "plan", "run", "results", "report")
SIZES = {"wide": (1280, 860), "narrow": (420, 860)}


def prepare() -> None:
    """Run prediction, pilot and run of the sample study where they are not done yet."""
    store = engine.open_store()
    study = engine.sample_study(store)
    for kind in ("efficiency", "plan", "run"):
        done = [run for run in store.runs(study.id) if run.kind == kind and run.state is engine.RunState.FINISHED]
        run = done[0] if done else engine.start_run(store, study, kind, engine.RunSettings())
        while not run.is_finished:
            time.sleep(0.5)
            engine.reconcile(store)
            run = store.run(run.id)
        if run.state is not engine.RunState.FINISHED:
            raise SystemExit(f"The {kind} run of the sample {run.state}: {run.error}\n{run.log_tail(30)}")


def take(browser: Browser, address: str, out: Path, only: list[str]) -> None:
    """Take every picture."""
    for scheme in ("light", "dark"):
        for size, (width, height) in SIZES.items():
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=1
            )
            page = context.new_page()
            for name in only:
                page.goto(f"{address}/{'' if name == 'data' else name}")
                grow(page, width, height)
                page.screenshot(path=out / f"{name}-{scheme}-{size}.png")
            context.close()


def grow(page: Page, width: int, least: int) -> None:
    """Make the window as tall as the page, so that the picture shows all of it."""
    page.set_viewport_size({"width": width, "height": least})
    page.wait_for_selector("h1", timeout=60_000)
    settled(page)
    page.wait_for_timeout(1200)
    tall = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": width, "height": max(least, min(int(tall), 4000))})
    page.wait_for_timeout(700)


def main() -> None:
    """Serve the app on a data folder of its own and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=Path("screenshots"))
    parser.add_argument("--home", type=Path)
    parser.add_argument("--only", nargs="+", choices=PAGES, default=list(PAGES))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = options.home or Path(folder)
        os.environ["LABELWISE_HOME"] = str(home)
        prepare()
        with app(home) as address:
            browser = launch(playwright)
            take(browser, address, options.out, options.only)
            browser.close()


if __name__ == "__main__":
    main()
