"""Starts and stops of a server that fail at any step: nothing that was opened may stay open."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes import PATIENCE, FakeBackbone, FakeSource
from headstart_server.api.http.port import HttpPort
from headstart_server.api.server import Server
from headstart_server.app import build, configured, lifecycle, maintenance, services
from headstart_server.app.lifecycle import App
from headstart_server.errors import DatabaseUnavailable
from headstart_server.feedback import retraining
from headstart_server.feedback.retraining import Retraining
from headstart_server.jobs.job import Job
from headstart_server.jobs.job_queue import JobQueue
from headstart_server.jobs.workers import WorkerPool
from headstart_server.models.traffic import Traffic
from headstart_server.settings.settings import Settings
from headstart_server.training.erasure_service import ErasureService
from headstart_server.training.submission_service import SubmissionService
from server_process import free_port

#: Names of the threads that a server starts, or their beginnings.
_THREADS = ("heartbeat", "poller", "webhooks", "worker-", "backbone-")


class DeliberateError(Exception):
    """Raised by a step that a test lets fail."""


def fails(*_: object, **__: object) -> None:
    raise DeliberateError("This step fails.")


async def fails_later(*_: object, **__: object) -> None:
    raise DeliberateError("This step fails.")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of a server that has everything that starts and stops."""
    secrets = tmp_path / "secrets"
    secrets.write_text("whsec_" + "cGxhbnRlZC1zZWNyZXQt" * 2)
    return Settings.of(
        data_dir=tmp_path / "data",
        default_backbone="mine",
        port=free_port(),
        http_port=free_port(),
        metrics_port=free_port(),
        audit_log=tmp_path / "audit.log",
        webhook="https://example.com/hook",
        webhook_secret_file=secrets,
        grace_period=0.5,
    )


@pytest.fixture
def nothing_left(settings: Settings) -> Iterator[Callable[[], None]]:
    """Check that a server has released its folder, its ports and its threads."""

    def check() -> None:
        # Takes the lock of the folder.
        App(settings, FakeSource(FakeBackbone("mine"))).close()
        for port in (settings.server.port, settings.server.http_port, settings.metrics_port):
            with socket.socket() as probe:
                # Connections that the server closed may linger; a listening socket would still be refused.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        running = [thread for thread in threading.enumerate() if thread.name.startswith(_THREADS)]
        for thread in running:
            thread.join(PATIENCE)
        assert not [thread.name for thread in running if thread.is_alive()]

    return check


async def serve_once(settings: Settings) -> None:
    """Run a server until it is warm, then stop it."""
    source = FakeSource(FakeBackbone("mine"))
    app, stop = App(settings, source), asyncio.Event()
    warm = app.objects.telemetry.serving_started

    def serving_started(seconds: float) -> None:
        warm(seconds)
        stop.set()

    app.objects.telemetry.serving_started = serving_started  # type: ignore[method-assign]
    async with asyncio.timeout(PATIENCE):
        await app.run(stop)


async def test_a_server_that_stops_releases_everything(
    settings: Settings, nothing_left: Callable[[], None]
) -> None:
    await serve_once(settings)

    nothing_left()


