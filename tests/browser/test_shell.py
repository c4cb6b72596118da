"""The frame of the console: what is open on an empty server, and with a token."""

import pytest
from playwright.sync_api import Route, expect

from browser.chromium import Console, refuse
from browser.speed import first_paint


@pytest.mark.parametrize("path", ["/access", "/jobs/nothing"])
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
def test_pages_fit_their_window_and_have_no_violations(console, path, width, scheme) -> None:
    opened: Console = console(width=width, scheme=scheme)
    opened.open(path)

    assert opened.overflow() <= 0
    assert opened.violations() == []


def test_the_first_paint_is_fast(console) -> None:
    opened: Console = console()
    paint = first_paint(opened, "/access")
    print(f"first paint after {paint:.0f} ms")
    # The target is 200 ms; tests share the machine.
    assert paint < 1000


def test_a_server_that_is_slow_or_lost_shows_what_happens(console) -> None:
    opened: Console = console()
    page = opened.open("/access")
    held: list[Route] = []
    page.route("**/v1/**", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks its handlers
    page.reload()
    page.wait_for_selector("[role=status] >> visible=true")
    held[0].abort()
    page.unroute("**/v1/**")
    page.wait_for_selector("text=Check that it is running.")
    assert opened.violations() == []
    page.click("text=Try again")
    page.wait_for_selector("h1:has-text('Access')")


def test_models_that_cannot_be_listed_are_reported(console) -> None:
    opened: Console = console()
    page = opened.page
    page.route("**/v1/models?*", refuse)
    opened.open("/")
    expect(page.get_by_text("The database is unavailable.")).to_be_visible()
    page.unroute("**/v1/models?*")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("link", name="New model").first).to_be_visible()


def test_a_page_continues_when_a_lost_server_is_back(console) -> None:
    page = console().open("/access")
    page.route("**/v1/**", lambda route: route.abort())
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("alert")).to_contain_text("Check that it is running.")
    expect(page.get_by_text("This page continues when it does.")).to_be_visible()
    page.unroute("**/v1/**")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_text("This page continues when it does.")).to_have_count(0)


def test_a_file_that_misses_its_area_does_not_replace_the_page(console) -> None:
    page = console().open("/access")
    handled = page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File(['x'], 'x.png', {type: 'image/png'}));
            const event = new DragEvent('drop', {dataTransfer, bubbles: true, cancelable: true});
            return !document.querySelector('h1').dispatchEvent(event);
        }"""
    )
    assert handled


def test_escape_closes_the_menu_and_the_keyboard_continues_at_the_page(console) -> None:
    page = console(width=360).open("/jobs")
    menu = page.get_by_role("button", name="Menu", exact=True)
    menu.click()
    page.keyboard.press("Escape")
    expect(menu).to_have_attribute("aria-expanded", "false")
    menu.click()
    page.get_by_role("link", name="Access").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Access')")
    page.wait_for_function("document.activeElement.id === 'content'")


def test_code_is_copied_on_a_page_without_a_clipboard(console) -> None:
    page = console().open("/new")
    # Pages over plain HTTP of another host have none.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.get_by_role("button", name="As code").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    page.keyboard.press("Escape")
    field = page.get_by_label("Name of the model")
    field.focus()
    page.keyboard.press("Control+v")
    assert field.input_value().startswith("from headstart import Client")


def test_the_keyboard_opens_the_search_and_goes_to_a_page(console) -> None:
    page = console().open("/")
    page.keyboard.press("/")
    page.keyboard.type("acc")
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Access')")
    assert page.url.endswith("/access")


def test_a_token_opens_the_console_and_a_reader_sees_no_training(access_server, console) -> None:
    url, tokens = access_server
    page = console(url=url).open("/access")
    page.fill("input[type=password]", "wrong")
    page.click("text=Continue")
    page.wait_for_selector("[role=alert]")
    page.fill("input[type=password]", tokens["reader"])
    page.click("text=Continue")
    page.wait_for_selector("text=Permissions")

    assert page.locator("nav >> text=New model").count() == 0
    assert page.locator("nav >> text=Jobs").count() == 0
    local, session, cookie = page.evaluate("[{...localStorage}, {...sessionStorage}, document.cookie]")
    # The name of the drafts of this tab, random numbers.
    drafts = session.pop("headstart-drafts", "")
    assert (local, session, cookie) == ({}, {}, "")
    assert tokens["reader"] not in drafts


def test_a_token_that_expires_is_requested_again_for_the_same_page(access_server, console) -> None:
    url, tokens = access_server
    page = console(url=url).open("/access")
    page.fill("input[type=password]", tokens["owner"])
    page.click("text=Continue")
    page.wait_for_selector("text=Permissions")
    expired = {"code": 16, "message": "The token has expired."}
    page.route("**/v1/jobs?*", lambda route: route.fulfill(status=401, json=expired))
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("alert")).to_contain_text("no longer accepts the token")
    page.unroute("**/v1/jobs?*")
    page.fill("input[type=password]", tokens["owner"])
    page.click("text=Continue")
    page.wait_for_selector("h1:has-text('Jobs')")


def test_a_forgotten_token_is_not_used_any_longer(access_server, console) -> None:
    url, tokens = access_server
    page = console(url=url).open("/access")
    page.fill("input[type=password]", tokens["owner"])
    with page.expect_request("**/v1/jobs:watch*"):
        page.click("text=Continue")
    with page.expect_event("requestfailed", lambda request: "jobs:watch" in request.url):
        page.get_by_role("button", name="Forget the token").click()
    page.wait_for_selector("input[type=password]")


def test_the_address_of_a_page_opens_only_what_the_token_allows(access_server, console) -> None:
    url, tokens = access_server
    opened: Console = console(url=url)
    for path in ("/new", "/jobs"):
        page = opened.open(path)
        page.fill("input[type=password]", tokens["reader"])
        page.click("text=Continue")
        page.wait_for_selector("h1:has-text('This token does not allow the page')")
    assert opened.violations() == []


def test_n_opens_a_new_model_only_for_callers_that_may_train(access_server, console) -> None:
    url, tokens = access_server
    page = console(url=url).open("/access")
    page.fill("input[type=password]", tokens["reader"])
    page.click("text=Continue")
    page.wait_for_selector("text=Permissions")
    page.keyboard.press("n")
    page.get_by_role("link", name="Models").first.click()
    page.wait_for_selector("text=No models yet")
    page.go_back()
    assert page.url.endswith("/access")
