"""Optional packages of this installation."""

import importlib.util
from collections.abc import Iterable

from headstart_server.backbones.contract.runtimes import keras_backend
from headstart_server.backbones.worker.export_request import ExportFormat

#: Packages that the extra `server` adds to `serving`; the slim image lacks them.
_KERAS = ("keras", "tensorflow")
#: Packages that each export format needs in addition to those of Keras.
_OF_FORMS = {
    ExportFormat.KERAS: _KERAS,
    ExportFormat.SAVED_MODEL: _KERAS,
    ExportFormat.ONNX: (*_KERAS, "onnx", "tf2onnx"),
    ExportFormat.OPENVINO: ("openvino",),
    ExportFormat.LITERT: _KERAS,
}


def trains_networks() -> bool:
    """Return whether networks can be trained, because Keras and one of its backends are installed."""
    return training_missing("") is None


def training_missing(purpose: str) -> str | None:
    """Return an error message for a feature that needs Keras on any backend; None if they are installed."""
    return None if keras_backend() and not missing_packages(["keras"]) else keras_missing(purpose)


def keras_missing(purpose: str) -> str | None:
    """Return an error message for a feature that needs Keras and TensorFlow; None if both are installed."""
    missing = missing_packages()
    if not missing:
        return None
    return (
        f"{purpose} needs {' and '.join(missing)}, which this installation lacks. Use the full image, or "
        "install 'headstart[server]' where the server runs."
    )


def missing_packages(packages: Iterable[str] = _KERAS) -> list[str]:
    """Return the packages, by default those of Keras, that are not installed."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def export_formats() -> set[ExportFormat]:
    """Return the export formats whose packages are installed."""
    return {form for form, packages in _OF_FORMS.items() if not missing_packages(packages)}
