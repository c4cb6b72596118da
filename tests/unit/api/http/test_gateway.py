"""What happens around a call over HTTP: who may make it, what it takes along, and how it ends."""

import asyncio
import json
import re
import tarfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from fakes import ManualClock
from headstart.v1 import fine_tuning_service_pb2 as pb
from headstart.v1 import fine_tuning_service_pb2_grpc as stubs
from headstart.v1 import job_pb2, model_service_pb2
from headstart.v1 import model_service_pb2_grpc as model_stubs
from headstart_server.api.grpc.call import Call, CallCheck
from headstart_server.api.grpc.call_observer import CallObserver
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.api.grpc.rate_limits import RateCheck, RateLimiter
from headstart_server.api.grpc.requests.example_stream import stream_parts
from headstart_server.api.http.body_storage import BodyStorage
from headstart_server.api.http.gateway import Gateway
from headstart_server.api.http.in_process_server import InProcessServer
from headstart_server.api.http.inputs import UploadLimits
from headstart_server.errors import (
    ArtifactDamaged,
    JobNotFound,
    ModelNotFound,
    PermissionDenied,
    Unauthenticated,
)
from headstart_server.inbound.known_hosts import KnownHosts
from headstart_server.observability.telemetry import Telemetry

METHOD = "/headstart.v1.FineTuningService/Status"


class Service(stubs.FineTuningServiceServicer):
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.contexts: list[Any] = []
        self.uploads: list[int] = []
        self.entered = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.events = [1, 2]

    async def Status(  # noqa: N802
        self, request: pb.StatusRequest, context: Any
    ) -> pb.StatusResponse:
        self.contexts.append(context)
        if request.job_id == "endless":
            self.entered.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if request.job_id == "fault":
            raise RuntimeError("a secret")
        if request.job_id != "here":
            raise JobNotFound("None.")
        return pb.StatusResponse(job=job_pb2.Job(job_id=request.job_id))

    async def Watch(  # noqa: N802
        self, request: pb.WatchRequest, context: Any
    ) -> AsyncIterator[pb.WatchResponse]:
        if request.job_id == "nix":
            raise JobNotFound("None.")
        for number in self.events:
            if number > request.after_event:
                yield pb.WatchResponse(event=job_pb2.JobEvent(number=number))
        if request.job_id == "breaks":
            raise JobNotFound("Gone.")

    async def FineTune(  # noqa: N802
        self, requests: AsyncIterator[pb.FineTuneRequest], context: Any
    ) -> pb.FineTuneResponse:
        count = 0
        async for part in stream_parts(requests, "FineTune", context):
            count += len(part) if count or not isinstance(part, job_pb2.FineTuneSpec) else 0
        self.uploads.append(count)
        return pb.FineTuneResponse(job=job_pb2.Job(job_id="new"))


class Models(model_stubs.ModelServiceServicer):
    """Has one export, of two files, and notes what aliases are set to."""

    def __init__(self) -> None:
        self.aliases: list[Any] = []

    async def ExportVersion(  # noqa: N802
        self, request: model_service_pb2.ExportVersionRequest, context: Any
    ) -> AsyncIterator[model_service_pb2.ExportVersionResponse]:
        answer = model_service_pb2.ExportVersionResponse
        if request.target.model == "nix":
            raise ModelNotFound("None.")
        assert request.format == model_service_pb2.EXPORT_FORMAT_OPENVINO
        yield answer()
        files = [model_service_pb2.ExportedFile(name=name, size_bytes=3) for name in ("a", "b")]
        yield answer(header=model_service_pb2.ExportHeader(model="pets", version=3, files=files))
        yield answer(chunk=model_service_pb2.ExportChunk(file=0, content=b"one"))
        if request.target.model == "breaks":
            raise ArtifactDamaged("Gone.")
        yield answer(chunk=model_service_pb2.ExportChunk(file=1, content=b"two"))

    async def DeleteAlias(  # noqa: N802
        self, request: model_service_pb2.DeleteAliasRequest, context: Any
    ) -> model_service_pb2.DeleteAliasResponse:
        self.aliases.append(request)
        return model_service_pb2.DeleteAliasResponse()

    async def SetAlias(  # noqa: N802
        self, request: model_service_pb2.SetAliasRequest, context: Any
    ) -> model_service_pb2.SetAliasResponse:
        self.aliases.append(request)
        return model_service_pb2.SetAliasResponse()


