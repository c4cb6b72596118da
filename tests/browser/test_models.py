"""From folders to a model in production: new, try, versions, aliases, jobs and traffic."""

import itertools
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from browser.api import HttpApi
from browser.chromium import STORED_DRAFTS, Console, refuse
from browser.scenes import COLORS, folders, image, training_images
from browser.speed import first_answer
from server_process import running

_numbers = itertools.count(1)
PAIR = {"red": "red", "blue": "blue"}
#: The target is 3 s; tests share the machine.
FIRST_ANSWER_SECONDS = 15.0


@pytest.fixture
def api(url: str) -> HttpApi:
    return HttpApi(url)


@pytest.fixture
def model(api: HttpApi) -> str:
    """A model with two versions; `stable` names the first."""
    name = f"colors-{next(_numbers)}"
    api.train(name, training_images(PAIR), alias="stable")
    api.train(name, training_images({"green": "green"}), parentVersion="1")
    return name


def choose_folder(page: Page, folder: Path) -> None:
    page.set_input_files("input[aria-label='Choose a folder']", folder)


def test_an_empty_server_learns_two_folders_and_answers_in_seconds(tmp_path, chromium) -> None:
    photos = folders(tmp_path / "photos", {"ant": "red", "bee": "blue"})
    (tmp_path / "new.png").write_bytes(image(COLORS["blue"], 7))
    with running(tmp_path / "data", "--http-port", "0") as started:
        started.wait_until_serving()
        console = Console(chromium, f"http://{started.event('http_listening')}")
        took = first_answer(console, photos, tmp_path / "new.png", "bee")
        print(f"first live answer after {took:.2f} s")
        assert took < FIRST_ANSWER_SECONDS
        page = console.page
        page.get_by_role("link", name="Open the model").click()
        page.wait_for_url("**/models/ant-bee/try")
        console.close()
        started.terminate()


def test_examples_that_were_not_sent_survive_a_reload(console, api, tmp_path) -> None:
    photos = folders(tmp_path / "photos", {"ant": "red", "bee": "blue"}, count=5)
    page = console().open("/new")
    choose_folder(page, photos)
    expect(page.get_by_text("5 images")).to_have_count(2)
    model = f"kept-{next(_numbers)}"
    page.get_by_label("Name of the model").fill(model)
    deadline = time.monotonic() + 30
    while model not in page.evaluate(STORED_DRAFTS):
        assert time.monotonic() < deadline
    page.reload()
    expect(page.get_by_text("5 images")).to_have_count(2)
    expect(page.get_by_label("Name of the model")).to_have_value(model)
    page.get_by_role("button", name="Train").click()
    expect(page.get_by_text(f"Version 1 of {model}")).to_be_visible()
    assert api.call(f"/v1/models/{model}/versions/1")["version"]["lineage"]["exampleCount"] == "10"
    page.reload()
    expect(page.get_by_text("5 images")).to_have_count(0)


def test_a_model_with_wrong_labels_is_marked_among_the_models(console, api) -> None:
    name = f"marked-{next(_numbers)}"
    api.train(name, [*training_images(PAIR, 16), ("red", "wrong", image(COLORS["blue"], 900))])
    page = console().open("/")
    card = page.locator(".model-card", has_text=name)
    card.scroll_into_view_if_needed()
    expect(card).to_contain_text("1 label to check")


def test_the_check_names_wrong_labels_and_the_accuracy(console, tmp_path) -> None:
    photos = folders(tmp_path / "photos", {"bee": "blue", "class 10": "green", "ant": "red"}, count=12)
    folders(photos, {"class 2": "gray"}, count=12)
    (photos / "ant" / "wrong.png").write_bytes(image(COLORS["blue"], 500))
    page = console().open("/new")
    choose_folder(page, photos)
    page.get_by_label("Name of the model").fill(f"checked-{next(_numbers)}")

    expect(page.locator(".verdict")).to_contain_text("accurate; 1 label looks wrong")
    # In the order of their names, however the folder lists them.
    found = [each.input_value() for each in page.locator(".class-card .class-name").all()]
    assert found == ["ant", "bee", "class 2", "class 10"]


