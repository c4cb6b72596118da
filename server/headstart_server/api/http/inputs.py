"""The limits of requests, and the reading of inputs in their bodies."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from headstart.v1 import input_pb2
from headstart_server.api.http.body import read_within
from headstart_server.api.http.body_storage import BodyStorage
from headstart_server.api.http.forms import Part
from headstart_server.errors import InvalidField, MessageTooLarge

#: Maximum bytes of one JSON text: reading it takes several times its size in memory.
MAX_JSON_BYTES = 16 << 20
FORM = "multipart/form-data"
#: Media types of JSON, and default media types of clients.
_JSON = frozenset({"", "application/json", "text/json", "text/plain", "application/x-www-form-urlencoded"})
#: First bytes of files that may be sent with the content type of JSON by mistake, and their content types.
_BEGINNINGS = (
    (b"\xff\xd8\xff", "a JPEG image", "image/jpeg"),
    (b"\x89PNG", "a PNG image", "image/png"),
    (b"GIF8", "a GIF image", "image/gif"),
    (b"RIFF", "a WebP image", "image/webp"),
    (b"BM", "a BMP image", "image/bmp"),
    (b"PK\x03\x04", "a ZIP archive", "application/zip"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadLimits:
    """The size limits of requests."""

    message_bytes: int
    input_bytes: int
    dataset_bytes: int
    examples: int
    inputs: int
    storage: BodyStorage  # stores bodies that can only be read as a whole

    @property
    def json_bytes(self) -> int:
        """Maximum bytes of a message as JSON with bytes in base64; larger messages need other forms."""
        return min(self.message_bytes * 4 // 3 + (64 << 10), MAX_JSON_BYTES)


def check_json(media_type: str, others: str) -> None:
    """Check that a body may be JSON.

    Args:
        others: the other accepted media types, for the error.
    """
    if media_type not in _JSON and not media_type.endswith("+json"):
        raise InvalidField(
            f"Expected a content-type of {others}, {FORM} or application/json. Received: {media_type[:80]!r}."
        )


def json_body(media_type: str) -> str:
    """Return the name of a body that is read as JSON, for errors."""
    if media_type == "application/json":
        return "the body"
    return f"the body (content type: {media_type[:80] or 'missing'})"


def check_json_size(text: bytes, limits: UploadLimits) -> None:
    """Check the size of a JSON text inside a body."""
    if len(text) > limits.json_bytes:
        raise json_too_large(limits.json_bytes)


async def read_json_body(pieces: AsyncIterator[bytes], media_type: str, limits: UploadLimits) -> bytes:
    """Return a body of JSON. Raise InvalidField if it is a file of another kind."""
    try:
        return await read_within(_checked(pieces, media_type), limits.json_bytes)
    except MessageTooLarge:
        raise json_too_large(limits.json_bytes) from None


async def _checked(pieces: AsyncIterator[bytes], media_type: str) -> AsyncIterator[bytes]:
    is_first = True
    async for piece in pieces:
        if is_first:
            _check_beginning(piece, media_type)
        is_first = False
        yield piece


def _check_beginning(piece: bytes, media_type: str) -> None:
    """Raise InvalidField if a body is a file whose content type is missing or wrong."""
    for beginning, kind, expected in _BEGINNINGS:
        if piece.startswith(beginning):
            given = f"The content type is {media_type[:80]}" if media_type else "The content type is missing"
            raise InvalidField(f"{given}, and the body is {kind}. Send it with the content type {expected}.")


def json_too_large(most: int) -> MessageTooLarge:
    """Return the error of JSON with more bytes."""
    return MessageTooLarge(
        f"The JSON has more than {most} bytes. Send inputs as files of a form or as raw bodies, and examples "
        "as JSON lines, a form or a ZIP archive."
    )


def set_input(message: input_pb2.Input, part: Part) -> None:
    """Set an input to a part of a form: a text if the part is a value or has a text type, else an image."""
    if part.media_type.startswith("text/") or (part.filename is None and not part.media_type):
        set_text(message, part.content, f"the field {part.name[:80]!r}")
    else:
        message.image = part.content


def set_text(message: input_pb2.Input, content: bytes, where: str) -> None:
    """Set an input to a text. Raise InvalidField if it is not in UTF-8."""
    try:
        message.text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidField(f"Expected a text in UTF-8 in {where}. Received: {error.reason}.") from None
