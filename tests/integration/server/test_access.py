"""A server with an access file: tenants over mutual TLS, changed tokens and certificates, and the audit log.

One server for all of it, with features instead of a network, so that a fine-tune takes a moment.
"""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import jwt
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certificates import identity
from headstart import (
    CapturePolicy,
    Client,
    InvalidArgument,
    JobFailed,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TlsConfig,
    Unauthenticated,
)
from headstart.v1 import (
    model_service_pb2,
    server_service_pb2,
    server_service_pb2_grpc,
)
from headstart_server.api.compat import open_inference_pb2 as oip
from headstart_server.api.grpc.permissions import RULES, Subject
from headstart_server.auth.permissions import Right
from headstart_server.auth.tokens import token_hash
from integration.server.calls import TIMEOUT
from server_process import START_SECONDS, ServerProcess, eventually, running

AUTHORITY = identity("authority")
CLIENT = identity("client", AUTHORITY)
ROBOT = identity("robot", AUTHORITY, x509.DNSName("robot.example"))
KEY = ec.generate_private_key(ec.SECP256R1())
ISSUER = "https://id.example"


@dataclass
class Place:
    """The server, and the files that it reads."""

    folder: Path
    server: ServerProcess

    def client(self, token: str | None = None, shown: Any = CLIENT, trusted: Any = AUTHORITY) -> Client:
        tls = TlsConfig(ca=trusted.chain, cert=shown.chain, key=shown.private)
        return Client(self.server.target, tls=tls, token=token, retries=0)

    def audited(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "audit.jsonl").read_text().splitlines()]


def put(path: Path, content: bytes | str) -> None:
    aside = path.with_suffix(".new")
    aside.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.replace(aside, path)


def principal(
    name: str, how: str, tenant: str, models: str = "*", rights: str = "predict train admin"
) -> str:
    return (
        f'[[principals]]\nname = "{name}"\n{how}\ntenant = "{tenant}"\n'
        f'grants = [{{ rights = {rights.split()}, models = ["{models}"] }}]\n'
    )


