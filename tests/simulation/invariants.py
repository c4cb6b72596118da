"""What must be true at the end of a simulation: the promises to callers, and what the database holds."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from headstart_server.datasets.example_archive import archive_name
from headstart_server.jobs.job import TRANSITIONS, JobState
from headstart_server.models import usage
from histories import checkers
from histories.checkers import TERMINAL, FinalJob
from histories.history import Operation, Outcome
from simulation.beginning import BASE
from simulation.callers import ALIAS, MODEL
from simulation.data_invariants import needed_archives, of_data

if TYPE_CHECKING:
    from simulation.world import World

#: Why a job may fail here.
_REASONS = {"CRASHED_REPEATEDLY"}


def violations(world: "World") -> list[str]:
    """Everything that is broken."""
    _complete_history(world)
    return [
        *checkers.violations(world.history, _final(world)),
        *_of_jobs(world),
        *_of_events(world),
        *_of_versions(world),
        *_of_webhooks(world),
        *_of_files(world),
        *(of_data(world) if world.has_data else ()),
        *(
            f"the sum of what is stored is wrong: {each}"
            for each in usage.wrong_sums(world.tables.connection)
        ),
    ]


def _complete_history(world: "World") -> None:
    """Add the moves of the alias that no caller made: at the beginning, by jobs, and by deletions."""
    sent = {"alias": ALIAS, "versions": [1] if world.plan.versions else []}
    first = Operation(kind="SetAlias", key=MODEL, server="", sent=sent, called=-1.0, returned=-0.5)
    world.history.add(first)
    for job_id, number in world.tables.rows("SELECT job_id, number FROM published WHERE model = ?", MODEL):
        if job_id in world.callers.moving:
            called = world.callers.moving[job_id].called
            move = replace(
                first, sent={**sent, "versions": [number]}, called=called, returned=_seen(world, job_id)
            )
            world.history.add(move)
    dropped = {number for (number,) in world.tables.rows("SELECT number FROM dropped WHERE model = ?", MODEL)}
    for delete in world.history.of("DeleteVersion"):
        if delete.key == MODEL and delete.sent["version"] in dropped and delete.outcome is not Outcome.FAILED:
            world.history.add(replace(delete, kind="SetAlias", sent={**sent, "versions": []}))


def _seen(world: "World", job_id: str) -> float:
    """When a caller first learned that a job has succeeded."""
    statuses = [op for op in world.history.of("Status") if op.is_ok and op.result[0] == "succeeded"]
    watches = [op for op in world.history.of("Watch") if op.is_ok]
    seen = [op.returned for op in (*statuses, *watches) if op.key == job_id]
    return min(seen, default=world.clock())


def _final(world: "World") -> dict[str, FinalJob]:
    events: dict[str, list[tuple[int, str]]] = defaultdict(list)
    query = "SELECT job_id, seq, data FROM job_events ORDER BY job_id, seq"
    for job_id, number, data in world.tables.rows(query):
        events[job_id].append((number, json.loads(data)["state"]))
    published: dict[str, list[int]] = defaultdict(list)
    for job_id, number in world.tables.rows("SELECT job_id, number FROM published"):
        published[job_id].append(number)
    final = {
        job_id: FinalJob(state=state, versions=published[job_id], events=events[job_id])
        for job_id, state in world.tables.rows("SELECT job_id, state FROM jobs")
    }
    for job_id, state in world.callers.deleted.items():
        final[job_id] = FinalJob(state=state.value, versions=published[job_id], events=[(1, state.value)])
    if world.has_data:
        final[BASE] = FinalJob(state="succeeded", versions=published[BASE], events=[(1, "succeeded")])
    return final


def _of_jobs(world: "World") -> Iterator[str]:
    columns = "job_id, state, owner, finished, error, model, request_id"
    rows = world.tables.rows(f"SELECT {columns} FROM jobs")
    requests = [row[-1] for row in rows if row[-1] is not None]
    if len(set(requests)) < len(requests):
        yield f"a request made several jobs: {requests}"
    for job_id, state, owner, finished, error, model, _ in rows:
        if state in TERMINAL and (owner is not None or finished is None):
            yield f"job {job_id} has ended as {state} and has owner {owner}, end {finished}"
        if state == "failed" and model == MODEL and json.loads(error)["reason"] not in _REASONS:
            yield f"job {job_id} failed: {error}"
    submitted = sum(step.kind == "submit" for step in world.plan.steps)
    rows = [row for row in rows if row[5] == MODEL]
    count = len(rows) + len(world.callers.deleted)
    if count != submitted and not world.faults:
        yield f"{submitted} fine-tunes were submitted until one was accepted, and there are {count} jobs"


def _of_events(world: "World") -> Iterator[str]:
    events: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    query = "SELECT job_id, seq, attempt, data FROM job_events ORDER BY job_id, seq"
    for job_id, number, attempt, data in world.tables.rows(query):
        events[job_id].append((number, attempt, json.loads(data)["state"]))
    for job_id, state, seq in world.tables.rows("SELECT job_id, state, seq FROM jobs"):
        found = events[job_id]
        if [number for number, _, _ in found] != list(range(1, seq + 1)):
            yield f"events of job {job_id} have gaps: {found}, the last is {seq}"
            continue
        if found[-1][2] != state:
            yield f"job {job_id} is {state}, and its last event says {found[-1][2]}"
        for (_, attempt, before), (number, next_attempt, after) in itertools.pairwise(found):
            if next_attempt < attempt:
                yield f"attempt {next_attempt} of job {job_id} wrote event {number} after attempt {attempt}"
            if JobState(after) not in TRANSITIONS[JobState(before)]:
                yield f"job {job_id} went from {before} to {after}"


def _of_versions(world: "World") -> Iterator[str]:
    tables = world.tables
    for job_id, number, artifact in tables.rows(
        "SELECT job_id, number, artifact FROM versions WHERE model = ?", MODEL
    ):
        if set(world.bucket.files.get(artifact, ())) != {"head", "manifest"}:
            yield f"version {number} is without its files {artifact}"
        found = tables.rows("SELECT attempt FROM jobs WHERE job_id = ?", job_id)
        if found and artifact != f"{job_id}.{found[0][0]}":
            yield f"version {number} is of {artifact}, and attempt {found[0][0]} ended its job"
    numbers = [
        number
        for (number,) in tables.rows("SELECT number FROM published WHERE model = ? ORDER BY rowid", MODEL)
    ]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"versions were published with numbers {numbers}"
    there = {number for (number,) in tables.rows("SELECT number FROM versions WHERE model = ?", MODEL)}
    for name, number in tables.rows("SELECT name, number FROM aliases WHERE model = ?", MODEL):
        if number not in there:
            yield f"alias {name} names version {number}, which is not there"


def _of_webhooks(world: "World") -> Iterator[str]:
    query = "SELECT w.job_id, w.state, w.attempts, j.state FROM webhooks w JOIN jobs j ON j.job_id = w.job_id"
    seen = set()
    for job_id, state, attempts, end in world.tables.rows(query):
        seen.add(job_id)
        received = world.receiver.received.get(job_id, [])
        if state != "delivered":
            yield f"the webhook of job {job_id} is {state} after {attempts} attempts"
        elif end not in received:
            yield f"the webhook of job {job_id} counts as delivered, and the receiver has {received}"
        if set(received) - {end}:
            yield f"the receiver got that job {job_id} is {received}, and it is {end}"
    for number, job_id in world.callers.accepted.items():
        if "webhook" in world.callers.step_of(job_id).flags and job_id not in seen:
            yield f"job {job_id} of request {number} has lost its webhook"


def _of_files(world: "World") -> Iterator[str]:
    tables = world.tables
    known = {artifact for (artifact,) in tables.rows("SELECT artifact FROM versions")}
    if left := sorted(world.bucket.files.keys() - known):
        yield f"files of no version are left: {left}"
    jobs = {job_id for (job_id,) in tables.rows("SELECT job_id FROM jobs")} | world.callers.deleted.keys()
    needed = {
        archive_name(job_id)
        for (job_id,) in tables.rows("SELECT job_id FROM versions WHERE model = ?", MODEL)
        if job_id in jobs and "discard" not in world.callers.step_of(job_id).flags
    }
    if missing := sorted(needed - world.archives.files.keys()):
        yield f"archives of versions are gone: {missing}"
    if world.has_data:
        needed |= {archive_name(each) for each in needed_archives(world)}
    if left := sorted(world.archives.files.keys() - needed):
        yield f"archives that are not needed are left: {left}"
