"""From a pool of which nothing is labelled to its curve, in a real browser and mostly by keys."""

import csv
import random
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from served import app, settled

pytestmark = [pytest.mark.browser, pytest.mark.slow]
LONG = 240_000
GOOD, BAD = ("lovely", "superb", "sturdy", "cheerful"), ("broken", "dreadful", "flimsy", "late")


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Made-up opinions, none of them labelled."""
    chance = random.Random(11)
    rows = []
    for number in range(300):
        said = [chance.choice(GOOD if chance.random() < (number % 5) / 4 else BAD) for _ in range(6)]
        rows.append((number, f"Order {number} was {', '.join(said)} in the end."))
    file = tmp_path / "my texts.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("no", "remarks"), *rows])
    return file


def shown(page: Page) -> str:
    """Return the text that is to be labelled."""
    return page.locator(".st-key-text_to_label").inner_text()


def stars(text: str) -> str:
    """Return the rating that a reader would give."""
    return str(1 + round(4 * sum(word in text for word in GOOD) / len(GOOD)))


def press(page: Page, key: str, done: int) -> None:
    """Press a key and wait until so many texts are answered and the next is there."""
    page.keyboard.press(key)
    expect(page.locator(".stProgress").get_by_text(f"{done} of 32")).to_be_visible(timeout=30_000)
    settled(page)


def test_from_a_pool_without_labels_to_its_curve(page: Page, pool: Path, tmp_path: Path) -> None:
    with app(tmp_path / "home") as address:
        page.goto(address)
        expect(page.get_by_role("heading", name="Data", exact=True)).to_be_visible(timeout=60_000)
        settled(page)
        define(page, pool)
        label(page)
        download(page, tmp_path)
        curve(page)
        more(page)


def define(page: Page, pool: Path) -> None:
    """Give the pool, say what may be answered, survive a reload, and go on."""
    page.get_by_role("button", name="I have no labels yet").click()
    settled(page)
    page.locator("[class*=st-key-upload_pool] input[type=file]").set_input_files(pool)
    expect(page.get_by_text("Pool: my texts.csv")).to_be_visible(timeout=30_000)
    settled(page)
    name = page.get_by_role("textbox", name="Name of the label")
    name.fill("stars")
    name.press("Enter")
    settled(page)
    page.reload()
    expect(page.get_by_text("300 texts in the pool.")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("textbox", name="Name of the label")).to_have_value("stars")
    page.get_by_role("button", name="Label 32 texts").click()
    expect(page.locator(".st-key-text_to_label")).to_be_visible(timeout=LONG)
    settled(page)


def label(page: Page) -> None:
    """Answer by keys, skip and go back, reload in the middle, and lose nothing."""
    expect(page.get_by_text("drawn at random from the 300 of the pool")).to_be_visible()
    expect(page.get_by_text("32 texts, about 4 min at 8 s each")).to_be_visible()
    for done in range(1, 13):
        press(page, stars(shown(page)), done)
    here = shown(page)
    press(page, "ArrowRight", 13)
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text("Keep skipped")).to_be_visible(timeout=30_000)
    settled(page)
    assert shown(page) == here
    page.keyboard.press(stars(here))
    expect(page.get_by_text("Keep skipped")).to_be_hidden(timeout=30_000)
    settled(page)
    coming = shown(page)
    assert coming != here
    page.reload()
    expect(page.locator(".stProgress").get_by_text("13 of 32")).to_be_visible(timeout=30_000)
    settled(page)
    assert shown(page) == coming
    page.get_by_role("button", name="3", exact=True).click()
    expect(page.locator(".stProgress").get_by_text("14 of 32")).to_be_visible(timeout=30_000)
    settled(page)
    for done in range(15, 33):
        press(page, stars(shown(page)), done)
    expect(page.get_by_text("Done: 32 labelled, 0 skipped.")).to_be_visible(timeout=30_000)


def download(page: Page, folder: Path) -> None:
    """Download the texts with the answers so far."""
    with page.expect_download(timeout=60_000) as started:
        page.get_by_role("button", name="Download these texts").click()
    started.value.save_as(folder / "to label.csv")
    with (folder / "to label.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["no", "remarks", "stars", "confidence"]
    assert len(rows) == 32
    assert all(row["stars"] in "12345" for row in rows)


def curve(page: Page) -> None:
    """See the curve of the study that the answers made."""
    page.get_by_role("button", name="See the curve").click()
    expect(page.locator(".st-key-efficiency .js-plotly-plot")).to_be_visible(timeout=LONG)
    expect(page.get_by_text("my texts, 32 labels", exact=True)).to_be_visible()
    settled(page)


def more(page: Page) -> None:
    """Label more, where the model is least sure; and delete that labelling after a question."""
    page.get_by_text("Label more texts here").click()
    page.get_by_text("Least sure", exact=True).click()
    settled(page)
    page.get_by_role("button", name="Label 32 more").click()
    expect(page.get_by_text("that the model is least sure of, by a head fitted to the 32 labels")).to_be_visible(
        timeout=LONG
    )
    settled(page)
    press(page, "2", 1)
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("The answers given here, 1 in all, are deleted for good")).to_be_visible(timeout=30_000)
    page.get_by_role("dialog").get_by_role("button", name="Keep").click()
    expect(page.get_by_role("dialog")).to_be_hidden(timeout=30_000)
    expect(page.locator(".stProgress").get_by_text("1 of 32")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator(".st-key-efficiency .js-plotly-plot")).to_be_visible(timeout=60_000)
