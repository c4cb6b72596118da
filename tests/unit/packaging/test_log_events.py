"""docs/reference/log-events.md lists exactly the events of the server, with their levels and keys."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVER = ROOT / "server" / "headstart_server"
PAGE = ROOT / "docs" / "reference" / "log-events.md"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
#: What a job's events are bound to.
JOB = {"replica", "job_id", "model"}
#: Loggers of the server: the module's, and the one of a job.
LOGGERS = {"log": set(), "self._log": set(), "self.log(job)": JOB, "self._runner.log(job)": JOB}
#: The subjects of circuit breakers, whose events begin with them.
SUBJECTS = ("database", "storage")
#: Functions that log the event that they get as their first argument.
FORWARDERS = {"self._drop_waiting"}


@dataclass(frozen=True)
class Logged:
    """One call of a logger."""

    event: str
    level: str
    keys: frozenset[str]


def logged_in(text: str) -> list[Logged]:
    """Return the events that a module logs."""
    tree = ast.parse(text)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    forwarded = [
        str(call.args[0].value)
        for call in calls
        if ast.unparse(call.func) in FORWARDERS and isinstance(call.args[0], ast.Constant)
    ]
    found = []
    for call in calls:
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in LEVELS:
            continue
        bound = LOGGERS.get(ast.unparse(call.func.value))
        if bound is None:
            continue
        keys = bound | {each.arg for each in call.keywords if each.arg not in (None, "exc_info")}
        level = "error" if call.func.attr == "exception" else call.func.attr
        shown = "any" if level == "log" else level
        found += [Logged(event, shown, frozenset(keys)) for event in events_of(call, forwarded)]
    return found


def events_of(call: ast.Call, forwarded: list[str]) -> Iterator[str]:
    """Yield the events that a call may log."""
    first = call.args[1] if ast.unparse(call.func) == "log.log" else call.args[0]
    match first:
        case ast.Constant(value=str(event)):
            yield event
        case ast.IfExp(body=ast.Constant(value=str(one)), orelse=ast.Constant(value=str(other))):
            yield from (one, other)
        case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str(end))]):
            yield from (subject + end for subject in SUBJECTS)
        case ast.Name(id="event"):
            yield from forwarded
        case _:
            raise AssertionError(f"The event of a log call cannot be determined: {ast.unparse(call)}")


@cache
def logged() -> dict[str, tuple[set[str], set[str]]]:
    """Return the levels and keys of every event of the server."""
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for path in sorted(SERVER.rglob("*.py")):
        for each in logged_in(path.read_text()):
            levels, keys = found[each.event]
            levels.add(each.level)
            keys |= each.keys
    return dict(found)


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """Return the levels and keys of every event of the page."""
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| ([`\w, ]*) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    found = {event: (set(levels.split(", ")), set(re.findall(r"\w+", keys))) for event, levels, keys in rows}
    assert len(found) == len(rows), "an event is listed twice"
    return found


def test_every_event_is_documented_with_its_level_and_keys_and_no_other_is():
    assert documented() == logged()


def test_events_are_named_alike():
    for event in logged():
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", event)
        assert not re.search(r"_not_|_away|_anew|put_off|given_back", event), event


@pytest.mark.parametrize(
    ("code", "events"),
    [
        ('log.info("started", port=1)', [Logged("started", "info", frozenset({"port"}))]),
        ('log.exception("x_failed")', [Logged("x_failed", "error", frozenset())]),
        (
            'self.log(job).warning("a" if over else "b")',
            [Logged(each, "warning", frozenset({"replica", "job_id", "model"})) for each in "ab"],
        ),
        ('other.info("of a library")', []),
    ],
)
def test_events_are_found_in_code(code: str, events: list[Logged]):
    assert logged_in(code) == events


def test_an_event_that_cannot_be_determined_is_an_error():
    with pytest.raises(AssertionError, match="cannot be determined"):
        logged_in("log.info(name)")
