"""Files of an export on their way to the disk: whole and proven, or not there at all."""

import hashlib
from pathlib import Path

import pytest

from headstart.errors import DataLoss
from headstart.exports import ExportFiles
from headstart.v1 import model_service_pb2 as pb


def header(files: dict[str, bytes]) -> pb.ExportVersionResponse:
    described = [
        pb.ExportedFile(name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    ]
    return pb.ExportVersionResponse(
        header=pb.ExportHeader(model="pets", version=3, format=pb.EXPORT_FORMAT_OPENVINO, files=described)
    )


def chunk(file: int, content: bytes) -> pb.ExportVersionResponse:
    return pb.ExportVersionResponse(chunk=pb.ExportChunk(file=file, content=content))


ALIVE = pb.ExportVersionResponse()
#: With a folder and an empty file in it.
FILES = {"a/b": b"12345", "empty": b"", "z": b"678"}


def test_one_file_becomes_the_path(tmp_path: Path) -> None:
    with ExportFiles(tmp_path / "pets.onnx") as files:
        for message in (ALIVE, header({"model.onnx": b"abc"}), chunk(0, b"ab"), chunk(0, b"c")):
            files.write(message)
        found = files.finish()
    assert found.path.read_bytes() == b"abc"
    assert (found.model, found.version, found.format) == ("pets", 3, "openvino")
    assert [path.name for path in tmp_path.iterdir()] == ["pets.onnx"]


def test_one_file_goes_into_a_folder_that_is_there(tmp_path: Path) -> None:
    with ExportFiles(tmp_path) as files:
        files.write(header({"model.onnx": b""}))
        assert files.finish().path == tmp_path / "model.onnx"


@pytest.mark.parametrize("is_there", [False, True])
def test_several_files_become_a_folder(tmp_path: Path, is_there: bool) -> None:
    target = tmp_path / "pets"
    if is_there:
        target.mkdir()
    with ExportFiles(target) as files:
        for message in (header(FILES), chunk(0, b"123"), chunk(0, b"45"), chunk(2, b"678")):
            files.write(message)
        found = files.finish()
    assert {str(path.relative_to(target)): path.read_bytes() for path in found.files} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["pets"]


def test_a_folder_with_files_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "own").touch()
    with ExportFiles(tmp_path / "mine") as files:
        for message in (header(FILES), chunk(0, b"12345"), chunk(2, b"678")):
            files.write(message)
        with pytest.raises(FileExistsError, match="Expected a new or an empty folder"):
            files.finish()
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["own"]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "no header"),
        ([chunk(0, b"1")], "a chunk out of order"),
        ([header(FILES), header(FILES)], "a header out of order"),
        ([header(FILES), chunk(2, b"678"), chunk(0, b"1")], "a file that has ended"),
        ([header(FILES), chunk(3, b"1")], "a chunk of an unknown file"),
        ([header(FILES), chunk(9, b"1")], "a chunk of an unknown file"),
        ([header(FILES), chunk(0, b"1234")], "a/b with another digest"),
        ([header({"../evil": b""})], "a file named '../evil'"),
        ([header({"/etc/evil": b""})], "a file named '/etc/evil'"),
        ([header({"a\\..\\evil": b""})], "a file named"),
        ([header({"": b""})], "a file named ''"),
        ([header({".bashrc": b""})], r"a file named '\.bashrc'"),
        ([header({"a/.ssh/b": b""})], r"a file named 'a/\.ssh/b'"),
        ([header({"a\x1b[2J": b""})], r"a file named 'a\\x1b\[2J'"),
        ([header({})], "no files"),
        ([header(FILES), chunk(-1, b"1")], "a chunk of an unknown file"),
        ([header(FILES), chunk(0, b"1234"), chunk(0, b"56")], "more than 5 bytes of a/b"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(
    tmp_path: Path, messages: list[pb.ExportVersionResponse], said: str
) -> None:
    with ExportFiles(tmp_path / "folder") as files, pytest.raises(DataLoss, match=said):
        for message in messages:
            files.write(message)
        files.finish()
    assert not list(tmp_path.iterdir())
