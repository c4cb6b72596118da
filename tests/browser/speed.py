"""How long what users wait for in the console takes; tests assert it, and `make bench-console` records it."""

import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from browser.chromium import PATIENCE, Console

_PAINT = """new Promise((done) => new PerformanceObserver((list) => done(list.getEntries()[0].startTime))
    .observe({type: 'paint', buffered: true}))"""
_FRAMES = """() => new Promise(resolve => {
    const box = document.querySelector('.grid-box');
    box.scrollTop = 0;
    const began = performance.now();
    let count = 0;
    const next = now => {
        count++;
        box.scrollTop += 90;
        if (now - began < 2000) requestAnimationFrame(next);
        else resolve(count / ((now - began) / 1000));
    };
    requestAnimationFrame(next);
})"""


@dataclass(frozen=True, kw_only=True, slots=True)
class LongList:
    """A list of many examples.

    Attributes:
        jump_seconds: from the key to the last example with its content.
        frames: frames a second while it scrolls.
        map_seconds: from the address to the drawn map.
    """

    jump_seconds: float
    frames: float
    map_seconds: float


def first_paint(console: Console, path: str, times: int = 5) -> float:
    """Return the milliseconds from the request of a page to its first paint, as the median of several."""
    console.open(path)
    paints = []
    for _ in range(times):
        console.open(path)
        paints.append(console.page.evaluate(_PAINT))
    return statistics.median(paints)


def first_answer(console: Console, photos: Path, image: Path, answer: str) -> float:
    """Return the seconds from the drop of folders on an empty server to the answer about another image.

    Args:
        console: a console of an empty server.
        photos: folders of 20 images, one for each of two classes.
        image: the other image.
        answer: its class.
    """
    page = console.open("/")
    expect(page.get_by_text("Create your first model")).to_be_visible()
    began = time.monotonic()
    page.set_input_files("input[aria-label='Choose a folder']", photos)
    expect(page.get_by_text("20 images")).to_have_count(2)
    page.get_by_role("button", name="Train").click()
    expect(page.get_by_text(re.compile("^Version 1 of "))).to_be_visible(timeout=PATIENCE)
    page.set_input_files("input[aria-label='Choose an image']", image)
    expect(page.locator(".answer")).to_have_text(answer)
    return time.monotonic() - began


def long_list(console: Console, model: str, count: int) -> LongList:
    """Jump to the end of a list of examples, scroll it, and open their map."""
    page = console.open(f"/models/{model}/data?issue=all&order=index")
    expect(_cell(page, 0).locator(".remote-text")).to_contain_text("[")
    _cell(page, 0).focus()
    began = time.monotonic()
    page.keyboard.press("End")
    expect(_cell(page, count - 1).locator(".remote-text")).to_contain_text("[")
    jumped = time.monotonic() - began
    frames = page.evaluate(_FRAMES)
    began = time.monotonic()
    page.goto(f"{console.url}/models/{model}/map")
    expect(page.get_by_role("group", name="Classes").get_by_role("button").first).to_be_visible()
    page.wait_for_function("document.querySelector('canvas.map').width > 300")
    return LongList(jump_seconds=jumped, frames=frames, map_seconds=time.monotonic() - began)


def _cell(page: Page, place: int) -> Locator:
    return page.locator(f"[data-place='{place}']")
