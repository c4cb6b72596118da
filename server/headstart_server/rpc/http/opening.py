"""Opening the HTTP port as the settings say."""

from importlib.metadata import version as package_version

from headstart_server.config import Config
from headstart_server.rpc.http.methods import Methods
from headstart_server.rpc.tls import tls_files

try:
    from headstart_server.rpc.http.gateway import Gateway
    from headstart_server.rpc.http.hosts import known_hosts
    from headstart_server.rpc.http.inputs import UploadLimits
    from headstart_server.rpc.http.port import HttpPort
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"--http-port needs the package {error.name}: pip install 'headstart[http]'."
    ) from error

_MIB = 1 << 20


def open_http(config: Config, methods: Methods) -> HttpPort:
    """The port, listening and not yet served.

    Raises:
        OSError: the port cannot be had, or a TLS file cannot be read.
        ModuleNotFoundError: the extra `http` is not installed.
    """
    limits = UploadLimits(
        message_bytes=config.max_message_mib * _MIB,
        input_bytes=config.max_input_mib * _MIB,
        dataset_bytes=config.max_dataset_mib * _MIB,
        examples=config.max_examples,
        inputs=config.max_inputs,
        scratch=config.data / "scratch",
    )
    gateway = Gateway(
        methods,
        limits,
        max_calls=config.max_calls,
        version=package_version("headstart"),
        hosts=known_hosts(config),
    )
    return HttpPort(
        gateway,
        config.http_host,
        config.http_port or 0,
        tls_files(config),
        max_connections=config.max_connections,
    )
