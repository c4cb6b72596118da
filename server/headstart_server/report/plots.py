"""Axes and scales of the charts: they map values to coordinates in an SVG without inline style."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from headstart_server.report.markup import Child, Markup, tag

Format = Callable[[float], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Maps values to coordinates, linearly or, for values above 0, by their logarithm."""

    low: float
    high: float  # the value at the end, different from `low`
    start: float  # coordinate of `low`
    end: float  # coordinate of `high`; may be less than `start`, as on an upward axis
    logarithmic: bool = False  # whether equal ratios have equal lengths

    def __call__(self, figure: float) -> float:
        """Return the coordinate of a value."""
        low, high, value = self.low, self.high, figure
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(figure)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A rectangle with two axes."""

    x: Scale
    y: Scale

    def grid(
        self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_format: Format, y_format: Format
    ) -> Markup:
        """Return grid lines with labels."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        parts = [_line(left, self.y(tick), right, self.y(tick)) for tick in y_ticks]
        parts += [_line(self.x(tick), bottom, self.x(tick), top) for tick in x_ticks]
        parts += [_label(left - 7, self.y(tick) + 3.5, y_format(tick), "end") for tick in y_ticks]
        parts += [_label(self.x(tick), bottom + 16, x_format(tick), "middle") for tick in x_ticks]
        return tag("g", parts, class_="grid")

    def titles(self, x_title: str, y_title: str) -> Markup:
        """Return the titles of the axes."""
        middle = (self.y.start + self.y.end) / 2
        turned = f"rotate(-90 {place(self.x.start - 40)} {place(middle)})"
        return tag(
            "g",
            _label((self.x.start + self.x.end) / 2, self.y.start + 34, x_title, "middle"),
            tag(
                "text",
                y_title,
                x=place(self.x.start - 40),
                y=place(middle),
                text_anchor="middle",
                transform=turned,
            ),
            class_="axis-title",
        )


def chart(title: str, description: str, width: float, height: float, *marks: Child) -> Markup:
    """Return an image with a title and a description for screen readers."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        marks,
        viewBox=f"0 0 {place(width)} {place(height)}",
        role="img",
        aria_label=f"{title}. {description}",
        width=place(width),
        height=place(height),
    )


def polyline(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """Return a line through points."""
    return tag(
        "polyline", points=" ".join(f"{place(x)},{place(y)}" for x, y in points), class_=class_, fill="none"
    )


def place(coordinate: float) -> str:
    """Return a coordinate, rounded to a tenth of a pixel."""
    return f"{coordinate:.1f}".removesuffix(".0")


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round values from `low` to `high` (Heckbert 1990, Graphics Gems)."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10 ** math.floor(math.log10(rough))
    step = power * next(nice for nice in (1, 2, 5, 10) if nice * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _line(x1: float, y1: float, x2: float, y2: float) -> Markup:
    return tag("line", x1=place(x1), y1=place(y1), x2=place(x2), y2=place(y2))


def _label(x: float, y: float, text: str, anchor: str) -> Markup:
    return tag("text", text, x=place(x), y=place(y), text_anchor=anchor)
