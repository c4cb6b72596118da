"""Read the weights in a PyTorch checkpoint without PyTorch, and without running code of the pickle.

A checkpoint is a pickle of tensors that refer to storages by key. Before PyTorch 1.6 the storages followed it
in the same file (the legacy format); since then both are members of an uncompressed zip archive.
"""

import hashlib
import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from headstart_server.storage.zip_member import check_disjoint

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_RANK = 16

_STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}

#: Opcodes of a pickle of tensors. Excludes those that resolve names from the stack, build instances
#: of classes, or read beyond the pickle.
_OPCODES = frozenset(
    """
    PROTO STOP MARK POP POP_MARK DUP GLOBAL REDUCE BUILD BINPERSID
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
    BINGET LONG_BINGET BINPUT LONG_BINPUT
    """.split()  # noqa: SIM905 - a line for each opcode would hide the list
)


class CheckpointError(ValueError):
    """A file is not a PyTorch checkpoint, is damaged, or contains more than tensors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """Content of a checkpoint file."""

    tensors: Mapping[str, NDArray[np.generic]]  # read-only arrays by name, in the saved order
    digest: str  # SHA-256 of the file in hexadecimal


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the state dict in a file; raise OSError, or CheckpointError if it has more than tensors."""
    data = path.read_bytes()
    try:
        tensors = parse_checkpoint(data)
    except CheckpointError as error:
        raise CheckpointError(f"{path.name}: {error}") from error.__cause__
    return Checkpoint(tensors=tensors, digest=hashlib.sha256(data).hexdigest())


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, equal to `Checkpoint.digest`, without parsing the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_checkpoint(data: bytes) -> dict[str, NDArray[np.generic]]:
    """Read the state dict in the bytes of a legacy or zip checkpoint, or raise CheckpointError."""
    try:
        return _parse_zip(data) if data[:2] == b"PK" else _parse_legacy(data)
    except CheckpointError:
        raise
    except Exception as error:  # damaged bytes end in nearly any of them
        raise CheckpointError(
            f"Expected a PyTorch checkpoint. Received: {len(data)} bytes that end in "
            f"{type(error).__name__}: {error}"
        ) from error


# Tuples, so that a pickle's BUILD cannot change what was checked.
class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[np.generic]
    length: int

    def read(self, storages: Mapping[str, bytes | memoryview]) -> NDArray[np.generic]:
        data = storages.get(self.key, b"")
        if len(data) != self.length * self.dtype.itemsize:
            raise CheckpointError(
                f"Expected {self.length} elements of {self.dtype} in storage {self.key!r}. "
                f"Received: {len(data)} bytes."
            )
        return np.frombuffer(data, self.dtype)


