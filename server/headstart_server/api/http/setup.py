"""Open the HTTP port of the settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version

from headstart_server.api.grpc.tls import tls_files
from headstart_server.api.http.in_process_server import InProcessServer
from headstart_server.settings.settings import Settings

try:
    from headstart_server.api.http.body_storage import BodyStorage
    from headstart_server.api.http.console_files import Console
    from headstart_server.api.http.gateway import Gateway, HttpProtocol
    from headstart_server.api.http.inputs import UploadLimits
    from headstart_server.api.http.origin_check import known_hosts
    from headstart_server.api.http.port import HttpPort
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"--http-port needs the package {error.name}: pip install 'headstart[http]'."
    ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class PortSharing:
    """This process's share of the port."""

    is_shared: bool  # whether other processes of this server also listen on it
    max_calls: int  # maximum concurrent calls
    max_connections: int  # maximum connections


def upload_limits(config: Settings, storage: BodyStorage) -> UploadLimits:
    """Return the size limits of requests over HTTP."""
    return UploadLimits(
        message_bytes=config.limits.max_message_size,
        input_bytes=config.limits.max_input_size,
        dataset_bytes=config.limits.max_dataset_size,
        examples=config.limits.max_examples,
        inputs=config.limits.max_inputs,
        storage=storage,
    )


def open_http(
    config: Settings,
    server: InProcessServer,
    limits: UploadLimits,
    sharing: PortSharing,
    protocols: Sequence[HttpProtocol] = (),
) -> HttpPort:
    """Bind the port, and return it before it serves requests.

    Raise OSError if the port is in use, or a TLS file cannot be read, and ModuleNotFoundError if the extra
    `http` is not installed.
    """
    gateway = Gateway(
        server,
        limits,
        max_calls=sharing.max_calls,
        version=package_version("headstart"),
        hosts=known_hosts(config),
        console=Console() if config.server.console else None,
        protocols=protocols,
    )
    return HttpPort(
        gateway,
        config.server.host,
        config.server.http_port or 0,
        tls_files(config.tls),
        max_connections=sharing.max_connections,
        is_shared=sharing.is_shared,
    )
