"""What must be true after a process was killed: immediately, and once another one has done the rest."""

import itertools
import json
import os
import signal
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest import mock
from zipfile import BadZipFile, ZipFile

from sqlalchemy import select, text

from failpoints.capturing import broken_captures, left_captures
from failpoints.life import ENDS, Life, life
from failpoints.storing import broken_datasets, left_datasets
from headstart_server.database.dataset_tables import archive_uses
from headstart_server.database.feedback_tables import feedback
from headstart_server.database.tables import aliases, job_events, jobs, versions, webhooks
from headstart_server.errors import ArtifactDamaged
from headstart_server.jobs.job import TRANSITIONS, JobState
from headstart_server.models import usage
from headstart_server.models.version import Manifest
from headstart_server.storage import failpoints


class _Passed(list[str]):
    """Takes the place of the armed failpoints: none kills, and all that are passed are recorded."""

    def __bool__(self) -> bool:
        return True

    def __contains__(self, point: object) -> bool:
        self.append(str(point))
        return False


def pass_points(folder: Path, address: str | None, report: Path) -> None:
    """Live without a kill; the report has the failpoints in the order in which they are passed first."""
    passed = _Passed()
    with mock.patch.object(failpoints, "_armed", passed):
        live(folder, address, 0, report)
    assert json.loads(report.read_text()) == []
    report.write_text(json.dumps([*dict.fromkeys(passed)]))


def be_killed(folder: Path, address: str | None, points: list[str], report: Path) -> None:
    """Live again and again, each time until the next failpoint kills the process; then do the rest.

    The report has what is broken after each kill, and at the end.

    Args:
        folder: the data of all lives.
        address: of the database; None for a file in the folder.
        points: in the order in which a life passes them.
        report: the file for the report.
    """
    broken: list[str] = []
    for hour, point in enumerate([*points, ""]):
        report.write_text("[]")
        code = _in_a_process(folder, address, hour, point, report)
        before = f"after the kill at {points[hour - 1]}" if hour else "before any kill"
        broken += [f"{before}: {each}" for each in json.loads(report.read_text())]
        if code != (-signal.SIGKILL if point else 0):
            broken.append(f"{before}: the process ended with {code}, not at {point or 'its end'}")
            break
    report.write_text(json.dumps(broken))


def _in_a_process(folder: Path, address: str | None, hour: int, point: str, report: Path) -> int:
    """Live in a new process that a failpoint kills; return its exit code."""
    if number := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    try:
        failpoints.arm(point)
        live(folder, address, hour, report)
    except BaseException:  # noqa: BLE001 - the exit code reports it
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def live(folder: Path, address: str | None, hour: int, report: Path) -> None:
    """Look at what the process before left, do the rest, look again; report what is broken."""
    with life(folder, address, hour) as made:
        broken = [*_whole(made)]
        report.write_text(json.dumps(broken))
        made.run()
        broken += [f"at the end: {each}" for each in (*_whole(made), *_complete(made))]
    report.write_text(json.dumps(broken))


def _whole(made: Life) -> Iterator[str]:
    """What must be true at any moment: nothing is half there."""
    with made.database.snapshot() as connection:
        found = {row.job_id: row for row in connection.execute(select(jobs))}
        events = connection.execute(select(job_events).order_by(job_events.c.job_id, job_events.c.seq)).all()
        published = connection.execute(select(versions)).all()
        named = connection.execute(select(aliases.c.model, aliases.c.number)).all()
        if not made.database.is_shared:
            (said,) = connection.execute(text("PRAGMA integrity_check")).one()
            if said != "ok":
                yield f"SQLite says: {said}"
    for job_id, row in found.items():
        mine = [event for event in events if event.job_id == job_id]
        states = [JobState(event.data["state"]) for event in mine]
        if [event.seq for event in mine] != list(range(1, row.seq + 1)) or states[-1].value != row.state:
            yield f"job {job_id} is {row.state} at event {row.seq}, and its events are {mine}"
        if any(after not in TRANSITIONS[before] for before, after in itertools.pairwise(states)):
            yield f"job {job_id} went through {states}"
        if not states[-1].is_terminal and not _is_archive(made.bench.folder / f"{job_id}.zip"):
            yield f"job {job_id} is {row.state} and has no examples"
    if twice := [job for job, count in Counter(row.job_id for row in published).items() if count > 1]:
        yield f"jobs with several versions: {twice}"
    for row in published:
        if row.place is None and found[row.job_id].state != "succeeded":
            yield f"version {row.number} of {row.model} is of a job that is {found[row.job_id].state}"
        try:
            made.publisher.store.read(row.artifact, Manifest.from_json(row.manifest))
        except ArtifactDamaged as error:
            yield str(error)
    yield from broken_captures(made.folder, made.database)
    yield from broken_datasets(made.bench)
    there = {(row.model, row.number) for row in published}
    if lost := [each for each in named if tuple(each) not in there]:
        yield f"aliases of versions that are not there: {lost}"


