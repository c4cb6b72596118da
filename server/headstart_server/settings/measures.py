"""The kinds of values with units."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from headstart_server.settings import units
from headstart_server.settings.kinds import Kind, quoted
from headstart_server.settings.units import written


@dataclass(frozen=True)
class Measure(Kind):
    """A number with a unit; `min` and `max` are texts of the same kind."""

    min: str
    max: str
    #: Functions that read a text and write a value.
    _units: ClassVar[tuple[Callable[[str], float], Callable[[Any], str]]]

    def parse(self, text: str) -> Any:
        return self.check(self._units[0](text))

    def of_toml(self, value: object) -> Any:
        if not isinstance(value, str):
            raise ValueError(
                f"Expected a string with a unit, such as {quoted(self.example)}. Received: {written(value)}."
            )
        return self.parse(value)

    def check(self, value: Any) -> Any:
        parse = self._units[0]
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not parse(self.min) <= value <= parse(self.max):
            received = self.format(value) if number else written(value)
            raise ValueError(f"Expected {self.min} to {self.max}. Received: {received}.")
        return value

    def format(self, value: Any) -> str:
        return self._units[1](value)


@dataclass(frozen=True)
class Size(Measure):
    """Bytes."""

    min: str = "1B"
    max: str = "1024TiB"
    metavar: ClassVar[str] = "SIZE"
    example: ClassVar[str] = "4GiB"
    _units = (units.parse_size, units.format_size)


@dataclass(frozen=True)
class Duration(Measure):
    """Seconds."""

    min: str = "0s"
    max: str = "3650d"
    metavar: ClassVar[str] = "DURATION"
    example: ClassVar[str] = "30s"
    _units = (units.parse_duration, units.format_duration)


@dataclass(frozen=True)
class Rate(Measure):
    """Events per second."""

    min: str = "1/h"
    max: str = "1000000/s"
    metavar: ClassVar[str] = "RATE"
    example: ClassVar[str] = "200/s"
    _units = (units.parse_rate, units.format_rate)


@dataclass(frozen=True)
class ByteRate(Measure):
    """Bytes per second."""

    min: str = "1KiB/s"
    max: str = "1TiB/s"
    metavar: ClassVar[str] = "SIZE/s"
    example: ClassVar[str] = "128MiB/s"
    _units = (units.parse_byte_rate, units.format_byte_rate)
