"""The memory of the labels of uploads, which are held until an upload ends."""

from headstart_server.errors import JobMemoryLimit
from headstart_server.learning.features.memory_share import MemoryShare
from headstart_server.learning.heads.memory_estimate import FURTHER_CLASS

_GIB = 1 << 30


class LabelMemory:
    """The estimated memory of the labels of all uploads of a process. Safe to use from many threads.

    Args:
        limit: maximum bytes; None for no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self._share = MemoryShare(limit)

    def take(self, upload: object, further_classes: int) -> None:
        """Count the classes in the labels of an upload, besides one of each example.

        Raise JobMemoryLimit if they do not fit.
        """
        estimate = further_classes * FURTHER_CLASS
        exceeded = self._share.take(upload, estimate)
        if exceeded is None:
            return
        limit, others = exceeded
        raise JobMemoryLimit(
            f"The labels of the upload have {further_classes:,} classes besides one of each, which take "
            f"about {estimate / _GIB:,.2f} GiB of memory. This server gives {limit / _GIB:,.2f} GiB to the "
            "labels of all uploads, from --job-memory"
            + (
                f"; others use {others / _GIB:,.2f} GiB. Try again later, or send"
                if estimate <= limit
                else ". Send"
            )
            + " fewer examples, or fewer classes in each label.",
            metadata={"limit": str(limit), "estimate": str(estimate)},
        )
