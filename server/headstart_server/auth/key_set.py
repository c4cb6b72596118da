"""The public keys of an issuer, from an address or a file."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger(__name__)

#: Seconds for which keys that were fetched are good, and between two tries to fetch them.
FRESH_SECONDS = 300.0
RETRY_SECONDS = 10.0
_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 1 << 20


class KeysAwayError(Exception):
    """The keys cannot be had."""


class KeySet:
    """Gives the keys of an issuer by their ids.

    Those of an address are fetched when the first token comes, again when they are old, and at once when a
    token names a key that is not among them, but not more often than every 10 seconds. If the address does
    not answer the keys that are known stay good. A file is read again when it changes.

    Args:
        source: an address, or a file.
        make: makes a key of its JSON form; raises if it is of a kind that is not known.
        fetch: reads an address.
        clock: seconds that only go up.
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
        self._stamp: tuple[int, int, int] | None = None

    def key(self, name: str) -> Any:
        """The key of an id; None if there is none. May wait for the network.

        Raises:
            KeysAwayError: no keys are known, and none can be had.
        """
        known = self._keys
        # Whoever brings a known key does not wait for those who look for an unknown one, or renew them all.
        is_known = "://" in self._source and known is not None and name in known
        if not self._lock.acquire(blocking=not is_known):
            return (known or {}).get(name)
        try:
            if self._is_due(name):
                self._read()
            if self._keys is None:
                raise KeysAwayError(self._source)
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
                stat = Path(self._source).stat()
                stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
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
            # Sets have keys for other uses, and of kinds yet unknown, beside those that are wanted.
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
    # The scheme was checked when the file was read; where it leads is not for the one who answers to say.
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(address, timeout=_TIMEOUT_SECONDS) as answer:
        content: bytes = answer.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise ValueError(f"more than {_MAX_BYTES} bytes")
    return content
