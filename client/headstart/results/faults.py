"""Examples that cannot be used."""

from dataclasses import dataclass

__all__ = ["ExampleFault"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleFault:
    """An example that cannot be used.

    Attributes:
        index: its place among the examples, from 0.
        example_id: your name for it; may be empty.
        reason: a value of the contract's ``ErrorReason``, such as ``UNDECODABLE_INPUT``.
        message: what was expected and what came.
    """

    index: int
    example_id: str
    reason: str
    message: str
