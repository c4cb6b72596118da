"""Calls are let in by the table of rights, tenants see their own names only, and the log has who did what."""

# A servicer's methods are named by the contract.
# ruff: noqa: N802

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc import error_details_pb2, status_pb2

from fakes import PATIENCE
from headstart.v1 import (
    fine_tuning_service_pb2,
    fine_tuning_service_pb2_grpc,
    job_pb2,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
    version_selector_pb2,
)
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.grpc import access
from headstart_server.api.grpc.access import AccessCheck
from headstart_server.api.grpc.call import Call, Context, Method
from headstart_server.api.grpc.call_observer import CallObserver
from headstart_server.api.grpc.caller import scope, tenant
from headstart_server.api.grpc.interceptor import CallInterceptor
from headstart_server.auth import issuer
from headstart_server.auth.audit import AuditLog
from headstart_server.auth.authenticator import Authenticator
from headstart_server.auth.authenticator import Caller as Authenticated
from headstart_server.auth.permissions import Principal, Right
from headstart_server.auth.tenants import own_name
from headstart_server.auth.tokens import token_hash
from headstart_server.errors import DatabaseUnavailable, DataUnreadable, ModelNotReady
from headstart_server.jobs.rows import no_job
from headstart_server.models.names import MAX_MODEL_NAME
from headstart_server.models.rows import model_not_found_error
from headstart_server.observability.telemetry import Telemetry

PEOPLE = {
    "reader": ("", [(["predict"], ["pets-*"])]),
    "trainer": ("", [(["train"], ["pets-*"]), (["predict"], ["*"])]),
    "admin": ("", [(["predict", "train", "admin"], ["*"])]),
    "red": ("red", [(["predict", "train", "admin"], ["*"])]),
}
JOBS = {"mine": "pets-1", "other": "cars", "red": "red/pets-1"}


