"""Opening the HTTP port as the settings say."""

from collections.abc import Sequence
from importlib.metadata import version as package_version

from headstart_server.api.grpc.tls import tls_files
from headstart_server.api.http.in_process_server import InProcessServer
from headstart_server.settings.settings import Settings

try:
    from headstart_server.api.http.console_files import Console
    from headstart_server.api.http.gateway import Gateway, HttpProtocol
    from headstart_server.api.http.inputs import UploadLimits
    from headstart_server.api.http.origin_check import known_hosts
    from headstart_server.api.http.port import HttpPort
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"--http-port needs the package {error.name}: pip install 'headstart[http]'."
    ) from error


def upload_limits(config: Settings) -> UploadLimits:
    """Return the limits of a request over HTTP."""
    return UploadLimits(
        message_bytes=config.limits.max_message_size,
        input_bytes=config.limits.max_input_size,
        dataset_bytes=config.limits.max_dataset_size,
        examples=config.limits.max_examples,
        inputs=config.limits.max_inputs,
        scratch=config.storage.data_dir / "scratch",
    )


def open_http(config: Settings, server: InProcessServer, protocols: Sequence[HttpProtocol] = ()) -> HttpPort:
    """Return the port, listening and not yet served.

    Raises:
        OSError: the port is in use, or a TLS file cannot be read.
        ModuleNotFoundError: the extra `http` is not installed.
    """
    gateway = Gateway(
        server,
        upload_limits(config),
        max_calls=config.limits.max_concurrent_requests,
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
        max_connections=config.limits.max_connections,
    )
