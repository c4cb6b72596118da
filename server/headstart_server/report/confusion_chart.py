"""Confusion matrix for two to thousands of classes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from headstart_server.report.formatting import percent, plural, shorten
from headstart_server.report.markup import Markup, tag
from headstart_server.report.plots import chart, place

#: Classes with a row; the others are combined.
MAX_SHOWN = 20
#: Maximum number of classes and side of a cell in pixels.
_SIDES = ((3, 84), (5, 64), (8, 50), (12, 40), (16, 34), (MAX_SHOWN + 1, 28))
#: Maximum characters of a class name next to the matrix, and their maximum width.
_MAX_NAME, _CHARACTER = 18, 6.6
#: Shares of a row at which its cell gets the next color.
_STEPS = (0.0, 0.05, 0.2, 0.5, 0.8)


@dataclass(frozen=True, kw_only=True, slots=True)
class Confusion:
    """A confusion matrix."""

    names: Sequence[str]  # labels of the rows and columns
    counts: Mapping[tuple[int, int], int]  # (row, column) to number of examples, where it is not zero
    others: int = 0  # number of classes in the last row and column; 0 if each class has its row

    @classmethod
    def from_cells(cls, class_names: Sequence[str], cells: Iterable[tuple[int, int, int]]) -> "Confusion":
        """Return the matrix of some cells; classes beyond the limit with the fewest mistakes are combined."""
        cells = list(cells)
        if len(class_names) <= MAX_SHOWN + 1:
            return cls(names=class_names, counts={(row, column): count for row, column, count in cells})
        mistakes: Counter[int] = Counter()
        for row, column, count in cells:
            if row != column:
                mistakes[row] += count
                mistakes[column] += count
        worst = sorted(range(len(class_names)), key=lambda index: (-mistakes[index], index))[:MAX_SHOWN]
        shown = sorted(worst)
        places = {index: position for position, index in enumerate(shown)}
        counts: Counter[tuple[int, int]] = Counter()
        for row, column, count in cells:
            counts[places.get(row, MAX_SHOWN), places.get(column, MAX_SHOWN)] += count
        others = len(class_names) - MAX_SHOWN
        names = [*(class_names[index] for index in shown), f"{others} others"]
        return cls(names=names, counts=counts, others=others)

    def total(self, row: int) -> int:
        """Return the number of examples in a row."""
        return sum(count for (each, _), count in self.counts.items() if each == row)


def confusion_chart(confusion: Confusion) -> Markup:
    """Return the matrix: true classes by row, predicted ones by column, colored by the share of the row."""
    size = len(confusion.names)
    side = next(side for most, side in _SIDES if size <= most)
    names = [shorten(name, _MAX_NAME) for name in confusion.names]
    gutter = 26 + max(map(len, names)) * _CHARACTER
    upright = max(map(len, names)) * _CHARACTER + 8 > side
    top = 28 + (gutter - 30 if upright else 14)
    width, height = gutter + size * side + 2, top + size * side + 2
    totals = [confusion.total(row) for row in range(size)]
    cells = [
        _cell(confusion, row, column, totals[row], (gutter + column * side, top + row * side, side))
        for row in range(size)
        for column in range(size)
    ]
    return chart(
        "Confusion matrix",
        f"{plural(size, 'class', 'classes')}; rows are true classes, columns predicted ones.",
        width,
        height,
        tag(
            "text",
            "predicted",
            x=place(gutter + size * side / 2),
            y="12",
            text_anchor="middle",
            class_="axis",
        ),
        _true_title(top + size * side / 2),
        tag("g", [_row_name(name, gutter, top + (row + 0.5) * side) for row, name in enumerate(names)]),
        tag(
            "g",
            [
                _column_name(name, gutter + (column + 0.5) * side, top, upright=upright)
                for column, name in enumerate(names)
            ],
        ),
        tag("g", cells),
    )


def _cell(
    confusion: Confusion, row: int, column: int, total: int, square: tuple[float, float, float]
) -> Markup:
    x, y, side = square
    count = confusion.counts.get((row, column), 0)
    share = count / total if total else 0.0
    # Which of the combined classes are correct is unknown: their cell has no color.
    is_mixed = confusion.others and row == column == len(confusion.names) - 1
    kind = "d" if row == column else "e"
    step = sum(share > bound for bound in _STEPS) if count and not is_mixed else 0
    mistake = f"{confusion.names[row]} predicted as {confusion.names[column]}"
    title = f"{mistake}: {count} of {total} ({percent(share)})"
    number = (
        tag("text", _compact(count), x=place(x + side / 2), y=place(y + side / 2 + 4), text_anchor="middle")
        if count
        else None
    )
    return tag(
        "g",
        tag("title", title),
        tag(
            "rect",
            x=place(x + 1),
            y=place(y + 1),
            width=place(side - 2),
            height=place(side - 2),
            rx=str(3 if side > 30 else 2),
        ),
        number,
        class_=f"cell {kind}{step}",
    )


def _compact(count: int) -> str:
    """Return a count in four characters, as many as the smallest cell holds."""
    if count < 1000:
        return str(count)
    return f"{count / 1000:.1f}k" if count < 9_950 else f"{count / 1000:.0f}k"


def _true_title(middle: float) -> Markup:
    return tag(
        "text",
        "true",
        x="11",
        y=place(middle),
        text_anchor="middle",
        transform=f"rotate(-90 11 {place(middle)})",
        class_="axis",
    )


def _row_name(name: str, gutter: float, y: float) -> Markup:
    return tag("text", name, x=place(gutter - 7), y=place(y + 4), text_anchor="end")


def _column_name(name: str, x: float, top: float, *, upright: bool) -> Markup:
    if not upright:
        return tag("text", name, x=place(x), y=place(top - 8), text_anchor="middle")
    turned = f"rotate(-90 {place(x + 4)} {place(top - 7)})"
    return tag("text", name, x=place(x + 4), y=place(top - 7), text_anchor="start", transform=turned)
