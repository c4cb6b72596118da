"""Examples that cannot be used, from messages."""

from headstart.results import ExampleFault
from headstart.v1 import job_pb2

__all__ = ["read_fault"]


def read_fault(fault: job_pb2.ExampleFault) -> ExampleFault:
    """Reads an example that cannot be used."""
    return ExampleFault(index=fault.index, id=fault.id, reason=fault.reason, message=fault.message)
