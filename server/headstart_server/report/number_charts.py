"""Charts of a regression: predicted against true numbers, and the distribution of errors."""

import math
from collections.abc import Sequence

from headstart_server.learning.metrics.evaluation import ValuePair
from headstart_server.report.formatting import plural
from headstart_server.report.markup import Markup, tag
from headstart_server.report.plots import Plot, Scale, chart, nice_ticks, place

#: Bars of the histogram: an odd number, so that one is centered at no error.
_BARS = 25
#: Errors that count as zero: bars of such a width would be indistinguishable.
_TINY = 1e-300


def value_chart(values: Sequence[ValuePair]) -> Markup:
    """Draw predicted against true numbers; on the diagonal both are equal."""
    numbers = [number for pair in values for number in (pair.actual, pair.predicted)]
    low, high = _around(min(numbers), max(numbers))
    plot = Plot(
        x=Scale(low=low, high=high, start=62, end=382), y=Scale(low=low, high=high, start=330, end=10)
    )
    ticks = nice_ticks(low, high, 5)
    return chart(
        "Predicted against true",
        f"{plural(len(values), 'example')}; on the diagonal the predicted number is the true one.",
        396,
        380,
        plot.grid(ticks, ticks, _short, _short),
        tag(
            "line",
            x1=place(plot.x(low)),
            y1=place(plot.y(low)),
            x2=place(plot.x(high)),
            y2=place(plot.y(high)),
            class_="ideal",
        ),
        tag("g", [_dot(plot, pair) for pair in values], class_="cloud"),
        plot.titles("true", "predicted"),
    )


def error_chart(values: Sequence[ValuePair]) -> Markup:
    """Draw a histogram of the errors: predicted minus true number."""
    errors = [pair.predicted - pair.actual for pair in values]
    # A few large errors would squeeze all others: the outermost bars count them.
    reach = sorted(map(abs, errors))[math.ceil(0.99 * len(errors)) - 1]
    reach = reach if reach > _TINY else 1.0
    width = 2 * reach / _BARS
    counts = [0] * _BARS
    for error in errors:
        counts[min(max(int((error + reach) / width), 0), _BARS - 1)] += 1
    plot = Plot(
        x=Scale(low=-reach, high=reach, start=62, end=462),
        y=Scale(low=0, high=max(counts) * 1.05, start=330, end=10),
    )
    bars = [_bar(plot, place_, count, -reach + place_ * width, width) for place_, count in enumerate(counts)]
    return chart(
        "Errors",
        f"{plural(len(values), 'example')} by prediction minus true number.",
        476,
        380,
        plot.grid(nice_ticks(-reach, reach, 6), nice_ticks(0, max(counts), 4), _short, _short),
        tag("g", bars, class_="bars"),
        tag("line", x1=place(plot.x(0)), x2=place(plot.x(0)), y1="10", y2="330", class_="ideal"),
        plot.titles("predicted minus true", "examples"),
    )


def _dot(plot: Plot, pair: ValuePair) -> Markup:
    title = f"true {pair.actual:.6g}, predicted {pair.predicted:.6g}"
    return tag(
        "circle",
        tag("title", title),
        cx=place(plot.x(pair.actual)),
        cy=place(plot.y(pair.predicted)),
        r="3.5",
    )


def _bar(plot: Plot, position: int, count: int, low: float, width: float) -> Markup:
    first, last = position == 0, position == _BARS - 1
    title = f"{plural(count, 'example')}: {'below' if first else f'{low:.3g} to'} " + (
        f"{low + width:.3g}" if not last else "and above"
    )
    top = plot.y(count)
    return tag(
        "rect",
        tag("title", title),
        x=place(plot.x(low) + 1),
        y=place(top),
        width=place(max(plot.x(low + width) - plot.x(low) - 2, 1)),
        height=place(plot.y(0) - top),
    )


def _around(low: float, high: float) -> tuple[float, float]:
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def _short(tick: float) -> str:
    return f"{tick:.6g}" if abs(tick) >= 1e-12 else "0"