class TokenCheck(CallCheck):
    """Admits callers with the token."""

    async def begin(self, call: Call) -> None:
        if dict(call.context.invocation_metadata() or ()).get("authorization") != "Bearer word":
            raise Unauthenticated("Send a token.")


class Site:
    """A gateway, and requests to it."""

    def __init__(self, folder: Path, *checks: CallCheck, **settings: Any) -> None:
        self.telemetry = Telemetry("test")
        self.calls = CallInterceptor(CallObserver(self.telemetry), checks)
        methods = InProcessServer(self.calls)
        self.service = Service()
        self.models = Models()
        model_stubs.add_ModelServiceServicer_to_server(self.models, methods.server)
        stubs.add_FineTuningServiceServicer_to_server(self.service, methods.server)
        limits = UploadLimits(
            message_bytes=1000,
            input_bytes=500,
            dataset_bytes=9000,
            examples=10,
            inputs=3,
            storage=BodyStorage(folder),
        )
        self.gateway = Gateway(methods, limits, **{"max_calls": 4, "version": "1", **settings})

    async def ask(
        self,
        verb: str,
        target: str,
        body: bytes = b"",
        *,
        receive: Callable[[], Awaitable[dict[str, Any]]] | None = None,
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:
        """Code, headers and body; `self.is_whole` is whether the response is complete."""
        sent: list[dict[str, Any]] = []
        requested = [{"type": "http.request", "body": body}]

        async def given() -> dict[str, Any]:
            if requested:
                return requested.pop()
            await asyncio.Event().wait()
            return {}

        async def send(event: Any) -> None:
            sent.append(event)

        path, _, query = target.partition("?")
        headers = {"host": "localhost:1", **{name.replace("_", "-"): text for name, text in headers.items()}}
        scope = {
            "type": "http",
            "method": verb,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), text.encode()) for name, text in headers.items()],
            "client": ("127.0.0.1", 4321),
        }
        await self.gateway(scope, receive or given, send)
        if not sent:
            return 0, {}, b""
        starts = [event for event in sent if event["type"] == "http.response.start"]
        assert len(starts) == 1
        self.is_whole = not sent[-1].get("more_body", False)
        answered = {name.decode(): text.decode() for name, text in sent[0]["headers"]}
        return sent[0]["status"], answered, b"".join(event["body"] for event in sent[1:])

    def handled(self, code: str, method: str = METHOD) -> float:
        service, _, name = method.strip("/").partition("/")
        kind = "client_stream" if name == "FineTune" else "unary"
        labels = {
            "grpc_type": kind,
            "grpc_service": service,
            "grpc_method": name,
            "grpc_code": code,
        }
        return self.telemetry.registry.get_sample_value("grpc_server_handled_total", labels) or 0.0


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, hosts=KnownHosts(["localhost"]))


async def test_a_call_gets_what_came_with_it_and_is_counted_as_grpc_counts_it(site: Site) -> None:
    code, headers, body = await site.ask("GET", "/v1/jobs/here", traceparent="00-a-b-01", x_other="no")
    assert (code, headers["content-type"]) == (200, "application/json")
    assert json.loads(body)["job"]["jobId"] == "here"
    (context,) = site.service.contexts
    assert context.invocation_metadata() == (("traceparent", "00-a-b-01"),)
    assert context.peer() == "ipv4:127.0.0.1:4321"
    assert context.time_remaining() is None
    assert site.handled("OK") == 1


async def test_errors_of_calls_are_reported_and_counted(site: Site) -> None:
    code, _, body = await site.ask("GET", "/v1/jobs/nix")
    assert code == 404
    assert json.loads(body)["details"][0]["reason"] == "JOB_NOT_FOUND"
    assert site.handled("NOT_FOUND") == 1


async def test_faults_are_not_exposed(site: Site) -> None:
    code, _, body = await site.ask("GET", "/v1/jobs/fault")
    assert code == 500
    assert b"secret" not in body


