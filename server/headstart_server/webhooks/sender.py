"""Sends webhooks: each at least once, by one replica at a time."""

import random
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path

import structlog
from urllib3.exceptions import HTTPError

from headstart_server.auth.tenants import tenant_of
from headstart_server.database.database import Database
from headstart_server.database.locks import Lock
from headstart_server.errors import DatabaseUnavailable, HeadstartError, JobNotFound, StorageFull
from headstart_server.jobs import rows, webhook_rows
from headstart_server.jobs.job import Job
from headstart_server.jobs.webhook_rows import MAX_SILENT_SECONDS, MAX_WAIT_SECONDS, ClaimedPost
from headstart_server.outbound.connection import closed_after, make_connection
from headstart_server.outbound.target import Target, TargetRefusedError
from headstart_server.webhooks.message import headers_of, read_secrets
from headstart_server.webhooks.policy import WebhookPolicy

#: Time limits in seconds: to connect or without a byte, and in total.
_QUIET_SECONDS = 10.0
_WHOLE_SECONDS = 15.0


class WebhookPostError(Exception):
    """A POST that did not arrive.

    Args:
        is_gone: whether the receiver wants no more POSTs.
        answered: whether the receiver answered; None if nothing was sent.
    """

    def __init__(self, why: str, *, is_gone: bool = False, answered: bool | None = True) -> None:
        super().__init__(why)
        self.why = why
        self.is_gone = is_gone
        self.answered = answered


def post(target: Target, headers: Mapping[str, str], body: bytes) -> None:
    """POST to the checked address, without redirects; raise WebhookPostError unless the answer is 2xx."""
    try:
        connection = make_connection(target, _QUIET_SECONDS)
        with closing(connection), closed_after(connection, _WHOLE_SECONDS):
            connection.request(
                "POST",
                target.path,
                body=body,
                headers={"host": target.authority, **headers},
                preload_content=False,
            )
            status = connection.getresponse().status
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        # Do not repeat data that a TLS or HTTP peer sent.
        raise WebhookPostError(f"No answer: {type(error).__name__}.", answered=False) from error
    if not 200 <= status < 300:
        what = "a redirect, which is not followed" if 300 <= status < 400 else "no success"
        raise WebhookPostError(
            f"Expected an answer of 200 to 299. Received: {status}, {what}.", is_gone=status == 410
        )


log = structlog.get_logger(__name__)

#: Mean seconds between two polls for POSTs to send.
POLL_SECONDS = 1.0
#: Maximum concurrent POSTs of a replica, and of those to receivers that did not answer the last try.
SENDERS = 8
SENDERS_TO_SILENT = 2
#: Seconds until the second try; each further wait is twice as long, up to a maximum.
FIRST_WAIT_SECONDS = 5.0
#: Seconds after a job's end at which tries stop.
GIVE_UP_SECONDS = 86_400.0
#: Seconds that a stopping server waits for POSTs in flight.
_STOP_SECONDS = 5.0


def wait_before(attempt: int) -> float:
    """Return the mean seconds between the try of this number and the next one."""
    return float(min(FIRST_WAIT_SECONDS * 2 ** min(attempt - 1, 20), MAX_WAIT_SECONDS))


