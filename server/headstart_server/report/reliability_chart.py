"""Reliability diagram."""

from collections.abc import Sequence

from headstart_server.learning.metrics.evaluation import ReliabilityBin
from headstart_server.report.markup import Markup, tag
from headstart_server.report.plots import Plot, Scale, chart, place
from headstart_server.report.words import percent, plural

__all__ = ["reliability_chart"]

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
