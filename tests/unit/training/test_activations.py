"""Activations on disk: each content's own, under a bound, and a full disk reported as one."""

import builtins
import errno
import io
import os
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from headstart_server.backbones.contract.tail import Cut
from headstart_server.errors import DatasetTooLarge, LocalStorageUnavailable, StorageFull
from headstart_server.learning.heads.recipe import Partial
from headstart_server.training.activations import ActivationFile, JobActivations, check_room

CUT = Cut(name="cut1", shape=(2, 2, 3))


def activation(value: float) -> np.ndarray:
    return np.full(CUT.shape, value, np.float32)


def test_each_content_has_its_own_row(tmp_path: Path) -> None:
    with closing(ActivationFile(tmp_path / "a.npy", CUT, 4)) as file:
        for place, digest in enumerate(("b", "a", "c")):
            file.add(digest, activation(place + 0.5))
        file.finish()
    assert file.rows == {"b": 0, "a": 1, "c": 2}
    # One content could not be decoded: its row is there, and no one's.
    assert np.load(file.path).shape == (4, 2, 2, 3)
    assert np.array_equal(file.read(np.array([2, 0])), np.stack([activation(2.5), activation(0.5)]))
    assert file.read(np.array([1])).dtype == np.float32


def test_numbers_beyond_the_largest_become_the_largest(tmp_path: Path) -> None:
    with closing(ActivationFile(tmp_path / "a.npy", CUT, 1)) as file:
        file.add("a", activation(-1e6))
        file.finish()
    assert np.array_equal(file.read(np.array([0]))[0], activation(-65504))


def test_too_many_examples_are_refused_with_the_numbers() -> None:
    cut = Cut(name="cut6", shape=(7, 7, 192))
    check_room(cut, 55, 1 << 20)
    with pytest.raises(DatasetTooLarge) as caught:
        check_room(cut, 60, 1 << 20)
    assert caught.value.message == (
        "Expected at most 55 different examples for the recipe partial: their activations of 18 KiB each may "
        "take 1 MiB (half of --max-dataset-size). Received: 60, which take 1 MiB. Use auto or mlp, or fewer "
        "blocks."
    )


def test_a_full_disk_is_reported() -> None:
    with closing(ActivationFile(Path("/dev/full"), CUT, 1)) as file:
        file.add("a", activation(1.0))
        with pytest.raises(StorageFull):
            file.finish()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_file_that_cannot_be_opened_is_an_error_of_the_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with closing(ActivationFile(tmp_path / "a.npy", CUT, 1)) as file:
        file.finish()
    with monkeypatch.context() as patch:
        patch.setattr(io, "open", fail)
        patch.setattr(builtins, "open", fail)
        for action in (
            lambda: ActivationFile(tmp_path / "b.npy", CUT, 1),
            lambda: file.read(np.array([0])),
        ):
            with pytest.raises(LocalStorageUnavailable, match=errno.errorcode[number]):
                action()


def test_a_folder_that_cannot_be_removed_does_not_fail_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with JobActivations(Partial(), 1 << 20).folder(tmp_path, "job"):
        monkeypatch.setattr(tempfile._os, "unlink", fail)
        monkeypatch.setattr(tempfile._os, "rmdir", fail)
    monkeypatch.undo()
    assert [path.name.partition(".")[0] for path in tmp_path.iterdir()] == ["job"]
