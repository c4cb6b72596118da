"""What happened and went wrong in simulations, and how often: otherwise a clean run would mean little."""

from collections import Counter
from collections.abc import Mapping

#: Each kind of trouble that must occur in many simulations.
TROUBLES = (
    "take-overs",
    "crashes",
    "pauses beyond a lease",
    "graceful stops",
    "outages",
    "partitions",
    "clock jumps",
    "failed transactions",
    "undone commits",
    "ambiguous commits",
    "storage failures",
    "storage outages",
    "lost jobs",
    "requeued jobs",
    "cancelled jobs",
    "deleted jobs",
    "lost notifications",
    "webhook failures",
    "cleanings",
    "uploads",
    "edits",
    "erasures",
    "rebuilds",
    "feedback",
    "captures",
    "retrains",
    "failed retrains",
    "failed calls of the data loop",
)
#: What a log event of the server counts as.
LOGGED = {
    "job_taken_over": "take-overs",
    "job_lost": "lost jobs",
    "job_postponed": "requeued jobs",
    "job_released": "requeued jobs",
    "job_cancelled": "cancelled jobs",
    "webhook_failed": "webhook failures",
    "retrain_submitted": "retrains",
    "versions_rebuilt": "rebuilds",
}
#: What an acknowledged call counts as.
CALLED = {
    "FinishDataset": "uploads",
    "FineTune": "edits",
    "EraseExample": "erasures",
    "SendFeedback": "feedback",
}

Coverage = Counter[str]


def described(coverage: Mapping[str, int]) -> str:
    """Return how often each kind of trouble occurred."""
    return ", ".join(f"{coverage.get(trouble, 0):,} {trouble}" for trouble in TROUBLES)
