"""Files of an export on their way to the disk: whole and proven, or not there at all."""

import errno
import hashlib
import tempfile
from pathlib import Path

import pytest

from headstart.errors import DataLoss
from headstart.exports import ExportFiles
from headstart.results import Export
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


def export(path: Path, content: dict[str, bytes]) -> Export:
    with ExportFiles(path) as files:
        files.write(header(content))
        for index, part in enumerate(content.values()):
            files.write(chunk(index, part))
        return files.finish()


def stored(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files in a folder, also of hidden ones, by their paths."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


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


@pytest.mark.parametrize("content", [{"model.onnx": b"12345"}, FILES])
def test_an_existing_folder_is_enough_without_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, bytes]
) -> None:
    target = tmp_path / "mounted"
    target.mkdir()
    make = tempfile.mkdtemp

    def within_target(*, prefix: str, dir: Path) -> str:
        if dir == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied", str(dir))
        return make(prefix=prefix, dir=dir)

    def busy(_: Path) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(tempfile, "mkdtemp", within_target)
    monkeypatch.setattr(Path, "rmdir", busy)
    export(target, content)
    assert stored(target) == content


@pytest.mark.parametrize("content", [{"model.onnx": b"12345"}, FILES])
def test_the_current_folder_and_a_link_to_a_folder_get_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, bytes]
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (tmp_path / "link").symlink_to(there)
    monkeypatch.chdir(here)
    assert all(path.exists() for path in export(Path(), content).files)
    export(tmp_path / "link", content)
    assert stored(here) == stored(there) == content
    assert (tmp_path / "link").is_symlink()


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "pets").write_text("mine")
    with pytest.raises(FileExistsError, match="Expected a new or an empty folder"):
        export(tmp_path / "pets", FILES)
    assert stored(tmp_path) == {"pets": b"mine"}


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
