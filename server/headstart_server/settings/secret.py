"""A value that is never printed."""

from collections.abc import Callable
from typing import Any, Generic, NoReturn, TypeVar, final

Value = TypeVar("Value", str, bytes)

_HIDDEN = "***"


@final
class Secret(Generic[Value]):
    """A password, token, key, or a URL that may contain one.

    ``reveal`` returns the value. Text, logs, tracebacks and error messages contain ``***`` in its place. A
    secret cannot be pickled or written as JSON.

    Args:
        value: the secret value.
    """

    __slots__ = ("_reveal",)

    def __init__(self, value: Value) -> None:
        # In a closure: tools that print the attributes of an object print no value.
        self._reveal: Callable[[], Value] = lambda: value

    @staticmethod
    def of(value: "Secret[str] | str | None") -> "Secret[str] | None":
        """Return a text as a secret; None for None and for an empty text."""
        if value is None or isinstance(value, Secret):
            return value
        return Secret(value) if value else None

    def reveal(self) -> Value:
        """Return the value, to use it and not to print it."""
        return self._reveal()

    def __repr__(self) -> str:
        return _HIDDEN

    def __str__(self) -> str:
        return _HIDDEN

    def __format__(self, spec: str) -> str:
        return _HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and bool(self.reveal() == other.reveal())

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("A secret cannot be pickled or copied into another process. Pass its value on stdin.")

    def __copy__(self) -> "Secret[Value]":
        return self

    def __deepcopy__(self, memo: Any) -> "Secret[Value]":
        return self