def ready_to_train(page: Page, photos: Path, model: str) -> None:
    """Choose images of two classes, and name their model."""
    choose_folder(page, folders(photos, {"ant": "red", "bee": "blue"}, count=5))
    expect(page.get_by_text("5 images")).to_have_count(2)
    page.get_by_label("Name of the model").fill(model)


def test_a_training_that_someone_cancels_ends_with_a_message(console, tmp_path) -> None:
    page = console().open("/new")

    def cancelled(route: Route) -> None:
        job = route.fetch().json()["job"]
        if job.pop("version", None) is not None:
            job["state"] = "JOB_STATE_CANCELLED"
        route.fulfill(json={"job": job})

    page.route(re.compile("/v1/jobs/[^/:?]+$"), cancelled)
    ready_to_train(page, tmp_path / "photos", f"cancelled-{next(_numbers)}")
    page.get_by_role("button", name="Train").click()
    expect(page.get_by_role("alert")).to_contain_text("The training was cancelled.")
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_enabled()


def test_a_response_of_a_proxy_ends_a_training_with_a_message(console, tmp_path) -> None:
    page = console().open("/new")
    page.route("**:fineTune*", lambda route: route.fulfill(status=200, body="<html>Sign in</html>"))
    ready_to_train(page, tmp_path / "photos", f"proxied-{next(_numbers)}")
    page.get_by_role("button", name="Train").click()
    alerts = page.get_by_role("alert")
    expect(alerts.first).to_contain_text("Check the proxy")
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_enabled()


def test_the_name_of_an_existing_model_is_noted_before_the_training(console, model) -> None:
    page = console().open("/new")
    page.get_by_label("Name of the model").fill(model)
    expect(page.get_by_text("This model exists. It gets a new version")).to_be_visible()


def test_a_class_with_examples_is_removed_only_after_a_confirmation(console, tmp_path) -> None:
    page = console().open("/new")
    ready_to_train(page, tmp_path / "photos", f"removed-{next(_numbers)}")
    page.get_by_role("button", name="Remove the class ant").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("5 images")).to_have_count(2)
    page.get_by_role("button", name="Remove the class ant").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_text("5 images")).to_have_count(1)


def test_a_slow_prediction_is_noted_next_to_the_previous_one(console, model, tmp_path) -> None:
    page = console().open(f"/models/{model}/try?version=1")
    for color in PAIR:
        (tmp_path / f"{color}.png").write_bytes(image(COLORS[color], 7))
    page.set_input_files("input[aria-label='Choose an image']", tmp_path / "red.png")
    expect(page.locator(".answer")).to_have_text("red")
    held: list[Route] = []
    page.route("**:predict", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks its handlers
    page.set_input_files("input[aria-label='Choose an image']", tmp_path / "blue.png")
    expect(page.get_by_text("Predicting…")).to_be_visible()
    held[0].continue_()
    expect(page.locator(".answer")).to_have_text("blue")
    expect(page.get_by_text("Predicting…")).to_have_count(0)


def test_the_keyboard_continues_at_the_page_of_a_model(console, model) -> None:
    page = console().open("/")
    card = page.locator(".model-card", has_text=model)
    card.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".tabs")
    page.wait_for_function("document.activeElement.id === 'content'")


def test_the_tab_of_the_open_view_is_visible_in_a_narrow_window(console, model) -> None:
    page = console(width=360).open(f"/models/{model}/traffic")
    page.wait_for_selector(".tabs")
    page.wait_for_function(
        """() => {
            const box = document.querySelector('.tabs [aria-current]').getBoundingClientRect();
            return box.left >= 0 && box.right <= innerWidth;
        }"""
    )


