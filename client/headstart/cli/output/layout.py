"""Building blocks of tables and fact lists, and formats of times and durations."""

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from rich import box
from rich.table import Table
from rich.text import Text

_THIS_YEAR = timedelta(days=180)  # so that a month and a day are unambiguous


def new_table(*columns: str, whole: Iterable[str] = (), numbers: Iterable[str] = ()) -> Table:
    """Return a table; columns in `whole` and `numbers` never wrap, and `numbers` are right-aligned."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        is_number = column in numbers
        table.add_column(
            column,
            overflow="fold",
            no_wrap=is_number or column in whole,
            justify="right" if is_number else "left",
        )
    return table


def add_row(table: Table, *cells: object) -> None:
    """Add a row of plain texts."""
    table.add_row(*(Text(str(cell)) for cell in cells))


def facts_grid(facts: Iterable[tuple[str, object]], indent: str = "  ") -> Table:
    """Return a line for each fact that is not None."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    for name, value in facts:
        if value is not None:
            grid.add_row(Text(f"{indent}{name}", style="dim"), Text(str(value)))
    return grid


def percent(share: float | None) -> str:
    """Return a fraction as a percentage; empty for None."""
    return "" if share is None else f"{share:.1%}"


def figure(number: float | None) -> str:
    """Return a number with three digits; empty for None."""
    return "" if number is None else f"{number:.3g}"


def excludable_fraction(count: int, total: int) -> float:
    """Return the --max-excluded-fraction that allows this number of unusable examples, 0.2 or more."""
    return min(max(0.2, math.ceil(100 * count / total) / 100), 1.0) if total else 0.2


def shortened(name: str, most: int) -> str:
    """Return the end of a name, where names differ most, within a number of characters."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 example`` or ``3 examples``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def duration(length: timedelta) -> str:
    """Return a duration, such as ``0.25 s`` or ``30 d``; to the millisecond if it is short."""
    seconds = round(length.total_seconds(), 3)
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def moment(time: datetime) -> str:
    """Return a time with its date, in the local time zone."""
    return local_time(time).strftime("%Y-%m-%d %H:%M:%S")


def short_moment(time: datetime) -> str:
    """Return a time to the minute; only its date if it is long ago."""
    local = local_time(time)
    recent = abs(datetime.now(local.tzinfo) - local) < _THIS_YEAR
    return local.strftime("%m-%d %H:%M" if recent else "%Y-%m-%d")


def local_time(time: datetime) -> datetime:
    """Return a time in the local time zone; unchanged in the first and the last hours that a datetime has."""
    try:
        return time.astimezone()
    except OverflowError:
        return time
