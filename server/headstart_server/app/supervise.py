"""A server with several processes, and the number of its processes."""

from collections.abc import Iterable
from contextlib import ExitStack

import structlog

from headstart_server.app.data_lock import lock_data
from headstart_server.app.server_logs import configure_server_logs, warn_unprotected
from headstart_server.backbones.contract.machine import available_cores
from headstart_server.backbones.contract.runtimes import has_gpu
from headstart_server.processes.supervisor import Supervisor
from headstart_server.settings.settings import Settings

log = structlog.get_logger(__name__)

#: Cores per serving process with `auto`: backbones need most of the cores.
CORES_PER_PROCESS, CORES_PER_PROCESS_WITH_GPU = 8, 2
#: Maximum serving processes that `auto` starts.
MAX_PROCESSES = 8


def process_count(settings: Settings) -> int:
    """Return the number of serving processes; 1 means a server in one process."""
    if settings.server.processes is not None:
        return settings.server.processes
    share = CORES_PER_PROCESS_WITH_GPU if has_gpu() else CORES_PER_PROCESS
    return max(1, min(MAX_PROCESSES, available_cores() // share))


def supervise(
    settings: Settings, count: int, *, warnings: Iterable[str] = (), source: str | None = None
) -> None:
    """Run a server with an engine process and `count` serving processes until it is stopped.

    `source` is the ``MODULE:FUNCTION`` that returns the source of backbones; None for the catalog.

    Raises:
        BlockingIOError: another server uses the data.
        OSError: a port is in use.
        ProcessEndedError: a process could not start, and printed why.
    """
    configure_server_logs(settings)
    for warning in warnings:
        log.warning("unknown_setting", message=warning)
    warn_unprotected(settings)
    with ExitStack() as closing:
        locks = lock_data(settings.storage, closing)
        Supervisor(settings, count, tuple(lock.fileno() for lock in locks), source).run()
