"""Callers that use the same tab one after the other: what the first one left stays its own."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from browser.api import HttpApi
from browser.chromium import STORED_DRAFTS, Console
from browser.scenes import folders, training_images

Enter = Callable[[str], None]


@pytest.fixture
def page(access_server, console) -> Page:
    """A page of a server on which two tenants have a model `pets`, each with its own examples."""
    url, tokens = access_server
    HttpApi(url, tokens["owner"]).train("pets", training_images({"red": "red", "blue": "blue"}))
    HttpApi(url, tokens["guest"]).train("pets", training_images({"gray": "gray", "green": "green"}))
    opened: Console = console(url=url)
    return opened.open("/models/pets/data?issue=all&order=index")


@pytest.fixture
def enter(access_server, page: Page) -> Enter:
    """Enter the token of a caller."""
    _, tokens = access_server

    def with_token(name: str) -> None:
        page.fill("input[type=password]", tokens[name])
        page.click("text=Continue")
        page.wait_for_selector("nav >> text=Access")

    return with_token


def forget_token(page: Page) -> None:
    page.get_by_role("link", name="Access").click()
    page.get_by_role("button", name="Forget the token").click()
    page.wait_for_selector("input[type=password]")


def show_examples(page: Page) -> None:
    """Go to the examples of the model, without a reload."""
    page.get_by_role("link", name="Models", exact=True).first.click()
    page.get_by_role("link", name="pets").first.click()
    page.get_by_role("link", name="Fix data").first.click()
    page.get_by_text("All", exact=True).click()
    page.get_by_label("Order").select_option("index")


def wait_for_drafts(page: Page, count: int) -> None:
    """Wait until the browser stores so many drafts."""
    deadline = time.monotonic() + 60
    while len(page.evaluate(STORED_DRAFTS)) != count:
        assert time.monotonic() < deadline


def first_image(page: Page) -> list[int]:
    """Return the color in the middle of the first thumbnail."""
    shown = page.locator("[data-place='0'] img")
    expect(shown).to_be_visible()
    return list(
        shown.evaluate(
            """async image => {
                await image.decode();
                const context = new OffscreenCanvas(1, 1).getContext('2d');
                context.drawImage(image, 0, 0, 1, 1);
                return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
            }"""
        )
    )


def test_another_tenant_sees_neither_the_changes_nor_the_thumbnails_of_the_last_one(
    page, enter: Enter
) -> None:
    enter("owner")
    red, green, _ = first_image(page)
    assert red > green + 50
    page.locator("[data-place='0']").focus()
    page.keyboard.press("1")
    expect(page.get_by_label("Changes")).to_contain_text("1 change")
    forget_token(page)
    enter("guest")
    show_examples(page)

    red, green, _ = first_image(page)
    assert abs(red - green) < 50
    expect(page.get_by_label("Changes")).to_have_count(0)


def test_the_same_caller_finds_its_changes_after_its_token_was_requested_again(page, enter: Enter) -> None:
    enter("owner")
    page.locator("[data-place='0']").focus()
    page.keyboard.press("1")
    forget_token(page)
    enter("owner")
    show_examples(page)

    expect(page.get_by_label("Changes")).to_contain_text("1 change")


@pytest.mark.parametrize("is_reloaded", [False, True])
def test_unsent_examples_come_back_only_for_their_caller(
    page, enter: Enter, tmp_path: Path, is_reloaded
) -> None:
    photos = folders(tmp_path / "photos", {"ant": "red", "bee": "blue"}, count=5)
    enter("owner")
    page.goto(page.url.partition("/models")[0] + "/new")
    enter("owner")
    page.set_input_files("input[aria-label='Choose a folder']", photos)
    expect(page.get_by_text("5 images")).to_have_count(2)
    wait_for_drafts(page, 1)
    for name, count in (("owner", 2), ("guest", 0), ("owner", 0)):
        page.reload() if is_reloaded else forget_token(page)
        enter(name)
        page.get_by_role("link", name="New model").first.click()
        wait_for_drafts(page, count // 2)
        expect(page.get_by_text("5 images")).to_have_count(count)