class _Tensor(NamedTuple):
    """A pickled tensor: the position of its elements in a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def fits(self) -> bool:
        """Return whether all elements lie in the storage, and no repetition fills memory."""
        if len(self.shape) != len(self.strides):
            return False
        size = math.prod(self.shape)
        last = sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))
        return size <= self.storage.length and (size == 0 or self.offset + last < self.storage.length)

    def read(self, storages: Mapping[str, bytes | memoryview]) -> NDArray[np.generic]:
        """Return the read-only array, a view of the storage if its elements are in order."""
        flat = self.storage.read(storages)
        if math.prod(self.shape) == 0:
            return np.empty(self.shape, flat.dtype)
        strides = [stride * flat.itemsize for stride in self.strides]
        array = np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides, writeable=False)
        return array if array.flags.c_contiguous else array.copy()


def _parse_legacy(data: bytes) -> dict[str, NDArray[np.generic]]:
    reader = _PickleReader(data)
    magic = reader.next()
    if magic != _LEGACY_MAGIC:
        raise CheckpointError(f"Expected the magic number of a PyTorch checkpoint. Received: {_brief(magic)}")
    version = reader.next()
    if version != _LEGACY_PROTOCOL:
        raise CheckpointError(f"Expected checkpoint protocol {_LEGACY_PROTOCOL}. Received: {_brief(version)}")
    system = reader.next()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError(f"Expected a little-endian checkpoint. Received: {_brief(system)}")
    state, keys = reader.next(), reader.next()
    if not isinstance(keys, list):
        raise CheckpointError(f"Expected the list of storage keys. Received: {_brief(keys)}")
    sizes = {storage.key: storage.dtype.itemsize for storage in reader.storages}
    storages: dict[str, bytes | memoryview] = {}
    offset = reader.offset
    for key in keys:
        if key not in sizes:
            raise CheckpointError(
                f"Expected the keys of storages. Received: {_brief(key)}, which no tensor uses."
            )
        (count,) = struct.unpack_from("<q", data, offset)
        end = offset + 8 + count * sizes[key]
        if count < 0 or end > len(data):
            raise CheckpointError(
                f"Expected {count} elements for storage {key!r} at byte {offset}. "
                f"Received: {len(data) - offset - 8} bytes to the end of the file."
            )
        storages[key] = memoryview(data)[offset + 8 : end]
        offset = end
    return _read_state(state, storages)


def _parse_zip(data: bytes) -> dict[str, NDArray[np.generic]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {member.filename.partition("/")[2]: member for member in archive.infolist()}
        # PyTorch does not compress members; rejecting compressed ones bounds memory by the size of the file.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise CheckpointError("Expected an uncompressed zip archive. Received: compressed members.")
        check_disjoint(members.values(), len(data))
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise CheckpointError("The checkpoint is not little-endian. Save it again on such a machine.")
        reader = _PickleReader(archive.read(members["data.pkl"]))
        state = reader.next()
        storages: dict[str, bytes | memoryview] = {
            storage.key: archive.read(members[f"data/{storage.key}"]) for storage in set(reader.storages)
        }
    return _read_state(state, storages)


def _read_state(state: object, storages: Mapping[str, bytes | memoryview]) -> dict[str, NDArray[np.generic]]:
    if not isinstance(state, dict):
        raise CheckpointError(f"Expected a state dict. Received: {_brief(state)}")
    arrays = {}
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise CheckpointError(f"Expected tensors by name. Received: {_brief(name)}: {_brief(tensor)}")
        arrays[name] = tensor.read(storages)
    return arrays


class _PickleReader:
    """Read consecutive pickles, and collect the storages that they name."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0
        self.storages: list[_Storage] = []

    def next(self) -> object:
        end = _scan(self._data, self.offset)
        unpickler = _TensorUnpickler(self._data[self.offset : end])
        value: object = unpickler.load()
        self.storages += unpickler.storages
        self.offset = end
        return value


def _scan(data: bytes, start: int) -> int:
    """Return the end of a pickle, rejecting opcodes that a checkpoint does not need.

    Memo indexes are bounded because the unpickler allocates as many slots as the largest one.
    """
    stream = io.BytesIO(data)
    stream.seek(start)
    for opcode, argument, position in pickletools.genops(stream):
        if opcode.name not in _OPCODES:
            raise CheckpointError(
                f"Expected a pickle of tensors. Received: opcode {opcode.name} at byte {position}."
            )
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > len(data):
            raise CheckpointError(f"Expected a pickle of tensors. Received: memo index {argument}.")
    return stream.tell()


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler for which only tensors, storages and OrderedDict exist."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.storages: list[_Storage] = []
        # Created for each pickle: BUILD may set attributes on results of find_class, and those must not last.
        self._globals: dict[tuple[str, str], Callable[..., object] | str] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): lambda *args: _rebuild_tensor(*args),  # noqa: PLW0108
            **{("torch", name): dtype for name, dtype in _STORAGE_DTYPES.items()},
        }

    def find_class(self, module: str, name: str) -> Callable[..., object] | str:
        try:
            return self._globals[module, name]
        except KeyError:
            raise CheckpointError(
                f"Expected tensors only. Received: a reference to {module}.{name}, "
                "which no checkpoint of weights needs."
            ) from None

    def persistent_load(self, pid: object) -> _Storage:
        match pid:
            case ("storage", str(dtype), str(key), str(), int(count), *rest) if (
                count >= 0 and rest in ([], [None]) and dtype in _STORAGE_DTYPES.values()
            ):
                storage = _Storage(key, np.dtype(dtype), count)
                self.storages.append(storage)
                return storage
        raise CheckpointError(f"Expected a reference to a storage. Received: {_brief(pid)}")


def _rebuild_tensor(
    storage: object, offset: object, shape: object, strides: object, *_gradient_and_hooks: object
) -> _Tensor:
    if not (isinstance(storage, _Storage) and _is_size(offset) and _are_sizes(shape) and _are_sizes(strides)):
        raise CheckpointError(
            "Expected a storage, an offset, a shape and strides. "
            f"Received: {_brief(storage)}, {_brief(offset)}, {_brief(shape)}, {_brief(strides)}"
        )
    tensor = _Tensor(storage, offset, shape, strides)
    if not tensor.fits():
        raise CheckpointError(f"Expected a tensor inside its storage. Received: {_brief(tensor)}")
    return tensor


def _is_size(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0


def _are_sizes(value: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(value, tuple) and len(value) <= _MAX_RANK and all(map(_is_size, value))


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
