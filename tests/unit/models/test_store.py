"""The files of versions: whole or not there, and never something else than was published."""

import errno
import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from fakes import make_head, make_manifest
from headstart_server.errors import ArtifactDamaged, StorageFull
from headstart_server.learning.examples.task import Task
from headstart_server.learning.heads.calibration import Calibration
from headstart_server.learning.heads.head import HiddenLayer
from headstart_server.models.store import HEAD_FILE, MANIFEST_FILE, VersionStore
from headstart_server.models.version import Manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "versions"


@pytest.fixture
def store(root: Path) -> VersionStore:
    return VersionStore(root)


@pytest.fixture
def written(store: VersionStore) -> Manifest:
    manifest, _ = store.write("job-1.1", make_head(), make_manifest())
    return manifest


def test_a_head_comes_back_bit_for_bit(store: VersionStore, written: Manifest) -> None:
    head, found = make_head(), store.read("job-1.1", written)
    assert found.weights.tobytes() == head.weights.tobytes()
    assert found.bias.tobytes() == head.bias.tobytes()
    assert found.weights.dtype == np.float32
    assert (found.views, found.scaling, found.temperature, found.class_names) == (
        head.views,
        head.scaling,
        head.temperature,
        head.class_names,
    )


def test_the_manifest_names_the_digest_of_the_head_and_lies_next_to_it(
    store: VersionStore, root: Path
) -> None:
    manifest, size = store.write("a", make_head(), make_manifest(display_name="Größe"))
    head_bytes = (root / "a" / HEAD_FILE).read_bytes()
    manifest_bytes = (root / "a" / MANIFEST_FILE).read_bytes()
    assert manifest.head_digest == sha256(head_bytes).hexdigest()
    assert Manifest.from_json(json.loads(manifest_bytes)) == manifest
    assert size == len(head_bytes) + len(manifest_bytes)


def test_a_temperature_is_kept_in_full_precision(store: VersionStore) -> None:
    manifest, _ = store.write(
        "a", replace(make_head(), calibration=Calibration(temperature=0.1)), make_manifest()
    )
    assert store.read("a", manifest).temperature == 0.1


def refusal(store: VersionStore, manifest: Manifest) -> str:
    with pytest.raises(ArtifactDamaged) as caught:
        store.read("job-1.1", manifest)
    assert caught.value.metadata == {"model": "pets", "job_id": "job-1"}
    return caught.value.message


def test_a_missing_head_is_reported(store: VersionStore, root: Path, written: Manifest) -> None:
    (root / "job-1.1" / HEAD_FILE).unlink()
    assert refusal(store, written) == (
        "A stored version of model 'pets' is damaged: its head.safetensors is missing. "
        "Delete it and fine-tune again."
    )
    store.remove("job-1.1")
    assert "is missing" in refusal(store, written)


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_a_torn_head_is_reported(store: VersionStore, root: Path, written: Manifest, kept: int) -> None:
    path = root / "job-1.1" / HEAD_FILE
    path.write_bytes(path.read_bytes()[:kept])
    assert "the digest of its head.safetensors is not the one that was published" in refusal(store, written)


def test_a_head_with_one_bit_changed_is_detected(store: VersionStore, root: Path, written: Manifest) -> None:
    path = root / "job-1.1" / HEAD_FILE
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert "the digest of its head" in refusal(store, written)


@pytest.mark.parametrize(
    "head_bytes",
    [
        b"",
        b"no head at all",
        save({"weights": np.zeros((12, 3), np.float32)}),
        save({"weights": np.zeros((12, 3)), "bias": np.zeros(3), "temperature": np.zeros(0)}),
    ],
    ids=["empty", "another file", "without a bias", "without a temperature"],
)
def test_a_file_that_is_no_head_is_reported(
    store: VersionStore, root: Path, written: Manifest, head_bytes: bytes
) -> None:
    (root / "job-1.1" / HEAD_FILE).write_bytes(head_bytes)
    manifest = replace(written, head_digest=sha256(head_bytes).hexdigest())
    assert "its head is not a head file" in refusal(store, manifest)


@pytest.mark.parametrize(("weights", "bias"), [((12, 2), 2), ((12, 3), 2), ((36,), 3), ((12, 3, 1), 3)])
def test_a_head_of_another_shape_is_reported(
    store: VersionStore, root: Path, written: Manifest, weights: tuple[int, ...], bias: int
) -> None:
    head_bytes = save(
        {
            "weights": np.zeros(weights, np.float32),
            "bias": np.zeros(bias, np.float32),
            "temperature": np.ones(1),
        }
    )
    (root / "job-1.1" / HEAD_FILE).write_bytes(head_bytes)
    manifest = replace(written, head_digest=sha256(head_bytes).hexdigest())
    assert "does not fit its class names" in refusal(store, manifest)


class KilledError(BaseException):
    pass


