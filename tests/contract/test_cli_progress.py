"""Progress into a pipe: at most a line for each tenth of a step."""

from io import StringIO

from rich.console import Console

from contract.fake_server import event as event_message
from headstart.cli.output.progress import progress_view
from headstart.decode import decode
from headstart.results import JobEvent


def lines_of(events) -> list[str]:
    console = Console(file=StringIO(), width=100)
    with progress_view(console) as view:
        for event in events:
            view.event(decode(event, JobEvent))
    return console.file.getvalue().splitlines()


def test_a_long_step_has_a_line_for_each_tenth():
    counted = [event_message(n, step="FEATURES", done=n, total=960) for n in range(1, 961)]

    lines = lines_of([event_message(1, "QUEUED"), *counted, event_message(961, "SUCCEEDED")])

    assert lines[0] == "queued"
    assert lines[-2:] == ["features, 960 of 960", "succeeded"]
    assert len(lines) == 2 + 11


def test_a_step_without_a_count_has_a_line_for_each_tenth_of_its_fraction():
    fits = [event_message(n, step="FIT", fraction=n / 500) for n in range(500)]

    assert len(lines_of([*fits, event_message(500, step="EVALUATE", done=1, total=1)])) <= 12


def test_each_step_has_a_line():
    steps = ("FEATURES", "FIT", "EVALUATE", "PUBLISH")
    events = [event_message(n, step=step, done=1, total=2) for n, step in enumerate(steps)]

    assert [line.split(",")[0] for line in lines_of(events)] == [step.lower() for step in steps]
