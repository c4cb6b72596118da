import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from headstart.errors import HeadstartError, InvalidArgument, NotFound, Unavailable
from headstart.transport.status import error_from_rpc, error_from_status, metadata_number


class Failure:
    """A failed call as gRPC hands it over."""

    def __init__(self, code: grpc.StatusCode, details: str | None = "no", metadata=None) -> None:
        self._code, self._details, self._metadata = code, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return self._details

    def trailing_metadata(self):
        return self._metadata


def packed(code: int, *details, message="What happened.") -> bytes:
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return status.SerializeToString()


def test_the_status_in_the_metadata_is_read():
    info = error_details_pb2.ErrorInfo(reason="MODEL_NOT_FOUND", domain="headstart", metadata={"model": "x"})
    metadata = (("other", "text"), ("grpc-status-details-bin", packed(5, info)))

    error = error_from_rpc(Failure(grpc.StatusCode.NOT_FOUND, metadata=metadata), "here")

    assert type(error) is NotFound
    assert error.reason == "MODEL_NOT_FOUND"
    assert error.metadata == {"model": "x"}
    assert str(error) == "What happened. (MODEL_NOT_FOUND)"


def test_a_reason_of_another_domain_is_not_ours():
    info = error_details_pb2.ErrorInfo(reason="RATE_LIMITED", domain="gateway.example")

    assert error_from_status(status_pb2.Status.FromString(packed(8, info))).reason == ""


def test_damaged_details_fall_back_to_the_plain_status():
    metadata = (("grpc-status-details-bin", b"\xff\xff\xff"),)

    error = error_from_rpc(Failure(grpc.StatusCode.INVALID_ARGUMENT, "bad", metadata), "here")

    assert type(error) is InvalidArgument
    assert error.message == "bad"
    assert error.reason == ""


def test_details_that_contradict_the_call_s_status_are_not_believed():
    metadata = (("grpc-status-details-bin", packed(5)),)

    error = error_from_rpc(Failure(grpc.StatusCode.UNAVAILABLE, "proxy", metadata), "here")

    assert type(error) is Unavailable


def test_details_of_unknown_kinds_are_passed_over():
    damaged = status_pb2.Status(code=3, message="x")
    damaged.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    damaged.details.add(type_url="type.googleapis.com/some.Other", value=b"")

    assert error_from_status(damaged).reason == ""


def test_an_unrecognized_code_is_unknown():
    error = error_from_status(status_pb2.Status(code=99, message="x"))

    assert type(error) is HeadstartError
    assert error.code is grpc.StatusCode.UNKNOWN


def test_an_error_always_has_a_message():
    error = error_from_rpc(Failure(grpc.StatusCode.INVALID_ARGUMENT, None), "here")

    assert str(error) == "INVALID_ARGUMENT (INVALID_ARGUMENT)"


@pytest.mark.parametrize("seconds", [-1, 2**62])
def test_a_senseless_delay_is_ignored(seconds):
    retry = error_details_pb2.RetryInfo(retry_delay={"seconds": seconds})
    metadata = (("grpc-status-details-bin", packed(14, retry)),)

    assert error_from_rpc(Failure(grpc.StatusCode.UNAVAILABLE, metadata=metadata), "here").retry_after is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("", None), ("-7", None), ("x", None), ("\u0667", None), ("9" * 5000, None)],
)
def test_numbers_in_the_metadata_of_an_error_are_checked(text, number):
    info = error_details_pb2.ErrorInfo(domain="headstart", metadata={"limit": text})
    error = error_from_status(status_pb2.Status.FromString(packed(8, info)))

    assert metadata_number(error, "limit") == number
    assert metadata_number(error, "size") is None


def test_messages_have_no_control_characters():
    assert error_from_rpc(Failure(grpc.StatusCode.INTERNAL, "a\x1b[2J"), "here").message == "a[2J"
    status = status_pb2.Status.FromString(packed(13, message="a\x1b[2J\nb"))
    assert error_from_status(status).message == "a[2J\nb"
