"""Numbers and sentences that the page and the text share."""

from datetime import UTC, datetime

from headstart_server.learning.analysis.dataset_findings import LabelIssue
from headstart_server.learning.examples.task import Task
from headstart_server.learning.metrics.metrics import Metrics, MetricsSource
from headstart_server.learning.metrics.outcomes import ExampleOutcome
from headstart_server.learning.metrics.promotion import Promotion
from headstart_server.observability.energy import Energy, EnergySource
from headstart_server.report.facts import ReportFacts

DASH = "\N{EN DASH}"


def percent(share: float | None, digits: int = 1) -> str:
    """Return a fraction as a percentage; a dash for None."""
    return DASH if share is None else f"{100 * share:.{digits}f}%"


def figure(number: float | None) -> str:
    """Return a number with three digits; a dash for None."""
    return DASH if number is None else f"{number:.3g}"


def plural(count: int, noun: str, many: str = "") -> str:
    """Return a count with its noun, such as ``1 example`` or ``1,200 examples``."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def moment(seconds: float) -> str:
    """Return a Unix time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def shorten(text: str, most: int) -> str:
    """Return a text of at most `most` characters, with an ellipsis if it was cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(labels: tuple[str, ...]) -> str:
    """Return several labels in one text."""
    return label_text(", ".join(labels))


def score(share: float, task: Task) -> str:
    """Return the score of a learning curve: accuracy as a percentage, R squared as a number."""
    return f"{share:.3f}" if task is Task.REGRESSION else percent(share)


def issue_labels(issue: LabelIssue, task: Task) -> tuple[str, str]:
    """Return the label of an issue and the suggested one, numbers with few digits."""
    if task is Task.REGRESSION:
        return f"{float(issue.example.label.text):.4g}", f"{float(issue.suggested_label.text):.4g}"
    return label_text(issue.example.label.text), label_text(issue.suggested_label.text)


def label_text(label: str) -> str:
    """Return a label, or a text for no label."""
    return label or "no class"


def is_right(outcome: ExampleOutcome) -> bool:
    """Return whether exactly the true labels are predicted; False for numbers."""
    return outcome.number is None and sorted(outcome.labels) == sorted(outcome.predicted)


def verdict(facts: ReportFacts) -> str:
    """Return the quality of the version in a few words."""
    metrics = facts.metrics
    if metrics.mean_absolute_error is not None:
        return f"Off by {figure(metrics.mean_absolute_error)} on average"
    if metrics.accuracy is None:
        return "Not measured"
    if facts.task is Task.MULTI_LABEL:
        return f"Every class right on {percent(metrics.accuracy)} of examples"
    return f"Right on {percent(metrics.accuracy)} of examples"


def measured_on(metrics: Metrics) -> str:
    """Return the source of a version's metrics, in a sentence."""
    count = metrics.example_count
    match metrics.source:
        case MetricsSource.OUT_OF_FOLD:
            return (
                f"Measured out of fold on {plural(count, 'example')}: each was predicted by a head "
                "fitted without it."
            )
        case MetricsSource.HELD_OUT:
            return f"Measured on {plural(count, 'example')} held out of training."
    return "Too few examples to measure how good it is."


def interval(metrics: Metrics) -> str:
    """Return the 95 % interval of the accuracy; empty without one."""
    if metrics.accuracy_low is None or metrics.accuracy_high is None:
        return ""
    return f"95% interval {100 * metrics.accuracy_low:.1f} to {percent(metrics.accuracy_high)}"


def baseline(facts: ReportFacts) -> str:
    """Return the accuracy of always predicting the most frequent class; empty if it is not informative."""
    if facts.evaluation is None or facts.task is not Task.SINGLE_LABEL:
        return ""
    counts = {each.name: each.support for each in facts.evaluation.classes}
    total = sum(counts.values())
    if not total:
        return ""
    share = percent(max(counts.values()) / total)
    return f"Always predicting the most frequent class would be right on {share}."


def decision(promotion: Promotion) -> str:
    """Return the decision about the alias in a sentence."""
    if promotion.is_promoted:
        before = f" from version {promotion.baseline}" if promotion.baseline else ""
        return f"{promotion.alias} was moved to this version{before}"
    return f"{promotion.alias} was not moved" + (
        f": it stays on version {promotion.baseline}" if promotion.baseline else ""
    )


def energy_line(energy: Energy | None) -> str | None:
    """Return the energy of the run and its source; None if it was not measured."""
    if energy is None:
        return None
    how = " + ".join(_ENERGY[name] for name in sorted(energy.joules) if name in _ENERGY) or "another way"
    about = "about " if energy.is_estimated else ""
    return (
        f"{about}{figure(energy.total_joules)} J ({how}), {energy.gco2e:.2g} g CO2e at "
        f"{energy.grid_gco2e_per_kwh:g} g/kWh"
    )


_ENERGY = {
    EnergySource.RAPL.value: "processor counters",
    EnergySource.NVML.value: "whole GPUs",
    EnergySource.CPU_TIME.value: "estimated from processor time",
}


def key_figures(facts: ReportFacts) -> list[tuple[str, str, str]]:
    """Return the key figures of the task: name, value and meaning."""
    metrics, evaluation = facts.metrics, facts.evaluation
    coverage = evaluation.interval_coverage if evaluation else None
    known: list[tuple[str, float | None, str, str]] = [
        ("Accuracy", metrics.accuracy, percent(metrics.accuracy), _ACCURACY[facts.task]),
        ("Balanced accuracy", metrics.balanced_accuracy, percent(metrics.balanced_accuracy),
         "mean of the classes' recall"),
        ("Macro F1", metrics.macro_f1, percent(metrics.macro_f1), "mean of the classes' F1"),
        ("Micro F1", metrics.micro_f1, percent(metrics.micro_f1), "F1 over all classes together"),
        ("Log loss", metrics.log_loss, figure(metrics.log_loss), "in nats; less is better"),
        ("Calibration error", metrics.calibration_error, percent(metrics.calibration_error),
         "how far probabilities are off"),
        ("Mean absolute error", metrics.mean_absolute_error, figure(metrics.mean_absolute_error),
         "mean size of the error"),
        ("Root mean squared error", metrics.root_mean_squared_error,
         figure(metrics.root_mean_squared_error), "large errors weigh more"),
        ("R squared", metrics.r_squared, figure(metrics.r_squared), "share of the variance explained"),
        ("Within its interval", coverage, percent(coverage), "of numbers, where 90% are meant to be"),
    ]  # fmt: skip
    return [(name, shown, meaning) for name, value, shown, meaning in known if value is not None]


_ACCURACY = {
    Task.SINGLE_LABEL: "share of correct predictions",
    Task.MULTI_LABEL: "share with every class right",
    Task.REGRESSION: "",
}