class WebhookSender:
    """Polls for POSTs to send in one thread, and sends each in another.

    Args:
        secrets: file of the secrets that sign POSTs, read for each POST, so that changes take effect.
        observer: called with the outcome of each try: `delivered`, `failed` or `given_up`.
        body: returns the body of the POST for an ended job.
        post: sends headers and a body to a target; raises `WebhookPostError`.
    """

    def __init__(
        self,
        database: Database,
        policy: WebhookPolicy,
        secrets: Path,
        observer: Callable[[str], None],
        *,
        body: Callable[[Job], bytes],
        post: Callable[[Target, Mapping[str, str], bytes], None] = post,
        chance: random.Random | None = None,
    ) -> None:
        self._database = database
        self._policy = policy
        self._secrets = secrets
        self._observer = observer
        self._body = body
        self._post = post
        # Random, to spread replicas, and jobs that ended together.
        self._chance = chance or random.Random()  # noqa: S311 - no secret
        self._stopped = threading.Event()
        self._free = threading.BoundedSemaphore(SENDERS)
        self._free_for_silent = threading.BoundedSemaphore(SENDERS_TO_SILENT)
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        if not self._database.is_shared:
            # Release claims of an earlier process: this is the only one.
            with self._database.write("webhooks.expire") as connection:
                webhook_rows.expire(connection)
        self._thread.start()

    def stop(self) -> None:
        """Stop sending. POSTs in flight get some seconds; unfinished ones are sent again later."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()
        for _ in range(SENDERS):
            self._free.acquire(timeout=_STOP_SECONDS / SENDERS)

    def claim(self, *, answering_only: bool = False) -> ClaimedPost | None:
        """Claim a POST to send; None if no POST is due."""
        with self._database.read() as connection:
            if not webhook_rows.is_any(connection, self._database.now(connection)):
                return None
        with self._database.write("webhooks.claim") as connection:
            self._database.lock(connection, Lock.WEBHOOKS)
            now = self._database.now(connection)
            return webhook_rows.claim(connection, now, answering_only=answering_only)

    def send(self, claimed: ClaimedPost) -> None:
        """Send a POST once and record the result, whatever fails.

        After a DatabaseUnavailable it is sent again.
        """
        try:
            with self._database.snapshot() as connection:
                job = rows.get(connection, claimed.job_id)
                now = self._database.now(connection)
            claimed = replace(claimed, uri=self._policy.url_for(job.spec.webhook))
            self._deliver(claimed, job, now)
        except (DatabaseUnavailable, StorageFull):
            # Nothing can be recorded.
            raise
        except JobNotFound:
            # Another replica delivered it, and the job was deleted with its webhook.
            return
        except WebhookPostError as error:
            self._failed(claimed, error)
        except (HeadstartError, TargetRefusedError) as error:
            # A row that cannot be read, for example; the next release may read it.
            self._failed(claimed, WebhookPostError(str(error), answered=None))
        except Exception as error:
            log.exception("webhook_send_failed", job_id=claimed.job_id)
            why = f"It cannot be sent: {type(error).__name__}."
            self._failed(claimed, WebhookPostError(why, answered=None))
        else:
            with self._database.write("webhooks.deliver") as connection:
                webhook_rows.deliver(connection, claimed, self._database.now(connection))
                webhook_rows.note_answer(connection, claimed.receiver)
            self._observer("delivered")
            log.info("webhook_delivered", job_id=claimed.job_id, attempt=claimed.attempt)

    def _deliver(self, claimed: ClaimedPost, job: Job, now: float) -> None:
        """Send a POST; raise an error unless it arrived."""
        body, tenant = self._body(job), tenant_of(job.spec.model)
        try:
            secrets = read_secrets(self._secrets).of("" if self._policy.is_own(claimed.uri) else tenant)
            headers = headers_of(f"job_{job.job_id}", int(now), body, secrets)
        except (OSError, ValueError) as error:
            why = f"It cannot be signed: {type(error).__name__}."
            raise WebhookPostError(why, answered=None) from error
        try:
            target = self._policy.target(claimed.uri, tenant)
        except (OSError, ValueError) as error:
            # A host without an address, or with a name that is not valid in the DNS.
            raise WebhookPostError(f"It cannot be sent: {type(error).__name__}.", answered=False) from error
        self._post(target, headers, body)

    def _failed(self, claimed: ClaimedPost, failure: WebhookPostError) -> None:
        with self._database.write("webhooks.record_failure") as connection:
            now = self._database.now(connection)
            due = now + wait_before(claimed.attempt) * self._chance.uniform(0.8, 1.2)
            is_over = failure.is_gone or due >= claimed.ended + GIVE_UP_SECONDS
            if is_over:
                webhook_rows.give_up(connection, claimed, failure.why, now)
            else:
                webhook_rows.postpone(connection, claimed, failure.why, due)
            if failure.answered:
                webhook_rows.note_answer(connection, claimed.receiver)
            elif failure.answered is False:
                webhook_rows.note_silence(
                    connection,
                    claimed.receiver,
                    lambda count: now + 0.8 * min(wait_before(count), MAX_SILENT_SECONDS),
                )
        self._observer("given_up" if is_over else "failed")
        if failure.answered is False:
            self._give_up_old(claimed.receiver, failure.why, now)
        log.warning(
            "webhook_given_up" if is_over else "webhook_failed",
            job_id=claimed.job_id,
            attempt=claimed.attempt,
            error=failure.why,
        )

    def _give_up_old(self, receiver: str, error: str, now: float) -> None:
        """Give up POSTs that were not sent in time, because their receiver did not answer others."""
        old = webhook_rows.GIVEN_UP_AT_ONCE
        while old == webhook_rows.GIVEN_UP_AT_ONCE:
            with self._database.write("webhooks.record_failure") as connection:
                end = now - GIVE_UP_SECONDS
                old = webhook_rows.give_up_old(connection, receiver, end, error, now)
            for _ in range(old):
                self._observer("given_up")

    def _run(self) -> None:
        while not self._stopped.wait(POLL_SECONDS * self._chance.uniform(0.8, 1.2)):
            try:
                while not self._stopped.is_set() and self._begin_one():
                    pass
            except DatabaseUnavailable:
                # The heartbeat logs it.
                continue
            except Exception:
                log.exception("webhook_claim_failed")

    def _begin_one(self) -> bool:
        """Start to send a POST; False if no POST is due, or too many are in flight."""
        if not self._free.acquire(timeout=POLL_SECONDS):
            return False
        claimed, is_started = None, False
        may_wait = self._free_for_silent.acquire(blocking=False)
        try:
            claimed = self.claim(answering_only=not may_wait)
            if claimed is not None:
                sending = threading.Thread(
                    target=self._send_one, args=(claimed,), name="webhook", daemon=True
                )
                # Without a thread, the claim ends with its lease.
                sending.start()
                is_started = True
        finally:
            # The thread releases what it uses.
            if may_wait and not (is_started and claimed is not None and claimed.was_silent):
                self._free_for_silent.release()
            if not is_started:
                self._free.release()
        return is_started

    def _send_one(self, claimed: ClaimedPost) -> None:
        try:
            self.send(claimed)
        except (DatabaseUnavailable, StorageFull):
            log.warning("webhook_outcome_write_failed", job_id=claimed.job_id)
        except Exception:
            log.exception("webhook_send_failed", job_id=claimed.job_id)
        finally:
            if claimed.was_silent:
                self._free_for_silent.release()
            self._free.release()