class Predicting(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def Predict(self, request: Any, context: Any) -> Any:
        self.seen.append(request.targets[0].model)
        if request.targets[0].model.endswith("pets-raw"):
            name = request.targets[0].model
            raise ModelNotReady(f"Model '{name}' has no version yet.", metadata={"model": name})
        if request.targets[0].model.endswith("pets-uri"):
            raise DataUnreadable("The list s3://sets/red/pets.csv cannot be read: it is not there.")
        result = prediction_service_pb2.VersionPredictions(model=request.targets[0].model, version=1)
        return prediction_service_pb2.PredictResponse(results=[result])


class Tuning(fine_tuning_service_pb2_grpc.FineTuningServiceServicer):
    def __init__(self) -> None:
        self.read = 0

    async def FineTune(self, requests: Any, context: Any) -> Any:
        spec = None
        async for request in requests:
            self.read += 1
            spec = spec or request.spec
        job = job_pb2.Job(job_id=f"job of {tenant()}", spec=spec)
        return fine_tuning_service_pb2.FineTuneResponse(job=job)

    async def Status(self, request: Any, context: Any) -> Any:
        spec = job_pb2.FineTuneSpec(model=JOBS[request.job_id])
        return fine_tuning_service_pb2.StatusResponse(job=job_pb2.Job(job_id=request.job_id, spec=spec))

    async def Watch(self, request: Any, context: Any) -> Any:
        for number in range(2):
            event = job_pb2.JobEvent(job_id=request.job_id, number=number)
            yield fine_tuning_service_pb2.WatchResponse(event=event)


class Keeping(model_service_pb2_grpc.ModelServiceServicer):
    async def ListModels(self, request: Any, context: Any) -> Any:
        found = scope(Right.PREDICT)
        names = found.models if found else ("all",)
        return model_service_pb2.ListModelsResponse(models=[model_pb2.Model(model=name) for name in names])

    async def DeleteModel(self, request: Any, context: Any) -> Any:
        return model_service_pb2.DeleteModelResponse(deleted_versions=2)

    async def SetAlias(self, request: Any, context: Any) -> Any:
        raise RuntimeError("a secret of the server")


class Port:
    """A server with fake services behind the real interceptors."""

    def __init__(
        self, folder: Path, *, is_open: bool = False, audits_all: bool = False, **rules: Any
    ) -> None:
        self.access = folder / "access.toml"
        self.access.write_text("".join(_lines(name, *entry) for name, entry in PEOPLE.items()))
        self.log = folder / "audit.jsonl"
        self.predicting, self.tuning = Predicting(), Tuning()
        authenticator = Authenticator(None if is_open else self.access)
        audit = AuditLog(self.log)
        self.check = AccessCheck(authenticator, _model_of, audit, audits_all=audits_all, **rules)
        interceptor = CallInterceptor(CallObserver(Telemetry("0")), [self.check])
        self.server = grpc.aio.server(interceptors=[interceptor])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(self.predicting, self.server)
        fine_tuning_service_pb2_grpc.add_FineTuningServiceServicer_to_server(self.tuning, self.server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(Keeping(), self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def _lines(name: str, tenant: str, grants: list[tuple[list[str], list[str]]]) -> str:
    made = ", ".join(f"{{ rights = {rights}, models = {models} }}" for rights, models in grants)
    return (
        f'[[principals]]\nname = "{name}"\ntenant = "{tenant}"\n'
        f'token_sha256 = ["{token_hash(f"{name}-token")}"]\ngrants = [{made}]\n'
    )


def _model_of(job_id: str) -> str:
    if job_id not in JOBS:
        raise no_job(job_id)
    return JOBS[job_id]


class Caller:
    """Somebody with a token, or none."""

    def __init__(self, channel: grpc.aio.Channel, name: str | None) -> None:
        self._metadata = (("authorization", f"Bearer {name}-token"),) if name else ()
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)
        self.tuning = fine_tuning_service_pb2_grpc.FineTuningServiceStub(channel)
        self.predicting = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    async def predict(self, *models: str) -> Any:
        targets = [version_selector_pb2.VersionSelector(model=model) for model in models]
        request = prediction_service_pb2.PredictRequest(targets=targets)
        return await self.predicting.Predict(request, metadata=self._metadata)

    async def fine_tune(self, model: str, batches: int = 1, dataset: str = "") -> Any:
        spec = {"model": model, "request_id": "r", "dataset": dataset}
        requests = [fine_tuning_service_pb2.FineTuneRequest(spec=spec)]
        requests += [fine_tuning_service_pb2.FineTuneRequest(examples={})] * batches
        return await self.tuning.FineTune(iter(requests), metadata=self._metadata)

    async def status(self, job_id: str) -> Any:
        request = fine_tuning_service_pb2.StatusRequest(job_id=job_id)
        return await self.tuning.Status(request, metadata=self._metadata)

    async def watch(self, job_id: str) -> int:
        request = fine_tuning_service_pb2.WatchRequest(job_id=job_id)
        return len([event async for event in self.tuning.Watch(request, metadata=self._metadata)])

    async def delete(self, model: str) -> Any:
        request = model_service_pb2.DeleteModelRequest(model=model)
        return await self.models.DeleteModel(request, metadata=self._metadata)

    async def list(self) -> list[str]:
        request = model_service_pb2.ListModelsRequest()
        return [
            each.model for each in (await self.models.ListModels(request, metadata=self._metadata)).models
        ]


@asynccontextmanager
async def serving(port: Port) -> AsyncIterator[grpc.aio.Channel]:
    await port.server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port.port}") as channel:
        yield channel
    await port.server.stop(0)


@pytest.fixture
async def port(tmp_path: Path) -> Port:
    return Port(tmp_path)


@pytest.fixture
async def channel(port: Port) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(port) as channel:
        yield channel


async def refused(call: Any) -> tuple[str, str, str]:
    """Code, reason and message of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailers = dict(caught.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return caught.value.code().name, info.reason, status.message


async def test_missing_and_unknown_credentials_are_rejected(port: Port, channel: grpc.aio.Channel) -> None:
    for name in (None, "stranger"):
        someone = Caller(channel, name)
        for call in (
            someone.predict("pets-1"),
            someone.list(),
            someone.status("mine"),
            someone.watch("mine"),
        ):
            assert (await refused(call))[:2] == ("UNAUTHENTICATED", "UNAUTHENTICATED")
    assert port.predicting.seen == []


@pytest.mark.parametrize("value", ["Basic abc", "Bearer", "Bearer  ", "trainer-token"])
async def test_another_form_of_authorization_is_refused(channel: grpc.aio.Channel, value: str) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    call = stub.ListModels(model_service_pb2.ListModelsRequest(), metadata=(("authorization", value),))
    assert (await refused(call))[0] == "UNAUTHENTICATED"


async def test_a_model_without_any_right_is_to_the_caller_one_that_is_not_there(
    port: Port, channel: grpc.aio.Channel
) -> None:
    reader = Caller(channel, "reader")
    assert (await reader.predict("pets-1")).results[0].model == "pets-1"
    reported = await refused(reader.predict("cars"))
    assert reported == ("NOT_FOUND", "MODEL_NOT_FOUND", model_not_found_error("cars").message)
    # Of several models each one counts.
    assert (await refused(reader.predict("pets-1", "cars")))[1] == "MODEL_NOT_FOUND"
    assert port.predicting.seen == ["pets-1"]


async def test_a_model_with_another_right_is_denied_whether_it_is_there_or_not(
    channel: grpc.aio.Channel,
) -> None:
    reader, trainer = Caller(channel, "reader"), Caller(channel, "trainer")
    assert (await refused(reader.delete("pets-1")))[:2] == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    assert (await refused(reader.fine_tune("pets-1")))[0] == "PERMISSION_DENIED"
    assert await refused(trainer.fine_tune("cars")) == await refused(trainer.fine_tune("unheard-of"))
    assert (await refused(trainer.delete("pets-1")))[0] == "PERMISSION_DENIED"


async def test_a_stream_is_refused_before_its_examples_are_read(
    port: Port, channel: grpc.aio.Channel
) -> None:
    assert (await refused(Caller(channel, "trainer").fine_tune("cars", 50)))[0] == "PERMISSION_DENIED"
    assert port.tuning.read == 0


async def test_permissions_on_jobs_follow_their_model(channel: grpc.aio.Channel) -> None:
    trainer, reader = Caller(channel, "trainer"), Caller(channel, "reader")
    assert (await trainer.status("mine")).job.spec.model == "pets-1"
    assert await trainer.watch("mine") == 2
    assert (await refused(trainer.status("other")))[0] == "PERMISSION_DENIED"
    assert (await refused(reader.watch("mine")))[0] == "PERMISSION_DENIED"
    for job_id in ("none", "red"):
        assert await refused(trainer.status(job_id)) == ("NOT_FOUND", "JOB_NOT_FOUND", no_job(job_id).message)
        assert (await refused(trainer.watch(job_id)))[1] == "JOB_NOT_FOUND"


async def test_lists_get_the_models_that_the_caller_has_a_right_on(channel: grpc.aio.Channel) -> None:
    assert await Caller(channel, "reader").list() == ["pets-*"]
    assert await Caller(channel, "trainer").list() == ["*"]


async def test_a_tenant_uses_its_own_names_and_never_sees_the_servers(
    port: Port, channel: grpc.aio.Channel
) -> None:
    red = Caller(channel, "red")
    assert (await red.predict("pets-1")).results[0].model == "pets-1"
    assert port.predicting.seen == ["red/pets-1"]
    response = await red.fine_tune("cars")
    assert (response.job.job_id, response.job.spec.model) == ("job of red", "cars")
    assert (await red.status("red")).job.spec.model == "pets-1"
    assert (await refused(red.status("mine")))[1] == "JOB_NOT_FOUND"


async def test_errors_name_the_models_as_the_tenant_does(channel: grpc.aio.Channel) -> None:
    code, _, message = await refused(Caller(channel, "red").predict("pets-raw"))
    assert (code, message) == ("FAILED_PRECONDITION", "Model 'pets-raw' has no version yet.")


async def test_errors_keep_the_tenant_where_it_is_a_step_of_a_uri(channel: grpc.aio.Channel) -> None:
    _, _, message = await refused(Caller(channel, "red").predict("pets-uri"))
    assert message == "The list s3://sets/red/pets.csv cannot be read: it is not there."


@pytest.mark.parametrize(
    ("tokens", "is_known"), [(["reader", "anonymous"], False), (["anonymous", "reader"], True)]
)
async def test_of_two_tokens_the_last_one_counts(
    channel: grpc.aio.Channel, tokens: list[str], is_known: bool
) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    metadata = tuple(("authorization", f"Bearer {name}-token") for name in tokens)
    call = stub.ListModels(model_service_pb2.ListModelsRequest(), metadata=metadata)
    if is_known:
        assert [each.model for each in (await call).models] == ["pets-*"]
    else:
        assert (await refused(call))[0] == "UNAUTHENTICATED"


async def test_a_message_is_not_read_before_it_is_known_who_sent_it(
    port: Port, channel: grpc.aio.Channel
) -> None:
    call = channel.unary_unary("/headstart.v1.PredictionService/Predict")
    for name, code in (("anonymous", "UNAUTHENTICATED"), ("admin", "INVALID_ARGUMENT")):
        metadata = (("authorization", f"Bearer {name}-token"),)
        assert (await refused(call(b"\xff no message", metadata=metadata)))[0] == code
    assert [line["outcome"] for line in port.lines()] == ["UNAUTHENTICATED"]


async def test_a_call_with_an_issuers_token_is_checked_in_a_thread(channel: grpc.aio.Channel) -> None:
    # In the form of one, and of no issuer.
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    call = stub.ListModels(
        model_service_pb2.ListModelsRequest(), metadata=(("authorization", "Bearer a.b.c"),)
    )
    assert (await refused(call))[0] == "UNAUTHENTICATED"


class HangingIssuer:
    """An issuer whose keys were fetched once, and which then does not answer."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._goes_on = threading.Event()
        self.fetches = 0
        monkeypatch.setattr(issuer, "_fetched", self._fetch)
        # The second token, with a known key or not, begins the second fetch, which is the last.
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(issuer, "RETRY_SECONDS", 0.0)
        monkeypatch.setattr(issuer, "FRESH_SECONDS", 0.0)
        self.port = Port(folder)
        with self.port.access.open("a") as file:
            file.write(
                '[[issuers]]\nissuer = "https://id.example"\naudience = "headstart"\n'
                'keys = "https://id.example/keys"\n'
                '[[principals]]\nname = "team"\nissuer = "https://id.example"\nclaims = { sub = "me" }\n'
                'grants = [{ rights = ["predict"], models = ["*"] }]\n'
            )

    def _fetch(self, address: str) -> bytes:
        self.fetches += 1
        if self.fetches > 1:
            self._monkeypatch.setattr(issuer, "RETRY_SECONDS", float("inf"))
            self._goes_on.wait(PATIENCE)
            raise OSError("no answer")
        public = jwt.get_algorithm_by_name("ES256").to_jwk(self._key.public_key(), as_dict=True)
        return json.dumps({"keys": [{**public, "kid": "known"}]}).encode()

    def list(self, channel: grpc.aio.Channel, kid: str) -> Any:
        """Begin a call with a token."""
        claims = {"iss": "https://id.example", "aud": "headstart", "sub": "me", "exp": time.time() + 600}
        token = jwt.encode(claims, self._key, "ES256", headers={"kid": kid})
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        metadata = (("authorization", f"Bearer {token}"),)
        return stub.ListModels(model_service_pb2.ListModelsRequest(), metadata=metadata)

    def end(self) -> None:
        self._goes_on.set()


@pytest.fixture
async def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HangingIssuer]:
    found = HangingIssuer(tmp_path, monkeypatch)
    yield found
    found.end()


