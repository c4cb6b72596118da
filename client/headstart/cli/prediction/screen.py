"""A full-screen view in a terminal, and its keys."""

import os
import select
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

_ALTERNATE, _NORMAL = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_MAX_LINE = 4096
#: Seconds until a signal is handled that arrived just before a blocking read.
_SIGNAL_SECONDS = 0.5
_CLEAR = "\x1b[H\x1b[2J"


class Key:
    """Names of keys that are not characters."""

    BACKSPACE = "backspace"
    ENTER = "enter"
    ESCAPE = "escape"
    LEFT = "left"
    RIGHT = "right"


_NAMES = {
    "\x7f": Key.BACKSPACE,
    "\b": Key.BACKSPACE,
    "\r": Key.ENTER,
    "\n": Key.ENTER,
    "\x1b": Key.ESCAPE,
    "\x1b[D": Key.LEFT,
    "\x1bOD": Key.LEFT,
    "\x1b[C": Key.RIGHT,
    "\x1bOC": Key.RIGHT,
}


class Screen(Protocol):
    """A view with keys."""

    @property
    def size(self) -> tuple[int, int]:
        """The columns and rows."""

    def show(self, text: str) -> None:
        """Replace the shown text."""

    def key(self) -> str:
        """Wait for a key; return its character, or its name in `Key`."""

    def line(self, prompt: str) -> str:
        """Let the user type a line; return it."""


class TerminalScreen:
    """The view of this process's terminal."""

    def __init__(self, termios: Any, tty: Any) -> None:
        self._termios = termios
        self._tty = tty
        self._input = sys.stdin.fileno()
        self._before = termios.tcgetattr(self._input)
        self._typed: list[str] = []

    @property
    def size(self) -> tuple[int, int]:
        """As `Screen.size`."""
        return shutil.get_terminal_size()  # of a terminal that reports 0 columns, 80

    def show(self, text: str) -> None:
        """As `Screen.show`."""
        self._write(f"{_CLEAR}{text}")

    def key(self) -> str:
        """As `Screen.key`."""
        while not self._typed:
            data = self._read(256)
            if not data:
                raise EOFError
            self._typed = list(_keys(data.decode(errors="ignore")))
        return self._typed.pop(0)

    def line(self, prompt: str) -> str:
        """As `Screen.line`."""
        self.cooked()
        self._write(f"\x1b[?25h{prompt}")
        try:
            # The terminal returns a whole line.
            data = self._read(_MAX_LINE)
        finally:
            self._write("\x1b[?25l")
            self.raw()
        if not data:
            raise EOFError
        return data.decode(errors="ignore").rstrip("\r\n")

    def raw(self) -> None:
        """Read each key as it is pressed; Ctrl-C still interrupts."""
        self._tty.setcbreak(self._input)

    def cooked(self) -> None:
        """Let the terminal edit lines again."""
        self._termios.tcsetattr(self._input, self._termios.TCSADRAIN, self._before)

    def enter(self) -> None:
        """Begin the view; `leave` restores the previous screen."""
        self._write(_ALTERNATE)
        self.raw()

    def leave(self) -> None:
        """End the view."""
        self.cooked()
        self._write(_NORMAL)

    def _read(self, size: int) -> bytes:
        while not select.select([self._input], [], [], _SIGNAL_SECONDS)[0]:
            pass
        return os.read(self._input, size)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def open_screen() -> Iterator[Screen]:
    """Open the full-screen view of this process's terminal.

    Raises:
        ValueError: there is no terminal.
    """
    try:
        import termios  # noqa: PLC0415 - Unix has it
        import tty  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ValueError("A review needs a Unix terminal. Try: headstart captured list.") from None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ValueError(
            "A review needs a terminal, but stdin or stdout is not one. Run the command in a terminal, or "
            "list the inputs with: headstart captured list."
        )
    screen = TerminalScreen(termios, tty)
    screen.enter()
    try:
        yield screen
    finally:
        screen.leave()


def printable(text: str) -> str:
    """Return a text without characters that control a terminal: inputs and names are untrusted."""
    return "".join(each if each.isprintable() or each == "\n" else "�" for each in text.replace("\t", "    "))


def _keys(text: str) -> Iterator[str]:
    """Yield the keys in a terminal's input; unknown escape sequences are omitted."""
    place = 0
    while place < len(text):
        if text[place] == "\x1b" and text[place + 1 : place + 2] in ("[", "O"):
            end = place + 2
            while end < len(text) and not ("@" <= text[end] <= "~"):
                end += 1
            sequence = text[place : end + 1]
            place = end + 1
            if sequence in _NAMES:
                yield _NAMES[sequence]
            continue
        yield _NAMES.get(text[place], text[place])
        place += 1
