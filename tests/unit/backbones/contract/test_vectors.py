"""Features of callers: taken as they are, or refused with what is wrong about them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headstart_server.backbones.contract import vectors
from headstart_server.backbones.contract.backbone import Modality
from headstart_server.backbones.contract.tail import Cut, TailMismatch, TailPlan, TailWeights
from headstart_server.backbones.contract.vectors import MAX_SIZE, IdentityRuntime, TensorDecoder, size_of
from headstart_server.errors import UndecodableInput, WrongModality

NUMBERS = [np.float16, np.float32, np.float64, np.uint8, np.int32, np.int64]


@given(
    content=st.sampled_from(NUMBERS).flatmap(
        lambda kind: arrays.arrays(kind, st.integers(1, 20).map(lambda size: (size,)))
    )
)
def test_numbers_are_taken_as_they_are_in_float32_or_refused(content: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        expected = content.astype(np.float32)
    decoder = TensorDecoder(len(content))
    if np.isfinite(expected).all():
        row = decoder.decode(content)
        assert row.dtype == np.float32
        assert np.array_equal(row, expected)
        assert not np.shares_memory(row, content)
    else:
        place = int(np.flatnonzero(~np.isfinite(expected))[0])
        with pytest.raises(UndecodableInput, match=rf"finite in float32\. Received: .* at index {place}, "):
            decoder.decode(content)


def test_a_number_too_large_for_float32_is_named() -> None:
    with pytest.raises(UndecodableInput, match=r"Received: 1e\+300 at index 1, and 1 such in all"):
        TensorDecoder(3).decode(np.array([1.0, 1e300, 2.0]))


@pytest.mark.parametrize("shape", [(), (4,), (1, 5), (5, 1), (0,)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UndecodableInput, match=r"of shape \[5\]\. Received: float32 of shape "):
        TensorDecoder(5).decode(np.zeros(shape, np.float32))


@pytest.mark.parametrize("content", ["words", b"bytes", np.zeros(5, np.bool_), np.zeros(5, np.complex64)])
def test_what_is_no_array_of_numbers_is_of_the_wrong_modality(content: object) -> None:
    with pytest.raises(WrongModality, match=r"Expected an array of 5 floats or integers.* Received: "):
        TensorDecoder(5).decode(content)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("features:1", 1),
        ("features:384", 384),
        (f"features:{MAX_SIZE}", MAX_SIZE),
        (f"features:{MAX_SIZE + 1}", None),
        ("features:0", None),
        ("features:007", None),
        ("features:", None),
        ("features:-3", None),
        ("features:3 ", None),
        ("features:٣", None),
        ("features", None),
        ("384", None),
        ("Features:3", None),
    ],
)
def test_the_name_says_the_size(name: str, size: int | None) -> None:
    assert size_of(name) == size
    if size is not None:
        info = vectors.info(name, size)
        assert (info.name, info.modality, dict(info.views)) == (name, Modality.TENSOR, {"last": size})


def test_the_runtime_gives_the_rows_themselves_and_has_no_tail() -> None:
    runtime, rows = IdentityRuntime(), np.arange(6, dtype=np.float32).reshape(2, 3)
    views = runtime.run(rows)
    assert list(views) == ["last"]
    assert np.array_equal(views["last"], rows)
    assert not np.shares_memory(views["last"], rows)
    plan = TailPlan(blocks=1, cut=Cut(name="cut", shape=(1, 1, 3)), layers=())
    with pytest.raises(TailMismatch):
        runtime.tail(plan, TailWeights(blocks=1, tensors={}))
