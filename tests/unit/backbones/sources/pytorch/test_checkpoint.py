"""The reader of PyTorch checkpoints, on files made here byte by byte."""

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart_server.backbones.sources.pytorch.checkpoint import (
    CheckpointError,
    parse_checkpoint,
    read_checkpoint,
)

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2)
WEIGHT = np.arange(6, dtype="<f4")


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key: str = "7", kind: str = "FloatStorage", length: int = 6, *, legacy: bool = True) -> bytes:
    end = b"N" if legacy else b""
    return (
        b"("
        + text("storage")
        + f"ctorch\n{kind}\n".encode()
        + text(key)
        + text("cpu")
        + number(length)
        + end
        + b"tQ"
    )


def tensor(
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
    *,
    offset: int = 0,
    of: bytes | None = None,
) -> bytes:
    arguments = (of or storage()) + number(offset) + numbers(*shape) + numbers(*strides)
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89" + hooks + b"tR"


def state(**tensors: bytes) -> bytes:
    items = b"".join(text(name) + value for name, value in tensors.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."


def legacy(pickled: bytes, *, keys: tuple[str, ...] = ("7",), elements: np.ndarray = WEIGHT) -> bytes:
    data = struct.pack("<q", elements.size) + elements.tobytes()
    return MAGIC + SYSTEM + pickled + pickle.dumps(list(keys), 2) + data


def zipped(pickled: bytes, *, compression: int = zipfile.ZIP_STORED, data: bytes | None = None) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/7", WEIGHT.tobytes() if data is None else data)
    return file.getvalue()


VALID = legacy(state(weight=tensor()))
VALID_ZIP = zipped(state(weight=tensor(of=storage(legacy=False))))


@pytest.mark.parametrize("data", [VALID, VALID_ZIP], ids=["legacy", "zip"])
def test_a_tensor_is_read_with_its_shape(data: bytes) -> None:
    arrays = parse_checkpoint(data)
    assert list(arrays) == ["weight"]
    np.testing.assert_array_equal(arrays["weight"], WEIGHT.reshape(2, 3), strict=True)


def test_a_transposed_tensor_is_read_by_its_strides() -> None:
    arrays = parse_checkpoint(legacy(state(weight=tensor((3, 2), (1, 3)))))
    np.testing.assert_array_equal(arrays["weight"], WEIGHT.reshape(2, 3).T)


def test_a_part_of_a_storage_is_read_from_its_offset() -> None:
    arrays = parse_checkpoint(legacy(state(weight=tensor((2,), (2,), offset=1))))
    np.testing.assert_array_equal(arrays["weight"], [1, 3])


def test_scalars_and_empty_tensors_keep_their_shape() -> None:
    arrays = parse_checkpoint(legacy(state(scalar=tensor((), (), offset=5), empty=tensor((0, 4), (4, 1)))))
    assert arrays["scalar"].shape == ()
    assert arrays["scalar"] == 5
    assert arrays["empty"].shape == (0, 4)


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(VALID)
    one = read_checkpoint(file)
    file.write_bytes(VALID[:-1] + b"\0")
    assert one.digest != read_checkpoint(file).digest
    assert len(one.digest) == 64


@pytest.mark.parametrize("name", ["posix\nsystem", "builtins\neval", "os\nsystem", "torch\nload"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(name: str, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    attack = b"\x80\x02c" + name.encode() + b"\n" + text(f"touch {trace}") + b"\x85R."
    for data in (legacy(attack), zipped(attack), attack + VALID):
        with pytest.raises(CheckpointError, match=name.replace("\n", r"\.")):
            parse_checkpoint(data)
    assert not trace.exists()


@pytest.mark.parametrize("opcode", [b"iposix\nsystem\n", b"\x93", b"\x81", b"\x82\x01", b"\x97"])
def test_opcodes_that_no_checkpoint_has_are_refused(opcode: bytes) -> None:
    with pytest.raises(CheckpointError, match="opcode"):
        parse_checkpoint(legacy(b"\x80\x02(" + text("a") + text("b") + opcode + b"."))


def test_what_a_pickle_sets_on_a_function_does_not_outlive_it() -> None:
    defaults = b"c" + b"torch._utils\n_rebuild_tensor_v2\n" + b"N}" + text("__defaults__") + b")s\x86b0"
    parse_checkpoint(legacy(state(weight=tensor()).replace(b"\x80\x02", b"\x80\x02" + defaults, 1)))
    assert list(parse_checkpoint(VALID)) == ["weight"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (tensor((7,), (1,)), "inside its storage"),
        (tensor((6,), (1,), offset=1), "inside its storage"),
        (tensor((2, 3), (4, 1)), "inside its storage"),
        (tensor((1 << 30, 1 << 30), (0, 0)), "inside its storage"),
        (tensor((2, 3), (1,)), "inside its storage"),
        (tensor((-1,), (1,)), "a shape and strides"),
        (tensor((2,), (-1,), offset=3), "a shape and strides"),
        (tensor((1,) * 17, (1,) * 17), "a shape and strides"),
        (tensor(of=number(3)), "a shape and strides"),
        (tensor(of=storage(kind="QUInt8Storage")), r"torch\.QUInt8Storage"),
        (tensor(of=storage(key="8")), "'7', which no tensor uses"),
        (tensor() + b"0" + number(3), "tensors by name"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_with_its_reason(value: bytes, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        parse_checkpoint(legacy(state(weight=value)))


def test_a_memo_index_that_would_fill_memory_is_refused() -> None:
    with pytest.raises(CheckpointError, match="memo index"):
        parse_checkpoint(legacy(b"\x80\x02}r\xff\xff\xff\x7f."))


def test_a_compressed_archive_is_refused() -> None:
    with pytest.raises(CheckpointError, match="uncompressed"):
        parse_checkpoint(zipped(state(), compression=zipfile.ZIP_DEFLATED))


def test_a_storage_of_another_length_than_announced_is_refused() -> None:
    with pytest.raises(CheckpointError, match="Received: 3 bytes"):
        parse_checkpoint(zipped(state(weight=tensor(of=storage(legacy=False))), data=b"abc"))


def test_another_byte_order_is_refused() -> None:
    with pytest.raises(CheckpointError, match="little-endian"):
        parse_checkpoint(VALID.replace(SYSTEM, pickle.dumps({"little_endian": False}, 2)))


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\x03\x04", b"not a checkpoint", pickle.dumps([1], 2)])
def test_bytes_that_are_no_checkpoint_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        parse_checkpoint(data)


@pytest.mark.parametrize("data", [VALID, VALID_ZIP], ids=["legacy", "zip"])
def test_a_file_truncated_anywhere_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(CheckpointError):
            parse_checkpoint(data[:length])


def test_the_message_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(VALID[:-3])
    with pytest.raises(CheckpointError, match=r"weights\.pth: Expected 6 elements"):
        read_checkpoint(file)


@settings(max_examples=600, deadline=None)
@given(
    data=st.sampled_from([VALID, VALID_ZIP]),
    edits=st.lists(st.tuples(st.integers(0, 1000), st.binary(max_size=6)), min_size=1, max_size=4),
)
def test_damaged_bytes_give_arrays_or_a_checkpoint_error(data: bytes, edits: list[tuple[int, bytes]]) -> None:
    for position, replacement in edits:
        start = position % len(data)
        data = data[:start] + replacement + data[start + len(replacement) :]
    try:
        arrays = parse_checkpoint(data)
    except CheckpointError:
        return
    assert all(isinstance(array, np.ndarray) and array.size <= len(data) for array in arrays.values())
