"""Sends one POST."""

from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPException

from urllib3.exceptions import HTTPError

from headstart_server.outbound.connection import closed_after, make_connection
from headstart_server.outbound.target import Target

#: Seconds to connect or without a byte, and in all.
_QUIET_SECONDS = 10.0
_WHOLE_SECONDS = 15.0


class WebhookPostError(Exception):
    """A POST that did not arrive."""

    def __init__(self, why: str, *, is_gone: bool = False, answered: bool = True) -> None:
        super().__init__(why)
        self.why = why
        self.is_gone = is_gone
        self.answered = answered


def post(target: Target, headers: Mapping[str, str], body: bytes) -> None:
    """Send it to the address that was checked. Redirects are not followed, and no answer's body is read.

    Raises:
        WebhookPostError: no answer of 200 to 299 came.
    """
    try:
        connection = make_connection(target, _QUIET_SECONDS)
        with closing(connection), closed_after(connection, _WHOLE_SECONDS):
            connection.request(
                "POST",
                target.path,
                body=body,
                headers={"host": target.authority, **headers},
                preload_content=False,
            )
            status = connection.getresponse().status
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        # What a peer of TLS or HTTP sent is not repeated.
        raise WebhookPostError(f"No answer: {type(error).__name__}.", answered=False) from error
    if not 200 <= status < 300:
        what = "a redirect, which is not followed" if 300 <= status < 400 else "no success"
        raise WebhookPostError(
            f"Expected an answer of 200 to 299. Received: {status}, {what}.", is_gone=status == 410
        )
