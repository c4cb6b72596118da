"""Display of feedback and retrain policies."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.output.formats import Listing, listing
from headstart.cli.output.layout import add_row, duration, facts_grid, new_table, short_moment
from headstart.label_values import LabelValue, label_text
from headstart.results import (
    Feedback,
    FeedbackAnswer,
    FeedbackStatistics,
    FeedbackSummary,
    RetrainPolicy,
    RetrainStatus,
)

__all__ = ["feedback_listing", "feedback_table", "retrain_view", "summary_view"]


def feedback_table(found: Sequence[Feedback]) -> RenderableType:
    """Return feedback as a table."""
    if not found:
        return Text("No feedback.")
    table = new_table("feedback ID", "state", "answer", "predicted", "version", "time", whole=["feedback ID"])
    for each in found:
        learned = f" by version {each.learned_version}" if each.learned_version else ""
        add_row(
            table,
            each.feedback_id,
            f"{each.state.lower()}{learned}",
            label_text(each.label) if each.answer is FeedbackAnswer.LABEL else each.answer.lower(),
            _known(each.predicted),
            str(each.version or ""),
            short_moment(each.create_time),
        )
    return table


def feedback_listing(found: Sequence[Feedback]) -> Listing:
    """Return feedback as names and rows."""
    return listing(
        found,
        lambda each: each.feedback_id,
        {
            "feedback_id": lambda each: each.feedback_id,
            "state": lambda each: each.state,
            "answer": lambda each: each.answer,
            "label": lambda each: _known(each.label),
            "prediction_id": lambda each: each.prediction_id,
            "predicted": lambda each: _known(each.predicted),
            "version": lambda each: each.version,
            "learned_version": lambda each: each.learned_version,
            "create_time": lambda each: each.create_time,
        },
    )


def summary_view(model: str, summary: FeedbackSummary) -> RenderableType:
    """Return statistics of feedback."""
    counts = ", ".join(f"{each.count} {each.state.lower()}" for each in summary.counts if each.count)
    facts = {
        "model": model,
        "accuracy": _accuracy(summary.total),
        "feedback": counts or "none",
        "retraining": _status(summary.retrain),
    }
    rows = [(f"version {each.version}", each.statistics) for each in summary.versions]
    rows += [(each.week, each.statistics) for each in summary.weeks]
    rows += [(f"class {each.class_name}", each.statistics) for each in summary.classes]
    if not rows:
        return facts_grid(facts.items())
    table = new_table("predictions of", "accuracy", "random sample", "answers", "correct")
    for name, each in rows:
        numbers = (each.sample_count, each.answer_count, each.correct_count)
        add_row(table, name, _accuracy(each), *map(str, numbers))
    return Group(facts_grid(facts.items()), table)


def retrain_view(model: str, policy: RetrainPolicy | None) -> RenderableType:
    """Return a retrain policy."""
    if policy is None:
        return Text(f"{model} is not retrained automatically.")
    conditions = {
        "after feedback": policy.min_feedback_count,
        "after the first one": policy.max_delay_duration and duration(policy.max_delay_duration),
        "accuracy below": policy.min_accuracy,
        "at most every": policy.min_interval_duration and duration(policy.min_interval_duration),
        "unknown classes": policy.unknown_classes and policy.unknown_classes.lower(),
        "failures": policy.max_failures,
    }
    facts = {"model": model, "alias": policy.alias}
    facts |= {name: str(value) for name, value in conditions.items() if value is not None}
    return facts_grid(facts.items())


def _known(label: LabelValue) -> str:
    return "" if label is None else label_text(label)


def _accuracy(statistics: FeedbackStatistics) -> str:
    if statistics.accuracy is None:
        return "unknown"
    low, high = statistics.accuracy_low or 0.0, statistics.accuracy_high or 0.0
    return f"{statistics.accuracy:.1%} ({low:.1%} to {high:.1%})"


def _status(status: RetrainStatus | None) -> str:
    if status is None:
        return "off"
    parts = [status.state.lower().replace("_", " ")]
    if status.job_id:
        parts.append(f"job {status.job_id}")
    if status.last_version:
        parts.append(f"last version {status.last_version}")
    if status.failure_count:
        parts.append(f"{status.failure_count} failed: {status.error}")
    return ", ".join(parts)
