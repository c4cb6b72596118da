"""What tables and lists of facts are made of, and how times and durations read."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from rich import box
from rich.table import Table
from rich.text import Text

__all__ = ["add_row", "duration", "facts_grid", "moment", "new_table", "short_moment"]

_THIS_YEAR = timedelta(days=180)  # so that a month and a day cannot be taken for those of another year


def new_table(*columns: str, whole: Iterable[str] = ()) -> Table:
    """A table of these columns; those named in `whole` are never broken, so that they can be copied."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    return table


def add_row(table: Table, *cells: object) -> None:
    """Adds a row of plain texts."""
    table.add_row(*(Text(str(cell)) for cell in cells))


def facts_grid(facts: Iterable[tuple[str, object]], indent: str = "  ") -> Table:
    """A line for each fact that is not None."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    for name, value in facts:
        if value is not None:
            grid.add_row(Text(f"{indent}{name}", style="dim"), Text(str(value)))
    return grid


def duration(length: timedelta) -> str:
    """A duration in seconds."""
    return f"{length.total_seconds():.3g} s"


def moment(time: datetime) -> str:
    """A time of day with its date, in the zone of whoever reads it."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short_moment(time: datetime) -> str:
    """A time for a narrow column: to the minute, or only its date where it is long ago."""
    local = time.astimezone()
    recent = abs(datetime.now(local.tzinfo) - local) < _THIS_YEAR
    return local.strftime("%m-%d %H:%M" if recent else "%Y-%m-%d")
