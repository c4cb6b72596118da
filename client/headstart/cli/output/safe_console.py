"""Outputs for texts of others, which must neither control the terminal nor look like other texts."""

import json
import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from headstart.control_characters import has_controls, json_escaped, without_controls


class SafeConsole(Console):
    """Prints texts without control characters, which have no width in the layout."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable."""
        for segment in super().render(renderable, options):
            if segment.control or not has_controls(segment.text):
                yield segment
            else:
                yield Segment(without_controls(segment.text), segment.style)


class SafeOutput:
    """Standard output for programs: unchanged texts, but on a terminal without control characters."""

    def write(self, text: str) -> int:
        """Write a text."""
        return sys.stdout.write(without_controls(text) if sys.stdout.isatty() else text)


def print_json(value: object, indent: int | None = None) -> None:
    """Print a JSON document on standard output, in one line unless indented."""
    print(json_escaped(json.dumps(value, indent=indent, ensure_ascii=False)), flush=True)