async def test_checks_of_the_call_decide_by_the_authorization_header(tmp_path: Path) -> None:
    site = Site(tmp_path, TokenCheck())
    code, headers, body = await site.ask("GET", "/v1/jobs/here")
    assert (code, headers["www-authenticate"]) == (401, "Bearer")
    assert (json.loads(body)["code"], json.loads(body)["message"]) == (16, "Send a token.")
    assert (await site.ask("GET", "/v1/jobs/here/events"))[0] == 401
    assert (await site.ask("POST", "/v1/models/pets:fineTune", b"{}"))[0] == 401
    assert (await site.ask("GET", "/v1/jobs/here", authorization="Bearer word"))[0] == 200


EXPORT = "/v1/models/pets/versions/3/export?format=openvino"


async def test_an_export_of_several_files_is_a_tar(site: Site) -> None:
    code, headers, body = await site.ask("GET", EXPORT)
    assert (code, headers["content-type"], site.is_whole) == (200, "application/x-tar", True)
    assert headers["content-length"] == str(len(body))
    with tarfile.open(fileobj=BytesIO(body)) as archive:
        assert [file.name for file in archive] == ["a", "b"]
        assert archive.extractfile("b").read() == b"two"
    code, headers, nothing = await site.ask("HEAD", EXPORT)
    assert (code, headers["content-length"], nothing) == (200, str(len(body)), b"")


async def test_an_export_that_fails_is_an_error_before_it_begins_and_cut_off_afterwards(
    site: Site,
) -> None:
    assert (await site.ask("GET", EXPORT.replace("pets", "nix")))[0] == 404
    code, headers, body = await site.ask("GET", EXPORT.replace("pets", "breaks"))
    assert (code, site.is_whole) == (200, False)
    assert len(body) < int(headers["content-length"])


async def test_a_request_with_two_lengths_is_refused_and_ends_its_connection(site: Site) -> None:
    code, headers, content = await site.ask(
        "GET", "/v1/jobs/here", content_length="6", transfer_encoding="chunked"
    )
    assert (code, headers["connection"]) == (400, "close")
    assert "both Content-Length and Transfer-Encoding" in json.loads(content)["message"]


async def test_pages_of_other_sites_are_kept_out(site: Site) -> None:
    assert (await site.ask("GET", "/v1/jobs/here", origin="https://elsewhere.example"))[0] == 403
    assert (await site.ask("GET", "/v1/jobs/here", origin="null"))[0] == 403
    assert (await site.ask("GET", "/v1/jobs/here", host="elsewhere.example:1"))[0] == 403
    assert (await site.ask("GET", "/v1/jobs/here", origin="http://localhost:1"))[0] == 200
    assert len(site.service.contexts) == 1


async def test_an_unknown_path_and_a_wrong_verb_are_reported(site: Site) -> None:
    assert (await site.ask("GET", "/v2/jobs"))[0] == 404
    code, headers, _ = await site.ask("POST", "/v1/jobs/here")
    assert (code, headers["allow"]) == (405, "DELETE, GET")


async def test_an_alias_is_set_by_put_and_deleted_by_delete(site: Site) -> None:
    path = "/v1/models/pets/aliases/stable"
    assert (await site.ask("PUT", f"{path}?version=2"))[0] == 200
    assert (await site.ask("DELETE", f"{path}?etag=1"))[0] == 200
    assert [type(each).__name__ for each in site.models.aliases] == ["SetAliasRequest", "DeleteAliasRequest"]
    code, _, answer = await site.ask("DELETE", f"{path}?version=2")
    assert (code, len(site.models.aliases)) == (400, 2)
    assert json.loads(answer)["details"][1]["fieldViolations"][0]["field"] == "version"


async def test_a_version_that_is_no_number_is_reported_in_words(site: Site) -> None:
    code, _, answer = await site.ask("GET", "/v1/models/pets/versions/x/export?format=onnx")
    assert code == 400
    assert json.loads(answer)["message"] == "Expected a whole number as 'version' in the path. Received: 'x'."


async def test_an_unknown_export_format_is_reported_with_the_known_ones(site: Site) -> None:
    code, _, answer = await site.ask("GET", "/v1/models/pets/export?format=foo")
    assert code == 400
    assert (
        "Expected one of keras, savedmodel, onnx, openvino, litert as 'format'"
        in json.loads(answer)["message"]
    )