async def test_callers_with_a_known_key_do_not_wait_for_an_issuer_that_hangs(
    hanging: HangingIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_WAIT_SECONDS", PATIENCE)
    async with serving(hanging.port) as channel, asyncio.timeout(PATIENCE):
        await hanging.list(channel, "known")
        # More than the threads that check tokens.
        strangers = [hanging.list(channel, f"unknown {number}") for number in range(2 * access._THREADS)]
        waiting = [asyncio.ensure_future(refused(call)) for call in strangers]
        for _ in range(5):
            await hanging.list(channel, "known")
        assert hanging.fetches == 2
        assert not any(task.done() for task in waiting)
        hanging.end()
        assert {code for code, _, _ in await asyncio.gather(*waiting)} == {"UNAUTHENTICATED"}


async def test_callers_who_wait_for_keys_are_limited_and_others_go_first(
    hanging: HangingIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_MAX_WAITING", 6)
    monkeypatch.setattr(access, "_WAIT_SECONDS", PATIENCE)
    async with serving(hanging.port) as channel, asyncio.timeout(PATIENCE):
        await hanging.list(channel, "known")
        calls = [hanging.list(channel, "unknown") for _ in range(7)]
        done, waiting = await asyncio.wait(
            [asyncio.ensure_future(refused(call)) for call in calls], return_when=asyncio.FIRST_COMPLETED
        )
        assert [task.result()[:2] for task in done] == [("RESOURCE_EXHAUSTED", "RATE_EXCEEDED")]
        assert (await Caller(channel, "admin").list()) == ["*"]
        await hanging.list(channel, "known")
        hanging.end()
        assert {code for code, _, _ in await asyncio.gather(*waiting)} == {"UNAUTHENTICATED"}


async def test_callers_wait_so_long_for_keys_and_no_longer(
    hanging: HangingIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(hanging.port) as channel, asyncio.timeout(PATIENCE):
        await hanging.list(channel, "known")
        monkeypatch.setattr(access, "_WAIT_SECONDS", 0.1)
        code, reason, _ = await refused(hanging.list(channel, "unknown"))
        assert (code, reason) == ("UNAVAILABLE", "ISSUER_KEYS_UNAVAILABLE")


async def test_queued_checks_of_tokens_are_limited(
    channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_MAX_CHECKS", 0)
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    metadata = (("authorization", "Bearer a.b.c"),)
    code, reason, _ = await refused(stub.ListModels(model_service_pb2.ListModelsRequest(), metadata=metadata))
    assert (code, reason) == ("RESOURCE_EXHAUSTED", "RATE_EXCEEDED")
    assert (await Caller(channel, "admin").list()) == ["*"]


@pytest.mark.parametrize("name", ["admin", "red"])
async def test_no_caller_reaches_another_tenants_models_by_their_full_name(
    port: Port, channel: grpc.aio.Channel, name: str
) -> None:
    someone = Caller(channel, name)
    for model in ("red/pets-1", "blue/pets-1", "red//pets-1"):
        assert (await refused(someone.predict(model)))[1] == "MODEL_NOT_FOUND"
        assert (await refused(someone.fine_tune(model)))[1] == "INVALID_FIELD"
    assert port.predicting.seen == []


async def test_a_tenants_name_and_a_models_fit_together_where_names_are_kept(
    channel: grpc.aio.Channel,
) -> None:
    red = Caller(channel, "red")
    assert (await red.fine_tune("m" * 124)).job.spec.model == "m" * 124
    assert (await refused(red.fine_tune("m" * 125)))[1] == "INVALID_FIELD"


async def test_a_token_is_changed_while_a_connection_is_open(port: Port, channel: grpc.aio.Channel) -> None:
    admin = Caller(channel, "admin")
    await admin.predict("pets-1")
    aside = port.access.with_suffix(".new")
    aside.write_text(port.access.read_text().replace(token_hash("admin-token"), token_hash("new-token")))
    aside.replace(port.access)

    assert (await refused(admin.predict("pets-1")))[0] == "UNAUTHENTICATED"
    await Caller(channel, "new").predict("pets-1")


async def test_a_method_without_a_row_is_refused_to_everybody(tmp_path: Path) -> None:
    for is_open in (False, True):
        async with serving(Port(tmp_path, is_open=is_open, rules={})) as channel:
            admin = Caller(channel, "admin")
            for call in (admin.predict("a"), admin.watch("mine"), admin.fine_tune("a")):
                assert (await refused(call))[0] == "PERMISSION_DENIED"


async def test_without_a_file_everybody_is_let_in_but_not_by_names_of_tenants(tmp_path: Path) -> None:
    port = Port(tmp_path, is_open=True)
    async with serving(port) as channel:
        anonymous = Caller(channel, None)
        await anonymous.delete("cars")
        assert await anonymous.list() == ["all"]
        # Without authentication, the metadata may have any form.
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        await stub.ListModels(
            model_service_pb2.ListModelsRequest(), metadata=(("authorization", "Basic abc"),)
        )
        assert (await refused(anonymous.fine_tune("red/cars")))[1] == "INVALID_FIELD"
    assert [line["principal"] for line in port.lines()] == ["", ""]


async def test_the_log_has_what_changes_something_and_what_is_refused(
    port: Port, channel: grpc.aio.Channel
) -> None:
    admin, red, reader = (Caller(channel, name) for name in ("admin", "red", "reader"))
    await admin.delete("cars")
    await red.fine_tune("pets-1")
    await reader.predict("pets-1")
    await refused(reader.predict("cars"))
    await refused(Caller(channel, "stranger").predict("cars"))
    await refused(Caller(channel, "admin").predict("pets-raw"))
    await refused(reader.delete("x" * MAX_MODEL_NAME))

    found = [
        (each["principal"], each["tenant"], each["method"].split("/")[2], each["models"], each["outcome"])
        for each in port.lines()
    ]
    assert found == [
        ("admin", "", "DeleteModel", ["cars"], "OK"),
        ("red", "red", "FineTune", ["pets-1"], "OK"),
        ("reader", "", "Predict", ["cars"], "NOT_FOUND"),
        (None, None, "Predict", [], "UNAUTHENTICATED"),
        ("reader", "", "DeleteModel", ["x" * 128], "PERMISSION_DENIED"),
    ]
    deleted, tuned, hidden, unknown, _ = port.lines()
    assert tuned["job_id"] == "job of red"
    assert tuned["request"] == {"request_id": "r"}
    assert [each["refused"] for each in (deleted, tuned, hidden, unknown)] == [False, False, True, True]
    assert all(each["peer"].startswith("ipv4:127.0.0.1:") for each in port.lines())


async def test_a_call_that_ends_in_an_outage_is_not_logged_as_refused(
    port: Port, channel: grpc.aio.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(job_id: str) -> str:
        raise DatabaseUnavailable(f"connection to server at db.canary failed for {job_id}")

    monkeypatch.setattr(port.check, "_model_of_job", unavailable)
    assert (await refused(Caller(channel, "trainer").status("mine")))[1] == "DATABASE_UNAVAILABLE"
    [line] = port.lines()
    assert (line["principal"], line["refused"]) == ("trainer", False)
    assert (line["outcome"], line["reason"]) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
    assert "canary" not in port.log.read_text()


async def test_the_log_has_faults_without_what_they_say_and_never_a_token(
    port: Port, channel: grpc.aio.Channel
) -> None:
    traffic = [model_pb2.TrafficSplit(version=4, fraction=0.05)]
    request = model_service_pb2.SetAliasRequest(model="cars", alias="stable", version=3, traffic=traffic)
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    assert (await refused(stub.SetAlias(request, metadata=(("authorization", "Bearer admin-token"),))))[
        0
    ] == ("INTERNAL")
    [line] = port.lines()
    reported = {"alias": "stable", "version": 3, "traffic": {"4": 0.05}}
    assert (line["outcome"], line["request"]) == ("INTERNAL", reported)
    assert "token" not in port.log.read_text()
    assert "secret" not in port.log.read_text()


async def test_the_log_has_all_calls_when_configured(tmp_path: Path) -> None:
    port = Port(tmp_path, audits_all=True)
    async with serving(port) as channel:
        await Caller(channel, "reader").predict("pets-1")
    assert [line["outcome"] for line in port.lines()] == ["OK"]


async def test_a_dataset_needs_the_right_to_train_on_it(port: Port, channel: grpc.aio.Channel) -> None:
    trainer, red = Caller(channel, "trainer"), Caller(channel, "red")
    assert (await trainer.fine_tune("pets-1", dataset="pets-2")).job.spec.dataset == "pets-2"
    code, reason, message = await refused(trainer.fine_tune("pets-1", dataset="cars"))
    assert (code, reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
    assert "train on the dataset 'cars'" in message
    assert (await red.fine_tune("pets-1", dataset="pets")).job.spec.dataset == "pets"
    code, reason, _ = await refused(red.fine_tune("pets-1", dataset="red/pets"))
    assert (code, reason) == ("NOT_FOUND", "DATASET_NOT_FOUND")


@pytest.mark.parametrize(("count", "is_here"), [(1000, True), (20_000, False)])
async def test_the_names_of_a_long_list_are_changed_outside_of_the_event_loop(
    port: Port, monkeypatch: pytest.MonkeyPatch, count: int, is_here: bool
) -> None:
    threads = set()

    def renamed(name: str) -> str:
        threads.add(threading.current_thread() is threading.main_thread())
        return own_name(name)

    monkeypatch.setattr(access, "own_name", renamed)
    entries = [oip.RepositoryIndexResponse.ModelIndex(name=f"red/pets-{place}") for place in range(count)]
    response = oip.RepositoryIndexResponse(models=entries)
    caller = Authenticated(principal=Principal(name="", tenant="red"))
    call = Call(
        Method("/inference.GRPCInferenceService/RepositoryIndex"), cast("Context", None), caller=caller
    )

    await port.check.response(call, response)

    assert [each.name for each in response.models] == [f"pets-{place}" for place in range(count)]
    assert threads == {is_here}
