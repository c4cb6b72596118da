"""A progress bar of a job, for terminals and notebooks, without dependencies."""

import html
import sys
from types import TracebackType
from typing import Any, Final, TextIO

from headstart.results import JobEvent, JobState

_WIDTH: Final = 24
_LINE_EVERY: Final = 0.1


class ProgressBar:
    """A progress bar; use it in a `with` statement and call it with each event.

    A notebook shows one element that changes, a terminal one line that changes, and other streams a line for
    every tenth of the job. The default stream is standard error.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._notebook: Any = _notebook() if stream is None else None
        self._handle: Any = None
        self._is_live = self._stream.isatty()
        self._shown = ""
        self._next_line = 0.0

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._shown and self._is_live and self._notebook is None:
            self._stream.write("\n")
            self._stream.flush()

    def __call__(self, event: JobEvent) -> None:
        """Show an event."""
        fraction = _fraction(event)
        if self._notebook is not None:
            self._show_element(_element(event, fraction))
        elif self._is_live:
            self._show_line(f"\r{_bar(fraction)} {_text(event, fraction)}")
        elif fraction >= self._next_line or event.state.ended:
            self._next_line = (int(fraction / _LINE_EVERY) + 1) * _LINE_EVERY
            self._show_line(f"{_text(event, fraction)}\n")

    def _show_line(self, line: str) -> None:
        if line != self._shown:
            cleared = " " * (len(self._shown) - len(line)) if self._is_live else ""
            self._stream.write(line + cleared)
            self._stream.flush()
            self._shown = line

    def _show_element(self, element: str) -> None:
        rendered = self._notebook.HTML(element)
        if self._handle is None:
            self._handle = self._notebook.display(rendered, display_id=True)
        else:
            self._handle.update(rendered)


def _notebook() -> Any:
    """Return `IPython.display` in a notebook; else None. Imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if type(shell).__name__ != "ZMQInteractiveShell":
        return None
    return sys.modules["IPython.display"]


def _fraction(event: JobEvent) -> float:
    if event.state is JobState.SUCCEEDED:
        return 1.0
    return min(max(event.progress.fraction, 0.0), 1.0) if event.progress else 0.0


def _text(event: JobEvent, fraction: float) -> str:
    progress = event.progress
    if event.state is not JobState.RUNNING or progress is None:
        return f"{fraction:4.0%} {event.state.lower()}"
    count = f" {progress.done:,} of {progress.total:,}" if progress.total else ""
    quality = f", accuracy {progress.accuracy:.1%}" if progress.accuracy is not None else ""
    return f"{fraction:4.0%} {progress.step.lower()}{count}{quality}"


def _bar(fraction: float) -> str:
    filled = round(fraction * _WIDTH)
    return "█" * filled + "░" * (_WIDTH - filled)


def _element(event: JobEvent, fraction: float) -> str:
    text = html.escape(_text(event, fraction).strip())
    return f'<progress value="{fraction:.3f}" max="1" style="width: 16em"></progress> <span>{text}</span>'
