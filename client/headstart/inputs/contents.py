"""Contents of inputs in all supported types, and their messages."""

import errno
import http.client
import io
import os
import stat
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path, PurePath
from typing import Any, Final, Protocol, TypeAlias, cast
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from headstart.control_characters import without_controls
from headstart.inputs import tensors
from headstart.inputs.npy import read_npy
from headstart.v1 import input_pb2

MAX_INPUT_BYTES: Final = 64 * 2**20 - 4096
"""Size of the largest input that fits into one message."""

_MAX_CHARACTERS: Final = 60  # characters of a text in an error
_MAX_ID_BYTES: Final = 256
_URL_SECONDS: Final = 60.0
_PNG_MODES: Final = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16"})
_EXPECTED: Final = (
    "An input must be a path, bytes, a numpy array, a PIL image, an open file, a headstart.Text or a "
    "headstart.URL"
)


@dataclass(frozen=True, slots=True)
class Text:
    """A text, because a plain `str` is a path.

    Attributes:
        text: the text.

    Raises:
        TypeError: the text is not a `str`.
    """

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            missing = self.text is None or self.text != self.text  # NaN differs from itself
            hint = ". Drop empty cells first, such as with DataFrame.dropna()" if missing else ""
            raise TypeError(f"A text must be a str. Received: {self.text!r}{hint}")


@dataclass(frozen=True, slots=True)
class URL:
    """A URL that the client downloads an input from.

    Attributes:
        url: the address, ``http://`` or ``https://``. A path that ends in ``.txt`` or ``.npy`` is read as in
            `Content`.
    """

    url: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The place of an input in a table whose row is invalid; `input_message` raises the error."""

    error: TypeError | ValueError


class ReadableFile(Protocol):
    """An open file: bytes of an image file, or, in text mode, a text."""

    def read(self) -> bytes | str:
        """Return the rest of the file."""


class PillowImage(Protocol):
    """A Pillow image."""

    mode: str

    def save(self, fp: Any, format: str, **settings: Any) -> None:
        """Write the image."""


class ArrayLike(Protocol):
    """A value that numpy converts to an array, such as a pandas Series or a PyTorch tensor."""

    def __array__(self) -> NDArray[Any]:
        """Return the array."""


Content: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | NDArray[Any]
    | Text
    | URL
    | ReadableFile
    | PillowImage
    | ArrayLike
)
"""One input.

- A path. Its suffix selects the type: ``.txt`` a UTF-8 text, ``.npy`` an array, any other an image.
- The bytes of an image file, a Pillow image, or an open file (in text mode a text).
- An array: decoded pixels, uint8 of shape [height, width], [height, width, 1], [height, width, 3] or
  [height, width, 4] (RGBA), or one row of features. A pandas Series of numbers is a row; a PyTorch tensor
  is a row, or an image of shape [channels, height, width].
- A `Text`, or a `URL` that the client downloads.
"""


def input_message(content: Content | Sequence[float] | Unreadable) -> input_pb2.Input:
    """Return the message of a content; read it if it is a path, an open file or a URL."""
    if isinstance(content, Unreadable):
        raise content.error
    if isinstance(content, str | os.PathLike):
        return _file_message(content)
    if isinstance(content, np.ndarray):
        return input_pb2.Input(tensor=tensors.encode(_pixels(content)))
    if isinstance(content, bytes | bytearray | memoryview):
        return _image_message(bytes(content), "the bytes")
    if isinstance(content, Text):
        return text_message(content.text)
    if isinstance(content, URL):
        return _url_message(content.url)
    return _foreign_message(content)


def text_message(text: str) -> input_pb2.Input:
    """Return the message of a text."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"A text must be valid Unicode. Received: {text[:_MAX_CHARACTERS]!a}") from None
    _check_size(size, "the text")
    return input_pb2.Input(text=text)


def content_name(content: object) -> str:
    """Return the path or URL of a content for messages; empty for other contents."""
    if isinstance(content, str | os.PathLike):
        return os.fspath(content)
    return content.url if isinstance(content, URL) else ""


def path_id(path: PurePath, before: str = "") -> str:
    """Return the ID of an example at a path: the path, or its end if it is too long."""
    encoded = f"{before}{path.as_posix()}".encode(errors="replace")
    return encoded[-_MAX_ID_BYTES:].decode(errors="ignore")


