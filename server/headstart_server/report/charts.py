"""Charts of numbers and of curves, as SVG."""

import math
from collections.abc import Sequence

from headstart_server.learning.analysis.dataset_findings import LearningPoint
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.evaluation import ClassMetrics, ValuePair
from headstart_server.learning.metrics.reliability import ReliabilityBin
from headstart_server.report.formatting import percent, plural, score
from headstart_server.report.markup import Markup, tag
from headstart_server.report.plots import Plot, Scale, chart, nice_ticks, place, polyline

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
    bars = [
        _count_bar(plot, place_, count, -reach + place_ * width, width) for place_, count in enumerate(counts)
    ]
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


def _count_bar(plot: Plot, position: int, count: int, low: float, width: float) -> Markup:
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


_SMALL = Plot(x=Scale(low=0, high=1, start=40, end=182), y=Scale(low=0, high=1, start=128, end=8))
_ENDS = (0.0, 0.5, 1.0)


def precision_recall_chart(metrics: ClassMetrics, threshold: float | None) -> Markup:
    """Return precision by recall of one class; the point of its threshold is marked."""
    points = sorted(metrics.thresholds, key=lambda point: (point.recall, -point.precision))
    line = [(_SMALL.x(point.recall), _SMALL.y(point.precision)) for point in points]
    marked = None
    if threshold is not None and metrics.thresholds:
        nearest = min(metrics.thresholds, key=lambda point: abs(point.threshold - threshold))
        marked = tag(
            "circle",
            tag("title", f"threshold {percent(nearest.threshold)}"),
            cx=place(_SMALL.x(nearest.recall)),
            cy=place(_SMALL.y(nearest.precision)),
            r="4",
            class_="chosen",
        )
    return chart(
        "Precision by recall",
        f"Class {metrics.name}.",
        202,
        150,
        _SMALL.grid(_ENDS, _ENDS, lambda tick: percent(tick, 0), lambda tick: percent(tick, 0)),
        polyline(line, "line") if len(line) > 1 else None,
        [tag("circle", cx=place(x), cy=place(y), r="3", class_="dot") for x, y in line if len(line) == 1],
        marked,
    )


def learning_chart(points: Sequence[LearningPoint], task: Task) -> Markup:
    """Return scores by the number of examples: measured ones as a line, extrapolated ones dashed."""
    plot = _learning_plot(points)
    what = "R squared" if task is Task.REGRESSION else "accuracy"
    places = [(plot.x(point.example_count), plot.y(point.score)) for point in points]
    measured = [spot for spot, point in zip(places, points, strict=True) if not point.extrapolated]
    guessed = places[max(len(measured) - 1, 0) :]
    return chart(
        "Learning curve",
        f"{what} by the number of examples trained on.",
        560,
        280,
        plot.grid(
            [point.example_count for point in points if _is_apart(points, point)],
            nice_ticks(plot.y.low, plot.y.high, 5),
            lambda tick: f"{tick:,.0f}",
            lambda tick: f"{tick:.2f}" if task is Task.REGRESSION else percent(tick, 0),
        ),
        polyline(measured, "line") if len(measured) > 1 else None,
        polyline(guessed, "line guess") if len(guessed) > 1 else None,
        tag("g", [_spot(spot, point, task) for spot, point in zip(places, points, strict=True)]),
        plot.titles("examples trained on", what),
    )


def _learning_plot(points: Sequence[LearningPoint]) -> Plot:
    counts = [point.example_count for point in points]
    scores = [point.score for point in points]
    margin = max((max(scores) - min(scores)) * 0.25, 0.02)
    low, high = min(scores) - margin, min(max(scores) + margin, 1.0)
    first, last = max(min(counts), 1), max(*counts, min(counts) + 1, 2)
    return Plot(
        x=Scale(low=first, high=last, start=62, end=530, logarithmic=True),
        y=Scale(low=low, high=max(high, low + 0.01), start=232, end=18),
    )


def _is_apart(points: Sequence[LearningPoint], point: LearningPoint) -> bool:
    """Return whether the digits of a count fit next to the next larger one."""
    later = [each.example_count for each in points if each.example_count > point.example_count]
    return not later or min(later) >= 1.35 * point.example_count


def _spot(spot: tuple[float, float], point: LearningPoint, task: Task) -> Markup:
    guess = point.extrapolated
    reached = score(point.score, task)
    title = f"{reached} with {point.example_count:,} examples{', extrapolated' if guess else ''}"
    x, y = spot
    return tag(
        "g",
        tag(
            "circle",
            tag("title", title),
            cx=place(x),
            cy=place(y),
            r="4.5",
            class_="hollow" if guess else "dot",
        ),
        tag("text", reached, x=place(x), y=place(y - 11), text_anchor="middle", class_="value"),
    )


_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_PLOT = Plot(x=Scale(low=0, high=1, start=54, end=354), y=Scale(low=0, high=1, start=310, end=10))
_COUNTS = (352.0, 412.0)


def reliability_chart(bins: Sequence[ReliabilityBin]) -> Markup:
    """Return accuracy by predicted probability, above the number of predictions."""
    most = max(each.count for each in bins)
    return chart(
        "Reliability",
        "Accuracy by range of probability; on the diagonal both are equal.",
        370,
        440,
        _PLOT.grid(_TICKS, _TICKS, lambda tick: percent(tick, 0), lambda tick: percent(tick, 0)),
        tag(
            "line",
            x1=place(_PLOT.x(0)),
            y1=place(_PLOT.y(0)),
            x2=place(_PLOT.x(1)),
            y2=place(_PLOT.y(1)),
            class_="ideal",
        ),
        tag("g", [_gap(each) for each in bins], class_="gaps"),
        tag("g", [_mark(each, most) for each in bins], class_="marks"),
        tag("g", [_bar(each, most) for each in bins], class_="bars"),
        _PLOT.titles("", "accuracy"),
        tag("text", "predictions of each probability", x="204", y="432", text_anchor="middle", class_="axis"),
    )


def _gap(each: ReliabilityBin) -> Markup:
    x = place(_PLOT.x(each.confidence))
    return tag("line", x1=x, x2=x, y1=place(_PLOT.y(each.confidence)), y2=place(_PLOT.y(each.accuracy)))


def _mark(each: ReliabilityBin, most: int) -> Markup:
    title = (
        f"{plural(each.count, 'prediction')} of {percent(each.low, 0)} to {percent(each.high, 0)}: predicted "
        f"{percent(each.confidence)}, right {percent(each.accuracy)}"
    )
    # The area, not the radius, is proportional to the count.
    radius = 2.5 + 5.5 * (each.count / most) ** 0.5
    return tag(
        "circle",
        tag("title", title),
        cx=place(_PLOT.x(each.confidence)),
        cy=place(_PLOT.y(each.accuracy)),
        r=place(radius),
    )


def _bar(each: ReliabilityBin, most: int) -> Markup:
    top, bottom = _COUNTS
    height = max((bottom - top) * each.count / most, 1.0)
    left, right = _PLOT.x(each.low), _PLOT.x(each.high)
    return tag(
        "rect",
        tag("title", plural(each.count, "prediction")),
        x=place(left + 1),
        y=place(bottom - height),
        width=place(max(right - left - 2, 1)),
        height=place(height),
    )
