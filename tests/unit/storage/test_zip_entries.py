"""ZIP archives whose entries are made to cost much, wherever an archive is read."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from headstart_server.backbones.sources.keras_file import check_keras_file
from headstart_server.backbones.sources.pytorch.checkpoint import CheckpointError, parse_checkpoint
from headstart_server.backbones.sources.source import SourceError
from headstart_server.datasets.example_archive import ArchiveReader, member_name
from headstart_server.errors import ArtifactDamaged
from headstart_server.learning.examples.stored_example import StoredExample
from headstart_server.learning.examples.target import Target
from headstart_server.storage.directory import DirectoryFolder
from headstart_server.storage.zip_member import check_methods, read_entry


def archive(method: int, **entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as opened:
        for name, content in entries.items():
            opened.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_output_cannot_be_bounded_are_named(method: int) -> None:
    with zipfile.ZipFile(io.BytesIO(archive(method, bomb=b"a"))) as opened:
        with pytest.raises(zipfile.BadZipFile, match=r"'bomb' is compressed with (bzip2|LZMA)"):
            check_methods(opened.infolist())
        with pytest.raises(zipfile.BadZipFile):
            read_entry(opened, opened.infolist()[0], 10)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(("size", "fits"), [(10, True), (11, False), (1 << 20, False)])
def test_an_entry_is_read_up_to_its_limit(method: int, size: int, fits: bool) -> None:
    with zipfile.ZipFile(io.BytesIO(archive(method, a=bytes(size)))) as opened:
        content = read_entry(opened, opened.infolist()[0], 10)
    assert content == (bytes(size) if fits else None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (archive(zipfile.ZIP_BZIP2, **{"config.json": b"{}"}), "bzip2"),
        (archive(zipfile.ZIP_BZIP2, **{"model.weights.h5": b"{}"}), "bzip2"),
        (archive(zipfile.ZIP_DEFLATED, **{"config.json": bytes(17 << 20)}), "larger than 16 MiB"),
        (archive(zipfile.ZIP_DEFLATED, **{"model.weights.h5": bytes(80 << 20)}), "10 times its size"),
    ],
)
def test_a_keras_file_that_would_take_much_memory_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "own.keras"
    file.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        check_keras_file(file)


def nested(*names: str) -> bytes:
    """Return an archive each of whose stored entries contains all the following ones."""
    body, entries = bytes(1000), []
    for name in reversed(names):
        title = name.encode()
        sizes = struct.pack("<LLLHH", zlib.crc32(body), len(body), len(body), len(title), 0)
        entries.append((len(body), title, sizes))
        body = b"PK\x03\x04" + struct.pack("<5H", 20, 0, 0, 0, 33) + sizes + title + body
    directory = b"".join(
        b"PK\x01\x02"
        + struct.pack("<6H", 20, 20, 0, 0, 0, 33)
        + sizes
        + struct.pack("<3HLL", 0, 0, 0, 0, len(body) - size - 30 - len(title))
        + title
        for size, title, sizes in entries
    )
    end = struct.pack("<4HLLH", 0, 0, len(entries), len(entries), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def test_a_checkpoint_whose_members_contain_each_other_is_refused() -> None:
    """Its size would not bound the memory that reading takes: that grows with the square of the members."""
    hostile = nested("a/data.pkl", *(f"a/data/{place}" for place in range(50)))
    with zipfile.ZipFile(io.BytesIO(hostile)) as opened:
        assert len(opened.read("a/data/1")) > 1000, "the archive is one that Python reads"
    with pytest.raises(CheckpointError, match="overlap"):
        parse_checkpoint(hostile)


def test_a_stored_archive_of_another_method_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "job.zip").write_bytes(archive(zipfile.ZIP_BZIP2, **{member_name(0): b"image"}))
    reader = ArchiveReader(DirectoryFolder(tmp_path))
    with pytest.raises(ArtifactDamaged, match="bzip2"):
        reader.read(
            StoredExample(
                target=Target.of_label("cat"), id="", held_out=False, digest="", kind="image", archive="job"
            )
        )
