"""Captured inputs are reviewed with the keyboard, and the model retrains from the answers."""

import itertools

import pytest
from playwright.sync_api import expect

from browser.api import HttpApi
from browser.chromium import Console
from browser.scenes import COLORS, image, training_images
from server_process import eventually

_numbers = itertools.count(1)
PAIR = {"red": "red", "blue": "blue"}
INPUTS = 4


@pytest.fixture
def api(url: str) -> HttpApi:
    return HttpApi(url)


@pytest.fixture
def model(api: HttpApi) -> str:
    """A model that has captured some inputs."""
    name = f"reviewed-{next(_numbers)}"
    api.train(name, training_images(PAIR), alias="stable")
    policy = {"capture": {"randomFraction": 1}, "updateMask": "capture"}
    api.call(f"/v1/models/{name}", policy, "PATCH")
    for seed in range(INPUTS):
        api.call(f"/v1/models/{name}:predict", image(COLORS["green"], seed))
    eventually(
        lambda: len(api.call(f"/v1/models/{name}/review")["entries"]) == INPUTS, 30.0, "the captured inputs"
    )
    return name


def test_inputs_are_answered_with_keys_and_count_for_the_accuracy(console, api, model) -> None:
    page = console().open(f"/models/{model}/review")
    expect(page.locator(".review-content img")).to_be_visible()
    page.keyboard.press("1")
    page.keyboard.press("Space")
    page.keyboard.press("Backspace")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("All reviewed")).to_be_visible()
    expect(page.get_by_text("3 answers sent")).to_be_visible()
    eventually(lambda: len(api.call(f"/v1/models/{model}/feedback")["feedback"]) == 3, 30.0, "the feedback")

    kinds = sorted(each["answer"] for each in api.call(f"/v1/models/{model}/feedback")["feedback"])
    assert kinds == ["FEEDBACK_ANSWER_CONFIRMED", "FEEDBACK_ANSWER_LABEL", "FEEDBACK_ANSWER_REJECTED"]
    expect(page.locator(".tile", has_text="Accuracy in production")).to_contain_text("3 answers")


def test_answers_start_a_retraining_that_is_turned_on_in_the_console(console, api, model) -> None:
    page = console().open(f"/models/{model}/review")
    page.get_by_role("button", name="Retraining…").click()
    page.get_by_label("After this many answers").fill("2")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("retrains stable")).to_be_visible()
    for _ in range(2):
        page.keyboard.press("2")
    expect(page.get_by_text("2 versions")).to_be_visible()

    assert api.call(f"/v1/models/{model}/versions/2")["version"]["lineage"]["parentVersion"] == "1"


def test_capture_is_turned_off(console, api, model) -> None:
    page = console().open(f"/models/{model}/review")
    page.get_by_role("button", name="Capture…").click()
    page.get_by_text("Capture inputs of this model").click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("capture off")).to_be_visible()

    assert "capture" not in api.call(f"/v1/models/{model}")["model"]


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1440, "light")])
def test_the_review_fits_its_window_and_has_no_violations(console, model, width, scheme) -> None:
    opened: Console = console(width=width, scheme=scheme)
    page = opened.open(f"/models/{model}/review")
    expect(page.locator(".review-content img")).to_be_visible()

    assert opened.overflow() <= 0
    assert opened.violations() == []