LONG = "a-name-without-any-space-" * 4
RIGHT_TO_LEFT = "כלב גדול"


def test_long_and_right_to_left_names_stay_within_the_page(console, api, tmp_path) -> None:
    model = f"{'w' * 100}-{next(_numbers)}"
    api.train(model, training_images({LONG: "red", RIGHT_TO_LEFT: "blue"}), alias="stable")
    opened: Console = console(width=360)
    pages = {
        "/": ".model-card .measure",
        "/jobs": ".job",
        f"/models/{model}/data?issue=all": ".example-panel .choice",
        f"/models/{model}/versions": ".version",
        f"/models/{model}/map": ".legend",
        f"/models/{model}/try": ".try-panel",
    }
    found = {}
    for path, content in pages.items():
        opened.open(path).wait_for_selector(content)
        found[path] = opened.overflow()
    (tmp_path / "new.png").write_bytes(image(COLORS["blue"], 7))
    page = opened.page
    page.set_input_files("input[aria-label='Choose an image']", tmp_path / "new.png")
    expect(page.locator(".answer")).to_have_text(RIGHT_TO_LEFT)
    found["correct"] = opened.overflow()
    assert found == dict.fromkeys([*pages, "correct"], 0)


def test_the_percentage_next_to_a_right_to_left_name_reads_from_left_to_right(console, api) -> None:
    model = f"hebrew-{next(_numbers)}"
    api.train(model, training_images({"red": "red", RIGHT_TO_LEFT: "blue"}))
    page = console().open(f"/models/{model}/data?issue=all&label={RIGHT_TO_LEFT}")
    label = page.locator(".facts dd").nth(1)
    expect(label).to_contain_text(RIGHT_TO_LEFT)
    # The name is first in the line, and the number after it: without isolation the name follows its number.
    assert label.evaluate(
        """each => {
            const left = node => {
                const range = document.createRange();
                range.selectNodeContents(node);
                return range.getBoundingClientRect().left;
            };
            const text = document.createTreeWalker(each, NodeFilter.SHOW_TEXT);
            const nodes = [];
            while (text.nextNode()) nodes.push(text.currentNode);
            return left(nodes[0]) < left(each.querySelector('.muted'));
        }"""
    )


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a "quoted" one', "../x"])
def test_hostile_names_do_no_harm(console, api, tmp_path, name) -> None:
    model = f"hostile-{next(_numbers)}"
    opened: Console = console()
    page = opened.open("/new")
    page.get_by_label("Name of the model").fill(model)
    for place, color in enumerate(("red", "blue")):
        files = folders(tmp_path / color, {color: color}, count=4)
        card = page.locator(".class-card").nth(place)
        card.get_by_label("Add images").set_input_files(sorted((files / color).iterdir()))
        card.locator(".class-name").fill(name if place else "plain")
    page.get_by_role("button", name="Train").click()
    expect(page.get_by_text(f"Version 1 of {model}")).to_be_visible()

    assert set(api.call(f"/v1/models/{model}/versions/1")["version"]["classNames"]) == {"plain", name}
    page.goto(f"{opened.url}/models/{model}/try")
    (tmp_path / "new.png").write_bytes(image(COLORS["blue"], 7))
    page.set_input_files("input[aria-label='Choose an image']", tmp_path / "new.png")
    expect(page.locator(".answer")).to_have_text(name)


def test_texts_are_learned_and_predicted_while_they_are_typed(console) -> None:
    page = console().open("/new")
    page.get_by_text("Texts", exact=True).click()
    for place, word in enumerate(("wonderful", "terrible")):
        card = page.locator(".class-card").nth(place)
        card.locator(".class-name").fill(word)
        card.locator("textarea").fill(
            "\n".join(f"A {word} {each}" for each in ("film", "book", "song", "play"))
        )
    page.get_by_role("button", name="Train").click()
    page.get_by_label("Text", exact=True).fill("What a terrible concert")
    expect(page.locator(".answer")).to_have_text("terrible")


