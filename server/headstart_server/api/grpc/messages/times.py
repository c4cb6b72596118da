"""Times and durations of the contract, from and to seconds."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from headstart_server.api.grpc.requests.limits import MAX_TIME


def seconds_of(duration: Duration) -> float:
    """Return a duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def optional_seconds(message: Message, name: str) -> float | None:
    """Return the duration in a field of a message in seconds; None if it is unset."""
    return seconds_of(getattr(message, name)) if message.HasField(name) else None


def span(seconds: float) -> Duration:
    """Return the message of a number of seconds."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def duration(seconds: float | None) -> Duration | None:
    """Return the message of a number of seconds; None for None."""
    return None if seconds is None else span(seconds)


def moment_of(message: Timestamp) -> float:
    """Return a timestamp in seconds since 1970."""
    return message.seconds + message.nanos / 1e9


def timestamp(seconds: float | None) -> Timestamp | None:
    """Return the message of a time in seconds since 1970, at most the end of the year 9999; None for None."""
    if seconds is None:
        return None
    message = Timestamp()
    message.FromNanoseconds(int(min(seconds, MAX_TIME) * 1e6) * 1000)
    return message
