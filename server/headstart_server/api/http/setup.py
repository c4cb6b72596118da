"""Opening the HTTP port as the settings say."""

from importlib.metadata import version as package_version

from headstart_server.api.grpc.tls import tls_files
from headstart_server.api.http.in_process_server import InProcessServer
from headstart_server.settings.settings import Settings

try:
    from headstart_server.api.http.console_files import Console
    from headstart_server.api.http.gateway import Gateway
    from headstart_server.api.http.inputs import UploadLimits
    from headstart_server.api.http.origin_check import known_hosts
    from headstart_server.api.http.port import HttpPort
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"--http-port needs the package {error.name}: pip install 'headstart[http]'."
    ) from error


def open_http(config: Settings, server: InProcessServer) -> HttpPort:
    """The port, listening and not yet served.

    Raises:
        OSError: the port cannot be had, or a TLS file cannot be read.
        ModuleNotFoundError: the extra `http` is not installed.
    """
    limits = UploadLimits(
        message_bytes=config.limits.max_message_size,
        input_bytes=config.limits.max_input_size,
        dataset_bytes=config.limits.max_dataset_size,
        examples=config.limits.max_examples,
        inputs=config.limits.max_inputs,
        scratch=config.storage.data_dir / "scratch",
    )
    gateway = Gateway(
        server,
        limits,
        max_calls=config.limits.max_concurrent_requests,
        version=package_version("headstart"),
        hosts=known_hosts(config),
        console=Console() if config.server.console else None,
    )
    return HttpPort(
        gateway,
        config.server.host,
        config.server.http_port or 0,
        tls_files(config.tls),
        max_connections=config.limits.max_connections,
    )