def test_the_camera_records_while_its_button_is_held(console) -> None:
    page = console().open("/new")
    card = page.locator(".class-card").first
    card.get_by_role("button", name="Camera").click()
    hold = card.get_by_role("button", name=re.compile("Hold to record"))
    hold.focus()
    page.keyboard.down("Space")
    expect(card.locator(".thumb").nth(2)).to_be_visible()
    page.keyboard.up("Space")


def test_an_answer_is_explained_compared_and_corrected(console, api, model, tmp_path) -> None:
    (tmp_path / "new.png").write_bytes(image(COLORS["green"], 7))
    opened = console()
    page = opened.open(f"/models/{model}/try?version=2&with=1")
    page.set_input_files("input[aria-label='Choose an image']", tmp_path / "new.png")
    page.get_by_text("Explanation").click()
    page.get_by_text("Similar examples").click()
    page.wait_for_selector(".saliency img")
    expect(page.locator("section[aria-label='Version 2'] .answer")).to_have_text("green")
    expect(page.locator("section[aria-label='Version 1'] .answer")).not_to_have_text("green")
    expect(page.locator(".neighbors li").first).to_contain_text("green")
    assert opened.violations() == []
    page.get_by_role("group", name="Correct the answer").get_by_role("button", name="red").click()
    page.get_by_role("button", name="Train a new version").click()
    expect(page.get_by_text("3 versions")).to_be_visible()

    assert api.call(f"/v1/models/{model}/versions/3")["version"]["lineage"]["addedExampleCount"] == "1"


def test_versions_are_compared_and_an_alias_is_split_moved_and_rolled_back(console, api, model) -> None:
    def stable() -> dict:
        return api.call(f"/v1/models/{model}/aliases/stable")["version"]

    page = console().open(f"/models/{model}/versions")
    page.get_by_label("Compare version 1").check()
    page.get_by_label("Compare version 2").check()
    expect(page.locator(".verdict")).to_be_visible()
    only = page.get_by_label("Only version 2 is right")
    expect(only.locator("li")).to_have_count(8)
    expect(only.locator("li img").first).to_be_visible()
    expect(only.locator("li").first).to_contain_text("green")
    card = page.get_by_label("Alias stable")
    card.get_by_role("button", name="Move or split").click()
    page.get_by_label("Canary").select_option("2")
    page.get_by_label("Share of version 2").fill("10")
    page.get_by_role("button", name="Save").click()
    expect(card.get_by_role("row", name=re.compile("^2 10%"))).to_be_visible()
    expect(card).to_contain_text("Start the server with --monitor-sample-rate")
    aliases = api.call(f"/v1/models/{model}")["model"]["aliases"]
    assert aliases[0]["traffic"] == [{"version": "2", "fraction": 0.1}]

    card.get_by_role("button", name="Move or split").click()
    page.get_by_label("Serves").select_option("2")
    page.get_by_label("Canary").select_option("")
    page.get_by_role("button", name="Save").click()
    expect(card.locator(".badge", has_text="version 2")).to_be_visible()
    assert stable()["version"] == "2"
    card.get_by_role("button", name="Roll back").click()
    expect(card.locator(".badge", has_text="version 1")).to_be_visible()
    assert stable()["version"] == "1"
    assert api.call(f"/v1/models/{model}")["model"]["aliases"][0]["traffic"][0]["version"] == "2"


def test_an_alias_that_someone_else_moved_is_not_overwritten(console, api, model) -> None:
    page = console().open(f"/models/{model}/versions")
    card = page.get_by_label("Alias stable")
    card.get_by_role("button", name="Move or split").click()
    api.call(f"/v1/models/{model}/aliases/stable", {"version": "2"}, "PUT")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Someone else has moved the alias")


def test_a_job_of_another_client_appears_in_the_list(console, api) -> None:
    page = console().open("/jobs")
    name = f"live-{next(_numbers)}"
    api.train(name, training_images(PAIR))
    row = page.locator(".job", has_text=name)
    expect(row.get_by_text("succeeded")).to_be_visible()


