"""The whole way through the app in a real browser: from two files to a downloaded report."""

import csv
import random
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from served import app, settled

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LONG = 480_000
MOVED = """before => [...document.querySelectorAll('[role=progressbar]')].some(bar => +bar.ariaValueNow > before)"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A labels file and a pool file of made-up opinions, with names of columns that cannot be guessed."""
    chance = random.Random(7)
    good, bad = ["lovely", "superb", "sturdy", "cheerful"], ["broken", "dreadful", "flimsy", "late"]
    rows = []
    for number in range(700):
        stars = chance.randint(1, 5)
        said = [chance.choice(good if chance.random() < (stars - 0.5) / 5 else bad) for _ in range(4)]
        rows.append((f"Order {number} was {', '.join(said)} in the end.", stars))
    labels, pool = tmp_path / "my labels.csv", tmp_path / "my pool.csv"
    with labels.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("remarks", "q1", "q2"), *((text, stars, 6 - stars) for text, stars in rows[:200])])
    with pool.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("remarks",), *((text,) for text, _ in rows[200:])])
    return labels, pool


def choose(page: Page, label: str, option: str) -> None:
    """Choose an option of a select box."""
    page.get_by_role("combobox", name=label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()
    settled(page)


def upload(page: Page, key: str, file: Path) -> None:
    """Upload a file and wait until it is named on the page."""
    page.locator(f".st-key-upload_{key} input[type=file]").set_input_files(file)
    expect(page.get_by_text(f"{key.capitalize()}: {file.name}")).to_be_visible(timeout=30_000)
    settled(page)


def cards(page: Page) -> list[str]:
    """Return what the cards of the Plan page say of the chosen split: width, labels saved, cost, time."""
    return page.get_by_test_id("stMetricValue").all_inner_texts()


def test_from_two_files_to_a_report(page: Page, files: tuple[Path, Path], tmp_path: Path) -> None:
    labels, pool = files
    with app(tmp_path / "home") as address:
        page.goto(address)
        expect(page.get_by_role("heading", name="Data", exact=True)).to_be_visible(timeout=60_000)
        settled(page)
        define(page, labels, pool)
        predict(page)
        plan(page)
        run(page)
        report(page, tmp_path)


def define(page: Page, labels: Path, pool: Path) -> None:
    """Upload both files, map the columns, survive a reload, and go on."""
    upload(page, "labels", labels)
    upload(page, "pool", pool)
    choose(page, "Label", "q2")
    choose(page, "Label", "q1")
    page.reload()
    expect(page.get_by_text("Labels: my labels.csv")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("What is the mean q1 of these 700 texts?")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Continue").click()


def predict(page: Page) -> None:
    """See the curve."""
    expect(page.get_by_role("heading", name="Predict", exact=True)).to_be_visible(timeout=30_000)
    expect(page.locator(".st-key-efficiency .js-plotly-plot")).to_be_visible(timeout=LONG)
    assert "study=" in page.url
    page.get_by_role("button", name="Continue to the plan").click()


def plan(page: Page) -> None:
    """See the widths change under the slider, and the address bring the view back."""
    expect(page.locator(".st-key-plan .js-plotly-plot")).to_be_visible(timeout=LONG)
    settled(page)
    before = cards(page)
    page.locator(".st-key-s input[type=range]").focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_test_id("stMetricValue").first).not_to_have_text(before[0], timeout=30_000)
    settled(page)
    moved = cards(page)
    page.reload()
    expect(page.get_by_test_id("stMetricValue").first).to_have_text(moved[0], timeout=30_000)
    settled(page)
    assert cards(page) == moved
    page.get_by_role("button", name="Continue to the run").click()


def run(page: Page) -> None:
    """Start a run that takes a while, reload in the middle, see its progress go on, and its end."""
    page.get_by_text("LoRA", exact=True).click(timeout=60_000)
    settled(page)
    choose(page, "Strategy", "Split")
    page.get_by_role("button", name="Run", exact=True).click(timeout=60_000)
    expect(page.get_by_text("You can close this tab")).to_be_visible(timeout=60_000)
    before = percentage(page)
    page.reload()
    expect(page.get_by_text("You can close this tab")).to_be_visible(timeout=60_000)
    page.wait_for_function(MOVED, arg=before, timeout=LONG)
    page.get_by_role("button", name="See the results").click(timeout=LONG)
    expect(page.get_by_role("heading", name="Results", exact=True)).to_be_visible(timeout=30_000)
    expect(page.get_by_text("The answer is")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Continue to the report").click()


def percentage(page: Page) -> float:
    """Return how far the run's progress bar stands."""
    return float(page.locator("[role=progressbar]").last.get_attribute("aria-valuenow") or 0)


def report(page: Page, folder: Path) -> None:
    """Download the report."""
    expect(page.get_by_role("heading", name="Report", exact=True)).to_be_visible(timeout=30_000)
    expect(page.frame_locator("iframe").get_by_text("Labelwise report")).to_be_visible(timeout=60_000)
    with page.expect_download(timeout=60_000) as download:
        page.get_by_role("button", name="HTML").click()
    download.value.save_as(folder / "report.html")
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "mean q1" in text
    assert len(text) > 100_000
