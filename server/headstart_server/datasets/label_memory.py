"""The memory of the labels of uploads, which are held until an upload ends."""

from headstart_server.learning.features.memory_share import MemoryShare, gib
from headstart_server.learning.heads.memory_estimate import FURTHER_CLASS


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
        excess = self._share.take(upload, estimate)
        if excess is not None:
            raise excess.error(
                f"The labels of the upload have {further_classes:,} classes besides one of each, which take "
                f"about {gib(estimate)} of memory.",
                owners="the labels of all uploads",
                remedy="fewer examples, or fewer classes in each label",
            )
