"""Errors of several fields: each is named, and the whole stays small enough for trailers."""

from google.rpc import error_details_pb2

from headstart_server.api.grpc.status import MAX_VIOLATIONS, status_of
from headstart_server.errors import UndecodableInput


def test_each_faulty_field_is_named_up_to_a_number() -> None:
    error = UndecodableInput(
        "x" * 5000,
        field="inputs[0]",
        further=[UndecodableInput("y" * 5000, field=f"inputs[{place}]") for place in range(1, 4000)],
    )
    status = status_of(error)
    found = error_details_pb2.BadRequest()
    assert any(detail.Unpack(found) for detail in status.details)
    assert [each.field for each in found.field_violations] == [
        f"inputs[{place}]" for place in range(MAX_VIOLATIONS)
    ]
    assert {each.reason for each in found.field_violations} == {"UNDECODABLE_INPUT"}
    assert status.ByteSize() < 7000
