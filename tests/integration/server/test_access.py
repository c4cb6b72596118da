"""A server with an access file: tenants over mutual TLS, changed tokens and certificates, and the audit log.

One server for all of it, with features instead of a network, so that a fine-tune takes a moment.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certificates import identity
from headstart import Client, NotFound, PermissionDenied, TlsConfig, Unauthenticated
from headstart_server.access.tokens import token_hash
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
        "--access": "access.toml",
        "--audit-log": "audit.jsonl",
    }
    paths = [part for flag, name in flags.items() for part in (flag, str(folder / name))]
    with running(folder / "data", *paths, "--max-queued-jobs-per-tenant", "5") as server:
        server.event("listening")
        place = Place(folder, server)
        for name, sign in (("red", 1.0), ("blue", -1.0)):
            with place.client(name) as client:
                job = client.fine_tune(examples(sign), model="flowers", request_id="same")
                assert job.wait().number == 1
        yield place


def examples(sign: float) -> list[tuple[np.ndarray, str]]:
    """Two classes that two tenants tell apart the other way round."""
    return [(feature(sign * each), "up" if each > 0 else "down") for each in (-3.0, -2.0, 2.0, 3.0)]


def feature(value: float) -> np.ndarray:
    return np.array([value, 1.0], np.float32)


def test_two_tenants_have_models_request_ids_and_jobs_of_the_same_names(place: Place) -> None:
    for name, told in (("red", "up"), ("blue", "down")):
        with place.client(name) as client:
            assert client.predict(feature(2.5), model="flowers").label == told
            assert [model.name for model in client.models()] == ["flowers"]
            assert [job.spec.model for job in client.jobs()] == ["flowers"]
            [version] = client.model("flowers").versions
            assert version.model == "flowers"
            report = client.report("flowers").content.decode()
            assert "flowers" in report
            assert f"{name}/" not in report


def test_what_is_another_tenants_is_told_like_what_is_not_there(place: Place) -> None:
    with place.client("red") as red, place.client("blue") as blue:
        red.fine_tune(examples(1.0), model="secret").wait()
        [theirs] = [job for job in red.jobs() if job.spec.model == "secret"]
        told = []
        for model, job_id in (("secret", theirs.id), ("nothing", "0" * 32)):
            asks: list[Callable[[], object]] = [
                lambda model=model: blue.predict(feature(1.0), model=model),
                lambda model=model: blue.model(model),
                lambda model=model: blue.delete_model(model),
                lambda model=model: blue.set_alias(model, "stable", 1),
                lambda job_id=job_id: blue.job(job_id).status(),
                lambda job_id=job_id: blue.job(job_id).cancel(),
                lambda job_id=job_id: list(blue.job(job_id).watch()),
            ]
            told.append([failure(ask).replace(model, "NAME").replace(job_id, "ID") for ask in asks])
        assert told[0] == told[1]
        assert "secret" not in {model.name for model in blue.models()}
        assert "secret" not in {job.spec.model for job in blue.jobs()}
        assert list(blue.jobs("secret")) == []
        assert red.model("secret").name == "secret"


def failure(ask: Callable[[], object]) -> str:
    with pytest.raises(NotFound) as caught:
        ask()
    return f"{caught.value.reason} {caught.value.message} {caught.value.metadata}"


def test_rights_are_on_models_by_what_their_names_begin_with(place: Place) -> None:
    with place.client("reader") as reader:
        assert reader.predict(feature(2.5), model="flowers").label == "up"
        assert [model.name for model in reader.models()] == ["flowers"]
        with pytest.raises(PermissionDenied):
            reader.fine_tune(examples(1.0), model="flowers")
        with pytest.raises(PermissionDenied):
            reader.delete_model("flowers")
        with pytest.raises(NotFound):
            reader.predict(feature(1.0), model="secret")


def test_a_certificate_or_an_issuers_token_says_who_it_is(place: Place) -> None:
    with place.client(shown=ROBOT) as robot:
        assert robot.predict(feature(2.5), model="flowers").label == "down"
        with pytest.raises(PermissionDenied):
            list(robot.jobs())
    with place.client() as nobody:
        with pytest.raises(Unauthenticated):
            list(nobody.models())
        # Health is for everybody.
        eventually(nobody.ready, START_SECONDS, "a server that says it serves")
    claims = {"iss": ISSUER, "aud": "headstart", "exp": time.time() + 60, "sub": "alice", "team": "blue"}
    with place.client(jwt.encode(claims, KEY, "ES256", {"kid": "one"})) as alice:
        assert [job.spec.model for job in alice.jobs()] == ["flowers"]


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


def test_the_audit_log_has_who_did_what_and_goes_on_in_a_new_file(place: Place) -> None:
    with place.client("red") as red, place.client("wrong") as wrong:
        red.fine_tune(examples(1.0), model="audited").wait()
        red.delete_model("audited")
        with pytest.raises(Unauthenticated):
            wrong.delete_model("audited")
        found = [line for line in place.audited() if line["models"] == ["audited"]]
        assert [(line["principal"], line["method"].split("/")[-1], line["outcome"]) for line in found] == [
            ("red", "FineTune", "OK"),
            ("red", "DeleteModel", "OK"),
        ]
        assert found[0]["job_id"]
        assert place.audited()[-1]["outcome"] == "UNAUTHENTICATED"

        log = place.folder / "audit.jsonl"
        log.rename(place.folder / "audit.1")
        os.kill(place.server.pid, signal.SIGHUP)
        eventually(log.exists, 30.0, "a new audit log")
        with pytest.raises(Unauthenticated):
            wrong.delete_model("audited")
        assert len(place.audited()) == 1


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


def test_no_token_and_no_key_is_told_in_logs_refusals_or_the_audit_log(place: Place) -> None:
    claims = {"iss": ISSUER, "aud": "headstart", "exp": time.time() - 9999, "team": "blue"}
    expired = jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": "one"})
    tokens = ["a-token-that-nobody-may-see", expired, f"{expired}x", "a.b.c"]
    refusals = []
    for token in tokens:
        with place.client(token) as client, pytest.raises(Unauthenticated) as caught:
            client.predict(feature(1.0), model="flowers")
        refusals.append(str(caught.value))
    told = [*refusals, place.server.log, (place.folder / "audit.jsonl").read_text()]

    assert all(told)
    private = (place.folder / "key.pem").read_text().splitlines()[1]
    for text in told:
        assert not any(secret in text for secret in [*tokens[:3], private])
