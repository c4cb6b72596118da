"""Reads forms of files (`multipart/form-data`), one part at a time as they arrive."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from headstart_server.api.http.body import PieceBuffer
from headstart_server.errors import InputTooLarge, InvalidField

_MAX_HEADER_BYTES = 8192
#: Maximum semicolons in a header, each of which may begin an option.
_MAX_OPTIONS = 64
#: Bytes that are parsed before other tasks can run: if parts end in them, and at most.
_STEP_BYTES, _LARGE_STEP_BYTES = 1024, 65536


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One field of a form."""

    name: str
    filename: str | None  # the file's name, with folders if the sender set them; None for a value
    media_type: str  # the media type of the content, in lowercase; empty if it is missing
    content: bytes


def options_of(header: str) -> tuple[str, dict[str, str]]:
    """Return a header's value in lowercase, and its options. Raise InvalidField if it has too many."""
    # The time of the parser grows with their square.
    if header.count(";") > _MAX_OPTIONS:
        raise InvalidField(f"A header has more than {_MAX_OPTIONS} semicolons. Send fewer parameters.")
    value, options = parse_options_header(header.encode("latin-1", errors="replace"))
    return value.decode("latin-1").lower(), {
        name.decode("latin-1").lower(): text.decode("utf-8", errors="replace")
        for name, text in options.items()
    }


async def parts_of(pieces: AsyncIterator[bytes], boundary: str, most: int) -> AsyncGenerator[Part, None]:
    """Yield the parts of a form.

    Args:
        boundary: the separator of parts, from the header of the request.
        most: maximum bytes of one part.
    """
    if not boundary:
        raise InvalidField("The content type multipart/form-data is incomplete: its boundary is missing.")
    reader, step = _Reader(most), _STEP_BYTES
    try:
        parser = MultipartParser(boundary.encode("latin-1", errors="replace"), reader.callbacks())
        async for piece in pieces:
            # A piece may hold thousands of parts, or a fraction of one, for which larger steps are faster.
            start = 0
            while start < len(piece):
                parser.write(piece[start : start + step])
                start += step
                done = reader.taken()
                for options, media_type, content in done:
                    yield Part(
                        name=options["name"],
                        filename=options.get("filename"),
                        media_type=media_type,
                        content=await content.joined(),
                    )
                step = _STEP_BYTES if done else min(2 * step, _LARGE_STEP_BYTES)
                await asyncio.sleep(0)
        parser.finalize()
    except FormParserError as error:
        raise InvalidField(f"Expected a form of multipart/form-data. Received: {error}.") from None
    if not reader.ended:
        raise InvalidField("The multipart/form-data form is incomplete: its final boundary is missing.")


class _Reader:
    """Gather parts from the callbacks of the parser."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._done: list[tuple[Mapping[str, str], str, PieceBuffer]] = []
        self._count = 0
        self.ended = False
        self._begin()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_name,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_content,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def taken(self) -> list[tuple[Mapping[str, str], str, PieceBuffer]]:
        """Return the options of the name, the media type and the content of the parts that have ended."""
        done, self._done = self._done, []
        return done

    def _begin(self) -> None:
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._content = PieceBuffer()

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]
        self._count_header(end - start)

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._count_header(end - start)

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise InvalidField(
                f"The headers of part {self._count} of the form are too large. "
                f"Send at most {_MAX_HEADER_BYTES} bytes."
            )

    def _end_header(self) -> None:
        # Headers are read as Latin-1; `options_of` decodes the UTF-8 names of fields and files.
        self._headers[self._name.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._name, self._value = bytearray(), bytearray()

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        self._content.add(data[start:end])
        if len(self._content) > self._most:
            raise InputTooLarge(
                f"Part {self._count} of the form is too large. Send at most {self._most} bytes.",
                field=f"parts[{self._count}]",
            )

    def _end(self) -> None:
        _, options = options_of(self._headers.get("content-disposition", ""))
        media_type, _ = options_of(self._headers.get("content-type", ""))
        if "name" not in options:
            raise InvalidField(
                f"Part {self._count} of the form has no name. Name it in its Content-Disposition header.",
                field=f"parts[{self._count}]",
            )
        self._done.append((options, media_type, self._content))
        self._count += 1
        self._content = PieceBuffer()

    def _finish(self) -> None:
        self.ended = True
