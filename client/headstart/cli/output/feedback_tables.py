"""Tables of captured inputs and feedback."""

from collections.abc import Sequence
from datetime import timedelta

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.output.formats import Listing, listing
from headstart.cli.output.layout import add_row, duration, facts_grid, new_table, plural, short_moment
from headstart.label_values import LabelValue, label_text
from headstart.results import (
    CapturePolicy,
    CaptureStatus,
    Feedback,
    FeedbackAnswer,
    FeedbackStatistics,
    FeedbackSummary,
    Model,
    RetrainStatus,
    ReviewEntry,
)

_MIB = 1 << 20


def review_table(entries: Sequence[ReviewEntry]) -> RenderableType:
    """Return captured inputs as a table."""
    if not entries:
        return Text("No captured inputs without feedback.")
    table = new_table(
        "value", "predicted", "why", "similar", "captured", "prediction ID", whole=["prediction ID"]
    )
    for entry in entries:
        add_row(
            table,
            f"{entry.value:.2f}",
            label_text(entry.label),
            entry.reason.lower().replace("_", " "),
            str(entry.near_duplicate_count or ""),
            short_moment(entry.captured_input.create_time),
            entry.captured_input.prediction_id,
        )
    return table


def status_view(model: str, status: CaptureStatus) -> RenderableType:
    """Return the state of the capture of a model."""
    facts = {
        "model": model,
        "captured": f"{plural(status.captured_count, 'input')}, {status.captured_bytes / _MIB:.1f} MiB",
        "without feedback": str(status.pending_count),
    }
    return Group(facts_grid(facts.items()), *_gap_lines(status))


def policy_view(model: str, policy: CapturePolicy | None) -> RenderableType:
    """Return a capture policy."""
    if policy is None:
        return Text(f"{model} captures no inputs.")
    conditions = {
        "at random": policy.random_fraction and f"{policy.random_fraction:g} of all inputs",
        "margin": policy.max_margin and f"up to {policy.max_margin:g}",
        "typicality": policy.max_typicality and f"up to {policy.max_typicality:g}",
        "rare classes": policy.rare_class_fraction
        and f"below {policy.rare_class_fraction:g} of the examples",
        "shadow": policy.shadow_disagreement and "predicts another label",
    }
    facts = {"model": model, **{name: str(text) for name, text in conditions.items() if text}}
    size = f", {policy.max_bytes / _MIB:.0f} MiB" if policy.max_bytes else ""
    kept = f", {duration(policy.ttl)}" if policy.ttl else ""
    facts["at most"] = f"{policy.max_count} inputs{size}{kept}"
    return facts_grid(facts.items())


def review_listing(entries: Sequence[ReviewEntry]) -> Listing:
    """Return captured inputs as names and rows."""
    return listing(
        entries,
        lambda each: each.captured_input.prediction_id,
        {
            "prediction_id": lambda each: each.captured_input.prediction_id,
            "version": lambda each: each.captured_input.version,
            "value": lambda each: each.value,
            "label": lambda each: label_text(each.label),
            "reason": lambda each: each.reason,
            "margin": lambda each: each.margin,
            "near_duplicate_count": lambda each: each.near_duplicate_count,
            "create_time": lambda each: each.captured_input.create_time,
        },
    )


def _gap_lines(status: CaptureStatus) -> list[Text]:
    causes = {
        "a queue was full": status.queue_full_count,
        "the storage failed": status.storage_failed_count,
        "the quota was full": status.quota_full_count,
    }
    return [Text(f"{count} not captured: {cause}") for cause, count in causes.items() if count]


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


def retrain_view(model: Model) -> RenderableType:
    """Return the retrain policy of a model, with a note if the alias does not exist."""
    policy = model.retrain
    if policy is None:
        return Text(f"{model.model} is not retrained automatically.")
    conditions = {
        "after feedback": policy.min_feedback_count,
        "after the first one": _length(policy.max_delay_duration),
        "accuracy below": policy.min_accuracy,
        "at most every": _length(policy.min_interval_duration),
        "unknown classes": policy.unknown_classes and policy.unknown_classes.lower(),
        "failures": policy.max_failures,
    }
    facts = {"model": model.model, "alias": policy.alias}
    facts |= {name: str(value) for name, value in conditions.items() if value is not None}
    grid = facts_grid(facts.items())
    aliases = [each.alias for each in model.aliases]
    if policy.alias in aliases:
        return grid
    existing = f" Existing aliases: {', '.join(aliases)}." if aliases else ""
    note = "The first retrain extends the newest version and creates the alias."
    return Group(grid, Text(f"{model.model} has no alias {policy.alias}.{existing} {note}"))


def _length(length: timedelta | None) -> str | None:
    return None if length is None else duration(length)


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
