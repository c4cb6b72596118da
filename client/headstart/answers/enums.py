"""Values of the contract's enums as those of Python."""

from enum import StrEnum
from typing import TypeVar

from google.protobuf.descriptor import EnumDescriptor

__all__ = ["read_enum"]

Value = TypeVar("Value", bound=StrEnum)


def read_enum(number: int, descriptor: EnumDescriptor, kind: type[Value]) -> Value:
    """Reads a value by its name without the enum's prefix.

    Args:
        number: the value as it came.
        descriptor: the contract's enum.
        kind: the Python enum of the same names; it must have UNSPECIFIED, which is read for a value that is
            newer than this client.
    """
    unknown = descriptor.values_by_number[0]
    value = descriptor.values_by_number.get(number, unknown)
    name = value.name.removeprefix(unknown.name.removesuffix("UNSPECIFIED"))
    return kind(name) if name in kind.__members__ else kind("UNSPECIFIED")
