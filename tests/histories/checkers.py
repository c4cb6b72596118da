"""Checks recorded histories against the promises of the service."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from histories.history import History, Operation, Outcome
from histories.linearizability import Read, Write, first_violation

#: Seconds after which a call of unknown outcome has no effect any more: longer than any pause or outage.
EFFECT_SECONDS = 60.0
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalJob:
    """A job as the database has it after the run.

    Attributes:
        state: its last state.
        versions: the numbers of the versions that it published.
        events: the numbers and states of its events.
    """

    state: str
    versions: Sequence[int]
    events: Sequence[tuple[int, str]]


def violations(history: History, final: Mapping[str, FinalJob]) -> Iterator[str]:
    """Yield every broken promise.

    Args:
        history: what clients called, and what they received.
        final: the jobs of the database, by ID.
    """
    yield from alias_violations(history)
    yield from deletion_violations(history)
    yield from submission_violations(history, final)
    yield from job_violations(history, final)
    yield from event_violations(history, final)
    yield from cancel_violations(history, final)


# Aliases


def alias_violations(history: History) -> Iterator[str]:
    """Each alias is linearizable, with reads that may be as old as the promise allows."""
    knowledge = _Knowledge(history)
    writes: dict[tuple[str, str], list[tuple[Operation, Write]]] = defaultdict(list)
    for op in history.of("SetAlias"):
        if op.outcome is not Outcome.FAILED:
            write = Write(
                state=frozenset(op.sent["versions"]),
                start=op.called,
                end=op.returned if op.is_ok else op.returned + EFFECT_SECONDS,
                is_certain=op.is_ok,
            )
            writes[op.key, op.sent["alias"]].append((op, write))
    reads: dict[tuple[str, str], list[Read]] = defaultdict(list)
    for op in history.of("ReadAlias"):
        if op.is_ok:
            since = knowledge.since(op)
            own = [
                write
                for sent, write in writes[op.key, op.sent["alias"]]
                if sent.is_ok and _is_known(sent, op) and write.end >= since
            ]
            reads[op.key, op.sent["alias"]].append(
                Read(value=op.result, start=since, end=op.returned, after=own)
            )
    for (model, alias), found in reads.items():
        sent = [write for _, write in writes[model, alias]]
        if (violation := first_violation([*sent, *found])) is not None:
            yield f"alias {alias} of {model} is not linearizable: {violation}"


def _is_known(change: Operation, read: Operation) -> bool:
    """Return whether a server had acknowledged a change of a model before it was called to read it."""
    return change.server == read.server and change.key == read.key and change.returned < read.called


class _Knowledge:
    """Since when what a server answers must be true."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._windows: dict[str, list[tuple[float, float]]] = {}
        self._changes = [op for op in history.of("SetAlias", "DeleteVersion") if op.is_ok]

    def since(self, read: Operation) -> float:
        """Return the earliest time for which the answer of a read may have been right.

        A server knows what others changed a promised second ago, not counting disturbances, and what they had
        changed when it committed a change that it acknowledged: not before that call began.
        """
        own = [math.nextafter(change.called, math.inf) for change in self._changes if _is_known(change, read)]
        seconds = self._history.promised_seconds
        return max(self.undisturbed_before(read.server, read.called, seconds), *own, 0.0)

    def undisturbed_before(self, server: str, moment: float, seconds: float) -> float:
        """Return the time that is so many undisturbed seconds of a server before a moment."""
        if server not in self._windows:
            self._windows[server] = self._history.windows(server)
        for start, end in reversed(self._windows[server]):
            if start >= moment:
                continue
            calm = moment - min(end, moment)
            if calm >= seconds:
                break
            seconds, moment = seconds - calm, start
        return moment - seconds


# Deletions


def deletion_violations(history: History) -> Iterator[str]:
    """No answer comes from a version that was deleted before the call."""
    knowledge = _Knowledge(history)
    deleted = {(op.key, op.sent["version"]): op for op in reversed(history.of("DeleteVersion")) if op.is_ok}
    for read in history.of("ReadAlias", "Predict"):
        gone = deleted.get((read.key, read.result)) if read.is_ok else None
        if gone is not None and (_is_known(gone, read) or gone.returned < knowledge.since(read)):
            yield (
                f"{read.server} answered {read.kind} from version {read.result} of {read.key} "
                f"{read.called - gone.returned:.2f} s after {gone.server} had deleted it"
            )


# Jobs


def submission_violations(history: History, final: Mapping[str, FinalJob]) -> Iterator[str]:
    """Every accepted job is there, and a request ID stands for one job."""
    by_request: dict[str, set[str]] = defaultdict(set)
    for op in history.of("FineTune"):
        if op.is_ok:
            by_request[op.sent["request_id"]].add(op.result)
            if op.result not in final:
                yield f"accepted job {op.result} is lost"
    for request_id, found in by_request.items():
        if len(found) > 1:
            yield f"request {request_id} made jobs {', '.join(sorted(found))}"


def job_violations(history: History, final: Mapping[str, FinalJob]) -> Iterator[str]:
    """Each job ends once, with one version if it succeeded and none otherwise."""
    for job_id, job in final.items():
        if job.state not in TERMINAL:
            yield f"job {job_id} is {job.state} and never ended"
        if len(job.versions) != (job.state == "succeeded"):
            yield f"job {job_id} is {job.state} and has {len(job.versions)} versions"
    for op in history.of("Status"):
        if not op.is_ok or op.key not in final:
            continue
        state, version = op.result
        job = final[op.key]
        if state in TERMINAL and state != job.state:
            yield f"{op.server} reported job {op.key} as {state}, but it ended as {job.state}"
        if version and tuple(job.versions) != (version,):
            yield f"{op.server} reported version {version} of job {op.key}, which has {list(job.versions)}"
    yield from _steps_back(history)


def _steps_back(history: History) -> Iterator[str]:
    """A job that was reported as ended is reported as ended ever after, by every server."""
    knowledge = _Knowledge(history)
    ended: dict[str, Operation] = {}
    for op in sorted(history.of("Status"), key=lambda op: op.returned):
        if not op.is_ok:
            continue
        before = ended.get(op.key)
        if op.result[0] in TERMINAL:
            ended.setdefault(op.key, op)
        elif before is not None and before.returned < knowledge.since(op):
            was = op.result[0]
            yield f"{op.server} reported job {op.key} as {was} after {before.server} had reported its end"


def event_violations(history: History, final: Mapping[str, FinalJob]) -> Iterator[str]:
    """Events have no gaps, the last one is the end of the job, and every watcher receives all of them."""
    for job_id, job in final.items():
        numbers = [number for number, _ in job.events]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"the events of job {job_id} have gaps: {numbers}"
        if job.events and job.events[-1][1] != job.state:
            yield f"the last event of job {job_id} is {job.events[-1][1]}, but the job is {job.state}"
        if sum(state in TERMINAL for _, state in job.events) > 1:
            yield f"job {job_id} ended more than once: {list(job.events)}"
    for op in history.of("Watch"):
        if op.key in final and op.is_ok and list(op.result) != list(final[op.key].events):
            yield f"a watch of job {op.key} received {list(op.result)}, not {list(final[op.key].events)}"


def cancel_violations(history: History, final: Mapping[str, FinalJob]) -> Iterator[str]:
    """A job whose cancellation was acknowledged before its end does not succeed."""
    for op in history.of("Cancel"):
        is_acknowledged = op.is_ok and op.result not in ("succeeded", "failed")
        if is_acknowledged and op.key in final and final[op.key].state != "cancelled":
            yield f"job {op.key} was cancelled ({op.result}) and is {final[op.key].state}"
