from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.sample_images import LabeledImage, digits, split
from headstart import Client
from server_process import ServerProcess, running

#: Images to learn from, and others to ask about.
Split = tuple[list[LabeledImage], list[LabeledImage]]

#: What the digits are called here.
NAMES = {"0": "zero", "1": "one", "7": "seven"}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One server for all of these tests."""
    with running(tmp_path_factory.mktemp("server") / "data", "--http-port", "0") as server:
        server.wait_until_serving()
        yield server


@pytest.fixture(scope="session")
def target(server: ServerProcess) -> str:
    """Its address."""
    return server.target


@pytest.fixture(scope="session")
def http(server: ServerProcess) -> str:
    """Its address for HTTP."""
    return server.event("http_listening")


@pytest.fixture(scope="session")
def client(target: str) -> Iterator[Client]:
    with Client(target) as client:
        yield client


@pytest.fixture(scope="session")
def images() -> Split:
    return split([each for each in digits() if each.label in NAMES], train=8, test=4)


@pytest.fixture(scope="session")
def folder(images: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sub-folder of images for each class."""
    folder = tmp_path_factory.mktemp("digits")
    for image in images[0]:
        path = folder / NAMES[image.label] / f"{image.id}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(image.png)
    return folder


@pytest.fixture(scope="session")
def queries(images: Split, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of images that were not learned from."""
    folder = tmp_path_factory.mktemp("queries")
    for image in images[1]:
        (folder / f"{image.id}.png").write_bytes(image.png)
    return sorted(folder.iterdir())