@pytest.mark.parametrize(
    "name",
    [
        "ArchiveRetention",
        "AuditLog",
        "Authenticator",
        "BackbonePool",
        "DatasetStore",
        "Exporter",
        "FeatureCache",
        "Heartbeat",
        "open_submissions",
        "open_job_store",
        "Registry",
        "WorkerPool",
        "open_database",
        "open_roots",
    ],
)
def test_a_constructor_that_fails_releases_what_was_opened(
    name: str, settings: Settings, nothing_left: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(configured if name in ("AuditLog", "Exporter") else build, name, fails)
        with pytest.raises(DeliberateError):
            App(settings, FakeSource(FakeBackbone("mine")))

    nothing_left()


@pytest.mark.parametrize("name", ["add_gauges", "webhook_sender", "Maintenance"])
def test_an_app_that_fails_after_its_objects_closes_them(
    name: str, settings: Settings, nothing_left: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(lifecycle, name, fails)
        with pytest.raises(DeliberateError):
            App(settings, FakeSource(FakeBackbone("mine")))

    nothing_left()


@pytest.mark.parametrize(
    ("owner", "name", "step"),
    [
        (maintenance.Maintenance, "take_over", fails),
        (lifecycle, "open_metrics_port", fails),
        (services, "PredictionService", fails),
        (lifecycle, "http_port", fails),
        (build.Heartbeat, "start", fails),
        (build.Poller, "start", fails),
        (Server, "start", fails_later),
        (HttpPort, "start", fails),
        (build.WorkerPool, "start", fails),
        (build.BackbonePool, "ready", fails_later),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_start_that_fails_stops_what_it_started(
    owner: object,
    name: str,
    step: Callable[..., object],
    settings: Settings,
    nothing_left: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, step)
        with pytest.raises(DeliberateError):
            await serve_once(settings)

    nothing_left()


@pytest.mark.parametrize("port", ["port", "http_port", "metrics_port"])
async def test_a_port_in_use_stops_what_was_started(
    port: str, settings: Settings, nothing_left: Callable[[], None]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings[port]))
        taken.listen()
        with pytest.raises(OSError, match=f"Cannot listen on 127.0.0.1:{settings[port]}"):
            await serve_once(settings)

    nothing_left()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (SubmissionService, "close"),
        (build.JobWatcher, "drain"),
        (build.BackbonePool, "close"),
        (Server, "stop"),
        (build.WorkerPool, "stop"),
        (build.Poller, "stop"),
        (build.Heartbeat, "stop"),
        (JobQueue, "leave"),
        (configured.AuditLog, "close"),
        (build.FeatureCache, "close"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_stop_that_fails_at_one_step_takes_the_others(
    owner: type,
    name: str,
    settings: Settings,
    nothing_left: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = getattr(owner, name)

    def stop_and_fail(*arguments: object) -> object:
        done = real(*arguments)
        if asyncio.iscoroutine(done):
            return failing(done)
        raise DeliberateError("This step fails.")

    async def failing(done: object) -> None:
        await done  # type: ignore[misc]
        raise DeliberateError("This step fails.")

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, stop_and_fail)
        with pytest.raises(DeliberateError):
            await serve_once(settings)

    nothing_left()


@pytest.mark.parametrize(
    ("owner", "name"), [(Traffic, "write"), (ErasureService, "release"), (JobQueue, "leave")]
)
async def test_a_stop_takes_every_last_step_although_one_does_not_reach_the_database(
    owner: type, name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    def unavailable(*_: object) -> None:
        taken.append(name)
        raise DatabaseUnavailable("gone")

    def take(step: str) -> Callable[..., None]:
        return lambda *_: taken.append(step)

    monkeypatch.setattr(Traffic, "write", take("write"))
    monkeypatch.setattr(ErasureService, "release", take("release"))
    monkeypatch.setattr(JobQueue, "leave", take("leave"))
    monkeypatch.setattr(owner, name, unavailable)
    await serve_once(settings)

    # An unreleased claim would count as a crash.
    assert taken == ["release", "leave", "write"]


async def test_a_stop_ends_calls_and_jobs_before_it_waits_for_a_retrain_that_reads_feedback(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, ended = threading.Event(), threading.Event()
    seen: list[bool] = []

    def run(_: Retraining) -> list[Job]:
        # A read of the bucket that takes until the workers have stopped, or longer.
        reading.set()
        seen.append(ended.wait(PATIENCE))
        return []

    stop = WorkerPool.stop

    def stop_workers(pool: WorkerPool, timeout: float) -> None:
        stop(pool, timeout)
        ended.set()

    close = SubmissionService.close

    def close_while_reading(submissions: SubmissionService) -> None:
        assert reading.wait(PATIENCE)
        close(submissions)

    monkeypatch.setattr(retraining, "RETRAIN_SECONDS", 0.01)
    monkeypatch.setattr(Retraining, "run", run)
    monkeypatch.setattr(WorkerPool, "stop", stop_workers)
    monkeypatch.setattr(SubmissionService, "close", close_while_reading)
    await serve_once(settings)

    assert seen[0]
