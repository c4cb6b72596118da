"""A separate pool for the descriptors of other protocols, and both pools together for reflection.

TensorFlow and the clients of these protocols register messages of the same names. protobuf accepts each name
only once in a pool.
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

from google.protobuf import any_pb2, descriptor_pool, wrappers_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

Found = TypeVar("Found")

POOL = DescriptorPool()
for _each in (any_pb2, wrappers_pb2):
    POOL.AddSerializedFile(_each.DESCRIPTOR.serialized_pb)


class DescribedPools:
    """Two pools for reflection, which only uses these methods of a pool.

    Not a subclass of `DescriptorPool`, because the constructor of a subclass returns a `DescriptorPool`.
    """

    def FindFileByName(self, name: str) -> FileDescriptor:  # noqa: N802 - the name of a pool's method
        """Return the file of a name."""
        return _first(lambda pool: pool.FindFileByName(name))

    def FindFileContainingSymbol(self, name: str) -> FileDescriptor:  # noqa: N802
        """Return the file of the message, service or enum of a name."""
        return _first(lambda pool: pool.FindFileContainingSymbol(name))

    def FindMessageTypeByName(self, name: str) -> Descriptor:  # noqa: N802
        """Return the message of a name."""
        return _first(lambda pool: pool.FindMessageTypeByName(name))

    def FindExtensionByNumber(self, message: Descriptor, number: int) -> FieldDescriptor:  # noqa: N802, ARG002
        """Return the extension of a message; this server's messages have none."""
        raise KeyError(number)

    def FindAllExtensions(self, message: Descriptor) -> Iterable[FieldDescriptor]:  # noqa: N802, ARG002
        """Return no extensions."""
        return ()


def _first(find: Callable[[DescriptorPool], Found]) -> Found:
    """Return the result of the first pool that does not raise KeyError; raise it if both do."""
    try:
        return find(POOL)
    except KeyError:
        return find(descriptor_pool.Default())
