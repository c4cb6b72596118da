"""Exports of versions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

__all__ = ["Export", "ExportFormat"]

ExportFormat: TypeAlias = Literal["keras", "savedmodel", "onnx", "openvino", "litert"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """An exported version.

    Attributes:
        model: the model.
        version: number of the version.
        format: the format.
        path: the file, or the folder of several files.
        files: all files.
    """

    model: str
    version: int
    format: ExportFormat
    path: Path
    files: tuple[Path, ...]
