"""All settings of a server, and the rules between them."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, get_type_hints

from headstart_server.settings.groups import (
    METRICS_PORT,
    STDOUT,
    AuthGroup,
    ObservabilityGroup,
    ServerGroup,
    StorageGroup,
    TlsGroup,
)
from headstart_server.settings.job_groups import BackbonesGroup, JobsGroup, LimitsGroup
from headstart_server.settings.kinds import File
from headstart_server.settings.setting import Group, Off, Setting


class SettingsError(ValueError):
    """Invalid or contradictory settings.

    Args:
        problems: each problem with its remedy.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a server, one attribute per section.

    Raises:
        SettingsError: settings contradict each other.
    """

    server: ServerGroup = field(default_factory=ServerGroup)
    tls: TlsGroup = field(default_factory=TlsGroup)
    auth: AuthGroup = field(default_factory=AuthGroup)
    storage: StorageGroup = field(default_factory=StorageGroup)
    jobs: JobsGroup = field(default_factory=JobsGroup)
    backbones: BackbonesGroup = field(default_factory=BackbonesGroup)
    limits: LimitsGroup = field(default_factory=LimitsGroup)
    observability: ObservabilityGroup = field(default_factory=ObservabilityGroup)

    #: The files from which values were read; they may contain secrets.
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if problems := [*_contradictions(self)]:
            raise SettingsError(problems)

    @classmethod
    def of(cls, **values: Any) -> "Settings":
        """Return settings with these values, by their names; the others have their defaults.

        Raises:
            SettingsError: values contradict each other.
            ValueError: a value is out of bounds.
            TypeError: a name is unknown.
        """
        return cls().replace(**values)

    def replace(self, **values: Any) -> "Settings":
        """Return these settings with other values, by their names.

        Raises:
            SettingsError: values contradict each other.
            ValueError: a value is out of bounds.
            TypeError: a name is unknown.
        """
        sections: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in SETTINGS:
                raise TypeError(f"Expected the name of a setting. Received: {name!r}.")
            sections.setdefault(SETTINGS[name].section, {})[name] = value
        groups: dict[str, Any] = {
            section: dataclasses.replace(getattr(self, section), **changes)
            for section, changes in sections.items()
        }
        return dataclasses.replace(self, **groups)

    def __getitem__(self, name: str) -> Any:
        """Return the value of a setting."""
        return getattr(getattr(self, SETTINGS[name].section), name)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files and folders that settings name, and the files from which values were read."""
        named = (self[one.name] for one in SETTINGS.values() if isinstance(one.kind, File))
        return (*(path for path in named if isinstance(path, Path) and path != STDOUT), *self.files)

    @property
    def metrics_port(self) -> int | None:
        """The port of the metrics, which contain names of models; None without one."""
        port = self.observability.metrics_port
        if port is None:
            return METRICS_PORT if is_loopback(self.server.host) else None
        return None if isinstance(port, Off) else port


#: The groups by section, in order.
GROUPS: Mapping[str, type[Group]] = {
    name: group
    for name, group in get_type_hints(Settings).items()
    if isinstance(group, type) and issubclass(group, Group)
}
#: All settings by their names.
SETTINGS: Mapping[str, Setting] = {one.name: one for group in GROUPS.values() for one in group.settings()}


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _contradictions(settings: Settings) -> Iterator[str]:
    """Yield contradictions between settings, with the remedy."""
    yield from _tls(settings)
    jobs, auth = settings.jobs, settings.auth
    if jobs.sends_webhooks and jobs.webhook_secret_file is None:
        yield "--webhook and --allow-webhook require --webhook-secret-file."
    if jobs.webhook_secret_file is not None and not jobs.sends_webhooks:
        yield "--webhook-secret-file requires --webhook or --allow-webhook."
    if jobs.allow_private_addresses and not jobs.sends_webhooks and not jobs.allow_dataset_uri:
        yield "--allow-private-addresses requires --webhook, --allow-webhook or --allow-dataset-uri."
    if settings.server.label_studio_token is not None and settings.server.label_studio_url is None:
        yield "--label-studio-token requires --label-studio-url."
    if auth.audit_all and auth.audit_log is None:
        yield "--audit-all requires --audit-log."
    if settings.storage.isolate_feature_cache and auth.access_file is None:
        yield "--isolate-feature-cache requires --access-file, which defines the tenants."
    trace_url = settings.observability.trace_url
    if trace_url is not None and not trace_url.startswith(("http://", "https://")):
        yield "--trace-endpoint must start with http:// or https://, such as http://HOST:4317."


def _tls(settings: Settings) -> Iterator[str]:
    tls, host = settings.tls, settings.server.host
    if (tls.tls_cert is None) != (tls.tls_key is None):
        given, missing = ("--tls-cert", "--tls-key") if tls.tls_key is None else ("--tls-key", "--tls-cert")
        yield f"{given} requires {missing}."
    elif tls.tls_client_ca is not None and tls.tls_cert is None:
        yield "--tls-client-ca requires --tls-cert and --tls-key."
    if tls.plaintext and tls.tls_cert is not None:
        yield "--plaintext and --tls-cert exclude each other. Remove one of them."
    if tls.tls_cert is None and not tls.plaintext and not is_loopback(host):
        yield (
            f"--host {host} requires --tls-cert and --tls-key, or --plaintext to accept that anyone on the "
            "network path can read and change the traffic."
        )
