"""Quality sections: confusion, reliability, regression errors and comparison."""

from collections.abc import Sequence

from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.comparison import Comparison
from headstart_server.learning.metrics.evaluation import ConfusedPair, Evaluation
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.learning.metrics.reliability import ReliabilityBin
from headstart_server.report.charts import error_chart, reliability_chart, value_chart
from headstart_server.report.confusion_chart import Confusion, confusion_chart
from headstart_server.report.facts import ReportFacts
from headstart_server.report.formatting import figure, percent, plural
from headstart_server.report.markup import Child, Markup, Section, named, note, panel, section, table, tag

_MAX_PAIRS = 15


def confusion_section(facts: ReportFacts) -> Section | None:
    """Return the confusion matrix and the most confused pairs."""
    cells = facts.metrics.confusion
    if facts.task is not Task.SINGLE_LABEL or not cells:
        return None
    confusion = Confusion.from_cells(facts.manifest.class_names, cells)
    others = (
        f" The {len(confusion.names) - 1} classes with the most mistakes are shown, the others as one."
        if confusion.others
        else ""
    )
    return section(
        "Confusion",
        "Which classes are confused",
        tag(
            "div",
            tag(
                "figure",
                tag("div", confusion_chart(confusion), class_="scroll"),
                tag(
                    "figcaption",
                    f"Each row is a true class; the stronger the color, the larger its share.{others}",
                ),
                class_="wide",
            ),
            _pairs(facts.evaluation.confused) if facts.evaluation else None,
            class_="columns",
        ),
    )


def reliability_section(evaluation: Evaluation) -> Section | None:
    """Return the reliability of the probabilities."""
    if not evaluation.reliability:
        return None
    error = evaluation.metrics.calibration_error
    return section(
        "Calibration",
        "Reliability of the probabilities",
        tag(
            "div",
            tag("figure", reliability_chart(evaluation.reliability)),
            tag(
                "div",
                tag(
                    "p",
                    "On the diagonal, 80% of the predictions with a probability of 80% are right. "
                    "Below it the version is overconfident, above it underconfident.",
                ),
                tag("p", f"On average probabilities are off by {percent(error)}.")
                if error is not None
                else None,
                _as_table(_bins(evaluation.reliability)),
            ),
            class_="columns even",
        ),
    )


def number_section(evaluation: Evaluation) -> Section | None:
    """Return the errors of a regression."""
    if not evaluation.values:
        return None
    coverage = evaluation.interval_coverage
    return section(
        "Errors",
        "How far the numbers are off",
        tag(
            "div",
            tag(
                "figure",
                value_chart(evaluation.values),
                tag("figcaption", "Each example: predicted against true."),
            ),
            tag(
                "figure",
                error_chart(evaluation.values),
                tag("figcaption", "Errors; to the right of the middle the prediction is too large."),
            ),
            class_="columns even",
        ),
        note(f"{percent(coverage)} of the numbers lie within their interval of 90%.")
        if coverage is not None
        else None,
    )


def comparison_section(promotion: Promotion | None) -> Section | None:
    """Return the comparison that decided a promotion."""
    if promotion is None or promotion.comparison is None:
        return None
    found = promotion.comparison
    sides = (f"version {promotion.baseline}", "this version")
    return section(
        "Comparison",
        "Compared with the previous version",
        tag("p", named(found.verdict)),
        tag("div", _compared_metrics(found, sides), _changed_recalls(found, sides), class_="narrow"),
    )


def _compared_metrics(found: Comparison, sides: tuple[str, str]) -> Markup:
    first, second = found.first, found.second
    metrics = (
        ("Accuracy", first.accuracy, second.accuracy, percent),
        ("Balanced accuracy", first.balanced_accuracy, second.balanced_accuracy, percent),
        ("Log loss", first.log_loss, second.log_loss, figure),
        ("Mean absolute error", first.mean_absolute_error, second.mean_absolute_error, figure),
    )
    rows: list[Sequence[Child]] = [
        (name, show(before), show(after))
        for name, before, after, show in metrics
        if before is not None and after is not None
    ]
    return table(f"On {plural(found.example_count, 'example')} that both predicted", ["", *sides], rows)


def _changed_recalls(found: Comparison, sides: tuple[str, str]) -> Markup | None:
    changed = sorted(
        (each for each in found.classes if each.first_recall != each.second_recall),
        key=lambda each: (each.second_recall - each.first_recall, each.name),
    )
    rows: list[Sequence[Child]] = [
        (named(each.name), f"{each.example_count:,}", percent(each.first_recall), percent(each.second_recall))
        for each in changed
    ]
    if not rows:
        return None
    return table("Recall of the classes that changed", ["class", "examples", *sides], rows, sortable=True)


def _pairs(pairs: Sequence[ConfusedPair]) -> Markup | None:
    if not pairs:
        return panel("Most often confused", tag("p", "No class was confused with another."))
    rows = [(named(pair.actual), named(pair.predicted), f"{pair.count:,}") for pair in pairs[:_MAX_PAIRS]]
    more = len(pairs) - _MAX_PAIRS
    return panel(
        "Most often confused",
        table("Pairs of classes, the most frequent first", ["true", "predicted", "examples"], rows, texts=2),
        note(f"and {plural(more, 'pair')} more") if more > 0 else None,
    )


def _bins(bins: Sequence[ReliabilityBin]) -> Markup:
    rows = [
        (
            f"{percent(each.low, 0)} to {percent(each.high, 0)}",
            percent(each.confidence),
            percent(each.accuracy),
            f"{each.count:,}",
        )
        for each in bins
    ]
    return table("By range of probability", ["range", "predicted", "right", "predictions"], rows)


def _as_table(content: Markup) -> Markup:
    return tag("details", tag("summary", "As a table"), content)
