"""Thumbnails of captured inputs are made once, and never outlive the inputs."""

import io
from pathlib import Path

import pytest
from PIL import Image

from captures import Captures
from fakes import ManualClock
from headstart_server.capture.capture_eraser import CaptureEraser
from headstart_server.capture.captured_inputs import CapturedThumbnails
from headstart_server.errors import CapturedInputNotFound, InvalidField, ModelNotFound
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.storage.thumbnail_store import ThumbnailStore
from postgres import on_both_databases

pytestmark = on_both_databases

A, B = "a" * 32, "b" * 32


def image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (300, 200), "green").save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def thumbnails(captures: Captures) -> CapturedThumbnails:
    captures.model()
    captures.write([A, B], content=image(), kind="image")
    return thumbnails_of(captures)


def thumbnails_of(captures: Captures) -> CapturedThumbnails:
    return CapturedThumbnails(
        captures.inputs, ThumbnailStore(folder(captures), max_bytes=10**6), max_pixels=10**6
    )


def folder(captures: Captures) -> Path:
    return captures.folder.parent / "thumbnails"


def files(captures: Captures) -> list[str]:
    return sorted(path.name for path in folder(captures).iterdir())


def test_a_thumbnail_is_made_once(captures: Captures, thumbnails: CapturedThumbnails) -> None:
    captured, made = thumbnails.get("pets", A, 64)
    assert captured.prediction_id == A
    assert Image.open(io.BytesIO(made)).size == (64, 43)
    for path in captures.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    assert thumbnails_of(captures).get("pets", A, 64)[1] == made
    assert files(captures) == [f"{A}-64.jpg"]


def test_a_thumbnail_of_an_erased_input_is_gone(captures: Captures, thumbnails: CapturedThumbnails) -> None:
    eraser = CaptureEraser(captures.database, captures.files, lambda name: thumbnails.remove([name]))
    for name in (A, B):
        thumbnails.get("pets", name, 64)
    eraser.erase("pets", A)
    assert files(captures) == [f"{B}-64.jpg"]
    with pytest.raises(CapturedInputNotFound):
        thumbnails.get("pets", A, 64)


def test_a_cleaning_removes_thumbnails_of_what_another_replica_erased_and_what_expired(
    captures: Captures, thumbnails: CapturedThumbnails, clock: ManualClock
) -> None:
    for name in (A, B):
        thumbnails.get("pets", name, 64)
    assert thumbnails.remove_gone() == 0
    captures.eraser.erase("pets", A)
    assert thumbnails.remove_gone() == 1
    assert files(captures) == [f"{B}-64.jpg"]
    clock.advance(CapturePolicy().ttl + 1)
    assert thumbnails.remove_gone() == 1
    assert files(captures) == []


def test_an_erasure_while_a_thumbnail_is_made_leaves_none(
    captures: Captures, thumbnails: CapturedThumbnails, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = captures.inputs.content

    def erased_meanwhile(captured):  # type: ignore[no-untyped-def]
        found = content(captured)
        captures.eraser.erase("pets", A)
        return found

    monkeypatch.setattr(captures.inputs, "content", erased_meanwhile)
    with pytest.raises(CapturedInputNotFound):
        thumbnails.get("pets", A, 64)
    assert files(captures) == []


def test_a_wrong_size_or_a_text_is_an_error(captures: Captures, thumbnails: CapturedThumbnails) -> None:
    captures.write(["c" * 32])
    with pytest.raises(InvalidField, match=r"64, 128, 256, 512\. Received: 65"):
        thumbnails.get("pets", A, 65)
    with pytest.raises(InvalidField, match="not an image"):
        thumbnails.get("pets", "c" * 32, 64)
    with pytest.raises(ModelNotFound):
        thumbnails.get("cars", A, 64)
