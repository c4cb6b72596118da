"""Makes the images of README and docs from a real run: `make illustrations`."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Page, expect

import programs
from browser.chromium import Console, browser
from headstart import Client
from illustrations import diagrams, plots
from illustrations.recording import Recording
from sample_images import LabeledImage, digits, split
from server_process import FIRST_START_SECONDS, running

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
#: Pixels of an image of a page; twice as many are stored, for sharp displays.
PAGE_WIDTH, PAGE_HEIGHT = 1000, 1250
#: Views of the console: what their images are called, their paths, and what appears when they are complete.
VIEWS = {
    "try": ("/models/digits/try", ".try-panel"),
    "labels": ("/models/doubtful/data?issue=all", "img >> nth=12"),
    "map": ("/models/doubtful/map", ".legend"),
    "releases": ("/models/digits/versions?first=1&second=2", ".verdict"),
}
#: A busy machine delays single calls. Calls are sent until they are no longer the slowest hundredth.
SLOW, MOST_ROUNDS = timedelta(milliseconds=100), 30
#: Labels that are made wrong in the report, so that it has something to find: what is shown as what.
WRONG = {"3": "8", "5": "9", "1": "7"}


def main() -> None:
    """Draw diagrams and plots, record the terminal, and take images of the report in both color schemes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=IMAGES, help="where the images of a run go")
    parser.add_argument("--only", choices=("diagrams", "plots", "run"), help="draw a part")
    given = parser.parse_args()
    if given.only in {None, "diagrams"}:
        diagrams.draw()
    if given.only in {None, "plots"}:
        plots.draw()
    if given.only in {None, "run"}:
        given.folder.mkdir(parents=True, exist_ok=True)
        run(given.folder)


def run(target: Path) -> None:
    """Make the images of a run of the server."""
    with tempfile.TemporaryDirectory(prefix="headstart-illustrations-") as folder:
        work = Path(folder)
        train, test = split(digits(), train=10, test=4)
        write(train, work / "digits")
        write(mislabeled(train), work / "doubtful")
        write(test, work / "more")
        (work / "new.png").write_bytes(test[16].png)
        flags = ("--metrics-port", "off", "--http-port", "0", "--monitor-sample-rate", "1")
        with running(work / "data", *flags) as server:
            server.wait_until_serving(FIRST_START_SECONDS)
            environment = {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "HOME": folder,
                "LANG": "C.UTF-8",
                "HEADSTART_SERVER": server.target,
            }
            with Client(server.target) as client:
                # The first batches of a process are slow; a server of a reader has served others before.
                client.embed([*(work / "more").rglob("*.png")])
            (target / "demo.svg").write_text(terminal(work, environment), encoding="utf-8")
            report(work, environment, target)
            split_traffic(work, environment)
            console(f"http://{server.event('http_listening')}", target, work / "new.png")
            server.terminate()
    for image in sorted(target.glob("*.*")):
        print(f"{image.name}: {image.stat().st_size / 1000:.0f} kB")


def terminal(work: Path, environment: Mapping[str, str]) -> str:
    """Return a recording of the main job."""
    recording = Recording(environment, str(work))
    for command in (
        "headstart fine-tune digits digits/ --alias stable",
        "headstart predict digits@stable new.png",
    ):
        recording.run(command, command.split())
    return recording.svg("A folder of images becomes a model, which then predicts another image.")


def report(work: Path, environment: Mapping[str, str], target: Path) -> None:
    """Take images of the report of a version that was trained on some wrong labels."""
    for command in (
        "headstart fine-tune doubtful doubtful/",
        "headstart version report doubtful --output report.html",
    ):
        subprocess.run(command.split(), cwd=work, env=dict(environment), check=True, capture_output=True)
    for scheme, setting in {"light": 1, "dark": 0}.items():
        subprocess.run(
            [
                programs.CHROMIUM.find() or "chromium",
                "--headless",
                "--no-sandbox",
                "--hide-scrollbars",
                "--force-device-scale-factor=2",
                f"--window-size={PAGE_WIDTH},{PAGE_HEIGHT}",
                f"--blink-settings=preferredColorScheme={setting}",
                f"--user-data-dir={work / 'chromium'}",
                f"--screenshot={target / f'report-{scheme}.png'}",
                (work / "report.html").as_uri(),
            ],
            check=True,
            capture_output=True,
        )


def split_traffic(work: Path, environment: Mapping[str, str]) -> None:
    """Train a second version of the recorded model, and send a part of its requests to it."""
    for command in (
        "headstart fine-tune digits more/ --parent 1",
        "headstart alias set digits stable 1 --traffic 2=10%",
    ):
        subprocess.run(command.split(), cwd=work, env=dict(environment), check=True, capture_output=True)
    images = [*(work / "more").rglob("*.png")]
    with Client(environment["HEADSTART_SERVER"]) as client:
        for _ in range(MOST_ROUNDS):
            for image in images:
                client.predict(image, model="digits@stable")
            traffic = client.traffic("digits").versions
            if len(traffic) == 2 and all((each.latency_p99_duration or SLOW) < SLOW for each in traffic):
                break


def console(url: str, target: Path, new: Path) -> None:
    """Take images of views of the console, on the models of the recording and of the report."""
    with browser() as opened:
        for scheme in ("light", "dark"):
            for name, (path, content) in VIEWS.items():
                console = Console(opened, url, width=1280, scheme=scheme)
                page = console.open(path)
                page.wait_for_selector(content)
                if name in ACTIONS:
                    ACTIONS[name](page, new)
                for image in page.locator("img").all():
                    expect(image).not_to_have_js_property("naturalWidth", 0)
                page.screenshot(path=target / f"console-{name}-{scheme}.png")
                console.close()


def predict(page: Page, new: Path) -> None:
    """Predict an image in the view Try, with an explanation and similar examples."""
    page.set_input_files("input[aria-label='Choose an image']", new)
    page.get_by_text("Explanation").click()
    page.get_by_text("Similar examples").click()
    page.wait_for_selector(".saliency img")
    page.wait_for_selector(".neighbors img")


def choose_point(page: Page, new: Path) -> None:
    """Choose a point of the map."""
    page.locator("canvas.map").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("[aria-label='Chosen example'] img")


#: What happens in a view before its image is taken.
ACTIONS: Mapping[str, Callable[[Page, Path], None]] = {"try": predict, "map": choose_point}


def write(images: list[LabeledImage], folder: Path) -> None:
    """Write images into one folder for each class."""
    for image in images:
        path = folder / image.label / f"{image.id}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.png)


def mislabeled(images: list[LabeledImage]) -> list[LabeledImage]:
    """Return the images with one wrong label in each class of `WRONG`."""
    first = {label: next(each.id for each in images if each.label == label) for label in WRONG}
    return [
        LabeledImage(png=each.png, label=WRONG[each.label], id=each.id) if each.id in first.values() else each
        for each in images
    ]


if __name__ == "__main__":
    main()
