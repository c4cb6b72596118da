"""The Label Studio instance whose files the server may read."""

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from urllib.parse import SplitResult, quote, urljoin

from headstart_server.datasets.uris.location import SourceUnavailableError, UnreadableError
from headstart_server.datasets.uris.web import read_web
from headstart_server.outbound.target import is_within, resolve_host, resolve_target, split_url
from headstart_server.settings.secret import Secret

#: Seconds after which an access token is requested again; Label Studio's tokens are valid for five minutes.
_ACCESS_SECONDS = 240.0
_MAX_TOKEN_BYTES = 64 << 10
#: Characters of a path and query that are not escaped.
_PLAIN = "/?&=%:@!$'()*+,;~-._"
#: Paths of tasks' files. The token must not be used to read anything else.
_FILES = re.compile(r"/(data/(upload|local-files)/|storage-data/uploaded/|(tasks|projects)/[0-9]+/resolve/)")


class LabelStudioSite:
    """Read files of one Label Studio instance with a token.

    Args:
        token: a user's personal or legacy access token; None reads public files only.

    Raises:
        ValueError: the URL is invalid.
    """

    def __init__(
        self,
        url: str,
        token: Secret[str] | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            self._base = split_url(url)
        except ValueError as error:
            raise ValueError(
                "--label-studio-url must be a URL such as https://label-studio.example.com. "
                f"Received: {error}"
            ) from None
        self._url = url.rstrip("/")
        self._token = token
        self._clock = clock
        self._lock = threading.Lock()
        self._access: tuple[str, float] = ("", 0.0)

    def url_of(self, path: str) -> str:
        """Return the URL of a path of this instance, such as `/data/upload/1/cat.jpg`."""
        prefix = self._base.path.rstrip("/")
        within = path if prefix and path.startswith(f"{prefix}/") else f"{prefix}{path}"
        return urljoin(self._url, quote(within, safe=_PLAIN))

    def contains(self, url: str) -> bool:
        """Return whether a URL is of this instance."""
        try:
            return is_within(split_url(url), self._base)
        except ValueError:
            return False

    def read(self, url: str, max_bytes: int) -> bytes:
        """Return the content at a URL of this instance.

        Raises:
            UnreadableError: the content cannot be read.
            SourceUnavailableError: the instance does not answer.
            ValueError: the URL is invalid, or of another host.
        """
        parts = split_url(url)
        if not is_within(parts, self._base):
            raise ValueError("a URL of another host.")
        if not _FILES.match(parts.path.removeprefix(self._base.path.rstrip("/"))):
            raise ValueError(f"{parts.path[:200]!r}, which is not the path of a task's file.")
        return self._request(parts, max_bytes, self._headers())

    def _headers(self) -> Mapping[str, str]:
        if self._token is None:
            return {}
        token = self._token.reveal()
        # A personal access token is a JWT that is exchanged; a legacy token is sent directly.
        if token.count(".") == 2:
            return {"authorization": f"Bearer {self._access_token(token)}"}
        return {"authorization": f"Token {token}"}

    def _access_token(self, refresh: str) -> str:
        with self._lock:
            access, until = self._access
            if self._clock() >= until:
                access = self._exchange(refresh)
                self._access = (access, self._clock() + _ACCESS_SECONDS)
            return access

    def _exchange(self, refresh: str) -> str:
        try:
            content = self._request(
                split_url(self.url_of("/api/token/refresh")),
                _MAX_TOKEN_BYTES,
                {"content-type": "application/json"},
                json.dumps({"refresh": refresh}).encode(),
            )
            return str(json.loads(content)["access"])
        except (UnreadableError, ValueError, KeyError, TypeError):
            raise UnreadableError("Label Studio does not accept --label-studio-token") from None

    def _request(
        self, url: SplitResult, max_bytes: int, headers: Mapping[str, str], body: bytes | None = None
    ) -> bytes:
        try:
            # The operator chose the host, which may be at a private address.
            target = resolve_target(url, resolve_host, allow_private=True)
        except OSError:
            raise SourceUnavailableError from None
        return read_web(target, max_bytes, headers=headers, body=body)
