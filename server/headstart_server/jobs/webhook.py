"""The POST that tells of a job's end, and what became of it."""

from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit


class WebhookState(Enum):
    """Whether a POST arrived."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """What became of a POST.

    Attributes:
        uri: where it goes.
        state: whether it arrived.
        attempts: how often it was tried.
        error: why the last try failed; empty if it did not.
        due: when it is tried next, in seconds since 1970; None once it is not, and before its job has ended.
        finished: when it arrived or was given up; None before.
    """

    uri: str = field(repr=False)
    state: WebhookState
    attempts: int
    error: str
    due: float | None
    finished: float | None

    @property
    def origin(self) -> str:
        """Scheme, host and port of the URL: the rest may be a secret of whoever gave it."""
        url = urlsplit(self.uri)
        return f"{url.scheme}://{url.netloc}"
