"""Arrays in numpy's file format, from files that may be damaged."""

import io
import lzma
import struct
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

# Of a damaged header, which numpy parses as Python, or of a damaged archive.
_INVALID: Final = (
    ValueError,
    TypeError,
    EOFError,
    SyntaxError,
    TokenError,
    OverflowError,
    MemoryError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)


def read_npy(data: bytes) -> NDArray[Any]:
    """Return the array of an ``.npy`` file; raise ValueError if it is another file, or has Python objects."""
    try:
        array: NDArray[Any] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except _INVALID as error:
        raise ValueError(f"a file of one numpy array is expected. {error}") from None
    return array


def read_npz(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Return the arrays of an ``.npz`` file that have these names; raise ValueError if it is another file."""
    found: dict[str, NDArray[Any]] = {}
    with path.open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                present = set(archive.namelist())
                for name in names:
                    if f"{name}.npy" in present:
                        with archive.open(f"{name}.npy") as member:
                            found[name] = np.lib.format.read_array(member, allow_pickle=False)
        except (*_INVALID, OSError) as error:  # OSError: a damaged position, or data that bz2 cannot expand
            raise ValueError(f"{path}: a file of numpy arrays is expected. {error}") from None
    return found
