"""Wrong labels are found in the grid, corrected with the keyboard, and learned without an upload."""

import itertools
import re

import pytest
from playwright.sync_api import Dialog, Page, Route, expect

from browser.api import HttpApi
from browser.chromium import Console, refuse
from browser.scenes import COLORS, image, training_images

_numbers = itertools.count(1)
PAIR = {"red": "red", "blue": "blue"}
WRONG = 5


@pytest.fixture
def api(url: str) -> HttpApi:
    return HttpApi(url)


@pytest.fixture
def model(api: HttpApi) -> str:
    """A model with 20 images of each class, of which five have a wrong label."""
    name = f"flipped-{next(_numbers)}"
    examples = training_images(PAIR, count=20)
    flipped = [
        ("blue" if label == "red" else label, f"flipped/{place}.png" if place < WRONG else key, content)
        for place, (label, key, content) in enumerate(examples[:WRONG])
    ]
    api.train(name, [*flipped, *examples[WRONG:]], alias="stable")
    return name


def cell(page: Page, place: int):
    return page.locator(f"[data-place='{place}']")


def test_five_flipped_labels_are_found_relabeled_learned_and_compared(console, api, model) -> None:
    page = console().open(f"/models/{model}/data")
    page.get_by_text("Errors", exact=True).click()
    expect(page.get_by_role("status").get_by_text("5 examples")).to_be_visible()
    assert page.locator(".grid-cell img").first.get_attribute("src").startswith("blob:")
    cell(page, 0).focus()
    for _ in range(WRONG):
        # The classes are in the order of their names, and the focus goes on to the next example.
        page.keyboard.press("2")
    expect(page.get_by_label("Changes")).to_contain_text("5 changes")
    page.get_by_role("button", name="Retrain with fixes").click()
    page.wait_for_url("**/versions?first=1&second=2")
    expect(page.locator(".verdict")).to_be_visible()

    version = api.call(f"/v1/models/{model}/versions/2")["version"]
    assert version["lineage"]["parentVersion"] == "1"
    assert version["metrics"]["accuracy"] == 1.0
    left = api.call(f"/v1/models/{model}/versions/2/examples?filter.issue=error")
    assert left["exampleCount"] == "0"


def test_keys_move_remove_keep_take_the_suggestion_and_undo(console, api, model) -> None:
    page = console().open(f"/models/{model}/data?issue=error")
    expect(cell(page, 0).locator("img")).to_be_visible()
    cell(page, 0).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Backspace")
    page.keyboard.press("Space")
    expect(cell(page, 0)).to_contain_text("changed")
    expect(cell(page, 1)).to_contain_text("removed")
    expect(cell(page, 2)).to_contain_text("kept")
    expect(page.get_by_label("Changes")).to_contain_text("2 changes")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("u")
    expect(page.get_by_label("Changes")).to_contain_text("1 change")
    assert page.evaluate("document.activeElement.dataset.place") == "1"


def test_changes_stay_while_another_page_is_open(console, model) -> None:
    page = console().open(f"/models/{model}/data")
    cell(page, 0).focus()
    page.keyboard.press("2")
    page.get_by_role("link", name="Jobs").click()
    page.go_back()
    expect(page.get_by_label("Changes")).to_contain_text("1 change")


def test_changes_are_discarded_only_after_a_confirmation(console, model) -> None:
    page = console().open(f"/models/{model}/data")
    cell(page, 0).focus()
    page.keyboard.press("2")
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_label("Changes")).to_contain_text("1 change")
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    expect(page.get_by_label("Changes")).to_have_count(0)


