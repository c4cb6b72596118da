"""A watcher of all jobs reads every event once, and those of each job in order."""

import base64
import json
import random
import threading
import zlib
from collections import defaultdict

import pytest
from sqlalchemy import select

from fakes import PATIENCE, JobDriver
from headstart_server.auth.permissions import Scope
from headstart_server.database.tables import job_events
from headstart_server.errors import InvalidField
from headstart_server.jobs import watching
from headstart_server.jobs.job import Job, JobState
from headstart_server.jobs.job_notifier import JobNotifier
from headstart_server.jobs.job_store import JobStore
from headstart_server.jobs.poller import Poller
from headstart_server.jobs.watching import Position
from postgres import on_both_databases

pytestmark = on_both_databases


class Watcher:
    """Reads all events, and keeps its position as a caller does: as a token."""

    def __init__(self, job_store: JobStore, model: str = "", scope: Scope | None = None) -> None:
        self.job_store = job_store
        self.model, self.scope = model, scope
        self.token = job_store.reader.position().token()
        self.seen: dict[str, list[int]] = defaultdict(list)

    def step(self) -> list[tuple[str, int]]:
        """Read until there is nothing more for now; returns what was read."""
        found: list[tuple[str, int]] = []
        while True:
            position = Position.of_token(self.token)
            watched = self.job_store.reader.watched(position, model=self.model, scope=self.scope)
            self.token = watched.position.token()
            for event in watched.events:
                self.seen[event.job_id].append(event.number)
                found.append((event.job_id, event.number))
            if not watched.has_more:
                return found


def written(driver: JobDriver) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    with driver.publisher.database.read() as connection:
        for row in connection.execute(select(job_events).order_by(job_events.c.seq)):
            found[row.job_id].append(row.seq)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_every_event_is_read_once_in_order(
    driver: JobDriver, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(watching, "_NEW_JOBS", chance.choice([1, 2, 500]))
    monkeypatch.setattr(watching, "_EVENTS", chance.choice([1, 3, 1000]))
    watcher = Watcher(driver.job_store)
    running: list[Job] = []
    ids: list[str] = []
    for _ in range(60):
        kind = chance.choice(["submit", "submit", "claim", "report", "succeed", "cancel", "step"])
        if kind == "submit":
            ids.append(driver.submit().job_id)
        elif kind == "claim" and (job := driver.job_store.queue.claim([each.job_id for each in running])):
            running.append(job)
        elif kind == "report" and running:
            driver.report(chance.choice(running))
        elif kind == "succeed" and running:
            driver.succeed(running.pop(chance.randrange(len(running))))
        elif kind == "cancel" and (
            queued := [i for i in ids if driver.job_store.reader.get(i).state is JobState.QUEUED]
        ):
            driver.job_store.queue.cancel(chance.choice(queued))
        elif kind == "step":
            watcher.step()
    watcher.step()
    assert watcher.seen == written(driver)
    assert watcher.step() == []
    under_way = {job_id for job_id in ids if not driver.job_store.reader.get(job_id).state.is_terminal}
    assert set(Position.of_token(watcher.token).read) == under_way


def test_a_watcher_begins_with_the_events_of_the_jobs_that_have_not_ended(driver: JobDriver) -> None:
    driver.submit("ended")
    driver.job_store.queue.cancel("ended")
    driver.submit("waits")
    watcher = Watcher(driver.job_store)
    assert watcher.step() == [("waits", 1)]


def test_no_event_is_lost_to_writers_that_commit_at_the_same_time(driver: JobDriver) -> None:
    over = threading.Event()

    def write(name: str) -> None:
        for number in range(8):
            driver.submit(f"{name}-{number}", model=f"model-{name}")
            driver.job_store.queue.cancel(f"{name}-{number}")

    watcher = Watcher(driver.job_store)

    def watch() -> None:
        while not over.is_set():
            watcher.step()

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    reader = threading.Thread(target=watch)
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    over.set()
    reader.join(PATIENCE)
    watcher.step()
    assert watcher.seen == written(driver)
    assert len(watcher.seen) == 32


def test_only_jobs_of_the_model_and_of_the_scope_are_read(driver: JobDriver) -> None:
    pets = Watcher(driver.job_store, model="pets")
    red = Watcher(driver.job_store, scope=Scope(tenant="red", models=("pets*",)))
    driver.submit("a")
    driver.submit("b", model="cars")
    driver.submit("c", tenant="red", model="red/pets-1")
    driver.submit("d", tenant="red", model="red/cars")
    assert pets.step() == [("a", 1)]
    assert red.step() == [("c", 1)]
    # A token that names the job of another tenant shows nothing of it.
    red.token = Position(number=0, read={"a": 0, "d": 0}).token()
    assert red.step() == [("c", 1)]


def test_a_deleted_job_is_no_longer_watched(driver: JobDriver) -> None:
    watcher = Watcher(driver.job_store)
    driver.submit("a")
    watcher.step()
    driver.job_store.queue.cancel("a")
    driver.job_store.queue.delete("a")
    assert watcher.step() == []
    assert Position.of_token(watcher.token).read == {}


def _token(content: object) -> str:
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(content).encode())).decode()


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "é",
        "AAAA",
        _token([]),
        _token([1, []]),
        _token([-1, {}]),
        _token([True, {}]),
        _token([2**63, {}]),
        _token([1, {"a": "b"}]),
        _token([1, {"a\0": 1}]),
        _token([1, {"\ud800": 1}]),
        _token([1, {"a" * 65: 1}]),
        _token([1, {str(place): 1 for place in range(20_001)}]),
        base64.urlsafe_b64encode(zlib.compress(b"[" * (64 << 20))).decode(),
    ],
    ids=range(14),
)
def test_a_malformed_token_is_rejected(driver: JobDriver, token: str) -> None:
    with pytest.raises(InvalidField) as caught:
        Position.of_token(token)
    assert caught.value.field == "resume_token"


@pytest.mark.parametrize(
    "values", ["[" + "[]," * 1_000_000 + "[]]", "{" + '"a":1,' * 500_000 + '"a":1}'], ids=["lists", "pairs"]
)
def test_a_token_of_many_values_is_rejected_before_they_are_parsed(
    driver: JobDriver, monkeypatch: pytest.MonkeyPatch, values: str
) -> None:
    content = zlib.compress(f'[1,{{"a":{values}}}]'.encode())
    with monkeypatch.context() as patched, pytest.raises(InvalidField, match="resume token is invalid"):
        patched.setattr(json, "loads", lambda content: pytest.fail("It was parsed."))
        Position.of_token(base64.urlsafe_b64encode(content).decode())


def test_followers_of_all_jobs_are_woken_by_other_replicas(driver: JobDriver) -> None:
    notifier = JobNotifier()
    here = driver.restarted(notifier=notifier)
    poller = Poller(here.reader, notifier, lambda: None)
    woken: list[int] = []
    with notifier.subscribe_to_all(lambda: woken.append(1)):
        poller.poll()
        count = len(woken)
        poller.poll()
        assert len(woken) == count
        driver.submit("a")
        poller.poll()
        assert len(woken) == count + 1
        # Both events come between two polls.
        driver.submit("b")
        driver.job_store.queue.cancel("b")
        poller.poll()
        assert len(woken) == count + 2
        here.queue.cancel("a")
        assert len(woken) == count + 3
    poller.poll()
    assert len(woken) == count + 3
