"""Unusable examples."""

from dataclasses import dataclass

__all__ = ["ExampleFault"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleFault:
    """An unusable example.

    Attributes:
        index: index of the example among those sent, from 0.
        example_id: ID of the example; may be empty.
        reason: a value of the contract's ``ErrorReason``, such as ``UNDECODABLE_INPUT``.
        message: the expected and the received value.
    """

    index: int
    example_id: str
    reason: str
    message: str
