"""The code of the start pages, guides and references runs as written, in its order, against a server."""

import json
import re
from pathlib import Path

import pytest

from e2e.newcomer import GRPC, HTTP, blocks, run, write_files

# Some commands use a backbone for the first time, which converts it.
pytestmark = pytest.mark.timeout(900)

DOCS = Path(__file__).parents[2] / "docs"
#: Models that other tests of this server make, too; a file such as reviews.csv keeps its name.
_MODELS = re.compile(r"\b(pets|reviews)\b(?!\.)")
#: Pages whose blocks named `run` are run; a block with the name of a file is that file.
PAGES = (
    "guides/canary.md",
    "guides/texts.md",
    "guides/unknown-inputs.md",
    "guides/explain.md",
    "guides/migrate.md",
    "guides/capture.md",
    "guides/choose-backbone.md",
    "guides/datasets.md",
    "guides/examples.md",
    "guides/feedback.md",
    "guides/languages.md",
    "reference/http.md",
    "reference/settings.md",
)
#: What a page leaves out after its first example of Python.
_CLIENT = f'from headstart import Client\nclient = Client("{GRPC}")\n'
_IRIS = "length,width,label\n5.1,3.5,setosa\n4.9,3.1,setosa\n6.2,2.9,other\n5.9,3.0,other\n"


@pytest.fixture(scope="module", name="pets")
def model_of_the_guides(tmp_path_factory: pytest.TempPathFactory, target: str) -> None:
    """The model that guides name, with an alias."""
    folder = tmp_path_factory.mktemp("pets")
    write_files(folder)
    for _ in range(2):
        run(["headstart", "fine-tune", "guided-pets", "./photos", "--alias", "stable"], folder, target)
    (folder / "iris.csv").write_text(_IRIS)
    run(["headstart", "fine-tune", "iris", "iris.csv"], folder, target)


def outputs(page: str, folder: Path, target: str, http: str) -> list[str]:
    """Run the blocks of a page, and return what each one prints."""
    printed = []
    for language, name, block in blocks((DOCS / page).read_text()):
        code = block if language == "sh" or "Client" in block else _CLIENT + block
        written = _MODELS.sub(r"guided-\1", code.replace(GRPC, target).replace(HTTP, http))
        if name != "run":
            (folder / name).write_text(written)
        elif language == "sh":
            printed.append(run(["bash", "-euo", "pipefail", "-c", written], folder, target))
        else:
            printed.append(run(["python", "-c", written], folder, target))
    return printed


@pytest.mark.usefixtures("pets")
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page: str, tmp_path: Path, target: str, http: str) -> None:
    write_files(tmp_path)
    chats = {"The parcel is late": "shipping", "Where is my parcel?": "shipping", "I want my money": "refund"}
    lines = [
        json.dumps({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}]})
        for text, label in chats.items()
    ]
    (tmp_path / "chat.jsonl").write_text("\n".join(lines))
    assert outputs(page, tmp_path, target, http)


def test_the_tutorial_finds_the_wrong_label_and_rejects_noise(tmp_path: Path, target: str, http: str) -> None:
    page = (DOCS / "start/first-model.md").read_text()
    _, trained, corrected, _, rejected, python, _ = outputs("start/first-model.md", tmp_path, target, http)
    line = "circle/wrong.png (circle) looks like triangle"
    assert line in page
    assert line in trained
    assert "only the second is right" in corrected
    assert "unknown: unlike" in rejected, rejected
    assert python.startswith("circle ")


def test_the_model_of_the_data_loop_improves_itself_three_times(
    tmp_path: Path, target: str, http: str
) -> None:
    write_files(tmp_path)
    _, captured, retrained, rounds, listed, summary = outputs("guides/data-loop.md", tmp_path, target, http)
    assert "up to 0.9" in captured
    assert "stable" in retrained
    assert [int(number) for number in re.findall(r"then version (\d+) with", rounds)] == [2, 3, 4]
    assert [int(count) for count in re.findall(r"(\d+) examples, ", rounds)] == [13, 16, 19]
    assert listed.count("learned by version") == 9
    assert "9 learned" in summary
