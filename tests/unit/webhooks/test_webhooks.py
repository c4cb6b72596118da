"""POSTs that tell of jobs' ends: at least once, by one process at a time, and given up in the end."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from changed_rows import changed_rows
from fakes import JobDriver, ManualClock
from headstart_server.api.grpc.messages.jobs import webhook_body
from headstart_server.database.tables import jobs, webhooks
from headstart_server.jobs import webhook_rows
from headstart_server.jobs.job import Findings, Job, JobError, JobState, JobTrigger, WebhookState
from headstart_server.jobs.webhook_rows import LEASE_SECONDS, MAX_SILENT_SECONDS, receiver_of
from headstart_server.outbound.target import Target
from headstart_server.settings.secret import Secret
from headstart_server.webhooks.message import headers_of, read_secrets
from headstart_server.webhooks.policy import WebhookPolicy
from headstart_server.webhooks.sender import (
    GIVE_UP_SECONDS,
    SENDERS,
    WebhookPostError,
    WebhookSender,
    wait_before,
)
from postgres import on_both_databases
from server_process import eventually

URI = "https://hooks.example.com/in?token=t"
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


@dataclass
class Receiver:
    """Takes POSTs in place of the network."""

    #: What is wrong with it; None if nothing.
    fault: WebhookPostError | None = None
    posts: list[tuple[Target, dict[str, str], dict[str, Any]]] = field(default_factory=list)

    def __call__(self, target: Target, headers: dict[str, str], body: bytes) -> None:
        self.posts.append((target, headers, json.loads(body)))
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


class Office:
    """A sender, and the outcomes it reported."""

    def __init__(self, driver: JobDriver, folder: Path, receiver: Receiver) -> None:
        self.driver = driver
        self._receiver = receiver
        self.outcomes: list[str] = []
        self.secrets = folder / "secrets"
        self.secrets.write_text(f"{SECRET}\n")
        self.sender = self.another()

    def another(
        self,
        at: str = "93.184.216.34",
        body: Callable[[Job], bytes] = webhook_body,
        own: str | None = None,
    ) -> WebhookSender:
        allowed = ["https://hooks.example.com", "https://hooks.example.com:8443"]
        policy = WebhookPolicy(allowed, own=own, resolve=lambda host, port: [at])
        return WebhookSender(
            self.driver.publisher.database,
            policy,
            self.secrets,
            self.outcomes.append,
            body=body,
            post=self._receiver,
        )

    def ended(self, **spec: Any) -> Job:
        job = self.driver.running(**{"webhook": URI, **spec})
        self.driver.succeed(job)
        return job

    def send_one(self) -> bool:
        claimed = self.sender.claim()
        if claimed is not None:
            self.sender.send(claimed)
        return claimed is not None

    def webhook(self, job: Job) -> Any:
        return self.driver.job_store.reader.get(job.job_id).webhook


@pytest.fixture
def office(driver: JobDriver, tmp_path: Path, receiver: Receiver) -> Iterator[Office]:
    return Office(driver, tmp_path, receiver)


@on_both_databases
def test_the_end_of_a_job_is_sent_once(office: Office, receiver: Receiver) -> None:
    job = office.ended(alias="stable")
    assert office.webhook(job).state is WebhookState.PENDING
    assert office.send_one()
    assert not office.send_one()
    ((target, headers, body),) = receiver.posts
    assert (target.host, target.path) == ("hooks.example.com", "/in?token=t")
    assert headers["webhook-id"] == f"job_{job.job_id}"
    data = body["data"]
    assert (body["type"], data["jobId"], data["version"]) == ("job.succeeded", job.job_id, "1")
    assert (data["state"], data["spec"]["model"], data["spec"]["alias"]) == (
        "JOB_STATE_SUCCEEDED",
        "pets",
        "stable",
    )
    # The receiver is not a caller: the URL, which may be a secret, stays here.
    assert data["spec"]["webhook"] == ""
    assert "error" not in data
    sent = office.webhook(job)
    assert (sent.state, sent.attempts, sent.error) == (WebhookState.DELIVERED, 1, "")
    assert sent.finished is not None
    assert sent.origin == "https://hooks.example.com"
    assert office.outcomes == ["delivered"]


def test_nothing_is_sent_before_the_end(office: Office) -> None:
    office.driver.running(webhook=URI)
    office.driver.submit(webhook=URI)
    assert not office.send_one()


@on_both_databases
def test_failures_and_cancels_are_ends_too(office: Office, receiver: Receiver) -> None:
    failed = office.driver.running(webhook=URI)
    office.driver.job_store.runs.fail(failed, JobError(reason="EMPTY_DATASET", message="None."), Findings())
    cancelled = office.driver.submit(webhook=URI)
    office.driver.job_store.queue.cancel(cancelled.job_id)
    while office.send_one():
        pass
    bodies = {body["data"]["jobId"]: body for _, _, body in receiver.posts}
    error = bodies[failed.job_id]["data"]["error"]
    assert (error["message"], error["details"][0]["reason"]) == ("None.", "EMPTY_DATASET")
    assert "version" not in bodies[failed.job_id]["data"]
    assert bodies[cancelled.job_id]["type"] == "job.cancelled"


def test_jobs_without_one_get_the_servers(driver: JobDriver) -> None:
    queue = driver.restarted(webhook=URI).queue
    own = "https://hooks.example.com/own"
    jobs = [
        queue.submit(driver.submission()),
        queue.submit(driver.submission(webhook=own)),
        driver.submit(),
    ]
    assert [None if job.webhook is None else job.webhook.uri for job in jobs] == [URI, own, None]


def test_a_failure_is_tried_again_later_and_later(
    office: Office, receiver: Receiver, clock: ManualClock
) -> None:
    job = office.ended()
    receiver.fault = WebhookPostError("Received: 500.")
    assert office.send_one()
    sent = office.webhook(job)
    assert (sent.state, sent.attempts, sent.error) == (WebhookState.PENDING, 1, "Received: 500.")
    assert 0.8 * wait_before(1) <= sent.due - clock.now <= 1.2 * wait_before(1)
    assert not office.send_one()
    clock.advance(1.2 * wait_before(1))
    receiver.fault = None
    assert office.send_one()
    assert office.webhook(job).state is WebhookState.DELIVERED
    ids = {headers["webhook-id"] for _, headers, _ in receiver.posts}
    assert len(ids) == 1
    assert wait_before(2) == 2 * wait_before(1)
    assert wait_before(99) == 3600


@on_both_databases
def test_it_is_given_up_a_day_after_the_jobs_end(
    office: Office, receiver: Receiver, clock: ManualClock
) -> None:
    job = office.ended()
    receiver.fault = WebhookPostError("Received: 500.")
    began = clock.now
    while office.webhook(job).state is WebhookState.PENDING:
        assert office.send_one()
        clock.advance(1.2 * wait_before(office.webhook(job).attempts))
    sent = office.webhook(job)
    assert sent.state is WebhookState.GIVEN_UP
    assert sent.due is None
    assert GIVE_UP_SECONDS - 2 * 3600 <= sent.finished - began <= GIVE_UP_SECONDS
    assert not office.send_one()
    assert office.outcomes[-1] == "given_up"


def test_a_receiver_that_is_gone_gets_no_more(office: Office, receiver: Receiver) -> None:
    job = office.ended()
    receiver.fault = WebhookPostError("Received: 410.", is_gone=True)
    office.send_one()
    assert office.webhook(job).state is WebhookState.GIVEN_UP


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
    receiver.fault = WebhookPostError("Late.")
    office.sender.send(lost)
    assert office.webhook(job).error == ""
    receiver.fault = None
    other.send(claimed)
    assert office.webhook(job).state is WebhookState.DELIVERED


@on_both_databases
def test_what_waits_is_not_late_after_the_clock_was_set_back(
    office: Office, receiver: Receiver, clock: ManualClock
) -> None:
    job = office.ended()
    lost = office.sender.claim()
    assert lost is not None
    # The lease of a replica that died.
    clock.advance(-86_400.0)
    receiver.fault = WebhookPostError("Received: 500.")
    assert office.send_one()
    assert office.webhook(job).attempts == 2
    assert not office.send_one()
    # A later attempt.
    clock.advance(-86_400.0)
    receiver.fault = WebhookPostError("No answer.", answered=False)
    assert office.send_one()
    assert not office.send_one()
    # A receiver that did not answer.
    clock.advance(-86_400.0)
    receiver.fault = None
    assert office.send_one()
    assert office.webhook(job).state is WebhookState.DELIVERED


def test_the_lease_of_a_post_that_is_being_sent_holds_after_a_small_step_back(
    office: Office, clock: ManualClock
) -> None:
    office.ended()
    assert office.sender.claim() is not None
    clock.advance(-0.9)
    assert office.another().claim() is None


def test_a_name_that_leads_inside_is_not_sent_to(office: Office, receiver: Receiver) -> None:
    job = office.ended()
    office.sender = office.another(at="169.254.169.254")
    assert office.send_one()
    assert receiver.posts == []
    assert "that is not public" in office.webhook(job).error


@on_both_databases
def test_a_job_is_remembered_until_its_end_is_delivered(
    office: Office, driver: JobDriver, clock: ManualClock
) -> None:
    sent = office.ended()
    office.send_one()
    unsent = office.ended()
    clock.advance(100)
    assert driver.job_store.cleaner.forget(10) == 1
    assert driver.job_store.reader.get(unsent.job_id).webhook is not None
    office.send_one()
    assert driver.job_store.cleaner.forget(10) == 1
    assert sent.job_id != unsent.job_id


@pytest.mark.parametrize(
    ("trigger", "state", "kind"),
    [
        (JobTrigger.REQUEST, JobState.FAILED, "job.failed"),
        (JobTrigger.RETRAIN, JobState.FAILED, "retrain.failed"),
        (JobTrigger.RETRAIN, JobState.CANCELLED, "retrain.cancelled"),
        (JobTrigger.RETRAIN, JobState.SUCCEEDED, "retrain.promoted"),
    ],
)
def test_the_type_of_an_event_says_how_a_job_or_a_retrain_ended(
    office: Office, trigger: JobTrigger, state: JobState, kind: str
) -> None:
    job = office.driver.job_store.reader.get(office.ended().job_id)
    assert json.loads(webhook_body(replace(job, trigger=trigger, state=state)))["type"] == kind


def test_signatures_are_those_of_the_specification(office: Office, tmp_path: Path) -> None:
    job = office.driver.job_store.reader.get(office.ended().job_id)
    body, old, new = webhook_body(job), b"o" * 32, b"n" * 32
    headers = headers_of("job_1", int(time.time()), body, [Secret(new), Secret(old)])
    for secret in (old, new):
        # A receiver with one of the two secrets finds its signature.
        assert Verifier(base64.b64encode(secret).decode()).verify(body, headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Verifier(base64.b64encode(old).decode()).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(base64.b64encode(b"x" * 32).decode()).verify(body, headers)


@pytest.mark.parametrize("text", ["", "# none\n", "whsec_####", "whsec_c2hvcnQ=", "secret"])
def test_a_file_without_a_secret_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets"
    path.write_text(text)
    with pytest.raises(ValueError, match="Expected"):
        read_secrets(path)


def test_secrets_are_read_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(f"# new\n{SECRET}\n\n{SECRET.removeprefix('whsec_')}\n")
    secrets = read_secrets(path).of("")
    assert [secret.reveal() for secret in secrets] == [b"s" * 32, b"s" * 32]
    assert base64.b64encode(b"s" * 32).decode() not in repr(secrets)


TENANT_SECRET = "whsec_" + base64.b64encode(b"t" * 32).decode()


def verified(secret: str, headers: dict[str, str], body: dict[str, Any]) -> bool:
    content = json.dumps(body, ensure_ascii=False).encode()
    # The time of the sender is a manual clock's.
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split()


def test_a_post_names_the_tenant_and_is_signed_with_its_own_secret(
    office: Office, receiver: Receiver
) -> None:
    office.secrets.write_text(f"{SECRET}\nshop {TENANT_SECRET}\n")
    office.ended(model="shop/pets", tenant="shop")
    office.ended(model="farm/pets", tenant="farm")
    office.ended()
    while office.send_one():
        pass

    bodies = {body["tenant"]: (headers, body) for _, headers, body in receiver.posts}
    assert {name: body["data"]["spec"]["model"] for name, (_, body) in bodies.items()} == dict.fromkeys(
        ("shop", "farm", ""), "pets"
    )
    assert verified(TENANT_SECRET, *bodies["shop"])
    assert not verified(SECRET, *bodies["shop"])
    assert verified(SECRET, *bodies["farm"])
    assert verified(SECRET, *bodies[""])


def test_the_servers_own_url_gets_the_servers_signature(
    office: Office, driver: JobDriver, receiver: Receiver
) -> None:
    office.secrets.write_text(f"{SECRET}\nshop {TENANT_SECRET}\n")
    policy = WebhookPolicy((), own=URI, resolve=lambda host, port: ["93.184.216.34"])
    office.sender = WebhookSender(
        driver.publisher.database,
        policy,
        office.secrets,
        office.outcomes.append,
        body=webhook_body,
        post=receiver,
    )
    office.ended(model="shop/pets", tenant="shop")
    assert office.send_one()
    ((_, headers, body),) = receiver.posts
    assert verified(SECRET, headers, body)
    assert not verified(TENANT_SECRET, headers, body)


def own_job(driver: JobDriver, own: str) -> Job:
    """Return a job that has ended, and that a server with its own URL accepted without one."""
    driver.job_store = driver.restarted(webhook=own)
    job = driver.running(model="shop/pets", tenant="shop")
    driver.succeed(job)
    return job


@on_both_databases
def test_a_changed_url_of_the_server_gets_the_posts_of_earlier_jobs(
    office: Office, driver: JobDriver, receiver: Receiver, clock: ManualClock
) -> None:
    office.secrets.write_text(f"{SECRET}\nshop {TENANT_SECRET}\n")
    job = own_job(driver, "https://old.example.com/token1")
    # The receiver has already moved.
    office.sender = office.another(own="https://old.example.com/token1")
    receiver.fault = WebhookPostError("No answer.", answered=False)
    assert office.send_one()
    clock.advance(MAX_SILENT_SECONDS)
    receiver.posts.clear()
    receiver.fault = None
    office.sender = office.another(own="https://new.example.com/token2")
    assert office.send_one()
    ((target, headers, body),) = receiver.posts
    assert (target.host, target.path) == ("new.example.com", "/token2")
    assert verified(SECRET, headers, body)
    assert office.webhook(job).state is WebhookState.DELIVERED
    assert office.webhook(job).origin == "https://new.example.com"


def test_a_server_that_has_no_url_any_more_sends_nothing_and_says_so(
    office: Office, driver: JobDriver, receiver: Receiver, clock: ManualClock
) -> None:
    # The job named no URL, so it is not sent to an allowed one with the secrets of the tenant.
    job = own_job(driver, URI)
    assert office.send_one()
    assert receiver.posts == []
    sent = office.webhook(job)
    assert sent.state is WebhookState.PENDING
    assert sent.error == "The job names no webhook, and the server has none any more. Set --webhook."
    clock.advance(GIVE_UP_SECONDS)
    assert office.send_one()
    assert office.webhook(job).state is WebhookState.GIVEN_UP


def test_a_tenant_without_a_secret_gets_no_post(office: Office, receiver: Receiver) -> None:
    office.secrets.write_text(f"shop {TENANT_SECRET}\n")
    job = office.ended(model="farm/pets", tenant="farm")
    assert office.send_one()
    assert receiver.posts == []
    assert "cannot be signed" in office.webhook(job).error


def test_the_servers_own_url_needs_a_secret_of_the_server(tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    path.write_text(f"shop {TENANT_SECRET}\n")
    assert len(read_secrets(path)) == 1
    with pytest.raises(ValueError, match="--webhook needs a secret"):
        read_secrets(path, own=URI)


@on_both_databases
def test_receivers_take_turns(office: Office, receiver: Receiver) -> None:
    for _ in range(3):
        office.ended()
    office.ended(model="shop/pets", tenant="shop")
    other = office.ended(webhook="https://hooks.example.com:8443/x")
    assert other.spec.webhook is not None
    while office.send_one():
        pass
    first = {(body["tenant"], target.port) for target, _, body in receiver.posts[:3]}
    assert first == {("", 443), ("", 8443), ("shop", 443)}


@pytest.mark.parametrize(
    "spelling",
    [
        "hooks.example.com",
        "Hooks.EXAMPLE.com:",
        "hooks.example.com:0443",
        "hooks.example.com.:443",
        "u:p@hooks.example.com",
    ],
)
def test_a_receiver_has_one_name_however_its_url_is_spelled(spelling: str) -> None:
    assert receiver_of("shop", f"HTTPS://{spelling}/x") == receiver_of(
        "shop", "https://hooks.example.com:443"
    )
    assert receiver_of("shop", f"http://{spelling}") != receiver_of("shop", f"https://{spelling}")
    assert receiver_of("shop", f"https://{spelling}") != receiver_of("farm", f"https://{spelling}")
    others = ["https://hooks.example.com:8443", "https://hooks.example.org", "https://[::1]"]
    assert len({receiver_of("", uri) for uri in (f"https://{spelling}", *others)}) == 4


def test_spellings_of_one_port_get_no_more_posts_at_a_time(office: Office) -> None:
    for zeros in range(10):
        office.ended(webhook=f"https://hooks.example.com:{'0' * zeros}443/in")
    claims = [office.sender.claim() for _ in range(10)]
    assert len([claimed for claimed in claims if claimed]) == webhook_rows.MOST_PER_RECEIVER


@on_both_databases
def test_a_receiver_that_does_not_answer_is_tried_once_at_a_time_and_less_and_less(
    office: Office, receiver: Receiver, clock: ManualClock
) -> None:
    for _ in range(20):
        office.ended()
    first, second = office.sender.claim(), office.sender.claim()
    assert first is not None
    assert second is not None
    # Two are on their way at most, whatever else waits.
    assert office.sender.claim() is None
    receiver.fault = WebhookPostError("No answer.", answered=False)
    office.sender.send(first)
    office.sender.send(second)
    assert office.sender.claim() is None
    tries = len(receiver.posts)
    for _ in range(60):
        clock.advance(10)
        while office.send_one():
            pass
    # 600 seconds: every 5, 10, 20, ... seconds instead of 20 POSTs each time.
    assert tries < len(receiver.posts) <= tries + 10
    # Posts of others go on meanwhile.
    receiver.fault = None
    office.ended(model="shop/pets", tenant="shop")
    assert office.send_one()
    assert receiver.posts[-1][2]["tenant"] == "shop"


@on_both_databases
def test_a_receiver_that_answers_again_gets_what_waits(
    office: Office, receiver: Receiver, clock: ManualClock
) -> None:
    waiting = [office.ended() for _ in range(6)]
    receiver.fault = WebhookPostError("No answer.", answered=False)
    while office.send_one():
        pass
    receiver.fault = None
    clock.advance(MAX_SILENT_SECONDS)
    while office.send_one():
        pass
    assert {office.webhook(job).state for job in waiting} == {WebhookState.DELIVERED}


@on_both_databases
def test_what_waits_for_a_receiver_that_is_silent_for_a_day_is_given_up(
    office: Office, receiver: Receiver, clock: ManualClock
) -> None:
    waiting = [office.ended() for _ in range(6)]
    receiver.fault = WebhookPostError("No answer.", answered=False)
    assert office.send_one()
    clock.advance(GIVE_UP_SECONDS + 1)
    assert office.send_one()
    assert {office.webhook(job).state for job in waiting} == {WebhookState.GIVEN_UP}
    assert office.outcomes.count("given_up") == len(waiting)


@on_both_databases
def test_many_webhooks_of_a_silent_receiver_are_given_up_some_at_a_time(
    office: Office, receiver: Receiver, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_rows, "GIVEN_UP_AT_ONCE", 2)
    waiting = [office.ended() for _ in range(6)]
    clock.advance(GIVE_UP_SECONDS + 1)
    receiver.fault = WebhookPostError("No answer.", answered=False)
    with changed_rows("UPDATE webhooks") as changed:
        assert office.send_one()
    assert max(changed) == 2
    assert {office.webhook(job).state for job in waiting} == {WebhookState.GIVEN_UP}
    assert office.outcomes.count("given_up") == len(waiting)


@pytest.mark.parametrize("is_silent", [False, True])
def test_posts_are_sent_after_threads_could_not_be_started(
    office: Office, receiver: Receiver, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    job = office.ended()
    if is_silent:
        receiver.fault = WebhookPostError("No answer.", answered=False)
        assert office.send_one()
        clock.advance(MAX_SILENT_SECONDS)
        receiver.fault = None

    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        for _ in range(SENDERS):
            with pytest.raises(RuntimeError, match="new thread"):
                office.sender._begin_one()
            clock.advance(LEASE_SECONDS + 1)
    assert office.sender._begin_one()
    # Waits for the POST.
    office.sender.stop()
    assert office.webhook(job).state is WebhookState.DELIVERED


def test_an_error_of_a_receiver_does_not_delay_its_other_posts(office: Office, receiver: Receiver) -> None:
    for _ in range(3):
        office.ended()
    receiver.fault = WebhookPostError("Received: 500.")
    while office.send_one():
        pass
    assert len(receiver.posts) == 3


@on_both_databases
@pytest.mark.parametrize("fault", ["row", "body"])
def test_jobs_that_cannot_be_read_delay_no_others_and_are_given_up(
    office: Office, driver: JobDriver, receiver: Receiver, clock: ManualClock, fault: str
) -> None:
    # As many as a receiver gets at a time. Without a record of their failures they would always come first.
    bad = {office.ended().job_id for _ in range(webhook_rows.MOST_PER_RECEIVER)}

    def body(job: Job) -> bytes:
        if job.job_id in bad:
            raise KeyError(job.job_id)
        return webhook_body(job)

    if fault == "row":
        with driver.publisher.database.write() as connection:
            # As a newer release may write it.
            connection.execute(update(jobs).where(jobs.c.job_id.in_(bad)).values(payload={"spec": 5}))
    else:
        office.sender = office.another(body=body)
    while office.send_one():
        pass
    clock.advance(LEASE_SECONDS + 1)
    good = office.ended()
    ended = clock.now
    while office.send_one():
        pass
    assert office.webhook(good).state is WebhookState.DELIVERED
    while clock.now < ended + GIVE_UP_SECONDS:
        clock.advance(600)
        while office.send_one():
            pass
    assert states(driver, bad) == {WebhookState.GIVEN_UP.value}
    # They say nothing about the receiver.
    assert [body["data"]["jobId"] for _, _, body in receiver.posts] == [good.job_id]
    assert office.outcomes.count("given_up") == len(bad)
    # Their jobs can be deleted now.
    assert driver.job_store.cleaner.forget(0) == len(bad) + 1


def states(driver: JobDriver, job_ids: Collection[str]) -> set[str]:
    with driver.publisher.database.read() as connection:
        of_jobs = webhooks.c.job_id.in_(job_ids)
        return set(connection.execute(select(webhooks.c.state).where(of_jobs)).scalars())


def test_a_failure_before_a_post_does_not_end_the_silence_of_a_receiver(
    office: Office, receiver: Receiver, clock: ManualClock
) -> None:
    office.ended()
    receiver.fault = WebhookPostError("No answer.", answered=False)
    assert office.send_one()
    office.secrets.write_text("")
    clock.advance(MAX_SILENT_SECONDS)
    claimed = office.sender.claim()
    assert claimed is not None
    office.sender.send(claimed)
    clock.advance(MAX_SILENT_SECONDS)
    claimed = office.sender.claim()
    assert claimed is not None
    assert claimed.was_silent


def test_a_webhook_whose_job_was_deleted_while_it_was_sent_is_no_error(
    office: Office, driver: JobDriver, clock: ManualClock
) -> None:
    office.ended()
    slow = office.sender.claim()
    assert slow is not None
    clock.advance(LEASE_SECONDS + 1)
    assert office.send_one()
    assert driver.job_store.cleaner.forget(0) == 1
    office.sender.send(slow)
    assert office.outcomes == ["delivered"]


@on_both_databases
@pytest.mark.timeout(120)
def test_a_dead_receiver_delays_no_live_one_under_load(office: Office, driver: JobDriver) -> None:
    ended, arrived, dead_tries = threading.Event(), [], []
    lock = threading.Lock()

    def post(target: Target, headers: Mapping[str, str], body: bytes) -> None:
        if target.port == 8443:
            with lock:
                dead_tries.append(target)
            # As a host that takes connections and answers nothing.
            ended.wait(60)
            raise WebhookPostError("No answer.", answered=False)
        with lock:
            arrived.append(json.loads(body)["data"]["jobId"])

    # Older than the others, so that first come, first served would try them all before.
    for _ in range(40):
        office.ended(webhook="https://dead.example.com:8443/in")
    live = {office.ended().job_id for _ in range(40)}
    policy = WebhookPolicy(
        ["https://hooks.example.com", "https://dead.example.com:8443"], resolve=lambda *_: ["93.184.216.34"]
    )
    sender = WebhookSender(
        driver.publisher.database,
        policy,
        office.secrets,
        office.outcomes.append,
        body=webhook_body,
        post=post,
    )
    sender.start()
    try:
        eventually(lambda: live <= set(arrived) or None, 60, "the POSTs of the live receiver")
        assert len(dead_tries) <= 2
    finally:
        ended.set()
        sender.stop()