def test_a_retraining_leaves_another_page_open_and_keeps_later_changes(console, model) -> None:
    page = console().open(f"/models/{model}/data?issue=error")
    held: list[Route] = []
    page.route("**:fineTune", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks its handlers
    cell(page, 0).focus()
    page.keyboard.press("2")
    with page.expect_request("**:fineTune"):
        page.get_by_role("button", name="Retrain with fixes").click()
    cell(page, 1).focus()
    page.keyboard.press("2")
    expect(page.get_by_label("Changes")).to_contain_text("2 changes")
    page.get_by_role("link", name="Jobs").click()
    held[0].continue_()
    expect(page.get_by_text("Version 2 learned 1 change.")).to_be_visible()
    assert page.url.endswith("/jobs")
    page.go_back()
    page.locator(".select-label select").first.select_option("1")
    expect(page.get_by_label("Changes")).to_contain_text("1 change")


def test_a_retraining_opens_its_comparison_also_after_the_page_shows_the_new_version(console, model) -> None:
    page = console().open(f"/models/{model}/data?issue=error")
    held: list[Route] = []
    cell(page, 0).focus()
    page.keyboard.press("2")
    job = re.compile("/v1/jobs/[^/:?]+$")
    page.route(job, lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks its handlers
    with page.expect_request(job):
        page.get_by_role("button", name="Retrain with fixes").click()
    expect(page.locator(".select-label select").first).to_have_value("2")
    held[0].continue_()
    page.wait_for_url("**/versions?first=1&second=2")


def test_a_reload_with_changes_asks(console, model) -> None:
    page = console().open(f"/models/{model}/data")
    cell(page, 0).focus()
    page.keyboard.press("2")
    expect(page.get_by_label("Changes")).to_contain_text("1 change")
    dialogs: list[str] = []

    def accept(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.accept()

    page.on("dialog", accept)
    page.reload()
    expect(cell(page, 0)).to_be_visible()
    assert dialogs == ["beforeunload"]


def test_a_slow_list_says_so_and_a_failed_one_shows_its_error_alone(console, model) -> None:
    opened: Console = console()
    page = opened.page
    held: list[Route] = []
    page.route("**/examples?*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks its handlers
    opened.open(f"/models/{model}/data?issue=error")
    expect(page.get_by_role("status", name="Loading")).to_be_visible()
    refuse(held[0])
    expect(page.get_by_role("alert")).to_contain_text("The database is unavailable.")
    page.unroute("**/examples?*")
    expect(page.get_by_text("Nothing to fix here")).to_have_count(0)
    page.get_by_role("button", name="Try again").click()
    expect(cell(page, 0).locator("img")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_long_list_draws_only_what_is_visible_and_loads_the_rest_on_the_way(console, api) -> None:
    name = f"long-{next(_numbers)}"
    rows = [
        {"features": [place % 2 + place / 9000, place / 9000], "label": str(place % 2)}
        for place in range(3000)
    ]
    examples = [
        {"input": {"features": row["features"]}, "label": {"className": row["label"]}} for row in rows
    ]
    job = api.call("/v1/jobs", {"spec": {"model": name}, "examples": examples})["job"]
    assert api.call(f"/v1/jobs/{job['jobId']}?waitDuration=60s")["job"]["state"] == "JOB_STATE_SUCCEEDED"
    page = console().open(f"/models/{name}/data?issue=all&order=index")
    expect(cell(page, 0)).to_contain_text("0")
    cell(page, 0).focus()
    page.keyboard.press("End")
    expect(cell(page, 2999)).to_contain_text("Example 2999")
    assert page.locator(".grid-cell").count() < 200
    assert page.evaluate("document.activeElement.dataset.place") == "2999"


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark")])
def test_the_grid_fits_its_window_and_has_no_violations(console, model, width, scheme) -> None:
    opened: Console = console(width=width, scheme=scheme)
    page = opened.open(f"/models/{model}/data?issue=all")
    expect(cell(page, 0).locator("img")).to_be_visible()

    assert opened.overflow() <= 0
    assert opened.violations() == []


def test_an_example_with_a_hostile_id_does_no_harm(console, api) -> None:
    name = f"hostile-data-{next(_numbers)}"
    examples = training_images(PAIR, count=4)
    api.train(name, [*examples, ("red", "../<img src=x onerror=alert(1)>", image(COLORS["red"], 99))])
    page = console().open(f"/models/{name}/data?issue=all&order=index")
    cell(page, 8).focus()
    expect(page.get_by_label("Example", exact=True)).to_contain_text("../<img src=x onerror=alert(1)>")
