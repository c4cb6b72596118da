"""Tokens of an OpenID issuer: JSON Web Tokens (RFC 7519), checked against its keys."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
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
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 1 << 20


class KeysUnavailableError(Exception):
    """The keys of an issuer are unavailable."""


class KeySet:
    """The keys of an issuer by their IDs.

    Keys at an address are fetched for the first token, after `FRESH_SECONDS`, and if a token names an unknown
    key, but at most once in `RETRY_SECONDS`. If the address does not answer, the known keys stay valid. A
    file is read again when it changes.

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
        self._read_at = self._tried_at = float("-inf")
        self._stamp: Stamp | None = None

    def key(self, name: str) -> Any:
        """Return the key of an ID, which may need a fetch; None if unknown, or raise KeysUnavailableError."""
        known = self._keys
        # A known key does not wait for a lookup of an unknown one, or for a refresh of all.
        is_known = "://" in self._source and known is not None and name in known
        if not self._lock.acquire(blocking=not is_known):
            return (known or {}).get(name)
        try:
            if self._is_due(name):
                self._read()
            if self._keys is None:
                raise KeysUnavailableError(self._source)
            return self._keys.get(name)
        finally:
            self._lock.release()

    def _is_due(self, name: str) -> bool:
        if "://" not in self._source:
            return True
        now = self._clock()
        if now - self._tried_at < RETRY_SECONDS:
            return False
        return self._keys is None or now - self._read_at >= FRESH_SECONDS or name not in self._keys

    def _read(self) -> None:
        self._tried_at = self._clock()
        try:
            if "://" in self._source:
                content = self._fetch(self._source)
            else:
                stamp = stamp_of([Path(self._source)])
                if stamp == self._stamp:
                    return
                content, self._stamp = Path(self._source).read_bytes(), stamp
            self._keys = self._made(content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("issuer_keys_fetch_failed", source=self._source, error=str(error))
        else:
            self._read_at = self._tried_at

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
    with opener.open(address, timeout=_TIMEOUT_SECONDS) as answer:
        content: bytes = answer.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"more than {_MAX_BYTES} bytes")
    return content


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
        """Return the claims of a token. May wait for the network."""
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
        except KeysUnavailableError:
            raise IssuerKeysUnavailable(
                f"The keys of the issuer {settings.issuer} are unavailable. Try again in 10 seconds.",
                metadata=dict([NOT_STARTED]),
                retry_after=10.0,
            ) from None
        except jwt.PyJWTError as error:
            raise Unauthenticated(_invalid(error, settings)) from None
        return claims


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
