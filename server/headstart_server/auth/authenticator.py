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

_DEFAULTS = TenantSettings()


@dataclass(frozen=True, kw_only=True, slots=True)
class Credentials:
    """The credentials that a caller sends."""

    token: Secret[str] | str | None = None
    certificate_names: tuple[str, ...] = ()  # the names in the certificate, which the port has verified

    def __post_init__(self) -> None:
        object.__setattr__(self, "token", Secret.of(self.token))

    @property
    def bearer(self) -> str | None:
        """The token in plain text."""
        return self.token.reveal() if isinstance(self.token, Secret) else self.token


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """An identified caller."""

    principal: Principal
    subject: str = ""  # the claim ``sub`` of an issuer's token; empty for other credentials


class Authenticator:
    """Identify callers.

    Every call checks whether the access file has changed, and reloads a changed one. If the file cannot be
    read or is invalid, the last valid policy stays in force, and the log has the reason.

    Args:
        path: the access file; None lets every caller do everything.

    Raises:
        OSError: the file cannot be read.
        PolicyError: the file is invalid.
        ModuleNotFoundError: the file has issuers, and the extra `oidc` is not installed.
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
        """Whether every caller may do everything."""
        return self._path is None

    def is_slow(self, credentials: Credentials) -> bool:
        """Return whether `identify` may check a signature, so that it must run in a thread."""
        return credentials.bearer is not None and credentials.bearer.count(".") == 2

    def identify(self, credentials: Credentials) -> Caller:
        """Return the caller. A token takes precedence over a certificate.

        Raise Unauthenticated or IssuerKeysUnavailable; of the latter PendingIssuerKeys if another attempt may
        succeed after a fetch that is running.
        """
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
                "The access file lists no name of the client certificate, and the token is missing. Send a "
                "token, or ask the operator to add the certificate's name."
            )
        raise Unauthenticated("The token is missing. Send it as metadata 'authorization: Bearer TOKEN'.")

    def tenant(self, name: str) -> TenantSettings:
        """Return the settings of a tenant."""
        self._reload()
        return self._policy.tenants.get(name, _DEFAULTS)

    def _of_token(self, token: str) -> Caller:
        policy, issuers = self._policy, self._issuers
        # The lookup uses the hash, so its duration reveals nothing about the token.
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
        # Issuers with the same settings keep their keys.
        made = {}
        for name, settings in policy.issuers.items():
            before = self._issuers.get(name)
            made[name] = before if before and before[0] == settings else (settings, Issuer(settings))
        self._policy, self._issuers = policy, made