def _foreign_message(content: object) -> input_pb2.Input:
    """Return the message of another library's value, without importing that library."""
    if isinstance(content, list | tuple) and content and all(map(_is_number, content)):
        return input_pb2.Input(tensor=tensors.encode(np.asarray(content, dtype=np.float64)))
    if callable(getattr(content, "save", None)) and isinstance(getattr(content, "mode", None), str):
        return _image_message(_png(cast(PillowImage, content)), "the image as PNG")
    if callable(read := getattr(content, "read", None)):
        name = getattr(content, "name", None)
        place = name if isinstance(name, str) else "the open file"
        try:
            data = read()
        except UnicodeDecodeError:
            raise ValueError(
                f"{place} is open in text mode, but is not a text in UTF-8. Open an image with "
                "open(path, 'rb')"
            ) from None
        if not data:
            raise ValueError(f"{place} is empty, or was read to its end before. Use seek(0) to read it again")
        return text_message(data) if isinstance(data, str) else _image_message(bytes(data), place)
    if hasattr(content, "__array__") and not isinstance(content, np.generic):
        array = _array(content)
        if array.dtype.kind in "fiub":
            return input_pb2.Input(tensor=tensors.encode(_pixels(array)))
        raise TypeError(
            f"{_EXPECTED}. Received: {type(content).__qualname__} of {array.dtype}. Give texts as texts=..., "
            "and several paths as a list"
        )
    hint = ""
    if _is_number(content):
        hint = ". One row of features is a numpy array, several are features=[[...], [...]]"
    raise TypeError(f"{_EXPECTED}. Received: {type(content).__qualname__}{hint}")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _array(content: Any) -> NDArray[Any]:
    """Return the array of a Series or a tensor, with an image's channels last."""
    if not hasattr(content, "detach"):
        return np.asarray(content)
    array: NDArray[Any] = content.detach().cpu().numpy()
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)
        if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
            array = (array * 255).round().astype(np.uint8)  # inverts torchvision's ToTensor
    return array


def _pixels(array: NDArray[Any]) -> NDArray[Any]:
    """Return pixels as sent; raise ValueError for another element type."""
    if array.dtype.kind == "f" and array.ndim == 3 and array.shape[2] in (3, 4):
        scale = "(x * 255)" if array.size and array.max() <= 1 else "x"
        raise ValueError(
            f"Pixels must be uint8, 0 to 255. Received: {array.dtype} of shape {list(array.shape)}. "
            f'Convert them: {scale}.astype("uint8")'
        )
    if array.ndim == 1 and array.dtype.kind in "iub" and not tensors.is_encodable(array.dtype):
        return array.astype(np.float64)
    return array


def _png(image: PillowImage) -> bytes:
    file = io.BytesIO()
    if image.mode not in _PNG_MODES:
        image = cast(Any, image).convert("RGB")
    settings: dict[str, Any] = {}
    if exif := cast(Any, image).getexif():  # has the image's orientation
        settings["exif"] = exif
    image.save(file, "PNG", compress_level=1, **settings)
    return file.getvalue()


def _file_message(source: str | os.PathLike[str]) -> input_pb2.Input:
    path = Path(source)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "Expected a file. This is a folder", str(path))
        _check_size(status.st_size, str(path))
        return _named_message(str(path), path.suffix.lower(), path.read_bytes())
    except FileNotFoundError:
        hint = _missing_hint(source) if isinstance(source, str) else ""
        raise FileNotFoundError(errno.ENOENT, f"No such file{hint}", _shortened(os.fspath(source))) from None
    except (OSError, ValueError) as error:
        # A text is too long for a path, or has characters that a path cannot have.
        too_long = isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ENOTDIR)
        if isinstance(source, str) and (too_long or "null byte" in str(error)):
            hint = f"No such file{_missing_hint(source)}"
            raise FileNotFoundError(errno.ENOENT, hint, _shortened(source)) from None
        raise


def _missing_hint(source: str) -> str:
    if source.startswith(("http://", "https://")):
        return " (wrap a URL as headstart.URL to download it)"
    return " (a str is a path; wrap a text as headstart.Text)"


def _shortened(source: str | bytes) -> str:
    name = os.fsdecode(source)
    return name if len(name) <= 4 * _MAX_CHARACTERS else f"{name[:_MAX_CHARACTERS]}…"


def _named_message(name: str, suffix: str, data: bytes) -> input_pb2.Input:
    if suffix == ".npy":
        try:
            return input_pb2.Input(tensor=tensors.encode(read_npy(data)))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if suffix == ".txt":
        try:
            return input_pb2.Input(text=data.decode("utf-8"))
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ValueError(f"{name}, line {line}: the text is not UTF-8. Save it as UTF-8") from None
    return input_pb2.Input(image=data)


def _image_message(data: bytes, name: str) -> input_pb2.Input:
    _check_size(len(data), name)
    return input_pb2.Input(image=data)


def _check_size(size: int, name: str) -> None:
    if size > MAX_INPUT_BYTES:
        raise ValueError(
            f"{name} is too large: {size / 2**20:,.1f} MiB, at most {MAX_INPUT_BYTES / 2**20:.0f} MiB can be "
            "sent. Scale it down"
        )


def _url_message(url: str) -> input_pb2.Input:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"A URL must begin with http:// or https://. Received: {url!r}")
    try:
        with urllib.request.urlopen(url, timeout=_URL_SECONDS) as response:  # noqa: S310  # checked above
            data: bytes = response.read(MAX_INPUT_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise OSError(errno.EIO, f"HTTP status {error.code}", url) from None
    except (OSError, http.client.HTTPException) as error:
        reason = str(getattr(error, "reason", None) or error).strip() or type(error).__name__
        raise OSError(errno.EIO, f"The URL cannot be read: {without_controls(reason)}", url) from None
    _check_size(len(data), url)
    return _named_message(url, Path(parts.path).suffix.lower(), data)
