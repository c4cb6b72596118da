"""Erasures in spite of versions that cannot be fitted again, and of processes that die while they fit."""

import errno
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from fakes import FakeBackbone, JobDriver, ManualClock
from headstart_server.database.tables import versions
from headstart_server.datasets.erasure_claims import ErasureClaims, FitClaim
from headstart_server.datasets.erasure_log import ErasureLog, ErasureRecord, ErasureRequest, RebuiltVersion
from headstart_server.errors import (
    DatabaseUnavailable,
    Draining,
    LocalStorageUnavailable,
    StorageUnavailable,
    WrittenByNewerRelease,
)
from headstart_server.evaluation.promotion_check import PromotionCheck
from headstart_server.jobs.reservations import Reservations
from headstart_server.learning.heads.fitting import fit
from headstart_server.models.model_index import ModelIndex
from headstart_server.storage.directory import DirectoryFolder
from headstart_server.training import erasure_service, version_rebuilder
from headstart_server.training.erasure_service import ErasureService, Execution
from postgres import on_both_databases
from workbench import Workbench, pets

REQUEST = ErasureRequest(example_id="cat0", model="pets", request_id="r1")
MIB = 1 << 20
#: Time limit of a wait that is over quickly unless the code is wrong.
SECONDS = 60.0


class KilledError(BaseException):
    """The process ends here, and runs nothing that follows."""


class Bench(Workbench):
    """A workbench whose erasures meet a fault in the fit of version 1."""

    def __init__(self, folder: Path, driver: JobDriver) -> None:
        super().__init__(folder, driver, FakeBackbone("other", digest="c" * 64))
        self.log = ErasureLog(driver.publisher.database)
        #: Called for each fit of version 1, which has seed 1.
        self.fault: Callable[[], None] = lambda: None
        self.fits = 0
        for seed in (1, 2, 3):
            self.published(pets(4), seed=seed)

    def fit(self, *arguments: Any, **options: Any) -> Any:
        if options["seed"] == 1:
            self.fits += 1
            self.fault()
        return fit(*arguments, **options)

    def results(self) -> list[RebuiltVersion | None]:
        return list(self.record().versions.values())

    def record(self) -> ErasureRecord:
        found = self.log.find(REQUEST)
        assert found is not None
        return found


@pytest.fixture
def bench(tmp_path: Path, driver: JobDriver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(tmp_path, driver)
    monkeypatch.setattr(version_rebuilder, "fit", bench.fit)
    yield bench
    bench.close()


def erased(service: ErasureService) -> list[tuple[int, str]]:
    """Erase the example; return the number of each successor and the reason for none."""
    _, record = service.erase(REQUEST, rebuild=True)
    assert record is not None
    assert record.finished is not None
    return [(each.number, each.skipped_reason) for each in record.versions.values() if each is not None]


def raising(error: BaseException) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> Any:
        raise error

    return fails


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("Unable to allocate 13.0 GiB"), "ran out of memory. Delete the version"),
        (KeyError("cat"), "A fault of the server; its log has id"),
    ],
)
@on_both_databases
def test_a_version_whose_fit_fails_unexpectedly_is_listed_and_the_others_are_replaced(
    bench: Bench, error: Exception, reason: str
) -> None:
    bench.fault = raising(error)
    first, *others = erased(bench.erasure_service(threads=2))
    assert first[0] == 0
    assert reason in first[1]
    assert others == [(4, ""), (5, "")]
    assert bench.fits == 1
    assert bench.erasure_service().resume() == 0
    (result, *_) = bench.results()
    assert result is not None
    assert result.head_digest == bench.registry.reader.version("pets", 1).manifest.head_digest


def test_a_version_whose_comparison_fails_unexpectedly_is_listed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.registry.set_alias("pets", "stable", 2)
    monkeypatch.setattr(PromotionCheck, "judge_replacement", raising(MemoryError()))
    first, second, third = erased(bench.erasure_service())
    assert "ran out of memory" in second[1]
    assert (first, third) == ((4, ""), (5, ""))


