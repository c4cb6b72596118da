"""The thread that looks for models to retrain."""

import random
import threading

import structlog

from headstart_server.errors import DatabaseUnavailable
from headstart_server.feedback.retraining import Retraining

log = structlog.get_logger(__name__)

#: Mean seconds between two looks; a random part keeps replicas apart.
RETRAIN_SECONDS = 1.0


class Retrainer:
    """Looks for models to retrain, in a separate thread.

    Args:
        seconds: mean seconds between two looks.
    """

    def __init__(self, retraining: Retraining, *, seconds: float = RETRAIN_SECONDS) -> None:
        self._retraining = retraining
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retrainer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._seconds * random.uniform(0.8, 1.2)):  # noqa: S311 - no secret
            try:
                self._retraining.run()
            except DatabaseUnavailable:
                # The heartbeat logs it.
                continue
            except Exception:
                log.exception("retrain_look_failed")