def test_what_a_killed_process_was_writing_is_no_version_and_is_listed_to_be_removed(
    store: VersionStore, root: Path, written: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(source: object, target: object) -> None:
        raise KilledError

    monkeypatch.setattr("os.rename", killed)
    with pytest.raises(KilledError):
        store.write("job-2.1", make_head(), make_manifest())
    monkeypatch.undo()
    again = VersionStore(root)
    with pytest.raises(ArtifactDamaged):
        again.read_manifest("job-2.1")
    assert sorted(again.artifacts()) == ["job-1.1", "job-2.1"]
    again.remove("job-2.1")
    assert list(again.artifacts()) == ["job-1.1"]
    assert [path.name for path in root.rglob("*.safetensors")] == [HEAD_FILE]


def test_a_store_that_is_opened_leaves_alone_what_another_replica_is_writing(
    store: VersionStore, root: Path
) -> None:
    (root / ".staging" / "job-2.1").mkdir(parents=True)
    VersionStore(root)
    assert (root / ".staging" / "job-2.1").is_dir()


def test_the_manifest_of_files_that_are_no_version_can_be_read(store: VersionStore) -> None:
    written, _ = store.write("job-2.1.fit", make_head(), make_manifest())
    assert store.read_manifest("job-2.1.fit") == written
    with pytest.raises(ArtifactDamaged, match="no readable manifest"):
        store.read_manifest("job-3.1.fit")


def test_writing_a_name_again_replaces_what_an_earlier_attempt_left(store: VersionStore) -> None:
    store.write("a", make_head(seed=1), make_manifest())
    manifest, _ = store.write("a", make_head(seed=2), make_manifest())
    assert store.read("a", manifest).weights.tobytes() == make_head(seed=2).weights.tobytes()


def test_removing_what_is_not_there_does_nothing(store: VersionStore, written: Manifest) -> None:
    store.remove("unknown")
    store.remove("job-1.1")
    store.remove("job-1.1")
    assert list(store.artifacts()) == []


def test_a_full_disk_is_reported_and_leaves_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = VersionStore(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match="disk is full"):
        store.write("job-1.1", make_head(), make_manifest())
    assert list(store.artifacts()) == []


def test_further_files_of_a_version_are_kept_and_proven(tmp_path: Path) -> None:
    store = VersionStore(tmp_path)
    manifest, _ = store.write("job.1", make_head(), make_manifest(), {"evaluation.json": b"{}"})

    assert store.read_file("job.1", manifest, "evaluation.json") == b"{}"
    assert store.read_file("job.1", manifest, "tail.safetensors") is None


def test_a_changed_further_file_is_damage_of_its_version(tmp_path: Path) -> None:
    store = VersionStore(tmp_path)
    manifest, _ = store.write("job.1", make_head(), make_manifest(), {"evaluation.json": b"{}"})
    (tmp_path / "job.1" / "evaluation.json").write_bytes(b"[]")

    with pytest.raises(ArtifactDamaged, match="digest of its evaluation"):
        store.read_file("job.1", manifest, "evaluation.json")


@pytest.mark.parametrize(
    ("task", "calibration", "names"),
    [
        (
            Task.MULTI_LABEL,
            Calibration(
                task=Task.MULTI_LABEL,
                slopes=np.array([2.0, 3.0], np.float32),
                offsets=np.array([-1.0, 0.5], np.float32),
                thresholds=np.array([0.4, 0.6], np.float32),
            ),
            ("a", "b"),
        ),
        (Task.REGRESSION, Calibration(task=Task.REGRESSION, interval=(-0.5, 1.5)), ()),
        (Task.REGRESSION, Calibration(task=Task.REGRESSION), ()),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_a_head_of_another_task_or_with_a_hidden_layer_comes_back(
    store: VersionStore, task: Task, calibration: Calibration, names: tuple[str, ...], hidden: bool
) -> None:
    linear = make_head(classes=len(names) or 1, size=5 if hidden else 12)
    layer = make_head(classes=5)
    head = replace(
        linear,
        calibration=calibration,
        class_names=names,
        hidden=HiddenLayer(weights=layer.weights, bias=layer.bias) if hidden else None,
    )
    manifest, _ = store.write("a", head, make_manifest(task=task, class_names=names))
    found = store.read("a", manifest)
    views = {"last": np.random.default_rng(0).normal(size=(4, 12)).astype(np.float32)}
    assert found.outputs(views).tobytes() == head.outputs(views).tobytes()
    assert found.interval == head.interval
    assert found.thresholds.tobytes() == head.thresholds.tobytes()


def test_a_head_without_the_calibration_of_its_task_is_damaged(store: VersionStore) -> None:
    manifest, _ = store.write("job-1.1", make_head(), make_manifest(task=Task.MULTI_LABEL))
    assert "its head is not a head file" in refusal(store, manifest)
