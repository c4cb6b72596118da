"""Checks of parsed requests against the table of limits, as steps built once for each message type."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from headstart_server.api.grpc.requests.limit import Limit, number, size
from headstart_server.api.grpc.requests.limits import LIMITS
from headstart_server.errors import HeadstartError
from headstart_server.learning.examples.example_checks import CONTROL_CHARACTERS

#: Maximum characters of a text in an error.
_SHOWN = 80
_CONTROL = re.compile(f"[{CONTROL_CHARACTERS}\ud800-\udfff]")
_CONTROL_IN_PROSE = re.compile(f"(?![\t\n\r]){_CONTROL.pattern}")

#: Checks one field of a message, given the number of bytes it was parsed from.
Step = Callable[[Any, int], None]
#: Checks one value of a field.
ValueCheck = Callable[[Any], None]


class LimitExceededError(Exception):
    """A field of a message exceeds its limit.

    Args:
        expected: the allowed content of the field, in words.
    """

    def __init__(self, limit: Limit, expected: str, received: str, remedy: str) -> None:
        super().__init__(expected)
        #: The path of the field, from the outermost message.
        self.path: list[str] = []
        self._limit = limit
        self._expected, self._received, self._remedy = expected, received, remedy

    def within(self, *path: str) -> "LimitExceededError":
        """Prepend the names of the enclosing messages to the path; return the error."""
        self.path[:0] = path
        return self

    def error(self) -> HeadstartError:
        """Return the error for the caller."""
        field = ".".join(self.path)
        return self._limit.error(
            f"Expected {self._expected} in {field}. Received: {self._received}. {self._remedy}", field=field
        )


def too_many(limit: Limit, received: str) -> LimitExceededError:
    """Return the error of a repeated field or map with too many entries."""
    return LimitExceededError(
        limit, f"at most {limit.entries} entries", received, "Send fewer, or split the request."
    )


def too_long(limit: Limit, received: str) -> LimitExceededError:
    """Return the error of a text or bytes that exceed the limit."""
    most = size(limit.nbytes) if limit.nbytes is not None else f"{limit.characters} characters"
    return LimitExceededError(limit, f"at most {most}", received, "Send a shorter value.")


def check_request(message: Message, nbytes: int | None = None) -> None:
    """Check a request against the limits of its fields.

    Args:
        nbytes: number of bytes it was parsed from, which no value in it exceeds; None if unknown.
    """
    try:
        checks_of(message.DESCRIPTOR).run(message, 1 << 62 if nbytes is None else nbytes)
    except LimitExceededError as exceeded:
        raise exceeded.error() from None


def check_text(text: str, field: str) -> None:
    """Check a text to predict that came as bytes, against the limit of `Input.text`.

    Raise InvalidField if it is too long, or has a NUL character.
    """
    try:
        _INPUT_TEXT(text)
    except LimitExceededError as exceeded:
        raise exceeded.within(field).error() from None


class SingleValue(NamedTuple):
    """A field with a single value, and the check of values that are not its default."""

    name: str
    check: ValueCheck
    longest: int  # bytes of a message up to which the value needs no check


class Checks(NamedTuple):
    """The checks of a type of message."""

    values: tuple[SingleValue, ...]
    steps: tuple[Step, ...]  # of the other fields

    def run(self, message: Any, nbytes: int) -> None:
        """Check one message that was parsed from `nbytes` bytes.

        Raise LimitExceededError if a field exceeds its limit.
        """
        # A loop, because most fields are unset, and a call for each would take most of the time.
        for name, check, longest in self.values:
            if nbytes > longest and (value := getattr(message, name)):
                try:
                    check(value)
                except LimitExceededError as exceeded:
                    raise exceeded.within(name) from None
        for step in self.steps:
            step(message, nbytes)


@cache
def checks_of(kind: Descriptor) -> Checks:
    """Return the checks of a message type; fields that are limited by their type have none.

    Raise ValueError if a field has no limit, or the type contains itself.
    """
    return _checks(kind, ())


def _checks(kind: Descriptor, above: tuple[str, ...]) -> Checks:
    if kind.full_name in above:
        raise ValueError(f"{kind.full_name} contains itself. Give requests a bounded depth.")
    inside = (*above, kind.full_name)
    found = [_check(field, inside) for field in kind.fields]
    return Checks(
        tuple(each for each in found if isinstance(each, SingleValue)),
        tuple(each for each in found if each is not None and not isinstance(each, SingleValue)),
    )


def limit_of(field: FieldDescriptor) -> Limit | None:
    """Return the limit of a field; None if its type limits it.

    Raise ValueError if the field needs a limit and has none.
    """
    limit = LIMITS.get(field.full_name)
    if limit is None and (field.is_repeated or field.type not in _LIMITED_TYPES):
        raise ValueError(
            f"{field.full_name} has no limit. Add it to the table in api/grpc/requests/limits.py."
        )
    return limit


_LIMITED_TYPES = frozenset(
    {FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_ENUM, FieldDescriptor.TYPE_MESSAGE}
)


def _check(field: FieldDescriptor, above: tuple[str, ...]) -> SingleValue | Step | None:
    limit = limit_of(field)
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return _map_step(field, limit or Limit(), above)
    if inner is not None:
        checks = _checks(inner, above)
        if field.is_repeated:
            return _messages_step(field.name, limit or Limit(), checks)
        return _message_step(field.name, checks) if any(checks) else None
    if limit is None:
        return None
    check, is_data = _value_check(field, limit), field.type == FieldDescriptor.TYPE_BYTES
    if field.is_repeated:
        return _values_step(field.name, limit, check, is_data=is_data)
    return None if check is _accept else _single_value(field, limit, check)


def _single_value(field: FieldDescriptor, limit: Limit, check: ValueCheck) -> SingleValue | Step:
    if field.has_presence and limit.low is not None and limit.low > 0:
        return _present_value_step(field.name, check)
    is_data = field.type == FieldDescriptor.TYPE_BYTES
    return SingleValue(field.name, check, (limit.nbytes or 0) if is_data else 0)


def _message_step(name: str, checks: Checks) -> Step:
    def check(part: Any, nbytes: int) -> None:
        if part.HasField(name):
            try:
                checks.run(getattr(part, name), nbytes)
            except LimitExceededError as exceeded:
                raise exceeded.within(name) from None

    return check


def _messages_step(name: str, limit: Limit, checks: Checks) -> Step:
    most = limit.entries or 0
    is_unchecked = not any(checks)

    def check(part: Any, nbytes: int) -> None:
        messages = getattr(part, name)
        count = len(messages)
        if count > most:
            raise too_many(limit, str(count)).within(name)
        if is_unchecked:
            return
        place = 0
        try:
            # An index, because iteration ends with an error of protobuf, whose text takes as long to create
            # as the check of a message.
            for place in range(count):
                checks.run(messages[place], nbytes)
        except LimitExceededError as exceeded:
            raise exceeded.within(f"{name}[{place}]") from None

    return check


def _map_step(field: FieldDescriptor, limit: Limit, above: tuple[str, ...]) -> Step:
    name, most = field.name, limit.entries or 0
    entry: Any = field.message_type
    key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
    check_key = _value_check(key_field, limit_of(key_field) or Limit())
    check_value = _map_value_check(value_field, above)

    def check(part: Any, nbytes: int) -> None:
        entries = getattr(part, name)
        count = len(entries)
        if count > most:
            raise too_many(limit, str(count)).within(name)
        for key in entries:
            try:
                check_key(key)
            except LimitExceededError as exceeded:
                raise exceeded.within(name, "key") from None
            if check_value is not None:
                try:
                    check_value(entries[key], nbytes)
                except LimitExceededError as exceeded:
                    raise exceeded.within(f"{name}[{key!r}]") from None

    return check


def _map_value_check(field: FieldDescriptor, above: tuple[str, ...]) -> Step | None:
    if field.message_type is not None:
        return _checks(field.message_type, above).run
    check = _value_check(field, limit_of(field) or Limit())
    return lambda value, _: check(value)


def _values_step(name: str, limit: Limit, check_value: ValueCheck, *, is_data: bool) -> Step:
    most, longest = limit.entries or 0, limit.nbytes or 0
    is_unchecked = check_value is _accept

    def check(part: Any, nbytes: int) -> None:
        values = getattr(part, name)
        count = len(values)
        if count > most:
            raise too_many(limit, str(count)).within(name)
        if limit.unique and len(set(values)) < count:
            raise _repeated(limit, values).within(name)
        if is_unchecked or (is_data and nbytes <= longest):
            return
        place = 0
        try:
            for place, value in enumerate(values):  # noqa: B007 - the index at which the loop stopped
                check_value(value)
        except LimitExceededError as exceeded:
            raise exceeded.within(f"{name}[{place}]") from None

    return check


def _present_value_step(name: str, check_value: ValueCheck) -> Step:
    """Return the check of a number that may be unset and whose range excludes 0."""

    def check(part: Any, _: int) -> None:
        if part.HasField(name):
            try:
                check_value(getattr(part, name))
            except LimitExceededError as exceeded:
                raise exceeded.within(name) from None

    return check


def _value_check(field: FieldDescriptor, limit: Limit) -> ValueCheck:
    if field.type == FieldDescriptor.TYPE_STRING:
        return _text_check(limit)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _data_check(limit)
    if limit.low is None or limit.high is None:
        return _accept
    return _number_check(limit, limit.low, limit.high)


def _accept(_: Any) -> None:
    """Accept any value."""


def _text_check(limit: Limit) -> ValueCheck:
    characters, nbytes = limit.characters, limit.nbytes
    # A character takes at most four bytes in UTF-8.
    short = (characters or 0) if nbytes is None else nbytes // 4
    control = _CONTROL_IN_PROSE if limit.prose else _CONTROL

    def check(text: str) -> None:
        if len(text) > short:
            length = len(text) if nbytes is None else len(text.encode(errors="replace"))
            if nbytes is None or length > nbytes:
                raise too_long(limit, f"{length}, beginning with {text[:_SHOWN]!r}")
        if limit.lines:
            if "\0" in text:
                raise _bad_character(limit, "no NUL character", 0, text.index("\0"))
        elif not text.isprintable() and (found := control.search(text)):
            raise _bad_character(limit, limit.no_controls, ord(found[0]), found.start())

    return check


def _data_check(limit: Limit) -> ValueCheck:
    longest = limit.nbytes or 0

    def check(value: bytes) -> None:
        if len(value) > longest:
            raise too_long(limit, f"{len(value)} bytes")

    return check


def _number_check(limit: Limit, low: float, high: float) -> ValueCheck:
    def check(value: float) -> None:
        # Written so that NaN fails.
        if not low <= value <= high:
            raise LimitExceededError(limit, str(limit), number(value), "Choose a number in this range.")

    return check


def _bad_character(limit: Limit, expected: str, code: int, place: int) -> LimitExceededError:
    return LimitExceededError(limit, expected, f"U+{code:04X} as character {place}", "Remove it.")


def _repeated(limit: Limit, values: Sequence[Any]) -> LimitExceededError:
    twice, _ = Counter(values).most_common(1)[0]
    shown = repr(twice[:_SHOWN]) if isinstance(twice, str) else repr(twice)
    return LimitExceededError(limit, "each entry once", f"{shown} twice", "Name each once.")


_INPUT_TEXT = _text_check(LIMITS["headstart.v1.Input.text"])
