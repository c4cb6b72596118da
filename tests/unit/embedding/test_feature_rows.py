"""A row gives back what went into it, or nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from headstart_server.embedding.feature_rows import Vectors, decode, encode

VECTORS = st.dictionaries(
    st.text(max_size=8),
    arrays.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32)),
    max_size=3,
)
PLACES = st.integers(0, 10_000)


def raw(vectors: Vectors | None) -> list[tuple[str, bytes]]:
    assert vectors is not None
    return [(view, vector.tobytes()) for view, vector in vectors.items()]


@given(st.text(), st.text(), VECTORS)
def test_the_same_bits_in_the_same_views_come_back(backbone: str, digest: str, vectors: Vectors) -> None:
    found = decode(backbone, digest, encode(backbone, digest, vectors))
    assert raw(found) == raw(vectors)
    assert all(vector.dtype == np.float32 and vector.ndim == 1 for vector in found.values())


def test_no_one_can_change_what_comes_back_and_no_view_keeps_the_others_in_memory() -> None:
    found = decode(
        "b", "d", encode("b", "d", {"last": np.ones(3, np.float32), "taps": np.zeros(2, np.float32)})
    )
    with pytest.raises(ValueError, match="read-only"):
        found["last"][0] = 2
    assert all(vector.base is None for vector in found.values())


@given(VECTORS, PLACES, st.integers(1, 255))
def test_a_byte_that_has_changed_is_noticed(vectors: Vectors, place: int, change: int) -> None:
    row = bytearray(encode("b", "d", vectors))
    row[place % len(row)] ^= change
    assert decode("b", "d", bytes(row)) is None


@given(VECTORS, PLACES)
def test_a_row_that_was_cut_off_is_noticed(vectors: Vectors, place: int) -> None:
    row = encode("b", "d", vectors)
    assert decode("b", "d", row[: place % len(row)]) is None


@pytest.mark.parametrize(("backbone", "digest"), [("b", "e"), ("c", "d"), ("b\0d", ""), ("", "b\0d")])
def test_a_row_of_another_backbone_or_content_is_noticed(backbone: str, digest: str) -> None:
    assert decode(backbone, digest, encode("b", "d", {"last": np.ones(3, np.float32)})) is None


@pytest.mark.parametrize("row", [None, 1, 1.5, "text", b""])
def test_what_is_no_row_at_all_is_noticed(row: object) -> None:
    assert decode("b", "d", row) is None
