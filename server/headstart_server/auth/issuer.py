"""Tokens of an OpenID issuer: JSON Web Tokens (RFC 7519), checked against its keys."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import structlog

from headstart_server.auth.policy import IssuerSettings
from headstart_server.errors import NOT_STARTED, IssuerKeysUnavailable, Unauthenticated
from headstart_server.reloading import Stamp, stamp_of

log = structlog.get_logger(__name__)

#: Seconds that fetched keys are valid, and between two attempts to fetch them.
FRESH_SECONDS = 300.0
RETRY_SECONDS = 10.0
#: Seconds without a token after which the next ones wait for a fetch, because keys may have been withdrawn.
IDLE_SECONDS = 3600.0
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES, _PIECE_BYTES = 1 << 20, 1 << 16


class KeysUnavailableError(Exception):
    """The keys of an issuer are unavailable.

    Attributes:
        fetched: ends with the fetch that may find the key; None if no fetch is running.
    """

    def __init__(self, source: str, fetched: "Future[None] | None" = None) -> None:
        super().__init__(source)
        self.fetched = fetched


class PendingIssuerKeys(IssuerKeysUnavailable):
    """The key of a token may be found by a running fetch.

    Attributes:
        fetched: ends with the fetch.
    """

    def __init__(self, message: str, fetched: "Future[None]", **details: Any) -> None:
        super().__init__(message, **details)
        self.fetched = fetched


class KeySet:
    """The keys of an issuer by their IDs.

    Keys at an address are fetched for the first token, after `FRESH_SECONDS`, and if a token names an unknown
    key, but at most once in `RETRY_SECONDS`. A thread fetches them, so that no caller waits for a known key,
    except after `IDLE_SECONDS`. If the address does not answer, the known keys stay valid. A file is read
    again when it changes.

    Args:
        make: makes a key from its JSON form; None for an unknown kind of key.
        fetch: returns the content at an address.
    """

    def __init__(
        self,
        source: str,
        make: Callable[[Mapping[str, Any]], Any],
        *,
        fetch: Callable[[str], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._make = make
        self._fetch = fetch or _fetched
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, Any] | None = None
        self._read_at = self._tried_at = self._used_at = float("-inf")
        self._running: Future[None] | None = None
        self._was_idle = False
        self._stamp: Stamp | None = None

    def key(self, name: str) -> Any:
        """Return the key of an ID without waiting for the network; None if unknown.

        Raise KeysUnavailableError if no keys are known, or a running fetch may find this one.
        """
        with self._lock:
            if "://" in self._source:
                self._begin_fetch_if_due(name)
            elif (keys := self._attempt(self._in_changed_file)) is not None:
                self._keys = keys
            if self._keys is not None and (
                self._running is None or (name in self._keys and not self._was_idle)
            ):
                return self._keys.get(name)
            raise KeysUnavailableError(self._source, self._running)

    def _begin_fetch_if_due(self, name: str) -> None:
        now = self._clock()
        is_idle, self._used_at = now - self._used_at >= IDLE_SECONDS, now
        if self._running is not None or now - self._tried_at < RETRY_SECONDS:
            return
        if self._keys is None or now - self._read_at >= FRESH_SECONDS or name not in self._keys:
            fetched: Future[None] = Future()
            thread = threading.Thread(
                target=self._refresh, args=(now, fetched), name="issuer-keys", daemon=True
            )
            self._was_idle, self._tried_at = is_idle, now
            thread.start()
            # The thread cannot have ended: for that it needs the lock.
            self._running = fetched

    def _refresh(self, begun: float, fetched: "Future[None]") -> None:
        """Fetch the keys."""
        keys = self._attempt(lambda: self._made(self._fetch(self._source)))
        with self._lock:
            if keys is not None:
                self._keys, self._read_at = keys, begun
            self._running = None
        fetched.set_result(None)

    def _in_changed_file(self) -> Mapping[str, Any] | None:
        """Return the keys in the file; None if it has not changed."""
        path = Path(self._source)
        stamp = stamp_of([path])
        if stamp == self._stamp:
            return None
        content = path.read_bytes()
        self._stamp = stamp
        return self._made(content)

    def _attempt(self, read: Callable[[], Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
        """Return read keys; None if there are none to read, or they cannot be read, which is logged."""
        try:
            return read()
        except Exception as error:  # noqa: BLE001 - whatever an address returns, the known keys stay valid
            log.warning("issuer_keys_fetch_failed", source=self._source, error=str(error))
            return None

    def _made(self, content: bytes) -> Mapping[str, Any]:
        keys = {}
        for entry in json.loads(content)["keys"]:
            # Key sets also have keys for other uses, and unknown kinds of keys.
            if entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str):
                continue
            made = self._make(entry)
            if made is not None:
                keys[entry["kid"]] = made
        return keys


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _fetched(address: str) -> bytes:
    # Redirects are not followed: only the access file chooses the address, and its scheme was checked there.
    opener = urllib.request.build_opener(_NoRedirect)
    end = time.monotonic() + _TIMEOUT_SECONDS
    content = bytearray()
    with opener.open(address, timeout=_TIMEOUT_SECONDS) as answer:
        while piece := answer.read1(_PIECE_BYTES):
            content += piece
            if len(content) > _MAX_BYTES:
                raise ValueError(f"more than {_MAX_BYTES} bytes")
            if time.monotonic() > end:
                raise TimeoutError(f"no complete response in {_TIMEOUT_SECONDS:g} s")
    return bytes(content)


try:
    import jwt
except ModuleNotFoundError:  # the extra `oidc`
    jwt = None  # type: ignore[assignment]


def check_installed() -> None:
    """Raise ModuleNotFoundError if the package that checks tokens of issuers is not installed."""
    if jwt is None:
        raise ModuleNotFoundError("The access file has issuers: pip install 'headstart[oidc]'.", name="jwt")


class Issuer:
    """Checks the tokens of one issuer.

    Args:
        keys: the issuer's keys; None uses the keys that the settings name.
    """

    def __init__(self, settings: IssuerSettings, keys: KeySet | None = None) -> None:
        check_installed()
        self._settings = settings
        self._keys = keys or KeySet(settings.keys, _key)

    def claims(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token; raise PendingIssuerKeys if its key is being fetched."""
        settings = self._settings
        try:
            key = self._keys.key(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                raise Unauthenticated(
                    "The token is not signed by a key of its issuer. Request a new token from the issuer."
                )
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(settings.algorithms),
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=settings.leeway_seconds,
                options={"require": ["exp", "iss", "aud"]},
            )
        except KeysUnavailableError as error:
            raise _unavailable(settings, error.fetched) from None
        except jwt.PyJWTError as error:
            raise Unauthenticated(_invalid(error, settings)) from None
        return claims


