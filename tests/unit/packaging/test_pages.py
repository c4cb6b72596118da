"""The generated pages of docs/, and the table of error reasons that one of them is made of."""

import pytest

from headstart.v1.errors_pb2 import ErrorReason
from headstart_server import errors
from headstart_server.api.grpc.status import CODES, TEMPORARY
from headstart_server.api.http.comments import proto_comment
from pages import stale

REASONS = [name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()][1:]  # noqa: SIM118


def test_the_generated_pages_are_up_to_date() -> None:
    assert stale() == [], "Run: make pages"


def test_every_reason_of_the_contract_has_a_code() -> None:
    assert sorted(REASONS) == sorted(CODES)
    assert all(CODES[reason].name == "RESOURCE_EXHAUSTED" for reason in TEMPORARY)


@pytest.mark.parametrize("reason", REASONS)
def test_the_comment_of_a_reason_has_its_code_cause_and_remedy(reason: str) -> None:
    code, text = proto_comment(f"headstart.v1.ErrorReason.ERROR_REASON_{reason}").split(": ", maxsplit=1)
    paragraphs = text.split("\n\n")

    assert code == CODES[reason].name
    assert len(paragraphs) == 2
    assert all(each[0].isupper() and each.endswith(".") for each in paragraphs)


def test_every_error_of_the_server_is_a_reason_of_the_contract() -> None:
    def kinds(kind: type[errors.HeadstartError]) -> set[type[errors.HeadstartError]]:
        return {kind}.union(*map(kinds, kind.__subclasses__()))

    assert {kind.reason for kind in kinds(errors.HeadstartError)} <= set(REASONS)
