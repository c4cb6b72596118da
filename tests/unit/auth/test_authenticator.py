"""Who is calling: by token, by an issuer's token, or by certificate; and what changes while it runs."""

import hmac
import json
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fakes import PATIENCE
from headstart_server.auth import issuer
from headstart_server.auth.authenticator import Authenticator, Credentials
from headstart_server.auth.issuer import Issuer, KeySet, KeysUnavailableError, PendingIssuerKeys
from headstart_server.auth.policy import IssuerSettings, PolicyError
from headstart_server.auth.tokens import token_hash
from headstart_server.errors import IssuerKeysUnavailable, Unauthenticated

NAME = "https://id.example"
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(key: Any, kid: str) -> dict[str, Any]:
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, "alg": algorithm, "use": "sig"}


def token(key: Any = KEY, kid: str | None = "one", algorithm: str = "ES256", **claims: Any) -> str:
    now = time.time()
    said = {"iss": NAME, "aud": "headstart", "sub": "alice", "exp": now + 600, "groups": ["vision"], **claims}
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(said, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


class File:
    """An access file that changes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "access.toml"
        self.keys = folder / "keys.json"
        self.show(jwk(KEY, "one"), jwk(RSA, "rsa"))

    def show(self, *keys: dict[str, Any]) -> None:
        aside = self.keys.with_suffix(".new")
        aside.write_text(json.dumps({"keys": keys}))
        aside.replace(self.keys)

    def write(self, text: str) -> None:
        aside = self.path.with_suffix(".new")
        aside.write_text(text)
        aside.replace(self.path)

    def principal(self, name: str, more: str) -> str:
        return (
            f'[[principals]]\nname = "{name}"\n{more}\n'
            'grants = [{ rights = ["predict"], models = ["*"] }]\n'
        )

    def with_token(self, *tokens: str) -> str:
        return self.principal("ci", f"token_sha256 = {[token_hash(each) for each in tokens]}")

    def with_issuer(self, claims: str = 'groups = "vision"') -> str:
        issuer = (
            f'[[issuers]]\nissuer = "{NAME}"\naudience = "headstart"\nkeys = "{self.keys}"\n'
            "leeway_seconds = 120\n"
        )
        return issuer + self.principal("team", f'issuer = "{NAME}"\nclaims = {{ {claims} }}')


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


def name_of(authenticator: Authenticator, token: str | None = None, *names: str) -> str:
    return authenticator.identify(Credentials(token=token, certificate_names=names)).principal.name


def test_without_a_file_everybody_is_let_in() -> None:
    assert Authenticator(None).is_open
    assert name_of(Authenticator(None)) == ""


def test_a_token_is_known_by_its_hash_and_another_is_not(file: File) -> None:
    file.write(file.with_token("secret"))
    authenticator = Authenticator(file.path)
    assert name_of(authenticator, "secret") == "ci"
    for wrong in ("secret ", "Secret", "", token_hash("secret")):
        with pytest.raises(Unauthenticated):
            name_of(authenticator, wrong)
    with pytest.raises(Unauthenticated, match="The token is missing"):
        name_of(authenticator)


def test_a_token_goes_before_a_certificate(file: File) -> None:
    file.write(file.with_token("secret") + file.principal("host", 'certificates = ["host.example"]'))
    authenticator = Authenticator(file.path)
    assert name_of(authenticator, None, "10.0.0.1", "host.example") == "host"
    assert name_of(authenticator, "secret", "host.example") == "ci"
    with pytest.raises(Unauthenticated):
        name_of(authenticator, "wrong", "host.example")
    with pytest.raises(Unauthenticated, match="lists no name of the client certificate"):
        name_of(authenticator, None, "stranger.example")


def test_tokens_are_changed_without_a_start(file: File) -> None:
    file.write(file.with_token("old"))
    authenticator = Authenticator(file.path)
    file.write(file.with_token("old", "new"))
    assert [name_of(authenticator, each) for each in ("old", "new")] == ["ci", "ci"]
    file.write(file.with_token("new"))
    assert name_of(authenticator, "new") == "ci"
    with pytest.raises(Unauthenticated):
        name_of(authenticator, "old")


@pytest.mark.parametrize("content", ["principals = [", '[[principals]]\nname = "x"\n'])
def test_a_file_that_is_wrong_lets_in_whom_the_last_good_one_did(file: File, content: str) -> None:
    file.write(file.with_token("secret"))
    authenticator = Authenticator(file.path)
    file.write(content)
    assert name_of(authenticator, "secret") == "ci"
    file.path.unlink()
    assert name_of(authenticator, "secret") == "ci"
    file.write(file.with_token("next"))
    assert name_of(authenticator, "next") == "ci"


def test_at_the_start_a_file_that_is_wrong_or_missing_is_an_error(file: File) -> None:
    with pytest.raises(FileNotFoundError):
        Authenticator(file.path)
    file.write("principals = 1")
    with pytest.raises(PolicyError):
        Authenticator(file.path)


@pytest.mark.parametrize(
    "make",
    [
        token,
        lambda: token(RSA, "rsa", "RS256"),
        lambda: token(aud=["other", "headstart"]),
        lambda: token(groups="vision"),
        lambda: token(exp=time.time() - 5),  # within the leeway
        lambda: token(nbf=time.time() + 5),
    ],
)
def test_an_issuers_token_names_a_principal_by_its_claims(file: File, make: Callable[[], str]) -> None:
    file.write(file.with_issuer())
    authenticator = Authenticator(file.path)
    credentials = Credentials(token=make())
    found = authenticator.identify(credentials)
    assert authenticator.is_slow(credentials)
    assert (found.principal.name, found.subject) == ("team", "alice")


def unsigned() -> str:
    return jwt.encode({"iss": NAME, "aud": "headstart", "exp": time.time() + 600}, None, algorithm="none")


def confused() -> str:
    """Signed with the public key, as if that were a secret."""
    payload = token().split(".")[1]
    header = urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "one"}).encode()).rstrip(b"=").decode()
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = hmac.digest(public, f"{header}.{payload}".encode(), "sha256")
    return f"{header}.{payload}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "make",
    [
        lambda: token(OTHER),
        lambda: token(kid="two"),
        lambda: token(kid=None),
        lambda: token(iss="https://other.example"),
        lambda: token(iss=None),
        lambda: token(aud="other"),
        lambda: token(aud=None),
        lambda: token(exp=time.time() - 300),
        lambda: token(exp=None),
        lambda: token(nbf=time.time() + 300),
        lambda: token(groups=["sound"]),
        lambda: token(groups=None),
        lambda: token()[:-4] + "AAAA",
        lambda: token(RSA, "rsa", "PS256"),
        unsigned,
        confused,
        lambda: "a.b.c",
        lambda: "..",
    ],
)
def test_any_other_token_is_refused(file: File, make: Callable[[], str]) -> None:
    file.write(file.with_issuer())
    with pytest.raises(Unauthenticated):
        Authenticator(file.path).identify(Credentials(token=make()))


def test_keys_in_a_file_are_read_again_when_they_change(file: File) -> None:
    file.write(file.with_issuer())
    authenticator = Authenticator(file.path)
    assert name_of(authenticator, token()) == "team"
    file.show(jwk(OTHER, "two"))
    assert name_of(authenticator, token(OTHER, "two")) == "team"
    with pytest.raises(Unauthenticated):
        name_of(authenticator, token())


class Address:
    """An issuer's address, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.requested = 0
        self.meanwhile: Callable[[], object] = lambda: None
        self.keys: list[dict[str, Any]] | None = [jwk(KEY, "one")]
        self.answer: bytes | None = None

    def fetch(self, address: str) -> bytes:
        self.requested += 1
        self.meanwhile()
        if self.answer is not None:
            return self.answer
        if self.keys is None:
            raise OSError("no route")
        return json.dumps({"keys": self.keys}).encode()

    def key_set(self) -> KeySet:
        return KeySet("https://id.example/keys", dict, fetch=self.fetch, clock=lambda: self.now)


def found(keys: KeySet, name: str) -> Any:
    """Return a key, after the fetch that may find it."""
    try:
        return keys.key(name)
    except KeysUnavailableError as error:
        if error.fetched is None:
            raise
        error.fetched.result(PATIENCE)
    return keys.key(name)


def test_a_redirect_of_the_keys_address_is_not_followed() -> None:
    paths = []

    class Redirecting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(302 if self.path == "/keys" else 200)
            self.send_header("location", "/elsewhere")
            self.end_headers()
            self.wfile.write(json.dumps({"keys": [jwk(KEY, "one")]}).encode())

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Redirecting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(KeysUnavailableError):
                found(KeySet(f"http://127.0.0.1:{server.server_port}/keys", dict), "one")
            assert found(KeySet(f"http://127.0.0.1:{server.server_port}/direct", dict), "one")
        finally:
            server.shutdown()
    assert paths == ["/keys", "/direct"]


def test_fetched_keys_are_used_until_they_are_old() -> None:
    address = Address()
    keys = address.key_set()
    for now in (0.0, 100.0, 299.0):
        address.now = now
        assert found(keys, "one")["kid"] == "one"
    assert address.requested == 1
    address.now, address.keys = 300.0, [jwk(OTHER, "two")]
    assert keys.key("one")["kid"] == "one"
    # It is fetched already for the caller with the known key.
    assert found(keys, "two")["kid"] == "two"
    assert address.requested == 2
    assert keys.key("one") is None


def test_an_unknown_key_is_looked_for_at_once_but_not_with_every_token() -> None:
    address = Address()
    keys = address.key_set()
    found(keys, "one")
    address.keys, address.now = [jwk(OTHER, "two")], 11.0
    assert found(keys, "two")["kid"] == "two"
    for _ in range(5):
        assert found(keys, "three") is None
    assert address.requested == 2


@pytest.mark.parametrize("answer", [None, b"[]", b"{", b'{"keys": 1}', b'{"keys": [1]}'])
def test_known_keys_stay_good_while_the_address_is_away(answer: bytes | None) -> None:
    address = Address()
    keys = address.key_set()
    found(keys, "one")
    address.answer, address.now = answer, 1000.0
    address.keys = None
    assert found(keys, "two") is None
    assert keys.key("one")["kid"] == "one"
    assert address.requested == 2


def test_a_known_key_does_not_wait_for_a_fetch() -> None:
    address, goes_on = Address(), threading.Event()
    keys = address.key_set()
    found(keys, "one")
    address.now = 1000.0
    address.meanwhile = lambda: goes_on.wait(PATIENCE)
    try:
        # The keys are old, so this begins a fetch, which does not end.
        assert keys.key("one")["kid"] == "one"
        with pytest.raises(KeysUnavailableError) as caught:
            keys.key("two")
        assert keys.key("one")["kid"] == "one"
    finally:
        goes_on.set()
    assert caught.value.fetched is not None
    caught.value.fetched.result(PATIENCE)
    assert keys.key("two") is None
    assert address.requested == 2


def test_a_key_that_was_withdrawn_while_no_tokens_came_is_not_used_once_more() -> None:
    address = Address()
    keys = address.key_set()
    found(keys, "one")
    address.now, address.keys = 3600.0, [jwk(OTHER, "two")]
    assert found(keys, "one") is None
    address.now, address.keys = 10_000.0, None
    assert found(keys, "two")["kid"] == "two"


def test_an_address_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issuer, "_TIMEOUT_SECONDS", 0.5)
    ended = threading.Event()

    class Dripping(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while not ended.wait(0.02):
                    self.wfile.write(b" ")
                    self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Dripping) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with pytest.raises(KeysUnavailableError) as caught:
                found(KeySet(f"http://127.0.0.1:{server.server_port}/keys", dict), "one")
        finally:
            ended.set()
            server.shutdown()
    assert caught.value.fetched is None