def _unavailable(settings: IssuerSettings, fetched: "Future[None] | None") -> IssuerKeysUnavailable:
    message = f"The keys of the issuer {settings.issuer} are unavailable. Try again in 10 seconds."
    if fetched is None:
        return IssuerKeysUnavailable(message, metadata=dict([NOT_STARTED]), retry_after=10.0)
    return PendingIssuerKeys(message, fetched, metadata=dict([NOT_STARTED]), retry_after=10.0)


def issuer_name(token: str) -> str | None:
    """Return the unverified issuer of a token; None if the token is not a JSON Web Token."""
    if jwt is None or token.count(".") != 2:
        return None
    try:
        name = jwt.decode(token, options={"verify_signature": False}).get("iss")
    except jwt.PyJWTError:
        return None
    return name if isinstance(name, str) else None


def _key(entry: Mapping[str, Any]) -> Any:
    """Return the key of a JSON form; None for an unknown kind of key."""
    try:
        return jwt.PyJWK(dict(entry))
    except jwt.PyJWTError:
        return None


def _invalid(error: Exception, settings: IssuerSettings) -> str:
    """Return the message for an invalid token."""
    expected = f"Request a new token of {settings.issuer} for {settings.audience}."
    match error:
        case jwt.ExpiredSignatureError():
            return f"The token has expired. {expected}"
        case jwt.InvalidAudienceError():
            return f"The token is for another audience. {expected}"
        case jwt.InvalidSignatureError():
            return f"The signature of the token is invalid. {expected}"
    return f"The token is invalid ({type(error).__name__}). {expected}"