def _complete(made: Life) -> Iterator[str]:
    """What must be true once everything was done."""
    with made.database.snapshot() as connection:
        found = connection.execute(select(jobs)).all()
        published = connection.execute(select(versions)).all()
        named = {(row.model, row.name): row.number for row in connection.execute(select(aliases))}
        kept = set(connection.execute(select(archive_uses.c.archive)).scalars())
        hooks = connection.execute(select(webhooks)).all()
        sent = connection.execute(select(feedback)).all()
        wrong = usage.wrong_sums(connection)
    # Each process made one for an archive to measure.
    requests = Counter(row.request_id for row in found if row.model != "measured")
    # The retrain has no request ID.
    if len(requests) != 13 or set(requests.values()) != {1}:
        yield f"requests made so many jobs: {requests}"
    for row in found:
        if row.state != ENDS[row.model].value:
            yield f"the job of {row.request_id} is {row.state}: {row.error}"
    if (numbers := sorted((row.model, row.number) for row in published if row.model != "measured")) != [
        ("erased", 3),
        ("erased", 4),
        ("erased", 5),
        ("fed", 1),
        ("fed", 2),
        ("pets", 1),
        ("pets", 2),
        ("returned", 1),
    ]:
        yield f"versions: {numbers}"
    expected = {("erased", "stable"): 4, ("fed", "stable"): 2, ("pets", "stable"): 2, ("pets", "old"): 1}
    if named != expected:
        yield f"aliases: {named}"
    if (learned := [(row.state, row.learned) for row in sent]) != [("learned", 2)]:
        yield f"feedback: {learned}"
    if wrong:
        yield f"sums of what is stored are wrong: {wrong}"
    if undelivered := [hook for hook in hooks if hook.state != "delivered"]:
        yield f"webhooks that were not delivered: {undelivered}"
    received = set((made.folder / "received").read_text().splitlines())
    if missing := {f"{row.job_id} {row.state.upper()}" for row in found} - received:
        yield f"ends that were never received: {missing}"
    yield from left_captures(made.folder, made.database)
    if [[number for number, *_ in each] for each in made.certificates.values()] != [[4, 5], [0]]:
        yield f"certificates: {made.certificates}"
    yield from left_datasets(made.bench)
    yield from _of_files(made, {row.artifact for row in published}, kept)


def _of_files(made: Life, artifacts: set[str], kept: set[str]) -> Iterator[str]:
    on_disk = {path.name for path in (made.folder / "versions").iterdir()} - {".staging"}
    if on_disk != artifacts:
        yield f"files of versions: {on_disk}, expected {artifacts}"
    if left := list((made.folder / "versions" / ".staging").glob("*")):
        yield f"left aside: {left}"
    archives = {path.name for path in made.bench.folder.iterdir()}
    if archives != {f"{archive}.zip" for archive in kept}:
        yield f"archives: {archives}, expected {kept}"
    erased = [
        name
        for name in archives
        for member in ZipFile(made.bench.folder / name).infolist()
        if ZipFile(made.bench.folder / name).read(member) == b"cat:0" and _is_of_pets(made, name)
    ]
    if erased:
        yield f"erased examples are still in {erased}"


def _is_of_pets(made: Life, archive: str) -> bool:
    return made.job_store.reader.get(archive.removesuffix(".zip")).spec.model in ("erased", "pets")


def _is_archive(path: Path) -> bool:
    try:
        with ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, BadZipFile):
        return False
