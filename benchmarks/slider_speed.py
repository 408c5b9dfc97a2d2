"""How long a move of the Plan page's slider takes to redraw the curve, measured in the browser.

python benchmarks/slider_speed.py [--moves 20] [--home FOLDER]

Pilots the sample study with the probe (unless --home names a data folder in which that was done), serves the app, opens
the plan in Chromium and presses the arrow key on the slider. The browser notes the time of the key press, looks before
every frame whether the mark of the chosen split stands where the new split is, and takes the time when that frame has
been painted. The next key is pressed once the app is idle again. The last line is one JSON object; wanted is a median
of at most 300 ms.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "browser"), str(ROOT)]
from served import app, launch, settled  # noqa: E402

import engine  # noqa: E402

WANTED_MS = 300
FIRST_MOVES = 3  # not counted: they fill the caches of server and browser

WATCH = """() => {
  window.redrawn = null;
  const plot = () => document.querySelector('.st-key-plan .js-plotly-plot');
  const mark = () => {
    const drawn = plot()?.querySelectorAll('.scatterlayer .trace path.point');
    return drawn?.length ? drawn[drawn.length - 1].getAttribute('transform') : null;
  };
  const chosen = () => plot()?.data?.find(trace => trace.name === 'your split')?.x[0];
  document.addEventListener('keydown', () => {
    const pressed = performance.now(), place = mark(), split = chosen();
    const look = () => {
      const moved = mark() !== null && mark() !== place && chosen() !== split;
      if (moved) requestAnimationFrame(() => { window.redrawn = performance.now() - pressed; });
      else requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
  }, true);
}"""


def pilot() -> str:
    """Pilot the sample study where that is not done yet; return its name in the address."""
    store = engine.open_store()
    study = engine.sample_study(store)
    run = engine.start_run(store, study, "plan", engine.RunSettings())
    while not run.is_finished:
        time.sleep(0.5)
        engine.reconcile(store)
        run = store.run(run.id)
    if run.state is not engine.RunState.FINISHED:
        raise SystemExit(f"The pilot of the sample {run.state}: {run.error}\n{run.log_tail(30)}")
    return study.id


def times_of(page: Page, moves: int) -> list[float]:
    """Press the key and return the milliseconds of every counted move."""
    handle = page.locator(".st-key-s input[type=range]")
    handle.focus()
    taken = []
    for _ in range(FIRST_MOVES + moves):
        page.evaluate("window.redrawn = null")
        page.keyboard.press("ArrowRight")
        page.wait_for_function("window.redrawn !== null", timeout=20_000)
        taken.append(float(page.evaluate("window.redrawn")))
        settled(page)
    return taken[FIRST_MOVES:]


def main() -> None:
    """Serve, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=20)
    parser.add_argument("--home", type=Path)
    options = parser.parse_args()
    place = nullcontext(options.home) if options.home else tempfile.TemporaryDirectory()
    with place as home, sync_playwright() as playwright:
        os.environ["LABELWISE_HOME"] = str(home)
        study = pilot()
        with app(Path(home)) as address:
            browser = launch(playwright)
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{address}/plan?study={study}")
            page.wait_for_selector(".st-key-plan .js-plotly-plot .scatterlayer path.point", timeout=60_000)
            settled(page)
            page.evaluate(WATCH)
            taken = times_of(page, options.moves)
            browser.close()
    print(" ".join(f"{ms:.0f}" for ms in taken))
    figures = {
        "moves": len(taken),
        "median_ms": round(median(taken), 1),
        "longest_ms": round(max(taken), 1),
        "wanted_ms": WANTED_MS,
        "met": median(taken) <= WANTED_MS,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
