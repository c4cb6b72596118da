"""Deferred import of OpenVINO, without its telemetry."""

import sys
from typing import Any


def load_openvino() -> Any:
    """Return the module ``openvino``."""
    # It would report each import to its maker over the network; without this package it cannot.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino  # noqa: PLC0415 - only where this runtime is chosen

    return openvino
