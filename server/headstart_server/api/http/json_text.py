"""Read JSON without blocking other work, even for adversarial texts.

Python's `json` keeps the interpreter's lock until it has read a whole text, even in a thread, so it is only
used for small texts, and for rows of few values. Larger ones are read token by token in separate threads, up
to a maximum number of values, and long strings in parts.
"""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from headstart_server.api.grpc.executors import CallPool
from headstart_server.api.grpc.requests.limits import MAX_TEXT
from headstart_server.api.http.long_strings import LongString

#: Larger texts are read in a thread, token by token.
SMALL_BYTES = 32 << 10
#: Bytes from which copying runs in a thread.
_LARGE_BYTES = 1 << 20
#: Maximum values of one text, and their maximum nesting depth.
MAX_VALUES, MAX_DEPTH = 100_000, 64
#: Values that Python reads in a few milliseconds, together with strings of 1 MiB.
FEW_VALUES = 10_000

# Matching keeps the lock, so each match is bounded; a match without a token has spaces only.
_TOKEN = re.compile(rb'[ \t\r\n]{0,65536}+(?:([\[\]{},:"]|[^\s\[\]{},:"]{1,400}|$)|(?=[ \t\r\n]))')
# Some characters of a string, which end neither within UTF-8 nor between the halves of a surrogate pair.
_CHARACTERS = re.compile(
    rb'(?:[^"\\\x80-\xff]{1,64}+|[\xc0-\xff][\x80-\xbf]{0,3}+|[\x80-\xbf]|(?:\\[^u]){1,64}+'
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\u){1,4096}+",
)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LITERALS = {b"true": True, b"false": False, b"null": None}

_Result = TypeVar("_Result")

_POOL = CallPool(2, "json")