def access(folder: Path, red: str = "red") -> str:
    return (
        f'[[issuers]]\nissuer = "{ISSUER}"\naudience = "headstart"\nkeys = "{folder / "keys.json"}"\n'
        + principal("red", f'token_sha256 = ["{token_hash(red)}"]', "red")
        + principal("blue", f'token_sha256 = ["{token_hash("blue")}"]', "blue")
        + principal("reader", f'token_sha256 = ["{token_hash("reader")}"]', "red", "flow*", "predict")
        + principal("robot", 'certificates = ["robot.example"]', "blue", rights="predict")
        + principal("reviewer", f'token_sha256 = ["{token_hash("reviewer")}"]', "red", rights="review")
        + principal("all", f'token_sha256 = ["{token_hash("all")}"]', "blue", rights=" ".join(sorted(Right)))
        + principal("few", f'token_sha256 = ["{token_hash("few")}"]', "few")
        + principal("small", f'token_sha256 = ["{token_hash("small")}"]', "small")
        + '[[tenants]]\nname = "few"\nmax_versions = 1\n[[tenants]]\nname = "small"\nmax_storage = "1MiB"\n'
        + principal("trainer", f'token_sha256 = ["{token_hash("trainer")}"]', "red", rights="train")
        + principal("other", f'token_sha256 = ["{token_hash("other")}"]', "red", rights="train")
        + principal("people", f'issuer = "{ISSUER}"\nclaims = {{ team = "blue" }}', "blue", rights="train")
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("access")
    shown = identity("server", AUTHORITY)
    for name, content in (("cert", shown.chain), ("key", shown.private), ("ca", AUTHORITY.chain)):
        put(folder / f"{name}.pem", content)
    key = jwt.get_algorithm_by_name("ES256").to_jwk(KEY.public_key(), as_dict=True)
    put(folder / "keys.json", json.dumps({"keys": [{**key, "kid": "one", "alg": "ES256"}]}))
    put(folder / "access.toml", access(folder))
    flags = {
        "--tls-cert": "cert.pem",
        "--tls-key": "key.pem",
        "--tls-client-ca": "ca.pem",
        "--access-file": "access.toml",
        "--audit-log": "audit.jsonl",
    }
    paths = [part for flag, name in flags.items() for part in (flag, str(folder / name))]
    put(folder / "secrets", "whsec_" + "YWJj" * 8)
    further = ("--max-queued-jobs-per-tenant", "5", "--isolate-feature-cache", "--http-port", "0")
    further += ("--allow-webhook", "https://hooks.example/{tenant}", "--webhook-secret-file")
    further += (str(folder / "secrets"),)
    with running(folder / "data", *paths, *further) as server:
        server.event("listening")
        place = Place(folder, server)
        for name, sign in (("red", 1.0), ("blue", -1.0)):
            with place.client(name) as client:
                job = client.fine_tune(examples(sign), model="flowers", request_id="same")
                assert job.result().version == 1
        yield place


def examples(sign: float) -> list[tuple[np.ndarray, str]]:
    """Two classes that two tenants tell apart the other way round."""
    return [(feature(sign * each), "up" if each > 0 else "down") for each in (-3.0, -2.0, 2.0, 3.0)]


def feature(value: float) -> np.ndarray:
    return np.array([value, 1.0], np.float32)


def test_two_tenants_have_models_request_ids_and_jobs_of_the_same_names(place: Place) -> None:
    for name, expected in (("red", "up"), ("blue", "down")):
        with place.client(name) as client:
            assert client.predict(feature(2.5), model="flowers").label == expected
            assert [model.model for model in client.models()].count("flowers") == 1
            assert [job.last_status.spec.model for job in client.jobs()].count("flowers") == 1
            [version] = client.get_model("flowers").versions
            assert version.model == "flowers"
            report = client.report("flowers").content.decode()
            assert "flowers" in report
            assert f"{name}/" not in report


def test_statistics_of_no_model_are_of_the_tenants_own(place: Place) -> None:
    credentials = grpc.ssl_channel_credentials(AUTHORITY.chain, CLIENT.private, CLIENT.chain)
    with grpc.secure_channel(place.server.target, credentials) as channel:
        call = channel.unary_unary(
            "/inference.GRPCInferenceService/ModelStatistics",
            request_serializer=oip.ModelStatisticsRequest.SerializeToString,
            response_deserializer=oip.ModelStatisticsResponse.FromString,
        )
        for name in ("red", "blue"):
            with place.client(name) as client:
                client.predict(feature(2.5), model="flowers")
            metadata = [("authorization", f"Bearer {name}")]
            statistics = call(
                oip.ModelStatisticsRequest(), metadata=metadata, timeout=START_SECONDS
            ).model_stats
            [flowers] = [each for each in statistics if each.name == "flowers"]
            assert flowers.version == "1"
            assert flowers.inference_count >= 1


def test_another_tenants_resources_look_like_missing_ones(place: Place) -> None:
    with place.client("red") as red, place.client("blue") as blue:
        red.fine_tune(examples(1.0), model="secret").result()
        [theirs] = [job for job in red.jobs() if job.last_status.spec.model == "secret"]
        failures = []
        for model, job_id in (("secret", theirs.job_id), ("nothing", "0" * 32)):
            asks: list[Callable[[], object]] = [
                lambda model=model: blue.predict(feature(1.0), model=model),
                lambda model=model: blue.get_model(model),
                lambda model=model: blue.delete_model(model, force=True),
                lambda model=model: blue.set_alias(model, "stable", 1),
                lambda job_id=job_id: blue.job(job_id).status(),
                lambda job_id=job_id: blue.job(job_id).cancel(),
                lambda job_id=job_id: list(blue.job(job_id).watch()),
            ]
            failures.append([failure(ask).replace(model, "NAME").replace(job_id, "ID") for ask in asks])
        assert failures[0] == failures[1]
        assert "secret" not in {model.model for model in blue.models()}
        assert "secret" not in {job.last_status.spec.model for job in blue.jobs()}
        assert list(blue.jobs("secret")) == []
        assert red.get_model("secret").model == "secret"


def test_captured_inputs_need_the_right_to_review_and_are_read_and_configured_on_record(place: Place) -> None:
    with place.client("red") as red, place.client("reviewer") as reviewer, place.client("other") as other:
        red.fine_tune(examples(1.0), model="watched").result()
        other.update_model("watched", capture=CapturePolicy(random_fraction=1.0))
        prediction_id = red.predict(feature(2.5), model="watched").prediction_id
        assert prediction_id
        with pytest.raises(PermissionDenied):
            red.captured_input("watched", prediction_id)
        with pytest.raises(PermissionDenied):
            list(red.review("watched"))
        assert reviewer.captured_input("watched", prediction_id).content
        assert [each.captured_input.prediction_id for each in reviewer.review("watched")] == [prediction_id]
        with pytest.raises(PermissionDenied):
            reviewer.predict(feature(2.5), model="watched")
        red.update_model("watched", capture=None)
    found = [line for line in place.audited() if line["models"] == ["watched"]]
    assert [
        (line["principal"], line["method"].split("/")[-1], line["outcome"], line["request"])
        for line in found
        if line["method"].split("/")[-1] in ("UpdateModel", "GetCapturedInput")
    ] == [
        ("other", "UpdateModel", "OK", {"update_mask": ["capture"]}),
        ("red", "GetCapturedInput", "PERMISSION_DENIED", {"prediction_id": prediction_id}),
        ("reviewer", "GetCapturedInput", "OK", {"prediction_id": prediction_id}),
        ("red", "UpdateModel", "OK", {"update_mask": ["capture"]}),
    ]


def failure(ask: Callable[[], object]) -> str:
    with pytest.raises(NotFound) as caught:
        ask()
    return f"{caught.value.reason} {caught.value.message} {caught.value.metadata}"


def test_rights_are_on_models_by_what_their_names_begin_with(place: Place) -> None:
    with place.client("reader") as reader:
        assert reader.predict(feature(2.5), model="flowers").label == "up"
        assert [model.model for model in reader.models()] == ["flowers"]
        with pytest.raises(PermissionDenied):
            reader.fine_tune(examples(1.0), model="flowers")
        with pytest.raises(PermissionDenied):
            reader.delete_model("flowers", force=True)
        with pytest.raises(NotFound):
            reader.predict(feature(1.0), model="secret")


def codes(place: Place, methods: Iterable[str], token: str | None) -> dict[str, str]:
    """The code of a call of each method with an empty message; a method of one message takes a stream too."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    found = {}
    with secure_channel(place) as channel:
        for method in methods:
            call = channel.stream_stream(method)(iter([b""]), metadata=metadata, timeout=START_SECONDS)
            # A stream of Health.Watch does not end.
            with suppress(grpc.RpcError):
                next(call, None)
            call.cancel()
            found[method] = call.code().name
    return found


def test_every_method_but_health_needs_a_known_token(place: Place) -> None:
    closed = {method for method, rule in RULES.items() if rule.on is not Subject.NONE}
    assert len(closed) > 40
    for token in (None, "stranger"):
        assert set(codes(place, closed, token).values()) == {"UNAUTHENTICATED"}


def test_every_method_denies_callers_that_lack_its_right(place: Place) -> None:
    for token, right in (("reader", Right.PREDICT), ("other", Right.TRAIN)):
        denied = {
            method
            for method, rule in RULES.items()
            if rule.on is not Subject.NONE and right not in rule.rights
        }
        assert len(denied) > 5
        found = codes(place, denied, token)
        assert {name: code for name, code in found.items() if code != "PERMISSION_DENIED"} == {}


def test_reflection_and_unknown_methods_are_unimplemented_with_and_without_a_token(place: Place) -> None:
    absent = [
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/headstart.v1.ModelService/ListTenants",
    ]
    for token in (None, "red"):
        assert set(codes(place, absent, token).values()) == {"UNIMPLEMENTED"}


def test_a_certificate_or_an_issuers_token_says_who_it_is(place: Place) -> None:
    with place.client(shown=ROBOT) as robot:
        assert robot.predict(feature(2.5), model="flowers").label == "down"
        with pytest.raises(PermissionDenied):
            list(robot.jobs())
    with place.client() as anonymous:
        with pytest.raises(Unauthenticated):
            list(anonymous.models())
        # Health is for everybody.
        eventually(anonymous.ready, START_SECONDS, "a server that says it serves")
    claims = {"iss": ISSUER, "aud": "headstart", "exp": time.time() + 60, "sub": "alice", "team": "blue"}
    with place.client(jwt.encode(claims, KEY, "ES256", {"kid": "one"})) as alice:
        assert [job.last_status.spec.model for job in alice.jobs()].count("flowers") == 1


def test_a_tenant_has_no_more_versions_and_bytes_than_it_may(place: Place) -> None:
    with place.client("few") as few:
        few.fine_tune(examples(1.0), model="one").result()
        with pytest.raises(ResourceExhausted) as caught:
            few.fine_tune(examples(1.0), model="two")
        assert caught.value.reason == "TENANT_QUOTA_EXCEEDED"
        assert caught.value.retry_after is None
        assert [each.subject for each in caught.value.quota_violations] == ["versions of the tenant"]
        usage = usage_of(place, "few")
        assert (usage.tenant, usage.version_count, usage.version_limit) == ("few", 1, 1)
        assert not usage.HasField("stored_bytes_limit")
        few.delete_model("one", force=True)
        few.fine_tune(examples(1.0), model="two").result()
    with place.client("small") as small:
        with pytest.raises(ResourceExhausted) as caught:
            small.fine_tune(large(8, 50_000), model="fat")
        assert caught.value.reason == "TENANT_QUOTA_EXCEEDED"
        assert "Delete versions or models" in caught.value.message
        # There is room for the examples, and none for what is learned from them.
        with pytest.raises(JobFailed) as failed:
            small.fine_tune(large(4, 50_000), model="fat").result()
        assert failed.value.reason == "TENANT_QUOTA_EXCEEDED"
        assert list(small.models()) == []
        # Nothing of it is left that would count.
        usage = usage_of(place, "small")
        assert (usage.version_count, usage.version_bytes + usage.example_bytes) == (0, 0)
        assert usage.stored_bytes_limit == 1 << 20
        small.fine_tune(large(4, 10_000), model="thin").result()
    eventually(
        lambda: place.server.metrics().value("headstart_tenant_stored_bytes", tenant="small") or None,
        90.0,
        "the metric of what a tenant stores",
    )


def usage_of(place: Place, name: str) -> server_service_pb2.Usage:
    with secure_channel(place) as channel:
        about = server_service_pb2_grpc.ServerServiceStub(channel)
        request = server_service_pb2.GetUsageRequest()
        return about.GetUsage(request, metadata=(("authorization", f"Bearer {name}"),), timeout=60).usage


def test_callers_learn_who_they_are_and_what_they_may_do(place: Place) -> None:
    with secure_channel(place) as channel:
        about = server_service_pb2_grpc.ServerServiceStub(channel)

        def who(token: str) -> server_service_pb2.Caller:
            metadata = (("authorization", f"Bearer {token}"),)
            return about.WhoAmI(server_service_pb2.WhoAmIRequest(), metadata=metadata, timeout=60).caller

        reader = who("reader")
        assert (reader.authenticated, reader.principal, reader.tenant) == (True, "reader", "red")
        assert not reader.operator_access
        (permission,) = reader.permissions
        assert list(permission.models) == ["flow*"]
        assert list(permission.rights) == [server_service_pb2.RIGHT_PREDICT]
        claims = {"iss": ISSUER, "aud": "headstart", "exp": time.time() + 60, "sub": "alice", "team": "blue"}
        alice = who(jwt.encode(claims, KEY, "ES256", {"kid": "one"}))
        assert (alice.principal, alice.subject, alice.tenant) == ("people", "alice", "blue")
        with pytest.raises(grpc.RpcError) as refused:
            who("stranger")
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def large(count: int, size: int) -> list[tuple[np.ndarray, str]]:
    """Features of so many numbers each, of two classes."""
    rng = np.random.default_rng(0)
    return [(rng.normal(place % 2, 1, size).astype(np.float32), str(place % 2)) for place in range(count)]


def test_no_response_contains_the_tenants_name(place: Place) -> None:
    """Responses get the caller's names by a list of fields; this checks the texts outside them."""
    shown = (("authorization", "Bearer blue"),)
    with secure_channel(place) as channel:
        responses = []

        def call(method: str, message: Any, answer: Any = None) -> None:
            stub = channel.unary_unary(method, type(message).SerializeToString)
            try:
                responses.append(stub(message, metadata=shown, timeout=60))
            except grpc.RpcError as error:
                responses.append(f"{error.details()} {error.trailing_metadata()}".encode())

        inference = "/inference.GRPCInferenceService"
        for name in ("flowers", "flowers@none", "flowers@9", "nothing", "blue/flowers"):
            call(f"{inference}/ModelInfer", oip.ModelInferRequest(model_name=name))
            call(f"{inference}/RepositoryModelUnload", oip.RepositoryModelUnloadRequest(model_name=name))
            infer = channel.stream_stream(
                f"{inference}/ModelStreamInfer", oip.ModelInferRequest.SerializeToString
            )
            with suppress(grpc.RpcError):
                responses += infer(iter([oip.ModelInferRequest(model_name=name)]), metadata=shown, timeout=60)
        call(f"{inference}/RepositoryIndex", oip.RepositoryIndexRequest())
        with place.client("blue") as blue:
            blue.fine_tune(examples(-1.0), model="trees").result()
        pages = model_service_pb2.ListModelsRequest(page_size=1)
        call("/headstart.v1.ModelService/ListModels", pages)
        token = model_service_pb2.ListModelsResponse.FromString(responses[-1]).next_page_token
        responses.append(b64decode(token))
        pages.page_token = token
        call("/headstart.v1.ModelService/ListModels", pages)
        [second] = model_service_pb2.ListModelsResponse.FromString(responses[-1]).models
        assert second.model == "trees"
    assert len(responses) > 15
    assert not [each for each in responses if b"blue/" in each]


def secure_channel(place: Place) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(AUTHORITY.chain, CLIENT.private, CLIENT.chain)
    return grpc.secure_channel(place.server.target, credentials)


def test_strangers_do_not_fill_the_audit_log(place: Place) -> None:
    before = len(place.audited())
    begun = time.monotonic()
    with secure_channel(place) as channel:
        delete = channel.unary_unary("/headstart.v1.ModelService/DeleteModel")
        for _ in range(300):
            with pytest.raises(grpc.RpcError):
                delete(b"", metadata=(("authorization", "Bearer stranger"),))
        lines = place.audited()[before:]
        written = [line for line in lines if "left_out" not in line]
        assert len(written) <= 10 * (time.monotonic() - begun + 2)

        # All are accounted for, once those that were left out are counted in a later one.
        def accounted() -> bool:
            with pytest.raises(grpc.RpcError):
                delete(b"", metadata=(("authorization", "Bearer stranger"),))
            return sum(line.get("left_out", 1) for line in place.audited()[before:]) > 300

        eventually(accounted, 90.0, "a line about those left out")


def test_the_url_of_a_webhook_is_for_its_sender_and_admins(place: Place, tmp_path: Path) -> None:
    secret = "https://hooks.example/red/in?token=planted-token"
    with place.client("trainer") as sender:
        job = sender.fine_tune(examples(1.0), model="hooked", webhook=secret)
        assert job.status().spec.webhook == secret
        with pytest.raises(InvalidArgument, match="--allow-webhook"):
            sender.fine_tune(examples(1.0), model="hooked", webhook="https://hooks.example/blue/in")
        job.result()
    with place.client("other") as other:
        seen = [
            other.job(job.job_id).status(),
            *(each.last_status for each in other.jobs() if each.job_id == job.job_id),
        ]
        assert len(seen) == 2
        assert "planted-token" not in repr(seen)
        assert not any(each.spec.webhook for each in seen)
    with place.client("red") as admin:
        assert admin.job(job.job_id).status().spec.webhook == secret
    for token, found in (("other", False), ("trainer", True)):
        for path in (f"v1/jobs/{job.job_id}", "v1/jobs"):
            with over_https(place, path, CLIENT, tmp_path, token) as answer:
                assert (b"planted-token" in answer.read()) == found


def test_a_new_authority_of_clients_holds_on_the_port_of_http_too(place: Place, tmp_path: Path) -> None:
    next_authority = identity("next clients")
    newcomer = identity("newcomer", next_authority)
    assert over_http(place, CLIENT, tmp_path) == 401
    put(place.folder / "ca.pem", next_authority.chain)
    assert over_http(place, newcomer, tmp_path) == 401
    with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
        over_http(place, CLIENT, tmp_path)
    put(place.folder / "ca.pem", AUTHORITY.chain)
    assert over_http(place, CLIENT, tmp_path) == 401


def over_http(place: Place, shown: Any, folder: Path) -> int:
    """The code that a call without a token is answered with, once TLS lets it through."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        over_https(place, "v1/models", shown, folder)
    caught.value.close()
    return caught.value.code


def over_https(place: Place, path: str, shown: Any, folder: Path, token: str | None = None) -> Any:
    """The answer to a GET."""
    pair = folder / "pair.pem"
    pair.write_bytes(shown.chain + shown.private)
    context = ssl.create_default_context(cadata=AUTHORITY.chain.decode())
    context.load_cert_chain(pair)
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    request = urllib.request.Request(
        f"https://{place.server.event('http_listening')}/{path}", headers=headers
    )
    return urllib.request.urlopen(request, timeout=60, context=context)


def test_tokens_and_certificates_change_while_a_connection_is_open(place: Place) -> None:
    other = identity("next authority")
    renewed = identity("server", other)
    with place.client("red") as before:
        assert before.predict(feature(2.5), model="flowers").label == "up"
        put(place.folder / "access.toml", access(place.folder, "red2"))
        put(place.folder / "key.pem", renewed.private)
        put(place.folder / "cert.pem", renewed.chain)

        # Not for want of a connection: that is there, and the token is not any more.
        with pytest.raises(Unauthenticated):
            before.predict(feature(2.5), model="flowers")
        with place.client("red2", trusted=other) as after:
            assert after.predict(feature(2.5), model="flowers").label == "up"
        put(place.folder / "access.toml", access(place.folder))
        assert before.predict(feature(2.5), model="flowers").label == "up"
    shown = identity("server", AUTHORITY)
    put(place.folder / "key.pem", shown.private)
    put(place.folder / "cert.pem", shown.chain)


def is_refusal(line: dict[str, Any]) -> bool:
    return bool(line["outcome"] == "UNAUTHENTICATED" and line["principal"] is None)


def test_the_audit_log_has_who_did_what_and_goes_on_in_a_new_file(place: Place) -> None:
    log = place.folder / "audit.jsonl"
    with place.client("red") as red, place.client("wrong") as wrong:
        red.fine_tune(examples(1.0), model="audited").result()
        red.delete_model("audited", force=True)

        def refused() -> bool:
            with pytest.raises(Unauthenticated):
                wrong.delete_model("audited", force=True)
            # Earlier tests may have used up the lines about unauthenticated callers of this second.
            return any(map(is_refusal, place.audited()[-1:]))

        eventually(refused, TIMEOUT, "an audit line about an unauthenticated caller")
        found = [line for line in place.audited() if line["models"] == ["audited"]]
        assert [(line["principal"], line["method"].split("/")[-1], line["outcome"]) for line in found] == [
            ("red", "FineTune", "OK"),
            ("red", "DeleteModel", "OK"),
        ]
        assert found[0]["job_id"]

        log.rename(place.folder / "audit.1")
        os.kill(place.server.pid, signal.SIGHUP)
        eventually(log.exists, TIMEOUT, "a new audit log")
        eventually(refused, TIMEOUT, "an audit line in the new file")
        assert all(map(is_refusal, place.audited()))


def test_no_token_gets_into_a_log(place: Place) -> None:
    written = place.server.log + "".join(file.read_text() for file in place.folder.glob("audit*"))
    for word in ("red2", "Bearer", "BEGIN"):
        assert word not in written


def test_the_command_makes_a_token_that_is_let_in(place: Place) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "headstart_server", "token", "new"], capture_output=True, text=True, check=True
    )
    token, *lines = made.stdout.splitlines()
    put(place.folder / "access.toml", access(place.folder) + "\n".join(lines) + "\n")
    with place.client(token) as client:
        assert list(client.models()) == []


def test_no_token_and_no_key_is_in_logs_refusals_or_the_audit_log(place: Place) -> None:
    claims = {"iss": ISSUER, "aud": "headstart", "exp": time.time() - 9999, "team": "blue"}
    expired = jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": "one"})
    tokens = ["a-token-that-must-stay-secret", expired, f"{expired}x", "a.b.c"]
    refusals = []
    for token in tokens:
        with place.client(token) as client, pytest.raises(Unauthenticated) as caught:
            client.predict(feature(1.0), model="flowers")
        refusals.append(str(caught.value))
    texts = [*refusals, place.server.log, (place.folder / "audit.jsonl").read_text()]

    assert all(texts)
    private = (place.folder / "key.pem").read_text().splitlines()[1]
    for text in texts:
        assert not any(secret in text for secret in [*tokens[:3], private])
