"""Progress of uploads and jobs: live bars on a terminal, plain lines elsewhere."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from headstart.results import JobEvent, JobState, JobStep


class ProgressView(AbstractContextManager["ProgressView"], Protocol):
    """Display of the progress of an upload and a job."""

    def upload(self, count: int, total: int | None) -> None:
        """Report the number of sent examples."""

    def predicted(self, count: int, total: int | None) -> None:
        """Report the number of predicted inputs."""

    def event(self, event: JobEvent) -> None:
        """Report an event of the job."""


def progress_view(console: Console) -> ProgressView:
    """Return bars for a terminal, else lines."""
    return _Bars(console) if console.is_terminal else _Lines(console)


def describe(event: JobEvent) -> str:
    """Return an event in a few words."""
    progress = event.progress
    if progress is None or event.state is not JobState.RUNNING:
        return event.state.lower()
    words = [progress.step.lower().replace("_", " ")]
    if progress.total:
        words.append(f"{progress.done} of {progress.total}")
    if progress.accuracy is not None:
        words.append(f"accuracy {progress.accuracy:.1%}")
    if progress.message:
        words.append(progress.message)
    return ", ".join(words)


class _Bars:
    """One bar for the upload and one for each step."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<9}", markup=False),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Bars":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def upload(self, count: int, total: int | None) -> None:
        self._count("upload", count, total)

    def predicted(self, count: int, total: int | None) -> None:
        self._count("predict", count, total)

    def _count(self, name: str, count: int, total: int | None) -> None:
        note = f"{count} of {total}" if total else f"{count}"
        self._bars.update(self._task(name), completed=count, total=total, note=note)

    def event(self, event: JobEvent) -> None:
        if event.progress is None or event.progress.step is JobStep.UNSPECIFIED:
            name, done, total = "queued", 0, 0
        else:
            progress = event.progress
            name, done, total = progress.step.lower().replace("_", " "), progress.done, progress.total
        if event.state.ended:
            self._finish_others("")
            return
        self._finish_others(name)
        note = f"{done} of {total}" if total else ""
        if event.progress and event.progress.step is JobStep.SELECT_BACKBONE and event.progress.message:
            note = f"{note}, {event.progress.message}"
        self._bars.update(self._task(name), completed=done, total=total or None, note=note)

    def _task(self, name: str) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=None, note="")
        return self._tasks[name]

    def _finish_others(self, name: str) -> None:
        finished = [task for task in self._bars.tasks if task.description != name and not task.finished]
        for task in finished:
            # A step without a count ends as a full bar.
            total = task.total or 1
            self._bars.update(task.id, completed=total, total=total)


class _Lines:
    """At most one line for each tenth of an upload or a step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tenth = -1
        self._reached: tuple[JobStep, int] | None = None
        self._last = ""

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def upload(self, count: int, total: int | None) -> None:
        self._count("upload", count, total, "examples")

    def predicted(self, count: int, total: int | None) -> None:
        self._count("predict", count, total, "inputs")

    def _count(self, name: str, count: int, total: int | None, noun: str) -> None:
        tenth = count // 1000 if total is None else 10 * count // max(total, 1)
        is_first = total is None and tenth == 0  # of an unknown total, a line for each thousand
        if tenth != self._tenth and count and not is_first:
            self._print(f"{name}: {count} of {total} {noun}" if total else f"{name}: {count} {noun}")
        self._tenth = tenth

    def event(self, event: JobEvent) -> None:
        progress = event.progress
        if progress is None or event.state is not JobState.RUNNING:
            self._print(describe(event))
            return
        part = 10 * progress.done // progress.total if progress.total else int(10 * progress.fraction)
        reached = (progress.step, part)
        if reached != self._reached:
            self._print(describe(event))
        self._reached = reached

    def _print(self, line: str) -> None:
        if line != self._last:
            self._console.print(line, soft_wrap=True)
        self._last = line
