import io
import sys
from datetime import UTC, datetime
from types import ModuleType

import pytest

from headstart.progress import ProgressBar
from headstart.results import JobEvent, JobState, JobStep, Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def running(fraction: float, **values) -> JobEvent:
    progress = {"step": JobStep.FIT, "done": 0, "total": 0, "loss": None, "accuracy": None, "message": ""}
    return event(JobState.RUNNING, Progress(**progress | {"fraction": fraction} | values))


def event(state: JobState, progress: Progress | None = None) -> JobEvent:
    return JobEvent(job_id="j", number=1, event_time=datetime.now(UTC), state=state, progress=progress)


EVENTS = [
    event(JobState.QUEUED),
    running(0.5, step=JobStep.FEATURES, done=1200, total=2400),
    running(0.75, accuracy=0.925),
    event(JobState.SUCCEEDED),
]


def test_a_terminal_shows_one_line_that_changes():
    terminal = Terminal()
    with ProgressBar(terminal) as bar:
        for each in EVENTS:
            bar(each)

    *_, third, last = terminal.getvalue().split("\r")
    assert third.rstrip() == "█" * 18 + "░" * 6 + "  75% fit, accuracy 92.5%"
    assert last.rstrip() == "█" * 24 + " 100% succeeded"
    assert terminal.getvalue().endswith("\n")
    assert "features 1,200 of 2,400" in terminal.getvalue()
    lengths = [len(line.rstrip("\n")) for line in terminal.getvalue().split("\r")[1:]]
    assert lengths[1] >= lengths[0], "what was longer before is overwritten"


def test_a_pipe_gets_a_line_for_every_tenth():
    pipe = io.StringIO()
    with ProgressBar(pipe) as bar:
        for step in range(1000):
            bar(running(step / 1000, done=step, total=1000))
        bar(event(JobState.SUCCEEDED))

    lines = pipe.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0].split() == ["0%", "fit", "0", "of", "1,000"]
    assert lines[-1].split() == ["100%", "succeeded"]


@pytest.mark.parametrize("fraction", [-1.0, 2.0])
def test_a_fraction_out_of_its_range_stays_within_the_bar(fraction):
    terminal = Terminal()
    ProgressBar(terminal)(running(fraction))
    assert len(terminal.getvalue().split("\r")[1].split(" ")[0]) == 24


def test_a_notebook_shows_one_element_that_changes(monkeypatch):
    shown: list[str] = []

    class Handle:
        def update(self, element: str) -> None:
            shown.append(element)

    def display(element: str, *, display_id: bool) -> Handle:
        assert display_id
        shown.append(element)
        return Handle()

    shell = type("ZMQInteractiveShell", (), {})()
    ipython, displaying = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: shell
    displaying.HTML, displaying.display = str, display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", displaying)

    with ProgressBar() as bar:
        for each in [*EVENTS, running(0.1, step=JobStep.FIT, message="<b>")]:
            bar(each)

    assert len(shown) == 5
    assert shown[1].startswith('<progress value="0.500" max="1"')
    assert "features 1,200 of 2,400" in shown[1]
