"""docs/reference/log-events.md lists exactly the events of the server, with their levels and keys."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from prometheus import rules

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
#: Names that sentences about the log contain, although they are neither events nor their keys.
OTHER_NAMES = {"precision_reason", "secure_delete"}
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


def names_in(text: str) -> set[str]:
    """Return the names that the sentences about the log contain."""
    sentences = re.split(
        r"(?<=[.:;])\s+(?=[A-Z])|\n\n|\n(?=[-#|])", re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    )
    about_logs = " ".join(each for each in sentences if re.search(r"\blog(s|ged)?\b", each, re.IGNORECASE))
    return set(re.findall(r"`((?!headstart_)[a-z]+(?:_[a-z]+)+)`", about_logs))


def test_other_pages_name_events_that_there_are():
    known = set(logged()).union(OTHER_NAMES, *(keys for _, keys in logged().values()))
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("k8s/**/*.md")]
    unknown = {(page.name, name) for page in pages for name in names_in(page.read_text()) - known}

    assert unknown == set()
    assert "backbone_preparing" in names_in((ROOT / "docs/operate/backbones.md").read_text())


def test_alerts_name_events_that_there_are():
    texts = [rule["annotations"]["description"] for rule in rules() if "alert" in rule]
    named = {name for text in texts for name in re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text)}

    assert named - set(logged()) == set()
    assert "job_failed" in named


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