@pytest.mark.parametrize("path", ["/v1/models/pets:fineTune", "/v1/models/pets:predict"])
async def test_a_body_of_a_kind_that_is_not_taken_is_refused_by_its_kind(site: Site, path: str) -> None:
    code, _, answer = await site.ask("POST", path, b"%PDF", content_type="application/pdf")
    message = json.loads(answer)["message"]
    assert code == 400
    assert message.startswith("Expected a content-type of ")
    assert message.endswith("Received: 'application/pdf'.")


async def test_a_query_that_contradicts_the_path_is_refused_and_one_that_repeats_it_is_not(
    site: Site,
) -> None:
    assert (await site.ask("GET", "/v1/jobs/here?job_id=here"))[0] == 200
    for query in ("job_id=there", "jobId=there"):
        code, _, answer = await site.ask("GET", f"/v1/jobs/here?{query}")
        assert code == 400
        assert "The path has job_id 'here'" in json.loads(answer)["message"]
        assert json.loads(answer)["details"][1]["fieldViolations"][0]["field"] == "job_id"
    for path, query in [
        ("/v1/models/pets/aliases/stable?version=2", "&model=cars"),
        ("/v1/models/pets/aliases/stable?version=2", "&alias=canary"),
    ]:
        assert (await site.ask("PUT", path + query))[0] == 400
    assert site.models.aliases == []


async def test_a_query_does_not_name_an_alias_where_the_path_names_a_version(site: Site) -> None:
    code, _, answer = await site.ask(
        "GET", "/v1/models/pets/versions/3/export?format=onnx&target.alias=stable"
    )
    assert code == 400
    assert json.loads(answer)["details"][1]["fieldViolations"][0]["field"] == "target.alias"


async def test_names_in_paths_may_be_escaped(site: Site) -> None:
    assert (await site.ask("GET", "/v1/jobs/h%65re"))[0] == 200
    assert (await site.ask("GET", "/v1/jobs/here%2Fevents"))[0] == 404


async def test_further_calls_are_refused_when_as_many_as_allowed_are_under_way(tmp_path: Path) -> None:
    site = Site(tmp_path, max_calls=1)
    waiting = asyncio.ensure_future(site.ask("GET", "/v1/jobs/endless"))
    await site.service.entered.wait()
    code, headers, _ = await site.ask("GET", "/v1/jobs/here")
    assert (code, headers["retry-after"]) == (429, "1")
    waiting.cancel()
    await asyncio.wait({waiting})
    assert (await site.ask("GET", "/v1/jobs/here"))[0] == 200


async def test_a_call_is_cancelled_when_its_caller_leaves(site: Site) -> None:
    events = [{"type": "http.disconnect"}, {"type": "http.request", "body": b""}]

    async def receive() -> dict[str, Any]:
        if len(events) == 1:
            await site.service.entered.wait()
        return events.pop()

    assert (await site.ask("GET", "/v1/jobs/endless", receive=receive))[0] == 0
    assert site.service.cancelled.is_set()
    assert site.handled("CANCELLED") == 1


async def test_a_call_ends_at_its_deadline(site: Site) -> None:
    code, _, _ = await site.ask("GET", "/v1/jobs/endless", grpc_timeout="20m")
    assert code == 504
    assert site.service.cancelled.is_set()
    assert (await site.ask("GET", "/v1/jobs/here", grpc_timeout="soon"))[0] == 400


