"""Display of evaluations."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.output.layout import add_row, facts_grid, figure, new_table, percent, plural
from headstart.cli.output.tables import fault_lines
from headstart.label_values import label_text
from headstart.results import (
    ClassMetrics,
    Evaluation,
    EvaluationResult,
    ExampleOutcome,
    Metrics,
    MetricsSource,
)

_MAX_CLASSES = 30
_MAX_LISTED = 10
_MIN_LISTED = 5
_CLASS_COLUMNS = ("examples", "precision", "recall", "F1", "avg. precision")


def evaluation_view(result: EvaluationResult) -> RenderableType:
    """Return the evaluation on a caller's examples, with the verdict first and errors last."""
    evaluation = result.evaluation
    verdict = f"{result.model}, version {result.version}: {_quality(evaluation.metrics)}"
    return Group(
        Text(f"{verdict} on {plural(evaluation.metrics.example_count, 'example')}"),
        *_trained(result),
        facts_grid(_facts(evaluation)),
        *_never_predicted(evaluation.classes),
        *_classes(evaluation.classes),
        *_confused(evaluation),
        *_worst(evaluation.worst),
        *_faults(result),
    )


def _trained(result: EvaluationResult) -> Iterable[RenderableType]:
    if result.trained_count:
        version = f"{result.model}@{result.version}"
        yield Text(
            f"This version was trained on {plural(result.trained_count, 'example')} of these, so the figures "
            "are better than they would be on new examples. Read its held-out figures: "
            f"headstart version report {version}"
        )


def measured(metrics: Metrics) -> str:
    """Return the main metric of a version and its source."""
    count = metrics.example_count
    match metrics.source:
        case MetricsSource.OUT_OF_FOLD:
            return f"{_quality(metrics, short=True)}, measured out of fold on {plural(count, 'example')}"
        case MetricsSource.HELD_OUT:
            return f"{_quality(metrics, short=True)}, measured on {plural(count, 'held-out example')}"
    return "not measured: too few examples"


def accuracy_interval(metrics: Metrics) -> str:
    """Return the 95 % interval of the accuracy in percent, such as ``84-99``; empty if unknown."""
    if metrics.accuracy_low is None or metrics.accuracy_high is None:
        return ""
    return f"{100 * metrics.accuracy_low:.0f}-{100 * metrics.accuracy_high:.0f}"


def _quality(metrics: Metrics, *, short: bool = False) -> str:
    if metrics.accuracy is None:
        return metrics.summary
    interval = accuracy_interval(metrics)
    right = percent(metrics.accuracy) if short else f"{percent(metrics.accuracy)} right"
    return right + (f" (95% interval {interval}%)" if interval else "")


def _facts(evaluation: Evaluation) -> Iterable[tuple[str, str | None]]:
    metrics = evaluation.metrics
    figures = [
        ("balanced accuracy", percent(metrics.balanced_accuracy)),
        ("macro F1", percent(metrics.macro_f1)),
        ("micro F1", percent(metrics.micro_f1)),
        ("log loss", figure(metrics.log_loss)),
        ("calibration error", percent(metrics.calibration_error)),
        ("median absolute error", figure(evaluation.median_absolute_error)),
        ("root mean squared error", figure(metrics.root_mean_squared_error)),
        ("R squared", figure(metrics.r_squared)),
        ("within their 90% interval", percent(evaluation.interval_coverage)),
    ]
    return ((name, value or None) for name, value in figures)


def _classes(classes: tuple[ClassMetrics, ...]) -> Iterable[RenderableType]:
    if not classes:
        return
    table = new_table("class", *_CLASS_COLUMNS, numbers=_CLASS_COLUMNS)
    # With many classes, the worst ones matter most.
    listed = classes if len(classes) <= _MAX_CLASSES else sorted(classes, key=_by_f1)[:_MAX_CLASSES]
    for each in listed:
        add_row(
            table,
            each.name,
            each.support,
            percent(each.precision),
            percent(each.recall),
            percent(each.f1),
            percent(each.average_precision),
        )
    yield table
    if len(classes) > _MAX_CLASSES:
        yield Text(f"  the {_MAX_CLASSES} classes with the lowest F1 of {len(classes)}; --json has all")


def _never_predicted(classes: tuple[ClassMetrics, ...]) -> Iterable[Text]:
    names = [each.name for each in classes if each.support and each.precision is None]
    if names:
        listed = f"{', '.join(names[:_MAX_LISTED])}{', …' if len(names) > _MAX_LISTED else ''}"
        yield Text(f"  Never predicted: {listed}. Was the version trained on examples of it?")


def _by_f1(metrics: ClassMetrics) -> float:
    return 2.0 if metrics.f1 is None else metrics.f1


def _confused(evaluation: Evaluation) -> Iterable[Text]:
    if evaluation.confused:
        yield Text("Taken for another:")
    for pair in evaluation.confused[:_MAX_LISTED]:
        yield Text(f"  {pair.actual} for {pair.predicted}: {pair.count}")


def _worst(outcomes: tuple[ExampleOutcome, ...]) -> Iterable[Text]:
    # Correct predictions fill the list: nearly wrong ones are informative, too.
    wrong = sum(not _is_right(outcome) for outcome in outcomes)
    listed = outcomes[: min(max(wrong, _MIN_LISTED), _MAX_LISTED)]
    if listed:
        yield Text("Worst examples:")
    for outcome in listed:
        example = outcome.example
        value = outcome.predicted
        predicted = f"{value:.4g}" if isinstance(value, float) else label_text(value)
        chance = "" if outcome.probability is None else f", {outcome.probability:.1%} for the truth"
        predicted = "correctly" if _is_right(outcome) else predicted
        yield Text(f"  {example.name} is {label_text(example.label)}, predicted {predicted}{chance}")


def _is_right(outcome: ExampleOutcome) -> bool:
    predicted, actual = outcome.predicted, outcome.example.label
    if isinstance(predicted, tuple) and isinstance(actual, tuple):
        return sorted(predicted) == sorted(actual)
    return not isinstance(predicted, float) and predicted == actual


def _faults(result: EvaluationResult) -> Iterable[RenderableType]:
    if result.fault_count:
        yield Text(f"{plural(result.fault_count, 'example')} could not be used:")
    yield from fault_lines(result.faults, result.fault_count)
