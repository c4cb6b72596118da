"""Identify callers by their credentials, from an access file that is reloaded when it changes."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from headstart_server.auth.issuer import Issuer, issuer_name
from headstart_server.auth.permissions import UNRESTRICTED, Principal
from headstart_server.auth.policy import IssuerSettings, Policy, PolicyError, TenantSettings, read_policy
from headstart_server.auth.tokens import token_hash
from headstart_server.errors import Unauthenticated
from headstart_server.reloading import ReloadedFiles
from headstart_server.settings.secret import Secret

log = structlog.get_logger(__name__)

_NOTHING_SAID = TenantSettings()


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """The credentials of a caller."""

    token: Secret[str] | str | None = None
    certificate_names: tuple[str, ...] = ()  # the names in their certificate, which was checked by the port

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", Secret.of(self.token))

    @property
    def bearer(self) -> str | None:
        """The token, to check it."""
        return self.token.reveal() if isinstance(self.token, Secret) else self.token


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who is calling."""

    principal: Principal
    subject: str = ""  # whom an issuer's token is about; empty for others


class Authenticator:
    """Identify callers.

    The file is looked at with every call and read again when it has changed. One that cannot be read, or is
    not what it has to be, changes nothing: who was let in before still is, and the log says why.

    Args:
        path: the access file; None lets everybody in.

    Raises:
        OSError: it cannot be read.
        PolicyError: it is not what it has to be.
        ModuleNotFoundError: it has issuers, and what they need is not installed.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._policy = Policy()
        self._issuers: Mapping[str, tuple[IssuerSettings, Issuer]] = {}
        self._reported = ""
        self._file = None if path is None else ReloadedFiles([path], lambda: read_policy(path))
        if self._file is not None:
            self._apply(self._file.value)

    @property
    def is_open(self) -> bool:
        """Whether everybody may do everything."""
        return self._path is None

    def may_wait(self, credentials: Credentials) -> bool:
        """Whether to tell who is calling may take a while: then it is for a thread."""
        return credentials.bearer is not None and credentials.bearer.count(".") == 2

    def identify(self, credentials: Credentials) -> Caller:
        """Who is calling. A token goes before a certificate."""
        if self._path is None:
            return Caller(principal=UNRESTRICTED)
        self._reload()
        if credentials.bearer is not None:
            return self._of_token(credentials.bearer)
        for name in credentials.certificate_names:
            if name in self._policy.by_certificate:
                return Caller(principal=self._policy.by_certificate[name])
        if credentials.certificate_names:
            raise Unauthenticated(
                "The client certificate has no name that the access file lists, and there is no token. "
                "Send a "
                "token, or ask the operator to add the certificate's name."
            )
        raise Unauthenticated("The token is missing. Send it as metadata 'authorization: Bearer TOKEN'.")

    def tenant(self, name: str) -> TenantSettings:
        """What the file says of a tenant."""
        self._reload()
        return self._policy.tenants.get(name, _NOTHING_SAID)

    def _of_token(self, token: str) -> Caller:
        policy, issuers = self._policy, self._issuers
        # Found by its hash: the time of the lookup reveals nothing about the token.
        known = policy.by_token.get(token_hash(token))
        if known is not None:
            return Caller(principal=known)
        name = issuer_name(token) if issuers else None
        if name not in issuers or name is None:
            raise Unauthenticated("The token is unknown. Check it, or ask the operator for a new one.")
        claims = issuers[name][1].claims(token)
        subject = str(claims.get("sub", ""))
        for rule in policy.claim_rules:
            if rule.matches(name, claims):
                return Caller(principal=rule.principal, subject=subject)
        raise Unauthenticated(
            "The token is valid, but no principal in the access file matches its claims. Ask the operator to "
            "add one."
        )

    def _reload(self) -> None:
        try:
            if self._file is None or not self._file.reload():
                return
            with self._lock:
                self._apply(self._file.value)
        except (OSError, PolicyError, ModuleNotFoundError) as error:
            self._report(error)
        else:
            self._reported = ""
            log.info("access_file_loaded", path=str(self._path))

    def _report(self, error: Exception) -> None:
        if str(error) != self._reported:
            self._reported = str(error)
            log.error("access_file_load_failed", path=str(self._path), error=str(error))

    def _apply(self, policy: Policy) -> None:
        # Issuers that stay as they are keep their keys.
        made = {}
        for name, settings in policy.issuers.items():
            before = self._issuers.get(name)
            made[name] = before if before and before[0] == settings else (settings, Issuer(settings))
        self._policy, self._issuers = policy, made
