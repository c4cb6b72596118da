"""POSTs that tell of jobs' ends: at least once, by one process at a time, and given up in the end."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from fakes import Desk, ManualClock
from headstart_server.internet.target import Target
from headstart_server.jobs.changes import Changes
from headstart_server.jobs.job import Findings, Job, JobError
from headstart_server.jobs.ledger import Ledger
from headstart_server.jobs.webhook import WebhookState
from headstart_server.jobs.webhook_message import body_of, headers_of, read_secrets
from headstart_server.jobs.webhook_policy import WebhookPolicy
from headstart_server.jobs.webhook_post import PostFailed
from headstart_server.jobs.webhook_sender import GIVE_UP_SECONDS, LEASE_SECONDS, WebhookSender, wait_before
from postgres import on_both_databases

URI = "https://hooks.example.com/in?token=t"
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


@dataclass
class Receiver:
    """Takes POSTs in place of the network."""

    #: What is wrong with it; None if nothing.
    fault: PostFailed | None = None
    posts: list[tuple[Target, dict[str, str], dict[str, Any]]] = field(default_factory=list)

    def __call__(self, target: Target, headers: dict[str, str], body: bytes) -> None:
        self.posts.append((target, headers, json.loads(body)))
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


class Office:
    """A sender, and what it told."""

    def __init__(self, desk: Desk, folder: Path, receiver: Receiver) -> None:
        self.desk = desk
        self._receiver = receiver
        self.outcomes: list[str] = []
        self._secrets = folder / "secrets"
        self._secrets.write_text(f"{SECRET}\n")
        self.sender = self.another()

    def another(self, at: str = "93.184.216.34") -> WebhookSender:
        policy = WebhookPolicy(["https://hooks.example.com"], resolve=lambda host, port: [at])
        return WebhookSender(
            self.desk.shelf.database,
            policy,
            self._secrets,
            self.outcomes.append,
            post=self._receiver,
        )

    def ended(self, **spec: Any) -> Job:
        job = self.desk.running(webhook=URI, **spec)
        self.desk.succeed(job)
        return job

    def send_one(self) -> bool:
        claimed = self.sender.claim()
        if claimed is not None:
            self.sender.send(claimed)
        return claimed is not None

    def told(self, job: Job) -> Any:
        return self.desk.ledger.get(job.job_id).webhook


@pytest.fixture
def office(desk: Desk, tmp_path: Path, receiver: Receiver) -> Iterator[Office]:
    return Office(desk, tmp_path, receiver)


@on_both_databases
def test_the_end_of_a_job_is_told_once(office: Office, receiver: Receiver) -> None:
    job = office.ended(alias="stable")
    assert office.told(job).state is WebhookState.PENDING
    assert office.send_one()
    assert not office.send_one()
    ((target, headers, body),) = receiver.posts
    assert (target.host, target.path) == ("hooks.example.com", "/in?token=t")
    assert headers["webhook-id"] == f"job_{job.job_id}"
    assert (body["type"], body["job"], body["model"], body["version"]) == (
        "job.succeeded",
        job.job_id,
        "pets",
        1,
    )
    assert (body["state"], body["alias"], body["error"]) == ("SUCCEEDED", "stable", None)
    told = office.told(job)
    assert (told.state, told.attempts, told.error) == (WebhookState.DELIVERED, 1, "")
    assert told.finished is not None
    assert told.origin == "https://hooks.example.com"
    assert office.outcomes == ["delivered"]


def test_nothing_is_told_before_the_end(office: Office) -> None:
    office.desk.running(webhook=URI)
    office.desk.submit(webhook=URI)
    assert not office.send_one()


@on_both_databases
def test_failures_and_cancels_are_ends_too(office: Office, receiver: Receiver) -> None:
    failed = office.desk.running(webhook=URI)
    office.desk.ledger.fail(failed, JobError(reason="EMPTY_DATASET", message="None."), Findings())
    cancelled = office.desk.submit(webhook=URI)
    office.desk.ledger.cancel(cancelled.job_id)
    while office.send_one():
        pass
    bodies = {body["job"]: body for _, _, body in receiver.posts}
    assert bodies[failed.job_id]["error"] == {"reason": "EMPTY_DATASET", "message": "None."}
    assert bodies[failed.job_id]["version"] is None
    assert bodies[cancelled.job_id]["type"] == "job.cancelled"


def test_jobs_without_one_get_the_servers(desk: Desk) -> None:
    shelf = desk.shelf
    telling = Ledger(shelf.database, shelf.registry, Changes(), owner="x", webhook=URI)
    own = "https://hooks.example.com/own"
    jobs = [
        telling.submit(desk.submission()),
        telling.submit(desk.submission(webhook=own)),
        desk.submit(),
    ]
    assert [None if job.webhook is None else job.webhook.uri for job in jobs] == [URI, own, None]


def test_a_failure_is_tried_again_later_and_later(
    office: Office, receiver: Receiver, clock: ManualClock
) -> None:
    job = office.ended()
    receiver.fault = PostFailed("Received: 500.")
    assert office.send_one()
    told = office.told(job)
    assert (told.state, told.attempts, told.error) == (WebhookState.PENDING, 1, "Received: 500.")
    assert 0.8 * wait_before(1) <= told.due - clock.now <= 1.2 * wait_before(1)
    assert not office.send_one()
    clock.advance(1.2 * wait_before(1))
    receiver.fault = None
    assert office.send_one()
    assert office.told(job).state is WebhookState.DELIVERED
    ids = {headers["webhook-id"] for _, headers, _ in receiver.posts}
    assert len(ids) == 1
    assert wait_before(2) == 2 * wait_before(1)
    assert wait_before(99) == 3600


@on_both_databases
def test_it_is_given_up_a_day_after_the_jobs_end(
    office: Office, receiver: Receiver, clock: ManualClock
) -> None:
    job = office.ended()
    receiver.fault = PostFailed("Received: 500.")
    began = clock.now
    while office.told(job).state is WebhookState.PENDING:
        assert office.send_one()
        clock.advance(1.2 * wait_before(office.told(job).attempts))
    told = office.told(job)
    assert told.state is WebhookState.GIVEN_UP
    assert told.due is None
    assert GIVE_UP_SECONDS - 2 * 3600 <= told.finished - began <= GIVE_UP_SECONDS
    assert not office.send_one()
    assert office.outcomes[-1] == "given_up"


def test_a_receiver_that_is_gone_is_not_asked_again(office: Office, receiver: Receiver) -> None:
    job = office.ended()
    receiver.fault = PostFailed("Received: 410.", is_gone=True)
    office.send_one()
    assert office.told(job).state is WebhookState.GIVEN_UP


@on_both_databases
def test_one_process_sends_at_a_time_and_another_goes_on_when_it_dies(
    office: Office, receiver: Receiver, clock: ManualClock
) -> None:
    job = office.ended()
    lost = office.sender.claim()
    assert lost is not None
    other = office.another()
    assert other.claim() is None
    clock.advance(LEASE_SECONDS + 1)
    claimed = other.claim()
    assert claimed is not None
    # The first one was not dead after all: what it says of a failure does not count any more.
    receiver.fault = PostFailed("Late.")
    office.sender.send(lost)
    assert office.told(job).error == ""
    receiver.fault = None
    other.send(claimed)
    assert office.told(job).state is WebhookState.DELIVERED


def test_a_name_that_leads_inside_is_not_sent_to(office: Office, receiver: Receiver) -> None:
    job = office.ended()
    office.sender = office.another(at="169.254.169.254")
    assert office.send_one()
    assert receiver.posts == []
    assert "not of the internet" in office.told(job).error


@on_both_databases
def test_a_job_is_remembered_until_its_end_is_told(office: Office, desk: Desk, clock: ManualClock) -> None:
    told = office.ended()
    office.send_one()
    untold = office.ended()
    clock.advance(100)
    assert desk.ledger.forget(10) == 1
    assert desk.ledger.get(untold.job_id).webhook is not None
    office.send_one()
    assert desk.ledger.forget(10) == 1
    assert told.job_id != untold.job_id


def test_signatures_are_those_of_the_specification(office: Office, tmp_path: Path) -> None:
    job = office.desk.ledger.get(office.ended().job_id)
    body, old, new = body_of(job), b"o" * 32, b"n" * 32
    headers = headers_of("job_1", int(time.time()), body, [new, old])
    for secret in (old, new):
        # Whoever has one of the two secrets finds its own signature.
        assert Verifier(base64.b64encode(secret).decode()).verify(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Verifier(base64.b64encode(old).decode()).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(base64.b64encode(b"x" * 32).decode()).verify(body, headers)


@pytest.mark.parametrize("text", ["", "# none\n", "whsec_####", "whsec_c2hvcnQ=", "secret"])
def test_a_file_without_a_secret_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets"
    path.write_text(text)
    with pytest.raises(ValueError, match="Expected"):
        read_secrets(path)


def test_secrets_are_read_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(f"# new\n{SECRET}\n\n{SECRET.removeprefix('whsec_')}\n")
    assert read_secrets(path) == [b"s" * 32, b"s" * 32]
