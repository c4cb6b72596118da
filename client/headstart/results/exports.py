"""A version as files for other runtimes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

__all__ = ["Export", "ExportFormat"]

ExportFormat: TypeAlias = Literal["keras", "savedmodel", "onnx", "openvino", "litert"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """A version that was exported.

    Attributes:
        model: the model.
        version: the number of its version.
        format: the format.
        path: the file, or the folder where there are several.
        files: all files, that of the network and those next to it.
    """

    model: str
    version: int
    format: ExportFormat
    path: Path
    files: tuple[Path, ...]