async def test_a_stopping_server_turns_calls_away_and_ends_those_under_way(site: Site) -> None:
    under_way = asyncio.ensure_future(site.ask("GET", "/v1/jobs/endless"))
    await site.service.entered.wait()
    site.calls.drain.reject_new_calls()
    code, headers, body = await site.ask("GET", "/v1/jobs/here")
    assert (code, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["details"][0]["reason"] == "DRAINING"
    site.calls.drain.end_calls()
    assert (await under_way)[0] == 503


async def test_events_come_with_their_numbers_and_go_on_after_the_last_seen(site: Site) -> None:
    code, headers, body = await site.ask("GET", "/v1/jobs/here/events")
    assert (code, headers["content-type"]) == (200, "text/event-stream")
    assert re.findall(rb'id: (.)\ndata: {"number": "(.)".*}\n\n', body) == [(b"1", b"1"), (b"2", b"2")]
    assert (await site.ask("GET", "/v1/jobs/here/events", last_event_id="1"))[2].startswith(b"id: 2\n")
    assert (await site.ask("GET", "/v1/jobs/here/events?afterEvent=1"))[2].startswith(b"id: 2\n")
    # 204 keeps a browser from asking again, which it would do for ever.
    assert (await site.ask("GET", "/v1/jobs/here/events", last_event_id="2"))[0] == 204


async def test_an_error_before_the_first_event_is_an_answer_and_a_later_one_an_event(site: Site) -> None:
    assert (await site.ask("GET", "/v1/jobs/nix/events"))[0] == 404
    code, _, body = await site.ask("GET", "/v1/jobs/breaks/events")
    assert code == 200
    assert b"event: error\ndata: " in body
    assert b"JOB_NOT_FOUND" in body


async def test_an_upload_whose_caller_leaves_is_not_taken_for_a_whole_one(site: Site) -> None:
    line = b'{"label": "a", "input": {"text": "b"}}\n'
    events = [{"type": "http.disconnect"}, {"type": "http.request", "body": line, "more_body": True}]

    async def receive() -> dict[str, Any]:
        return events.pop()

    code, _, _ = await site.ask(
        "POST", "/v1/models/pets:fineTune", receive=receive, content_type="application/jsonl"
    )
    assert code == 0
    assert site.service.uploads == []
    assert site.handled("CANCELLED", METHOD.replace("Status", "FineTune")) == 1


async def test_an_upload_that_is_wrong_is_refused_and_counted_as_a_call(site: Site) -> None:
    code, _, _ = await site.ask("POST", "/v1/models/pets:fineTune?nix=1", b"{}")
    assert code == 400
    assert site.handled("INVALID_ARGUMENT", METHOD.replace("Status", "FineTune")) == 1


@pytest.mark.parametrize("path", ["/", "/api"])
async def test_the_page_lists_the_calls(site: Site, path: str) -> None:
    code, headers, body = await site.ask("GET", path)
    assert (code, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"/v1/models/{model}:fineTune" in body


async def test_the_connection_stays_open_after_a_document(site: Site) -> None:
    _, headers, _ = await site.ask("GET", "/api")
    assert "connection" not in headers


async def test_a_body_in_an_encoding_is_refused_instead_of_read_as_it_is(site: Site) -> None:
    kind = {"content-encoding": "gzip"}
    code, headers, content = await site.ask("POST", "/v1/models/pets:rebase", body=b"\x1f\x8b", **kind)
    assert (code, headers["accept-encoding"]) == (415, "identity")
    assert "gzip" in json.loads(content)["message"]


class EarlyTokenCheck(TokenCheck):
    """Identifies callers before requests are read."""

    async def knows(self, method: str, context: Any) -> bool:
        return dict(context.invocation_metadata()).get("authorization") == "Bearer word"


async def test_nothing_is_stored_of_the_request_of_an_unknown_caller(tmp_path: Path) -> None:
    site = Site(tmp_path, EarlyTokenCheck())
    read: list[int] = []

    async def receive() -> dict[str, Any]:
        read.append(1)
        if len(read) > 1:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"{", "more_body": True}

    code, _, content = await site.ask("POST", "/v1/models/pets:rebase", receive=receive)
    assert (code, json.loads(content)["message"]) == (401, "Send a token.")
    # What came is read to be thrown away, so that the caller gets to read the answer.
    assert len(read) <= 2
    assert (await site.ask("GET", "/v1/jobs/here", authorization="Bearer word"))[0] == 200


class TrainingCheck(CallCheck):
    """Denies the right to train, which depends on the model that the request names."""

    async def request(self, call: Call, message: Any) -> None:
        raise PermissionDenied("You lack the permission train on this model.")


#: Bodies that are stored before their examples are read, by their media types.
STORED = {
    "text/csv": b"text,label\n" + b"a,b\n" * 20,
    "text/tab-separated-values": b"text\tlabel\n" + b"a\tb\n" * 20,
    "application/jsonl": b'{"text": "a", "label": "b"}\n' * 20,
    "application/zip": b"PK" * 40,
}


@pytest.mark.parametrize("kind", STORED)
async def test_nothing_is_stored_for_a_caller_without_permission(tmp_path: Path, kind: str) -> None:
    # Storing anything would fail.
    site = Site(tmp_path / "missing", TrainingCheck())
    code, _, _ = await site.ask("POST", "/v1/models/pets:fineTune", STORED[kind], content_type=kind)
    assert code == 403
    code, _, _ = await Site(tmp_path / "missing").ask(
        "POST", "/v1/models/pets:fineTune", STORED[kind], content_type=kind
    )
    assert code >= 500


class Metered:
    """A site where each caller may send one byte per second, by a clock that waiting moves."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(0.0)
        self.limiter = RateLimiter(1.0, burst=1, clock=self.clock)
        self.site = Site(folder, RateCheck(None, nbytes=self.limiter, sleep=self.sleep))
        #: When each piece arrived.
        self.arrivals: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def upload(self, body: bytes, size: int, kind: str, query: str = "") -> float:
        """Send a body in pieces of a size; return the bytes that were counted."""
        pieces = [body[start : start + size] for start in range(0, len(body), size)]

        async def receive() -> dict[str, Any]:
            if not pieces:
                await asyncio.Event().wait()
            self.arrivals.append(self.clock())
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        target = f"/v1/models/pets:fineTune?{query}"
        code, _, content = await self.site.ask("POST", target, receive=receive, content_type=kind)
        assert code == 200, content
        return self.clock() + self.limiter.acquire("ipv4:127.0.0.1")


@pytest.mark.parametrize(
    ("kind", "body", "query"),
    [
        ("text/csv", b"t,l,other\n" + b"a,b,ccccccccccccccccccc\n" * 20, "textColumn=t&labelColumn=l"),
        ("application/jsonl", b'{"text": "a", "label": "b"}\n' * 20, ""),
        ("application/jsonl", b'{"input": {"text": "a"}, "label": "b"}\n' * 20, ""),
    ],
)
async def test_bytes_over_http_count_as_they_arrive_and_once(
    tmp_path: Path, kind: str, body: bytes, query: str
) -> None:
    metered = Metered(tmp_path)
    counted = await metered.upload(body, 20, kind, query)
    # The query has the spec of a table, which counts in addition.
    assert len(body) <= counted <= len(body) + 20
    assert len(metered.arrivals) > 20
    for index, arrival in enumerate(metered.arrivals[1:]):
        assert arrival >= 20 * index
    assert metered.site.service.uploads == [20]


async def test_an_archive_counts_what_it_unpacks_to_beyond_its_size(tmp_path: Path) -> None:
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a/1", "a/2", "b/3"):
            archive.writestr(name, bytes(400))
    assert 200 < len(content.getvalue()) < 1000
    assert 1200 < await Metered(tmp_path).upload(content.getvalue(), 50, "application/zip") < 1300


async def test_a_request_whose_token_is_being_checked_is_no_call_under_way(tmp_path: Path) -> None:
    guarded, begun, checked = EarlyTokenCheck(), asyncio.Event(), asyncio.Event()
    knows = guarded.knows

    async def slowly(method: str, context: Any) -> bool:
        if ("authorization", "Bearer slow") in [tuple(each) for each in context.invocation_metadata()]:
            begun.set()
            await checked.wait()
        return await knows(method, context)

    guarded.knows = slowly  # type: ignore[method-assign]
    site = Site(tmp_path, guarded, max_calls=1)
    waiting = asyncio.ensure_future(site.ask("GET", "/v1/jobs/here", authorization="Bearer slow"))
    await begun.wait()
    assert (await site.ask("GET", "/v1/jobs/here", authorization="Bearer word"))[0] == 200
    checked.set()
    assert (await waiting)[0] == 401


async def test_the_protos_can_be_downloaded(site: Site) -> None:
    code, headers, content = await site.ask("GET", "/v1/protos")
    assert (code, headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(BytesIO(content)) as archive:
        assert {"headstart/v1/job.proto", "google/rpc/status.proto"} <= set(archive.namelist())
