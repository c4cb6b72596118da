"""Reads the content at a URL from the address that was checked: without redirects and proxies."""

from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPException

from urllib3.exceptions import HTTPError

from headstart_server.datasets.uris.location import SourceUnavailableError, TooLargeError, UnreadableError
from headstart_server.outbound.connection import closed_after, make_connection
from headstart_server.outbound.target import Target

#: Maximum seconds to connect or without a byte, and in total.
_QUIET_SECONDS = 10.0
_WHOLE_SECONDS = 60.0
_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "headstart"}


def read_web(
    target: Target, max_bytes: int, *, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> bytes:
    """Return the content at a target.

    Args:
        body: content to POST; None sends a GET.

    Raises:
        UnreadableError: the status is not 200, or the content is too large.
        SourceUnavailableError: there was no complete answer in time.
    """
    try:
        connection = make_connection(target, _QUIET_SECONDS)
        with closing(connection), closed_after(connection, _WHOLE_SECONDS):
            connection.request(
                "GET" if body is None else "POST",
                target.path,
                body=body,
                headers={"host": target.authority, **_HEADERS, **(headers or {})},
                preload_content=False,
                decode_content=False,
            )
            with closing(connection.getresponse()) as answer:
                _check(answer.status, answer.headers.get("content-encoding", "identity"))
                content = answer.read(max_bytes + 1, decode_content=False)
                if len(content) > max_bytes:
                    raise TooLargeError(f"it has more than {max_bytes} bytes")
                if answer.length_remaining:
                    raise SourceUnavailableError
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        # The error's text is dropped, because it may contain data that the peer sent.
        raise SourceUnavailableError from error
    return content


def _check(status: int, encoding: str) -> None:
    if 300 <= status < 400:
        raise UnreadableError(f"the answer is {status}, a redirect, which is not followed")
    if status == 429 or status >= 500:
        raise SourceUnavailableError
    if status != 200:
        raise UnreadableError(f"the answer is {status}")
    if encoding != "identity":
        raise UnreadableError("the response is compressed, although no compression was requested")
