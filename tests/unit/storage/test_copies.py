"""Local copies of objects, which other threads may remove at any time."""

from contextlib import closing
from pathlib import Path

import pytest

from headstart_server.storage.bucket import ObjectVersion
from headstart_server.storage.copies import LocalCopies

VERSION = ObjectVersion(fingerprint="f", nbytes=7)


def fetch(path: Path) -> None:
    path.write_bytes(b"content")


def test_a_copy_that_is_removed_as_soon_as_it_has_its_name_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def rename_and_remove(path: Path, target: Path) -> Path:
        named = rename(path, target)
        copies.remove("a.zip")
        return named

    copies = LocalCopies(tmp_path, 1 << 20)
    monkeypatch.setattr(Path, "rename", rename_and_remove)
    with closing(copies.open("a.zip", VERSION, fetch)) as file:
        assert file.read() == b"content"
    assert list(tmp_path.iterdir()) == []
