"""Checks of the extras that connect the server to another service: each service runs on the loopback.

The checks of `server` convert a backbone; these take a prepared one.
"""

import json
import socket
import time
from contextlib import closing

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from install.cases import Case, Skipped, Times, expect, fine_tune, main_job, predict
from install.environments import CheckFailed
from install.server import InstalledServer, serving
from otlp import receiving
from postgres import PostgresServer
from programs import POSTGRESQL
from s3 import S3Server

ISSUER = "https://id.example"
ACCESS = """
[[issuers]]
issuer = "{issuer}"
audience = "headstart"
keys = "{keys}"

[[principals]]
name = "team"
issuer = "{issuer}"
claims = {{ groups = "vision" }}
grants = [{{ rights = ["predict", "train"], models = ["*"] }}]
"""


def postgres(case: Case) -> Times:
    """Two servers share a database: one fine-tunes, the other predicts."""
    if POSTGRESQL.find() is None:
        raise Skipped(POSTGRESQL.reason)
    database = PostgresServer()
    try:
        flags = (*case.prepared, "--database", database.database(), "--artifacts", case.scratch / "artifacts")

        def with_another(server: InstalledServer) -> None:
            with serving(case.environment, case.scratch / "another", *flags) as another:
                expect(
                    predict(case, another.target) == predict(case, server.target),
                    "two servers on one database predict differently",
                )

        return main_job(case, *flags, also=with_another)
    finally:
        database.close()


def s3(case: Case) -> Times:
    """Artifacts are in a bucket."""
    with S3Server() as service:
        bucket = service.bucket()
        flags = (*case.prepared, "--artifacts", f"s3://{bucket}/headstart")
        times = main_job(case, *flags, variables=service.environment)
        expect(bool(service.keys(bucket)), "the bucket is empty after a fine-tune")
        return times


def gcs(case: Case) -> Times:
    """A server whose bucket cannot be reached serves, and a fine-tune names the outage but not the bucket."""
    with closing(socket.socket()) as reserved:
        # Bound and not listening: connections are refused.
        reserved.bind(("127.0.0.1", 0))
        emulator = {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{reserved.getsockname()[1]}"}
        flags = (*case.prepared, "--artifacts", "gs://bucket/headstart")
        with serving(case.environment, case.scratch / "unreachable", *flags, variables=emulator) as server:
            message = refused(case, server.target)
    named = "STORAGE_UNAVAILABLE" in message and "gs://bucket" not in message
    expect(named, f"without its bucket a fine-tune fails with {message}")
    return main_job(case, *case.prepared)


def refused(case: Case, target: str) -> str:
    """Return the error of a call that has to fail."""
    try:
        fine_tune(case, target)
    except CheckFailed as failure:
        return str(failure)
    raise CheckFailed("a fine-tune succeeds that should be refused")


def oidc(case: Case) -> Times:
    """A token that an issuer signed is accepted, and a call without one is not."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key(), as_dict=True)
    keys, access = case.scratch / "keys.json", case.scratch / "access.toml"
    keys.write_text(json.dumps({"keys": [{**public, "kid": "one", "alg": "ES256", "use": "sig"}]}))
    access.write_text(ACCESS.format(issuer=ISSUER, keys=keys))
    claims = {
        "iss": ISSUER,
        "aud": "headstart",
        "sub": "alice",
        "exp": time.time() + 600,
        "groups": ["vision"],
    }
    flags = (*case.prepared, "--access-file", access)
    token = ("--token", jwt.encode(claims, key, algorithm="ES256", headers={"kid": "one"}))

    with serving(case.environment, case.scratch / "data", *flags) as server:
        fine_tune(case, server.target, *token)
        first, cold = predict(case, server.target, *token), time.perf_counter() - server.began
        message = refused(case, server.target)
        expect("UNAUTHENTICATED" in message, f"without a token a fine-tune fails with {message}")
    with serving(case.environment, case.scratch / "data", *flags) as server:
        expect(predict(case, server.target, *token) == first, "the restarted server predicts differently")
        return Times(cold, time.perf_counter() - server.began)


def otel(case: Case) -> Times:
    """Spans of the calls arrive at a collector."""
    with receiving() as collector:
        times = main_job(case, *case.prepared, "--trace-endpoint", collector.endpoint)
        names = {span.name for span in collector.spans}
    expect(
        any("Predict" in name for name in names), f"the collector has spans {sorted(names)}, none of Predict"
    )
    return times