async def in_json_thread(work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Run the reading of a large text in a thread."""
    return await asyncio.get_running_loop().run_in_executor(_POOL, work, *arguments)


async def copied(nbytes: int, work: Callable[..., _Result], *arguments: Any) -> _Result:
    """Run a copy of a number of bytes, in a thread if they are many."""
    return await in_json_thread(work, *arguments) if nbytes > _LARGE_BYTES else work(*arguments)


def load_json(text: bytes) -> Any:
    """Return the value of a JSON text.

    Raise ValueError if it is not JSON, repeats a key in an object, has half of a surrogate pair, or has too
    many or too deep values.
    """
    if len(text) > SMALL_BYTES:
        return _Reader(text).read()
    try:
        values = json.loads(text.decode(), object_pairs_hook=_object)
        if _SURROGATE.search(text):
            _check_characters(json.dumps(values, ensure_ascii=False))
    except RecursionError:
        raise _too_deep() from None
    return values


def load_row(text: str) -> Any:
    """Return the value of a row of JSON lines, whose characters the caller limits.

    Raise ValueError if it is not JSON; a row of many values also if it repeats a key, or has too deep values.
    """
    # A comma or a bracket precedes each value except the first.
    if text.count(",") + text.count("[") + text.count("{") > FEW_VALUES:
        return _Reader(text.encode(), max_values=len(text)).read()
    return json.loads(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        for name, _ in pairs:
            if name not in values:
                raise _twice(name)
            del values[name]
    return values


class _Reader:
    """Read one text.

    Args:
        text: the text in UTF-8.
        max_values: maximum number of values.
    """

    def __init__(self, text: bytes, max_values: int = MAX_VALUES) -> None:
        self._text = text
        self._max_values = max_values
        self._place = 0
        self._values = 0
        #: The containers around the next value, and the current key of each container that is an object.
        self._around: list[_Object | _List] = []
        self._keys: list[str] = []

    def read(self) -> Any:
        while True:
            value = self._value()
            if value is _OPENED:
                continue
            while True:
                if not self._around:
                    if self._token():
                        raise self._wrong("the end")
                    return value
                self._add(value)
                token = self._token()
                if token == b",":
                    if isinstance(self._around[-1], dict):
                        self._key(self._token())
                    break
                if token != (b"}" if isinstance(self._around[-1], dict) else b"]"):
                    raise self._wrong("a comma or the end of the list or object")
                value = self._close()

    def _token(self) -> bytes:
        token = None
        while token is None:
            match = _TOKEN.match(self._text, self._place)
            if match is None:
                raise self._wrong("a value")
            self._place = match.end()
            token = match[1]
        return token

    def _value(self) -> Any:
        """Return the next value, or `_OPENED` if a container begins that is not empty."""
        self._count()
        token = self._token()
        if token == b'"':
            return self._string()
        if token in (b"{", b"["):
            return self._open(token)
        if token in _LITERALS:
            return _LITERALS[token]
        number = _NUMBER.fullmatch(token)
        if number is None:
            raise self._wrong("a value")
        return float(token) if number[1] or number[2] else int(token)

    def _open(self, token: bytes) -> Any:
        if len(self._around) >= MAX_DEPTH:
            raise _too_deep()
        container = _Object() if token == b"{" else _List()
        self._around.append(container)
        self._keys.append("")
        start = self._place
        following = self._token()
        if following == (b"}" if token == b"{" else b"]"):
            return self._close()
        if token == b"{":
            self._key(following)
        else:
            self._place = start
        return _OPENED

    def _close(self) -> Any:
        self._keys.pop()
        return self._around.pop()

    def _key(self, token: bytes) -> None:
        if token != b'"':
            raise self._wrong("a name in quotes")
        key = self._string()
        if not isinstance(key, str):
            raise ValueError(f"a key of more than {MAX_TEXT} characters")
        if self._token() != b":":
            raise self._wrong("a colon")
        if key in self._around[-1]:
            raise _twice(key)
        self._keys[-1] = key

    def _add(self, value: Any) -> None:
        container = self._around[-1]
        if isinstance(container, dict):
            container[self._keys[-1]] = value
        else:
            container.append(value)

    def _string(self) -> str | LongString:
        """Return the string whose opening quote was read."""
        text, start = self._text, self._place
        end = text.find(b'"', start)
        if end < 0:
            raise self._wrong("the end of a string")
        if text.find(b"\\", start, end) >= 0:
            return self._escaped()
        self._place = end + 1
        if end - start > 4 * MAX_TEXT:
            return LongString(text[start:end])
        value = self._characters(start, end)
        return value if len(value) <= MAX_TEXT else LongString(text[start:end])

    def _escaped(self) -> str | LongString:
        parts, size = [], 0
        while match := _CHARACTERS.match(self._text, self._place):
            parts.append(self._characters(*match.span()))
            size += len(parts[-1])
            self._place = match.end()
        if self._text[self._place : self._place + 1] != b'"':
            raise self._wrong("the end of a string")
        self._place += 1
        if size <= MAX_TEXT:
            return "".join(parts)
        return LongString(b"".join([part.encode() for part in parts]))

    def _characters(self, start: int, end: int) -> str:
        """Return a part of a string. Raise ValueError for control characters and invalid escapes."""
        try:
            characters: str = json.loads(f'"{self._text[start:end].decode()}"')
        except json.JSONDecodeError as error:
            message = error.msg[0].lower() + error.msg[1:]
            raise ValueError(f"no JSON: {message.removesuffix(' at')} in a string at byte {start}") from None
        _check_characters(characters)
        return characters

    def _count(self) -> None:
        self._values += 1
        if self._values > self._max_values:
            raise ValueError(
                f"more than {self._max_values} values. Send them in several requests, or examples as JSON "
                "lines"
            )

    def _wrong(self, wanted: str) -> ValueError:
        found = bytes(self._text[self._place - 1 : self._place + 19])
        return ValueError(f"no JSON: {wanted} is missing at byte {self._place}, before {found!r}")


_OPENED = object()


class _Object(dict[str, Any]):
    """An object of a large text; errors that contain it stay short."""

    def __repr__(self) -> str:
        return "an object"


class _List(list[Any]):
    """A list of a large text; errors that contain it stay short."""

    def __repr__(self) -> str:
        return "a list"


def _check_characters(text: str) -> None:
    """Raise ValueError for half of a surrogate pair, which no message, file or response can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        raise ValueError(f"half of a surrogate pair, \\u{half:04x}. Send whole characters") from None


def _too_deep() -> ValueError:
    return ValueError(f"values that are nested more than {MAX_DEPTH} levels deep")


def _twice(key: str) -> ValueError:
    return ValueError(f"the key {key[:80]!r} twice in one object")
