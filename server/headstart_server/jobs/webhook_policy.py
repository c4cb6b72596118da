"""Where POSTs may go: to allowed URLs, and to addresses of the internet unless others are allowed."""

from collections.abc import Callable, Sequence
from urllib.parse import SplitResult

from headstart_server.errors import InvalidField
from headstart_server.internet.addresses import resolved
from headstart_server.internet.target import Refused, Target, target_of
from headstart_server.internet.urls import is_within, split_url


class WebhookPolicy:
    """Tells which URLs may be sent to.

    Args:
        prefixes: URLs that those which jobs name begin with; none allows nothing.
        own: the server's own URL; None for none.
        allow_private: whether they may be at addresses that are not of the internet: loopback, private,
            link-local and the like.
        resolve: gives the addresses of a host and port.

    Raises:
        ValueError: a prefix is no URL.
    """

    def __init__(
        self,
        prefixes: Sequence[str],
        *,
        own: str | None = None,
        allow_private: bool = False,
        resolve: Callable[[str, int], Sequence[str]] | None = None,
    ) -> None:
        self._prefixes = [_prefix(prefix) for prefix in prefixes]
        self._own = own
        if own is not None:
            _prefix(own)
        self._allow_private = allow_private
        self._resolve = resolve or resolved

    def check(self, uri: str, field: str = "spec.webhook") -> str:
        """The URL, if it is one that may be asked for.

        Raises:
            InvalidField: it is not.
        """
        try:
            url = split_url(uri)
        except ValueError as error:
            raise InvalidField(f"Expected an http or https URL. Received: {error}", field=field) from None
        if not any(is_within(url, prefix) for prefix in self._prefixes):
            raise InvalidField(
                "Expected a webhook that the server allows (--webhook-allow). "
                f"Received: {url.scheme}://{url.hostname}, which is not among them.",
                field=field,
            )
        return uri

    def target(self, uri: str) -> Target:
        """Where a URL leads now.

        Raises:
            Refused: it is not allowed, or leads where nothing may be sent.
            OSError: its host has no address.
        """
        try:
            url = split_url(uri if uri == self._own else self.check(uri))
        except InvalidField as error:
            raise Refused(error.message) from None
        return target_of(url, self._resolve, allow_private=self._allow_private)


def _prefix(uri: str) -> SplitResult:
    try:
        return split_url(uri)
    except ValueError as error:
        raise ValueError(f"Expected an http or https URL as a webhook. Received: {error}") from None
