"""Where the logs of simulated servers go."""

from collections.abc import Callable

import structlog


class LogsTo:
    """A block in which the server's logs go to a function."""

    def __init__(self, logged: Callable[[str, dict[str, object]], None]) -> None:
        self._logged = logged

    def __enter__(self) -> None:
        self._before = structlog.get_config()
        structlog.configure(processors=[self._take], cache_logger_on_first_use=False)

    def __exit__(self, *_: object) -> None:
        structlog.configure(**self._before)

    def _take(self, logger: object, level: str, event: dict[str, object]) -> dict[str, object]:
        self._logged(level, dict(event))
        raise structlog.DropEvent
