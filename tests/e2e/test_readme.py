"""What README tells a newcomer to do, done."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from benchmarks import reviews
from benchmarks.pictures import digits, split
from programs import CURL

# Some commands use a backbone for the first time, which converts it.
pytestmark = pytest.mark.timeout(900)

README = Path(__file__).parents[2] / "README.md"
ADDRESS = "localhost:8765"


@pytest.fixture(scope="module", name="folder")
def files_of_readme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that README speaks of: two folders of photos, two pictures more, and a list of texts."""
    folder = tmp_path_factory.mktemp("newcomer")
    train, test = split([each for each in digits() if each.label in "01"], train=5, test=6)
    cat, dog = test[0], test[6]
    new = [each for each in test if each not in (cat, dog)]
    for place, pictures in (("photos", train), ("new-photos", new)):
        for picture in pictures:
            path = folder / place / {"0": "cat", "1": "dog"}[picture.label] / f"{picture.id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.png)
    for name, picture in (("cat.jpg", cat), ("dog.jpg", dog)):
        (folder / name).write_bytes(picture.png)
    with (folder / "reviews.csv").open("w", newline="") as file:
        rows = ((review.text, review.label) for review in reviews.split(train=15, test=0)[0])
        csv.writer(file).writerows([("review", "verdict"), *rows])
    return folder


@pytest.fixture(name="archive")
def archive_of_readme(folder: Path) -> Path:
    """The photos as an archive."""
    archive = folder / "photos.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted((folder / "photos").glob("*/*")):
            opened.write(file, file.relative_to(folder))
    return archive


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("headstart ")]


def curls() -> list[str]:
    lines = [line.partition("   #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("curl ")]


def run(command: list[str], folder: Path, target: str) -> str:
    environment = {**os.environ, "HEADSTART_SERVER": target}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_readme_shows_the_command_and_both_ways_from_python() -> None:
    assert len(commands()) >= 3
    assert len(blocks("python")) == 3


def test_the_commands_of_readme_work_as_written(folder: Path, target: str) -> None:
    program = str(Path(sys.executable).with_name("headstart"))
    outputs = [run([program, *shlex.split(command)[1:]], folder, target) for command in commands()]
    assert "cat" in outputs[1]
    assert "pets" in outputs[2]
    assert outputs[3].startswith("These examples can be used.")
    assert outputs[4].startswith("pets, version 1")
    assert " right (95% interval " in outputs[5]
    assert "version 2 is ready." in outputs[6]
    assert "version 3 is ready." in outputs[9]
    assert "version 1 is ready." in outputs[10]
    assert "liked" in outputs[11]


def test_the_python_of_readme_works_as_written(folder: Path, target: str) -> None:
    outputs = [
        run([sys.executable, "-c", block.replace(ADDRESS, target)], folder, target)
        for block in blocks("python")
    ]
    assert outputs[0].startswith("version ")
    assert "is right in" in outputs[0]
    assert outputs[0].split()[-2:] == ["cat", "dog"]
    assert outputs[1].startswith(("PROMOTED (", "KEPT ("))
    assert (folder / "pets.html").read_text().startswith("<!doctype html>")
    assert outputs[2].split()[-1] == "cat"


@pytest.mark.usefixtures("archive")
def test_the_lines_of_curl_work_as_written(folder: Path, http: str) -> None:
    # Quiet, and under a model of its own: everything else is as it stands there.
    answers = []
    for line in curls():
        here = line.replace("localhost:8080", http).replace("/pets", "/curled").replace("=pets", "=curled")
        output = run([str(CURL.need()), "-sS", *shlex.split(here)[1:]], folder, "")
        answers.append(json.loads(output) if output else {})
        if "job" in answers[-1]:
            url = f"http://{http}/v1/jobs/{answers[-1]['job']['jobId']}?wait=60s"
            with urllib.request.urlopen(url, timeout=90) as answer:
                assert json.load(answer)["job"]["state"] == "JOB_STATE_SUCCEEDED"
    assert answers[0]["job"]["exampleCount"] == "10"
    assert answers[1]["job"]["exampleCount"] == "12"
    assert len(answers[2]["jobs"]) == 1
    assert answers[3]["result"]["predictions"][0]["classes"][0]["name"] == "cat"
    assert (folder / "pets.html").read_text().startswith("<!doctype html>")
