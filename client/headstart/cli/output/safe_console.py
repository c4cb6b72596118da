"""Outputs for texts of others, which must neither control the terminal nor look like other texts."""

import json
import re
import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from headstart.control_characters import json_escaped, valid_unicode, without_controls

_NON_ASCII = re.compile("[^\0-\x7f]")


class SafeConsole(Console):
    """Prints texts without control characters, which have no width in the layout."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of a renderable."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else without_controls(valid_unicode(segment.text))
            yield segment if text == segment.text else Segment(text, segment.style)


class SafeOutput:
    """Standard output for programs: texts as valid Unicode, and on a terminal without control characters."""

    def write(self, text: str) -> int:
        """Write a text."""
        text = valid_unicode(text)
        return sys.stdout.write(without_controls(text) if sys.stdout.isatty() else text)


def print_json(value: object, indent: int | None = None) -> None:
    """Print a JSON document on standard output, in one line unless indented."""
    document = json_escaped(valid_unicode(json.dumps(value, indent=indent, ensure_ascii=False)))
    try:
        document.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        document = _NON_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], document)
    print(document, flush=True)
