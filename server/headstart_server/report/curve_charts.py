"""Line charts: precision by recall of a class, and accuracy by the number of examples."""

from collections.abc import Sequence

from headstart_server.learning.analysis.dataset_findings import LearningPoint
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.evaluation import ClassMetrics
from headstart_server.report.markup import Markup, tag
from headstart_server.report.plots import Plot, Scale, chart, nice_ticks, place, polyline
from headstart_server.report.words import percent, score

__all__ = ["learning_chart", "precision_recall_chart"]

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