def test_keys_that_were_never_had_are_reported_as_temporary() -> None:
    address = Address()
    address.keys = None
    keys = address.key_set()
    with pytest.raises(KeysUnavailableError) as missing:
        found(keys, "one")
    assert missing.value.fetched is None
    settings = IssuerSettings(issuer=NAME, audience="headstart", keys="https://id.example/keys")
    with pytest.raises(IssuerKeysUnavailable) as caught:
        Issuer(settings, keys).claims(token())
    assert not isinstance(caught.value, PendingIssuerKeys)
    assert caught.value.retry_after
    address.now = 10.0
    with pytest.raises(PendingIssuerKeys) as pending:
        Issuer(settings, keys).claims(token())
    pending.value.fetched.result(PATIENCE)


def test_keys_for_other_uses_are_left_out() -> None:
    address = Address()
    address.keys = [{**jwk(KEY, "one"), "use": "enc"}, {"kty": "new"}]
    assert found(address.key_set(), "one") is None


def test_tokens_need_nothing_more_and_issuers_say_what_they_need(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer, "jwt", None)
    file.write(file.with_token("secret"))
    authenticator = Authenticator(file.path)
    assert name_of(authenticator, "secret") == "ci"
    with pytest.raises(Unauthenticated):
        name_of(authenticator, "a.b.c")
    file.write(file.with_token("secret") + file.with_issuer())
    assert name_of(authenticator, "secret") == "ci"
    with pytest.raises(ModuleNotFoundError, match=r"headstart\[oidc\]"):
        Authenticator(file.path)
