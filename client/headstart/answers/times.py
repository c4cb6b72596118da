"""Times and durations of the contract as those of Python."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

__all__ = ["milliseconds", "moment"]


def moment(timestamp: Timestamp) -> datetime:
    """A moment in UTC."""
    return timestamp.ToDatetime(tzinfo=UTC)


def milliseconds(count: float) -> timedelta:
    """A duration given in milliseconds."""
    return timedelta(milliseconds=count)
