"""The descriptors of reflection: those of other protocols first, then those of the process."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from headstart_server.api.compat.descriptor_pool import POOL

Found = TypeVar("Found")


class DescribedPools:
    """Two pools for reflection, which asks a pool by these methods only.

    No subclass of `DescriptorPool`: calling one gives an object of that class itself.
    """

    def FindFileByName(self, name: str) -> FileDescriptor:  # noqa: N802 - the name of a pool's method
        """The file of a name."""
        return _first(lambda pool: pool.FindFileByName(name))

    def FindFileContainingSymbol(self, name: str) -> FileDescriptor:  # noqa: N802
        """The file that a message, service or enum of this name stands in."""
        return _first(lambda pool: pool.FindFileContainingSymbol(name))

    def FindMessageTypeByName(self, name: str) -> Descriptor:  # noqa: N802
        """The message of a name."""
        return _first(lambda pool: pool.FindMessageTypeByName(name))

    def FindExtensionByNumber(self, message: Descriptor, number: int) -> FieldDescriptor:  # noqa: N802, ARG002
        """The extension of a message; this server's messages have none."""
        raise KeyError(number)

    def FindAllExtensions(self, message: Descriptor) -> Iterable[FieldDescriptor]:  # noqa: N802, ARG002
        """None."""
        return ()


def _first(find: Callable[[DescriptorPool], Found]) -> Found:
    """What the first pool that knows it gives.

    Raises:
        KeyError: none does.
    """
    try:
        return find(POOL)
    except KeyError:
        return find(descriptor_pool.Default())
