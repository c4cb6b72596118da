"""The limit of one request field."""

from dataclasses import dataclass

from headstart_server.errors import HeadstartError, InvalidField

MAX_INT32, MAX_INT64 = (1 << 31) - 1, (1 << 63) - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """The limit of one field.

    Attributes:
        entries: maximum entries of a repeated field or a map; None for a single value.
        unique: whether entries must be unique.
        nbytes: maximum bytes of each value of bytes, or of each text in UTF-8.
        lines: whether a text may have line breaks, tabs and all control characters except NUL.
        prose: whether a text may have line breaks and tabs, but no other control characters.
        low, high: minimum and maximum of a number; None for the type's own.
        error: the error of an invalid text.
    """

    entries: int | None = None
    unique: bool = False
    characters: int | None = None
    nbytes: int | None = None
    lines: bool = False
    prose: bool = False
    low: float | None = None
    high: float | None = None
    model: bool = False
    dataset: bool = False
    error: type[HeadstartError] = InvalidField

    @property
    def no_controls(self) -> str:
        """The excluded control characters, in words."""
        return "no control characters" + (" except tabs and line breaks" if self.prose else "")

    def __str__(self) -> str:
        """Return the limit in words, as the protos state it."""
        parts = []
        if self.entries is not None:
            parts.append(f"at most {self.entries} entries{', each once' if self.unique else ''}")
        each = "each at most" if parts else "at most"
        if self.characters is not None:
            parts.append(f"{each} {self.characters} characters")
        if self.nbytes is not None:
            parts.append(f"{each} {size(self.nbytes)}")
        if self.characters is not None or (self.nbytes is not None and not self.lines):
            parts.append("no NUL" if self.lines else self.no_controls)
        if self.low is not None and self.high is not None:
            numbers = f"{number(self.low)} to {number(self.high)}"
            if self.high >= MAX_INT32:
                numbers = f"{number(self.low)} or more"
            parts.append(numbers)
        return ", ".join(parts)


def size(nbytes: int) -> str:
    """Return a number of bytes as text."""
    return f"{nbytes >> 20} MiB" if nbytes and nbytes % (1 << 20) == 0 else f"{nbytes} bytes"


def number(value: float) -> str:
    """Return a number as it is written in errors and comments."""
    return f"{value:.10g}" if isinstance(value, float) else str(value)