def test_a_version_that_this_release_cannot_read_is_listed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    exclude = bench.eraser.exclude

    def newer(*arguments: Any) -> Any:
        found = exclude(*arguments)
        with bench.driver.publisher.database.write() as connection:
            here = update(versions).where(versions.c.number == 1, versions.c.model == "pets")
            connection.execute(here.values(manifest={"form": "newer"}))
        # Only the first search for the example can read the version.
        monkeypatch.setattr(bench.eraser, "exclude", lambda *_: found)
        return found

    monkeypatch.setattr(bench.eraser, "exclude", newer)
    first, *others = erased(bench.erasure_service())
    assert "Upgrade the server" in first[1]
    assert others == [(4, ""), (5, "")]
    with pytest.raises(WrittenByNewerRelease):
        bench.registry.reader.version("pets", 1)


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_an_erasure_is_complete_once_the_files_of_replaced_versions_are_removed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, is_elsewhere: bool
) -> None:
    store = bench.driver.publisher.store
    old = [version.artifact for version in bench.registry.reader.versions("pets", limit=10)]
    folder = bench.driver.publisher.folder / "versions"
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == old[0]:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(path, missing_ok)

    service = bench.erasure_service()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        for _ in range(2):
            with pytest.raises(LocalStorageUnavailable):
                service.erase(REQUEST, rebuild=True)
    assert [artifact for artifact in old if (folder / artifact).exists()] == old[:1]
    assert bench.record().finished is None
    if is_elsewhere:
        service = bench.erasure_service()
    assert erased(service) == [(4, ""), (5, ""), (6, "")]
    assert not set(store.artifacts()) & set(old)


@pytest.mark.parametrize("error", [DatabaseUnavailable(), KilledError()], ids=["reply lost", "killed"])
@pytest.mark.parametrize(("changed", "name"), [(ErasureLog, "replace"), (ModelIndex, "refresh")])
@on_both_databases
def test_another_process_removes_the_files_of_a_replaced_version_after_a_failure(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, changed: type, name: str, error: BaseException
) -> None:
    old = [version.artifact for version in bench.registry.reader.versions("pets", limit=10)]
    work = getattr(changed, name)

    def fails(*arguments: Any) -> None:
        work(*arguments)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(changed, name, fails)
        with pytest.raises(type(error)):
            bench.erasure_service().erase(REQUEST, rebuild=True)
    assert set(old) <= set(bench.driver.publisher.store.artifacts())
    assert erased(bench.erasure_service()) == [(4, ""), (5, ""), (6, "")]
    assert not set(old) & set(bench.driver.publisher.store.artifacts())


def test_the_files_of_replaced_versions_are_removed_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [version.artifact for version in bench.registry.reader.versions("pets", limit=10)]
    remove, removed = DirectoryFolder.remove, list[str]()

    def counted(folder: DirectoryFolder, name: str) -> None:
        removed.append(name)
        remove(folder, name)

    monkeypatch.setattr(DirectoryFolder, "remove", counted)
    erased(bench.erasure_service())
    assert sorted(each for each in removed if each in old) == sorted(old)


@on_both_databases
def test_a_version_that_ends_each_process_is_given_up_and_the_others_are_replaced(bench: Bench) -> None:
    bench.fault = raising(KilledError())
    with pytest.raises(KilledError):
        bench.erasure_service(threads=2).erase(REQUEST, rebuild=True)
    for _ in range(2):
        with pytest.raises(KilledError):
            bench.erasure_service(threads=2).resume()
    assert bench.results() == [None, None, None]
    assert bench.erasure_service(threads=2).resume() == 1
    first, *others = erased(bench.erasure_service())
    assert "ended 3 times while it fitted the version" in first[1]
    # The process that died also fitted them, but it was not their fault.
    assert others == [(4, ""), (5, "")]
    assert bench.fits == 3


@on_both_databases
def test_interruptions_do_not_count_as_crashes(bench: Bench) -> None:
    bench.fault = raising(StorageUnavailable())
    for _ in range(3):
        with pytest.raises(StorageUnavailable):
            bench.erasure_service().erase(REQUEST, rebuild=True)
    for _ in range(3):
        service = bench.erasure_service()
        bench.fault = service.close
        with pytest.raises(Draining):
            service.erase(REQUEST, rebuild=True)
    assert bench.record().suspected == set()
    bench.fault = lambda: None
    assert erased(bench.erasure_service()) == [(4, ""), (5, ""), (6, "")]


@on_both_databases
def test_a_process_that_stops_before_its_fit_ends_does_not_count_as_crashed(bench: Bench) -> None:
    service = bench.erasure_service()

    def stops() -> None:
        service.close()
        service.release()
        raise KilledError

    bench.fault = stops
    with pytest.raises(KilledError):
        service.erase(REQUEST, rebuild=True)
    assert bench.record().suspected == set()


