"""The targets of POSTs: allowed URLs at public addresses, and private addresses if they are allowed."""

from collections.abc import Callable, Iterator, Sequence
from urllib.parse import SplitResult

from headstart_server.errors import InvalidField
from headstart_server.outbound.target import (
    Target,
    TargetRefusedError,
    is_within,
    resolve_host,
    resolve_target,
    split_url,
)
from headstart_server.settings.secret import Secret

#: Placeholder for the name of a job's tenant in an allowed URL.
TENANT = "{tenant}"
_ANY_TENANT = "any-tenant-of-the-server"


class WebhookPolicy:
    """Allows or refuses the URLs of webhooks.

    Args:
        prefixes: allowed prefixes of the URLs that jobs name. A segment of the path may be `{tenant}`, the
            placeholder for the name of the job's tenant.
        own: the server's own URL; None for none.
        allow_private: whether their addresses may be loopback, private, link-local and other addresses
            that are not public.
        resolve: returns the addresses of a host and port.

    Raises:
        ValueError: a prefix is not a URL.
    """

    def __init__(
        self,
        prefixes: Sequence[str],
        *,
        own: str | None = None,
        allow_private: bool = False,
        resolve: Callable[[str, int], Sequence[str]] | None = None,
    ) -> None:
        for prefix in prefixes:
            _check_pattern(prefix)
        self._prefixes = list(prefixes)
        self._own = Secret.of(own)
        if own is not None:
            _prefix(own)
        self._allow_private = allow_private
        self._resolve = resolve or resolve_host

    def check(self, uri: str, tenant: str = "", field: str = "spec.webhook") -> str:
        """Return the URL if a job of the tenant may name it."""
        try:
            url = split_url(uri)
        except ValueError as error:
            raise InvalidField(f"Expected an http or https URL. Received: {error}", field=field) from None
        if not any(is_within(url, prefix) for prefix in self._prefixes_of(tenant)):
            raise InvalidField(
                "Expected a webhook that the server allows (--allow-webhook). "
                f"Received: {url.scheme}://{url.hostname}, which is not among them.",
                field=field,
            )
        return uri

    def url_for(self, named: str | None) -> str:
        """Return the URL that a job names, or else the server's own.

        That is the current one, and not the one at the time when the job was accepted. Raise
        TargetRefusedError if the server has none.
        """
        if named is not None:
            return named
        if self._own is None:
            raise TargetRefusedError(
                "The job names no webhook, and the server has none any more. Set --webhook."
            )
        return self._own.reveal()

    def is_own(self, uri: str) -> bool:
        """Return whether a URL is the server's own, to which the ends of all tenants' jobs are sent."""
        return self._own is not None and uri == self._own.reveal()

    def target(self, uri: str, tenant: str = "") -> Target:
        """Resolve the URL of a tenant's job.

        Raise TargetRefusedError if the URL or its current address is not allowed, and OSError if its host has
        no address.
        """
        try:
            url = split_url(uri if self.is_own(uri) else self.check(uri, tenant))
        except InvalidField as error:
            raise TargetRefusedError(error.message) from None
        return resolve_target(url, self._resolve, allow_private=self._allow_private)

    def _prefixes_of(self, tenant: str) -> Iterator[SplitResult]:
        for pattern in self._prefixes:
            if TENANT not in pattern:
                yield _prefix(pattern)
            elif tenant:
                yield _prefix(pattern.replace(TENANT, tenant))


def _check_pattern(pattern: str) -> None:
    """Raise a ValueError unless each `{tenant}` is a whole path segment: names must not run together."""
    url = _prefix(pattern.replace(TENANT, _ANY_TENANT))
    steps = url.path.split("/")
    if pattern.count(TENANT) != steps.count(_ANY_TENANT):
        raise ValueError(
            f"Expected {TENANT} as a whole path segment of a webhook's URL. Received: {pattern!r}."
        )


def _prefix(uri: str) -> SplitResult:
    try:
        return split_url(uri)
    except ValueError as error:
        raise ValueError(f"Expected an http or https URL as a webhook. Received: {error}") from None
