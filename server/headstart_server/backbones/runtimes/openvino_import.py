"""Deferred import of OpenVINO, without its telemetry."""

import sys
from typing import Any


def load_openvino() -> Any:
    """Return the module ``openvino``."""
    # OpenVINO would report each import to its vendor over the network; without this package it cannot.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino  # noqa: PLC0415 - only if this runtime is chosen

    return openvino