@on_both_databases
def test_claims_that_could_not_be_released_do_not_stop_other_erasures(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = bench.driver.publisher.database
    one, other = (
        ErasureClaims(database, owner=owner, is_dead=lambda *_: False) for owner in ("one", "other")
    )
    service = bench.erasure_service(claims=one)
    bench.fault = raising(StorageUnavailable())
    with monkeypatch.context() as patched:
        patched.setattr(one, "release", raising(DatabaseUnavailable()))
        with pytest.raises(StorageUnavailable):
            service.erase(REQUEST, rebuild=True)
    assert bench.record().suspected
    with pytest.raises(StorageUnavailable):
        service.erase(replace(REQUEST, example_id="cat1", request_id="r2"), rebuild=True)
    bench.fault = lambda: None
    # It would wait forever for this process, which may itself wait for the other one.
    elsewhere = bench.erasure_service(claims=other, execution=Execution(wait=raising(AssertionError())))
    assert erased(elsewhere) == [(4, ""), (5, ""), (6, "")]


@on_both_databases
def test_a_version_that_a_living_process_fits_is_not_fitted_twice(bench: Bench) -> None:
    database = bench.driver.publisher.database
    bench.fault = raising(KilledError())
    other = bench.erasure_service(claims=ErasureClaims(database, owner="other"))
    with pytest.raises(KilledError):
        other.erase(REQUEST, rebuild=True)
    bench.fault = lambda: None
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            other.resume()

    claims = ErasureClaims(database, owner="mine", is_dead=lambda *_: False)
    assert erased(bench.erasure_service(claims=claims, execution=Execution(wait=wait))) == [
        (4, ""),
        (5, ""),
        (6, ""),
    ]
    assert len(waits) == 3
    # Once by each life of the other process.
    assert bench.fits == 2


class PairedClaims(ErasureClaims):
    """Claims of one of two processes: both begin at the same time, and this one claims its version first."""

    def __init__(self, bench: Bench, owner: str, number: int, began: threading.Barrier) -> None:
        super().__init__(bench.driver.publisher.database, owner=owner, is_dead=lambda *_: False)
        self._number, self._began, self._seen = number, began, set[int]()
        self.claimed, self.waits = threading.Event(), threading.Event()
        #: Set when the other process has claimed its version.
        self.other_claimed = threading.Event()

    def preview(self, erasure_id: str, model: str, number: int) -> FitClaim:
        if number in {1, 2} - self._seen:
            self._seen.add(number)
            self._began.wait(SECONDS)
            assert number == self._number or self.other_claimed.wait(SECONDS)
        found = super().preview(erasure_id, model, number)
        if not found.is_mine:
            self.waits.set()
        return found

    def claim(self, erasure_id: str, model: str, number: int) -> FitClaim:
        claim = super().claim(erasure_id, model, number)
        self.claimed.set()
        return claim


@on_both_databases
def test_a_process_whose_fit_is_interrupted_does_not_wait_for_one_that_waits_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure_service, "CLAIM_SECONDS", 0.01)
    began = threading.Barrier(4)
    one, other = PairedClaims(bench, "one", 1, began), PairedClaims(bench, "other", 2, began)
    one.other_claimed, other.other_claimed = other.claimed, one.claimed

    def interrupted() -> None:
        if bench.fits == 1:
            assert one.waits.wait(SECONDS)
            assert other.waits.wait(SECONDS)
            raise StorageUnavailable

    bench.fault = interrupted
    bench.eraser.begin(REQUEST, bench.log)
    services = [bench.erasure_service(threads=2, claims=claims) for claims in (one, other)]
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(erased, service) for service in services)
        try:
            with pytest.raises(StorageUnavailable):
                first.result(SECONDS)
            assert second.result(SECONDS) == [(4, ""), (5, ""), (6, "")]
        finally:
            for service in services:
                service.close()


def test_a_version_that_needs_more_memory_than_jobs_may_use_is_listed(bench: Bench) -> None:
    reasons = [reason for _, reason in erased(bench.erasure_service(memory_bytes=MIB))]
    assert all("gives 0.0 GiB to jobs (--job-memory)" in reason for reason in reasons)
    assert bench.fits == 0


def test_versions_are_fitted_one_at_a_time_if_there_is_no_memory_for_two(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return fit(*arguments, **options)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(version_rebuilder, "fit", counted)
    reservations = Reservations(None, 100 * MIB)
    service = bench.erasure_service(threads=3, memory_bytes=100 * MIB, reservations=reservations)
    assert erased(service) == [(4, ""), (5, ""), (6, "")]
    assert most == 1
    assert reservations.nbytes == 0


def test_a_version_whose_fit_takes_longer_than_a_job_may_is_listed(bench: Bench) -> None:
    clock = ManualClock(0.0)
    bench.fault = lambda: clock.advance(7200.0)
    first, *others = erased(bench.erasure_service(execution=Execution(clock=clock), seconds=3600.0))
    assert "Its fit reached the time limit of 1 hours (--job-time-limit)" in first[1]
    assert others == [(4, ""), (5, "")]
