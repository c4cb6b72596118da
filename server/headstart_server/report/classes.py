"""Metrics of each class."""

from collections.abc import Mapping, Sequence

from headstart_server.learning.metrics.evaluation import ClassMetrics, Evaluation
from headstart_server.learning.metrics.ranking import ThresholdPoint
from headstart_server.report.charts import precision_recall_chart
from headstart_server.report.formatting import percent, shorten
from headstart_server.report.markup import Child, Markup, Section, named, note, section, table, tag

#: Maximum numbers of classes in the table, by lowest F1, and with a curve, by lowest precision.
MAX_ROWS, MAX_CURVES = 300, 12
_COLUMNS = ("examples", "precision", "recall", "F1", "avg. precision", "ROC AUC")
#: Recalls at which a table has the threshold.
_RECALLS = (1.0, 0.95, 0.9, 0.8, 0.5)


def class_section(evaluation: Evaluation, thresholds: Mapping[str, float]) -> Section | None:
    """Return a table of all classes, and the curves of those that are predicted worst."""
    classes = evaluation.classes
    if not classes:
        return None
    return section(
        "Classes",
        "Class by class",
        _table(classes, thresholds),
        note(f"The {MAX_ROWS} classes with the lowest F1 of {len(classes):,} are listed.")
        if len(classes) > MAX_ROWS
        else None,
        _curves(classes, thresholds),
    )


def _table(classes: Sequence[ClassMetrics], thresholds: Mapping[str, float]) -> Markup:
    shown = (
        classes if len(classes) <= MAX_ROWS else sorted(classes, key=lambda each: _or_one(each.f1))[:MAX_ROWS]
    )
    columns = ["class", *_COLUMNS, *(["threshold"] if thresholds else [])]
    return table(
        "Each class against all others", columns, [_row(each, thresholds) for each in shown], sortable=True
    )


def _row(each: ClassMetrics, thresholds: Mapping[str, float]) -> Sequence[Child]:
    figures = (each.precision, each.recall, each.f1, each.average_precision, each.roc_auc)
    threshold = [percent(thresholds.get(each.name))] if thresholds else []
    return [named(each.name), f"{each.support:,}", *map(percent, figures), *threshold]


def _curves(classes: Sequence[ClassMetrics], thresholds: Mapping[str, float]) -> Child:
    drawn = [each for each in classes if each.thresholds and each.average_precision is not None]
    worst = sorted(drawn, key=lambda each: (_or_one(each.average_precision), each.name))[:MAX_CURVES]
    if not worst:
        return None
    chosen = (
        f"The {len(worst)} classes with the lowest average precision. " if len(drawn) > len(worst) else ""
    )
    mark = " The mark is the threshold in use." if thresholds else ""
    return [
        tag("h3", "Precision by recall"),
        note(f"{chosen}A lower threshold finds more of a class, but is wrong more often.{mark}"),
        tag("div", [_curve(each, thresholds.get(each.name)) for each in worst], class_="curves"),
    ]


def _curve(each: ClassMetrics, threshold: float | None) -> Markup:
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("strong", named(shorten(each.name, 40))),
            f" avg. precision {percent(each.average_precision)}",
        ),
        precision_recall_chart(each, threshold),
        tag("details", tag("summary", "Thresholds"), _thresholds(each.thresholds)),
    )


def _thresholds(points: Sequence[ThresholdPoint]) -> Markup:
    rows: dict[float, Sequence[Child]] = {}
    for recall in _RECALLS:
        # The highest threshold with at least this recall.
        found = [point for point in points if point.recall >= recall]
        if found:
            point = max(found, key=lambda each: each.threshold)
            rows[point.threshold] = (
                percent(point.threshold),
                percent(point.precision),
                percent(point.recall),
            )
    return table("By threshold", ["threshold", "precision", "recall"], list(rows.values()))


def _or_one(share: float | None) -> float:
    return 1.0 if share is None else share