def test_a_job_is_deleted_only_after_a_confirmation(console, api) -> None:
    name = f"deleted-{next(_numbers)}"
    api.train(name, training_images(PAIR))
    page = console().open("/jobs")
    row = page.locator(".job", has_text=name)
    row.get_by_role("button", name="Delete the job").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(row).to_be_visible()
    row.get_by_role("button", name="Delete the job").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete the job").click()
    expect(row).to_have_count(0)
    assert api.call(f"/v1/models/{name}")["model"]["versionCount"] == "1"


def test_older_jobs_are_listed_on_demand(console, api, model) -> None:
    opened: Console = console()
    page = opened.page

    def many(route: Route) -> None:
        size = int(re.search(r"pageSize=(\d+)", route.request.url).group(1))
        job = api.call("/v1/jobs?pageSize=1")["jobs"][0]
        jobs = [{**job, "jobId": f"{place:032x}"} for place in range(min(size, 150))]
        route.fulfill(json={"jobs": jobs, "nextPageToken": "next" if size < 150 else ""})

    page.route("**/v1/jobs?*", many)
    opened.open("/jobs")
    expect(page.locator(".job")).to_have_count(100)
    page.get_by_role("button", name="Show 100 more").click()
    expect(page.locator(".job")).to_have_count(150)
    expect(page.get_by_role("button", name="Show 100 more")).to_have_count(0)


def test_traffic_is_shown_by_version(console, api, model) -> None:
    for seed in range(3):
        api.call(f"/v1/models/{model}/versions/2:predict", image(COLORS["red"], seed))
    page = console().open(f"/models/{model}/traffic")
    expect(page.get_by_role("row", name=re.compile("^2 3 0"))).to_be_visible()


def test_the_data_of_a_model_that_fail_to_load_are_reported_where_they_belong(console, api, model) -> None:
    opened: Console = console()
    page = opened.page
    page.route("**/versions/1?view=basic", refuse)
    opened.open("/")
    card = page.locator(".model-card", has_text=model)
    card.scroll_into_view_if_needed()
    expect(card).to_contain_text("The database is unavailable.")
    page.route("**/examples:content?*", refuse)
    opened.open(f"/models/{model}/data?version=1&issue=all")
    expect(page.locator("[data-place='0']")).to_contain_text("not loaded")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1440, "light")])
def test_every_view_fits_its_window_and_has_no_violations(console, api, model, width, scheme) -> None:
    split = {"version": "1", "traffic": [{"version": "2", "fraction": 0.1}]}
    api.call(f"/v1/models/{model}/aliases/stable", split, "PUT")
    opened: Console = console(width=width, scheme=scheme)
    pages = {
        "/": ".model-card .measure",
        "/new": ".drop-hint",
        "/jobs": ".job",
        "/access": ".quota",
        f"/models/{model}/try": ".try-panel",
        f"/models/{model}/versions?first=1&second=2": ".verdict",
        f"/models/{model}/traffic": ".empty",
        f"/models/{model}/map": ".legend",
    }
    found = {}
    for path, content in pages.items():
        opened.open(path).wait_for_selector(content)
        found[path] = (opened.overflow(), opened.violations())
    assert found == dict.fromkeys(pages, (0, []))


def test_each_view_shows_itself_as_code(console, model) -> None:
    opened: Console = console()
    for path in (
        "/",
        "/new",
        "/jobs",
        "/access",
        f"/models/{model}/try",
        f"/models/{model}/traffic",
        f"/models/{model}/map",
    ):
        page = opened.open(path)
        page.get_by_role("button", name="As code").first.click()
        for language in ("Python", "CLI", "curl"):
            page.locator("dialog").get_by_text(language, exact=True).click()
            assert page.locator("dialog pre").inner_text().strip()
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
