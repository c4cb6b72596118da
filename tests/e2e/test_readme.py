"""The code of README and of the tour runs as written."""

import json
import re
import shlex
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from e2e.newcomer import GRPC, run, write_files
from programs import CURL

# Some commands use a backbone for the first time, which converts it.
pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text() + (ROOT / "docs" / "start" / "tour.md").read_text()
#: Named blocks in the order in which a reader runs them.
SHELL = ("first-model", "tour-train", "tour-evaluate", "tour-promote", "tour-texts")
PYTHON = ("first-model", "tour-versions", "tour-stub")
CURL_BLOCKS = ("curl", "tour-curl")
#: `make test-fresh` and `make test-install` run these.
ELSEWHERE = ("demo", "install")


@pytest.fixture(scope="module", name="folder")
def files_of_readme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the documents use."""
    folder = tmp_path_factory.mktemp("newcomer")
    write_files(folder)
    return folder


@pytest.fixture(name="archive")
def archive_of_readme(folder: Path) -> Path:
    """The photos as an archive."""
    archive = folder / "photos.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for file in sorted((folder / "photos").glob("*/*")):
            opened.write(file, file.relative_to(folder))
    return archive


def block(language: str, name: str) -> str:
    """Return the code block whose opening fence names it, such as ```sh tour-train."""
    found = re.findall(rf"^```{language} {name}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"Expected one block {language} {name}. Received: {len(found)}."
    return found[0]


def commands(name: str) -> list[list[str]]:
    """Return the words of each line of a block, without comments."""
    lines = (re.sub(r"\s{2,}#.*", "", line).strip() for line in block("sh", name).splitlines())
    return [shlex.split(line) for line in lines if line]


def test_every_block_is_named_and_run_by_a_test() -> None:
    named = set(re.findall(r"^```(?:sh|python)(.*)$", TEXT, re.MULTILINE))
    assert named == {f" {name}" for name in (*SHELL, *PYTHON, *CURL_BLOCKS, *ELSEWHERE)}


def test_the_commands_work_as_written(folder: Path, target: str) -> None:
    outputs: list[str] = []
    for name in SHELL:
        for words in commands(name):
            program = Path(sys.executable).with_name(words[0])
            outputs.append(run([str(program), *words[1:]], folder, target))
    trained, predicted, report, checked, again, _, listed, shown, evaluated, *later = outputs
    assert "version 1 is ready." in trained
    assert "cat" in predicted
    assert report.startswith("pets, version 1")
    assert checked.startswith("These examples can be used.")
    assert "version 2 is ready." in again
    assert "pets" in listed
    assert shown.startswith("pets, version 2")
    assert " right (95% interval " in evaluated
    assert "version 3 is ready." in later[1]
    assert "version 4 is ready." in later[4]
    assert "version 1 is ready." in later[5]
    assert "liked" in later[6]


def test_the_python_works_as_written(folder: Path, target: str) -> None:
    outputs = {
        name: run([sys.executable, "-c", block("python", name).replace(GRPC, target)], folder, target)
        for name in PYTHON
    }
    lines = outputs["first-model"].splitlines()
    assert all(0 <= float(number) <= 1 for number in lines[0].split())
    assert lines[1].startswith("cat ")
    assert lines[2].split(".")[-1] in {"PROMOTED", "KEPT"}
    lines = outputs["tour-versions"].splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["cat", "dog"]
    assert (folder / "pets.html").read_text().startswith("<!doctype html>")
    assert outputs["tour-stub"].split()[-1] == "cat"


@pytest.mark.usefixtures("archive")
def test_the_lines_of_curl_work_as_written(folder: Path, http: str) -> None:
    # With another model; everything else is as written. An archive makes the model's first version.
    answers = []
    for name in reversed(CURL_BLOCKS):
        for words in commands(name):
            here = [each.replace("localhost:8080", http).replace("/pets", "/curled") for each in words[1:]]
            output = run([str(CURL.need()), "-sS", *here], folder, "")
            answers.append(json.loads(output) if output else {})
            if "job" in answers[-1]:
                url = f"http://{http}/v1/jobs/{answers[-1]['job']['jobId']}?waitDuration=60s"
                with urllib.request.urlopen(url, timeout=90) as answer:
                    assert json.load(answer)["job"]["state"] == "JOB_STATE_SUCCEEDED"
    archive, jobs, _, files, predicted = answers
    assert archive["job"]["exampleCount"] == "10"
    assert len(jobs["jobs"]) == 1
    assert files["job"]["exampleCount"] == "12"
    assert predicted["results"][0]["predictions"][0]["classes"][0]["name"] == "cat"
    assert (folder / "pets.html").read_text().startswith("<!doctype html>")
