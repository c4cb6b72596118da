"""Runs commands in a terminal of a fixed size, and draws what it showed as one animated SVG."""

import fcntl
import html
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import pyte

#: Size of the terminal in characters.
COLUMNS, ROWS = 88, 32
#: Seconds between two frames, of one typed character, before and after a command, and of the last frame.
FRAME, KEY, PAUSE, LAST = 0.08, 0.035, 0.9, 4.0
#: Pixels of a character.
WIDTH, HEIGHT, MARGIN, BAR = 8.4, 19, 18, 34
COLORS = {
    "default": "#d5d9e0",
    "black": "#6b7280",
    "red": "#ff7b72",
    "green": "#7ee787",
    "brown": "#e3b341",
    "blue": "#79c0ff",
    "magenta": "#d2a8ff",
    "cyan": "#76e3ea",
    "white": "#f0f3f6",
}

BOLD = ' font-weight="bold"'
#: A run of characters of one style: text, color, whether bold, first column.
Run = tuple[str, str, bool, int]
Line = tuple[Run, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """What the terminal shows from a moment on.

    Attributes:
        start: seconds since the first frame.
        lines: from the top.
    """

    start: float
    lines: tuple[Line, ...]


@dataclass(slots=True)
class Recording:
    """A terminal whose commands are typed and run one after the other.

    Attributes:
        environment: of the commands.
        folder: in which they run.
        frames: what was shown so far.
    """

    environment: Mapping[str, str]
    folder: str
    frames: list[Frame] = field(default_factory=list)
    _now: float = 0.0
    _screen: Any = field(default_factory=lambda: pyte.Screen(COLUMNS, ROWS))
    _stream: Any = None

    def __post_init__(self) -> None:
        self._stream = pyte.ByteStream(self._screen)

    def run(self, shown: str, argv: Sequence[str]) -> None:
        """Type a command as a user would, and run it.

        Args:
            shown: what is typed.
            argv: what is run.

        Raises:
            RuntimeError: it failed.
        """
        self._show(b"\x1b[32m$\x1b[0m ", PAUSE)
        for character in shown:
            self._show(character.encode(), KEY)
        self._show(b"\r\n", PAUSE / 3)
        began = time.monotonic()
        for output in _output_of(argv, self.environment, self.folder):
            now = self._now + time.monotonic() - began
            self._stream.feed(output)
            if not self.frames or now - self.frames[-1].start >= FRAME:
                self._snapshot(now)
        self._now += time.monotonic() - began
        self._show(b"", PAUSE)

    def _show(self, output: bytes, seconds: float) -> None:
        self._stream.feed(output)
        self._snapshot(self._now)
        self._now += seconds

    def _snapshot(self, now: float) -> None:
        lines = tuple(tuple(_runs(self._screen.buffer[row])) for row in range(ROWS))
        if not self.frames or self.frames[-1].lines != lines:
            self.frames.append(Frame(now, lines))

    def svg(self, title: str) -> str:
        """Return the recording as an SVG that plays in a loop, without scripts.

        Args:
            title: describes it for readers who cannot see it.
        """
        length = self._now + LAST
        ends = [frame.start for frame in self.frames[1:]] + [length]
        width, height = COLUMNS * WIDTH + 2 * MARGIN, ROWS * HEIGHT + 2 * MARGIN + BAR
        drawings = "".join(_drawing(frame, end, length) for frame, end in zip(self.frames, ends, strict=True))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">'
            f"<title>{html.escape(title)}</title><style>"
            "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
            "white-space:pre}g.f{visibility:hidden}"
            f"@media print{{g.f:last-of-type{{visibility:visible}}}}</style>"
            f'<rect width="100%" height="100%" rx="10" fill="#14181f"/>'
            f'<circle cx="22" cy="18" r="6" fill="#ff5f57"/><circle cx="42" cy="18" r="6" fill="#febc2e"/>'
            f'<circle cx="62" cy="18" r="6" fill="#28c840"/>{drawings}</svg>\n'
        )


def _runs(row: Mapping[int, Any]) -> Iterator[Run]:
    """Yield the parts of a line of the screen that look alike, without blanks at its end."""
    text = "".join(row[column].data for column in range(COLUMNS)).rstrip()
    column = 0
    for (color, bold), cells in groupby((row[place] for place in range(len(text))), key=_style):
        part = "".join(cell.data for cell in cells)
        if part.strip():
            yield part, color, bold, column
        column += len(part)


def _style(cell: Any) -> tuple[str, bool]:
    name = str(cell.fg)
    if len(name) == 6 and all(digit in "0123456789abcdef" for digit in name):
        return f"#{name}", bool(cell.bold)
    return COLORS.get(name.removeprefix("bright"), COLORS["default"]), bool(cell.bold)


def _drawing(frame: Frame, end: float, length: float) -> str:
    """Return the lines of a frame, visible from its start to its end."""
    texts = "".join(
        f'<text x="{MARGIN + column * WIDTH:g}" y="{BAR + MARGIN + (row + 0.75) * HEIGHT:g}" fill="{color}"'
        f' textLength="{len(text) * WIDTH:g}"{BOLD if bold else ""}>{html.escape(text)}</text>'
        for row, line in enumerate(frame.lines)
        for text, color, bold, column in line
    )
    values = "hidden;visible;hidden" if frame.start else "visible;hidden"
    times = f"0;{frame.start / length:.5f};{end / length:.5f}" if frame.start else f"0;{end / length:.5f}"
    return (
        f'<g class="f">{texts}<animate attributeName="visibility" calcMode="discrete" dur="{length:.2f}s" '
        f'repeatCount="indefinite" values="{values}" keyTimes="{times}"/></g>'
    )


def _output_of(argv: Sequence[str], environment: Mapping[str, str], folder: str) -> Iterator[bytes]:
    """Run a command in a terminal, and yield what it writes."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    terminal = {"TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    process = subprocess.Popen(
        argv,
        stdin=secondary,
        stdout=secondary,
        stderr=secondary,
        cwd=folder,
        env={**environment, **terminal},
        start_new_session=True,
    )
    os.close(secondary)
    try:
        while True:
            ready, _, _ = select.select([primary], [], [], FRAME)
            try:
                output = os.read(primary, 65536) if ready else b""
            except OSError:  # the last process has closed its side
                break
            yield output
    finally:
        os.close(primary)
    if process.wait() != 0:
        raise RuntimeError(f"{' '.join(argv)} ended with {process.returncode}")
