"""Files of features: each row an example."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from headstart.inputs import tensors
from headstart.inputs.arrays import Arrays, feature_rows
from headstart.inputs.examples import open_examples


def saved(path: Path, **arrays: object) -> Path:
    np.savez(path, **{name: np.asarray(each) for name, each in arrays.items()})
    return path


def test_rows_are_examples_with_labels_and_ids(tmp_path: Path) -> None:
    features = np.arange(6, dtype=np.float64).reshape(3, 2)
    path = saved(tmp_path / "f.npz", features=features, labels=["a", "b", "a"], ids=["x", "y", "z"], more=[1])
    source = open_examples(path)
    messages = list(source)
    assert source.total == 3
    assert [(each.example_id, each.label.class_name) for each in messages] == [
        ("x", "a"),
        ("y", "b"),
        ("z", "a"),
    ]
    for message, row in zip(messages, features, strict=True):
        assert np.array_equal(tensors.decode(message.input.tensor), row)
    assert np.array_equal(feature_rows(path), features)


def test_whole_numbers_are_labels_too_and_values_are_numbers(tmp_path: Path) -> None:
    features = np.zeros((2, 4), np.float32)
    labeled = list(open_examples(saved(tmp_path / "l.npz", features=features, labels=[0, 12])))
    assert [each.label.class_name for each in labeled] == ["0", "12"]
    valued = list(open_examples(saved(tmp_path / "v.npz", features=features, values=[0.5, 3])))
    assert [each.label.number for each in valued] == [0.5, 3.0]


FEATURES = np.zeros((3, 2))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": ["a"]}, r"an array features of shape \[n, size\] is expected\. Received: none"),
        ({"features": [1.0], "labels": ["a"]}, r"Received: shape \[1\]"),
        ({"features": FEATURES}, "one of the arrays labels and values is expected. Received: features"),
        (
            {"features": FEATURES, "labels": [1, 2, 3], "values": [1, 2, 3]},
            "one of the arrays labels and values",
        ),
        (
            {"features": FEATURES, "labels": ["a"]},
            r"labels of shape \[3\] is expected, .* Received: shape \[1\]",
        ),
        ({"features": FEATURES, "labels": [1, 2, 3], "ids": ["a"]}, r"ids of shape \[3\]"),
        ({"features": FEATURES, "values": ["a", "b", "c"]}, "numbers are expected in values"),
    ],
)
def test_a_wrong_file_is_reported_with_its_name(
    tmp_path: Path, arrays: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"f\.npz: .*{message}"):
        Arrays(saved(tmp_path / "f.npz", **arrays))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    np.savez(path, features=FEATURES, labels=np.array([{}, {}, {}], object))
    with pytest.raises(ValueError, match="a file of numpy arrays is expected"):
        Arrays(path)


def test_an_archive_without_arrays_is_reported(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", FEATURES)
    (tmp_path / "f.npy").rename(tmp_path / "f.npz")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("features.npy", "1, 2, 3")
    with zipfile.ZipFile(tmp_path / "packed.npz", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("features.npy", bytes(1000))
    packed = (tmp_path / "packed.npz").read_bytes()
    (tmp_path / "packed.npz").write_bytes(packed.replace(b"BZh", b"BZ\0"))
    for name in ("f.npz", "text.npz", "packed.npz"):
        with pytest.raises(ValueError, match=f"{name}: a file of numpy arrays is expected"):
            feature_rows(tmp_path / name)


def test_a_file_that_is_not_an_archive_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="a file of numpy arrays is expected"):
        Arrays(path)
    with pytest.raises(FileNotFoundError):
        Arrays(tmp_path / "none.npz")
