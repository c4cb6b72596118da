"""Reports captured inputs, feedback, datasets and erasures: what they store, and what waits or was lost."""

from collections.abc import Iterator

from headstart_server.database.data_facts import DataFacts
from headstart_server.doctor.finding import Finding, ok, warning

#: Seconds for which a lost input is worth a warning, and after which an erasure should have ended.
RECENT_SECONDS, ERASURE_SECONDS = 86_400.0, 3600.0
#: What to do about lost inputs, by cause.
_REMEDIES = {
    "queue": "Lower the fraction that the capture policies select, or use more replicas.",
    "storage": "Free space in --artifacts or --data-dir, or check the bucket.",
    "quota": "Raise max_storage of the tenant, or lower max_count and max_bytes of its capture policies.",
}
#: Models that a finding names.
_SHOWN = 3


def data_findings(facts: DataFacts) -> Iterator[Finding]:
    """Return one finding for captured inputs, feedback, datasets and erasures each."""
    yield _captured(facts)
    yield _feedback(facts)
    opened = f", {facts.open_datasets:,} of them open" if facts.open_datasets else ""
    yield ok(
        "datasets",
        f"{facts.datasets:,} datasets{opened}, {facts.examples:,} examples, {_size(facts.dataset_bytes)}",
        datasets=facts.datasets,
        open=facts.open_datasets,
        examples=facts.examples,
        bytes=facts.dataset_bytes,
    )
    if facts.oldest_erasure is not None and facts.oldest_erasure > ERASURE_SECONDS:
        yield warning(
            "erasures",
            f"An erasure has not ended for {facts.oldest_erasure / 3600:,.1f} hours.",
            "Start a server, which continues it, and look for erasure errors in its log.",
            oldest_seconds=round(facts.oldest_erasure),
        )


def _captured(facts: DataFacts) -> Finding:
    size = f"{facts.captured:,} inputs of {facts.captured_models:,} models, {_size(facts.captured_bytes)}"
    details = {"inputs": facts.captured, "bytes": facts.captured_bytes, "lost": sum(facts.lost.values())}
    if facts.last_loss is None or facts.last_loss > RECENT_SECONDS:
        return ok("captured inputs", size, **details)
    causes = ", ".join(f"{count:,} ({cause} full)" for cause, count in facts.lost.items())
    causes = causes.replace("(storage full)", "(storage full or unavailable)")
    return warning(
        "captured inputs",
        f"{size}. Selected inputs were lost: {causes}, the last {facts.last_loss / 60:,.0f} minutes ago.",
        " ".join(_REMEDIES[cause] for cause in facts.lost),
        **details,
    )


def _feedback(facts: DataFacts) -> Finding:
    details = {
        "pending": facts.pending,
        "bytes": facts.feedback_bytes,
        "oldest_seconds": None if facts.oldest_pending is None else round(facts.oldest_pending),
        "stopped_models": sorted(facts.stopped),
    }
    oldest = (
        "" if facts.oldest_pending is None else f", the oldest since {facts.oldest_pending / 3600:,.1f} hours"
    )
    size = f"{facts.pending:,} wait for a retrain{oldest}, {_size(facts.feedback_bytes)}"
    if not facts.stopped:
        return ok("feedback", size, **details)
    shown = "; ".join(f"{name}: {reason}" for name, reason in list(facts.stopped.items())[:_SHOWN])
    more = f"; and {len(facts.stopped) - _SHOWN} more" if len(facts.stopped) > _SHOWN else ""
    return warning(
        "feedback",
        f"{size}. Retraining has stopped after failures of {len(facts.stopped)} models: {shown}{more}.",
        "Correct the cause, then set the retrain policy of the model again, which starts it.",
        **details,
    )


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:,.1f} MiB"
