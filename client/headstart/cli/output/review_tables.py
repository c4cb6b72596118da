"""Display of captured inputs and capture policies."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from headstart.cli.output.formats import Listing, listing
from headstart.cli.output.layout import add_row, duration, facts_grid, new_table, plural, short_moment
from headstart.label_values import LabelValue
from headstart.results import CapturePolicy, CaptureStatus, ReviewEntry

__all__ = ["policy_view", "review_listing", "review_table", "status_view"]

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


def label_text(label: LabelValue) -> str:
    """Return a label in one line."""
    if isinstance(label, tuple):
        return ", ".join(label)
    if isinstance(label, float):
        return f"{label:.4g}"
    return "" if label is None else str(label)


def _gap_lines(status: CaptureStatus) -> list[Text]:
    causes = {
        "a queue was full": status.queue_full_count,
        "the storage failed": status.storage_failed_count,
        "the quota was full": status.quota_full_count,
    }
    return [Text(f"{count} not captured: {cause}") for cause, count in causes.items() if count]
