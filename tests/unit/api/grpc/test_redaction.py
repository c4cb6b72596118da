"""Callers never read where the server keeps its data, whatever an error says; the log has all of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from headstart_server.api.grpc import status
from headstart_server.api.grpc.redaction import DATABASE, FILE, STORAGE, LocationRedactor
from headstart_server.api.grpc.status import CODES, reason_status, status_of
from headstart_server.errors import (
    DatabaseUnavailable,
    HeadstartError,
    ServiceUnavailable,
    StorageUnavailable,
)
from headstart_server.settings.settings import Settings

CONFIG = Settings.of(
    data_dir=Path("/srv/canary/data"),
    artifacts="s3://canary-bucket/prefix",
    prepared_backbones=Path("/opt/canary-prepared"),
)
HOSTS = ("db.canary.internal", "canary-socket", "10.7.7.7", "db")
LEAKS = (
    "[Errno 2] No such file or directory: '/srv/canary/data/datasets/job.1.zip'",
    "/opt/canary-prepared/lite0/head.bin: truncated",
    "s3://canary-bucket/prefix/versions/job.1: NoSuchKey",
    'connection to server at "db.canary.internal" (10.7.7.7), port 5432 failed',
    "cannot connect to canary-socket:5432.",
)


@pytest.fixture(autouse=True)
def places(monkeypatch: pytest.MonkeyPatch) -> LocationRedactor:
    found = LocationRedactor()
    found.add(CONFIG, HOSTS)
    monkeypatch.setattr(status, "LOCATIONS", found)
    return found


def texts(message: Message) -> str:
    """All texts of a status, its packed details included."""
    parts = [str(message)]
    for detail in getattr(message, "details", ()):
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.QuotaFailure,
        ):
            unpacked = kind()
            if detail.Unpack(unpacked):
                parts.append(str(unpacked))
    return "\n".join(parts)


@pytest.mark.parametrize("reason", sorted(CODES))
def test_no_reason_shows_a_place_of_the_server(reason: str) -> None:
    for leak in LEAKS:
        error = HeadstartError(f"It failed: {leak}", field="spec", metadata={"subject": leak, "cause": leak})
        error.reason = reason
        for found in (status_of(error), reason_status(reason, leak, {"cause": leak})):
            assert "It failed" in texts(found) or found.message
            for secret in ("canary", "10.7.7.7"):
                assert secret not in texts(found)


def _kinds(kind: type[HeadstartError]) -> Iterator[type[HeadstartError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _kinds(each)


def test_an_outage_has_one_message_whatever_its_cause() -> None:
    for kind in (DatabaseUnavailable, StorageUnavailable):
        assert kind("canary: refused").message == kind().message
        assert kind("canary", is_busy=True).message == kind(is_busy=True).message
        assert kind("canary: refused").detail == "canary: refused"
    assert {DatabaseUnavailable, StorageUnavailable} <= set(_kinds(ServiceUnavailable))


def test_what_is_removed_is_named_by_its_kind(places: LocationRedactor) -> None:
    assert places.redact("'/srv/canary/data/x.zip', and") == f"'{FILE}', and"
    assert places.redact("s3://canary-bucket.") == f"{STORAGE}."
    assert places.redact("at db.canary.internal:5432") == f"at {DATABASE}"


@pytest.mark.parametrize(
    "text",
    [
        "There is no model 'db'.",
        "s3://canary-bucket-2/mine.csv cannot be read",
        "file:///srv/canary/data2/x.csv",
        "Received: '/srv/other/x.jpg'",
        "https://host/srv/canary/data",
        "sub.db.canary.internal.example",
    ],
)
def test_what_callers_name_stays(places: LocationRedactor, text: str) -> None:
    assert places.redact(text) == text


def test_a_relative_folder_and_an_unknown_configuration(places: LocationRedactor) -> None:
    places.add(CONFIG.replace(data_dir=Path("canary-data"), artifacts=None))
    assert places.redact("cannot read canary-data/versions/a") == f"cannot read {FILE}"
    assert places.redact(f"cannot read {Path.cwd()}/canary-data/versions/a") == f"cannot read {FILE}"
    assert LocationRedactor().redact("/srv/canary/data/x") == "/srv/canary/data/x"


def test_a_long_hostile_text_costs_little(places: LocationRedactor) -> None:
    text = "/srv/canary/data" * 50_000 + "s3://" * 50_000
    assert "/srv/canary" not in places.redact(text)
