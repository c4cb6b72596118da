"""Reports and exports of versions."""

import html
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from headstart.display import document_frame

ReportFormat: TypeAlias = Literal["html", "json", "text"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A report about a version.

    Attributes:
        model: the model.
        version: number of the version.
        media_type: media type of the document, such as ``text/html; charset=utf-8``.
        content: bytes of the document.
    """

    model: str
    version: int
    media_type: str
    content: bytes = field(repr=False)

    def _repr_html_(self) -> str:
        if self.media_type.startswith("text/html"):
            return document_frame(self.text)
        return f"<pre>{html.escape(self.text)}</pre>"

    @property
    def text(self) -> str:
        """The document as a text."""
        return self.content.decode("utf-8")

    def json(self) -> Any:
        """The content of a report in JSON.

        Raises:
            ValueError: the report has another format.
        """
        if not self.media_type.startswith("application/json"):
            raise ValueError(f"Only a report of format json can be read. Received: {self.media_type}")
        return json.loads(self.content)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the document to a file and return its path."""
        target = Path(path)
        target.write_bytes(self.content)
        return target


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
