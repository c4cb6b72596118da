"""Conversion of other frameworks' models to OpenVINO, without running their code."""

import re
from pathlib import Path
from typing import Any

from headstart_server.backbones.runtimes.openvino_import import load_openvino
from headstart_server.backbones.sources.source import SourceError

_UNCONVERTED = re.compile(r"No conversion rule found for operations: (.+)")
#: Prefixes of lines with locations in OpenVINO's source.
_PLACES = ("Exception from", "Check '", "FrontEnd API failed")


def read_model(framework: str, path: Path) -> Any:
    """Read an `openvino.Model` from a file or folder of ``onnx`` or ``tf``.

    Raise SourceError if it is damaged, or has operations that OpenVINO lacks.
    """
    load_openvino()
    from openvino.frontend import FrontEndManager  # noqa: PLC0415 - after its telemetry is off

    try:
        frontend = FrontEndManager().load_by_framework(framework)
        model = frontend.convert(frontend.load(str(path)))
    except Exception as error:  # its class depends on the stage that failed
        raise SourceError(f"{path.name} cannot be read by OpenVINO: {reason_of(error)}") from error
    if not model.get_results():
        raise SourceError(f"{path.name} has no output, so it has no network that OpenVINO can use.")
    return model


def reason_of(error: Exception) -> str:
    """Return OpenVINO's error message without the location in its source."""
    unconverted = _UNCONVERTED.search(str(error))
    if unconverted:
        return f"it does not support the operations {unconverted[1]}."
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_PLACES)]
    return " ".join(telling or lines)[:500]
