"""The values of the limits of jobs and storage."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueLimits:
    """Limits over all replicas of a database; 0 is unlimited."""

    queued: int = 100  # jobs that wait
    queued_per_tenant: int = 0
    running: int = 0  # jobs that run at once, whatever the workers of all replicas could
    running_per_tenant: int = 0  # of them, those of one tenant; the jobs of others go before its further ones
    versions_per_model: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class TenantLimits:
    """How much one tenant may store, over all replicas of a database; 0 is any amount."""

    versions: int = 0  # versions of all its models, with those that its jobs are about to make
    stored_bytes: int = 0  # bytes of its versions and of the examples that are kept for them and for jobs
