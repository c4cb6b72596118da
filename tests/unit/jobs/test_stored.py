"""What a tenant stores is counted with the rows that say it is there, and bounded where it is accepted."""

import threading

import pytest
from sqlalchemy import delete, select

from fakes import Desk, FakeArchives, Shelf
from headstart_server.database.tables import archive_sizes
from headstart_server.errors import TenantQuotaExceeded
from headstart_server.jobs.archive_retention import Archives
from headstart_server.jobs.job import Findings, JobError, JobState
from headstart_server.jobs.limits import TenantLimits
from headstart_server.jobs.stored import Stored
from headstart_server.models import usage
from postgres import on_both_databases

pytestmark = on_both_databases


def limited(shelf: Shelf, **limits: int) -> Desk:
    """A desk where the tenant red has limits, and nobody else."""
    by_tenant = {"red": TenantLimits(**limits)}
    return Desk(shelf, tenant_limits=lambda tenant: by_tenant.get(tenant, TenantLimits()))


def size_of(shelf: Shelf, model: str, number: int) -> int:
    return shelf.registry.version(model, number).size_bytes


def test_versions_and_archives_are_counted_for_their_tenant(shelf: Shelf) -> None:
    desk = Desk(shelf)
    for tenant, model, nbytes in (("red", "red/pets", 100), ("red", "red/cars", 20), ("", "pets", 7)):
        desk.submit(tenant=tenant, model=model, nbytes=nbytes)
        desk.succeed(desk.claim())
    desk.submit("waits", tenant="redder", model="redder/pets", nbytes=3)
    red = size_of(shelf, "red/pets", 1) + size_of(shelf, "red/cars", 1)
    assert desk.ledger.usage() == {
        "": Stored(version_count=1, version_bytes=size_of(shelf, "pets", 1), example_bytes=7),
        "red": Stored(version_count=2, version_bytes=red, example_bytes=120),
        "redder": Stored(example_bytes=3),
    }
    # An archive of two versions counts once.
    desk.submit("child", tenant="redder", model="redder/pets", archives=["waits"], nbytes=1)
    assert desk.ledger.usage()["redder"].example_bytes == 4


def test_the_usage_of_a_tenant_counts_its_versions_examples_and_jobs(shelf: Shelf) -> None:
    desk = limited(shelf, versions=5)
    desk.submit(tenant="red", model="red/pets", nbytes=100)
    desk.succeed(desk.claim())
    for tenant in ("red", "red", "blue"):
        desk.submit(tenant=tenant, model=f"{tenant}/cars", nbytes=1)
    desk.claim()
    usage = desk.ledger.usage_of("red")
    assert usage.stored == Stored(
        version_count=1, version_bytes=size_of(shelf, "red/pets", 1), example_bytes=102
    )
    assert usage.limits == TenantLimits(versions=5)
    assert (usage.queued, usage.running) == (1, 1)
    assert desk.ledger.usage_of("empty").stored == Stored()


def test_a_fine_tune_beyond_the_bytes_is_refused_with_the_usage(shelf: Shelf) -> None:
    desk = limited(shelf, stored_bytes=1 << 20)
    desk.submit(tenant="red", model="red/pets", nbytes=500_000)
    number = desk.succeed(desk.claim())
    assert desk.ledger.room_for("red", "red/pets") == (1 << 20) - 500_000 - size_of(shelf, "red/pets", 1)
    with pytest.raises(TenantQuotaExceeded) as caught:
        desk.submit("late", tenant="red", model="red/pets", nbytes=600_000)
    error = caught.value
    assert "at most 1.00 MiB" in error.message
    assert "0.48 MiB of examples" in error.message
    assert "1 versions are of model 'red/pets'" in error.message
    assert error.metadata["limit"] == str(1 << 20)
    assert error.metadata["stored"] == str(500_000 + size_of(shelf, "red/pets", 1))
    assert error.retry_after is None
    # Of a model of which there is none nothing is told.
    with pytest.raises(TenantQuotaExceeded) as caught:
        desk.submit("late", tenant="red", model="red/other", nbytes=600_000)
    assert "are of model" not in caught.value.message
    # Others are not bounded by it, and room comes when a version goes.
    desk.submit(tenant="blue", model="blue/pets", nbytes=5 << 20)
    shelf.registry.delete_version("red/pets", number, force=True)
    desk.submit("late", tenant="red", model="red/pets", nbytes=600_000)


def test_jobs_under_way_count_as_the_versions_they_would_make(shelf: Shelf) -> None:
    desk = limited(shelf, versions=2)
    desk.submit(tenant="red", model="red/pets")
    desk.succeed(desk.claim())
    desk.submit(tenant="red", model="red/cars")
    with pytest.raises(TenantQuotaExceeded, match="with 1 there and 1 to come"):
        desk.submit(tenant="red", model="red/new")
    with pytest.raises(TenantQuotaExceeded, match="with 1 there and 1 to come"):
        desk.ledger.room_for("red", "red/new")
    job = desk.claim()
    desk.ledger.fail(job, JobError(reason="INTERNAL", message="no"), Findings())
    desk.submit(tenant="red", model="red/new")


def test_a_version_that_there_is_no_room_for_is_not_published_and_its_job_may_fail(shelf: Shelf) -> None:
    desk = limited(shelf, stored_bytes=1000)
    job = desk.running(tenant="red", model="red/pets", nbytes=999)
    with pytest.raises(TenantQuotaExceeded) as caught:
        desk.succeed(job)
    assert desk.ledger.get(job.job_id).state is JobState.RUNNING
    assert desk.ledger.usage()["red"].version_count == 0
    error = caught.value
    desk.ledger.fail(job, JobError(reason=error.reason, message=error.message), Findings())
    assert desk.ledger.get(job.job_id).state is JobState.FAILED


def test_examples_that_do_not_stay_with_the_version_do_not_keep_it_from_being_published(shelf: Shelf) -> None:
    made = Desk(shelf)
    made.submit("first", tenant="blue", model="blue/pets")
    made.succeed(made.claim())
    desk = limited(shelf, stored_bytes=size_of(shelf, "blue/pets", 1) + 500)
    job = desk.running(tenant="red", model="red/pets", nbytes=900, discard_examples=True)
    assert desk.succeed(job) == 1


@pytest.mark.parametrize("ends", [False, True], ids=["of a job under way", "of a version"])
def test_archives_of_an_earlier_release_are_measured_by_a_cleaning(shelf: Shelf, ends: bool) -> None:
    desk, files = Desk(shelf), FakeArchives()
    job = desk.running("old", tenant="red", model="red/pets", nbytes=5)
    if ends:
        desk.succeed(job)
        with shelf.database.write() as connection:
            connection.exec_driver_sql("DELETE FROM jobs")
    with shelf.database.write() as connection:
        connection.execute(delete(archive_sizes))
    files.files["old"] = 70
    archives = Archives(shelf.database, files, max_bytes=1 << 40)
    assert desk.ledger.recount_usage() == 1
    assert desk.ledger.usage().get("red", Stored()).example_bytes == 0
    archives.recover()
    assert desk.ledger.usage()["red"].example_bytes == 70
    # And when one was written anew without an example.
    files.files["old"] = 60
    archives.recover()
    assert desk.ledger.usage()["red"].example_bytes == 60
    assert desk.ledger.recount_usage() == 0


def test_what_no_job_and_no_version_holds_is_released_by_a_cleaning(shelf: Shelf) -> None:
    desk, files = Desk(shelf), FakeArchives()
    for name in ("gone", "stays"):
        desk.submit(name, tenant="red", model="red/pets", nbytes=5)
        desk.succeed(desk.claim())
        files.files[name] = 5
    with shelf.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM versions WHERE job_id = 'gone'")
    assert desk.ledger.recount_usage() == 1
    assert desk.ledger.usage()["red"] == Stored(
        version_count=1, version_bytes=size_of(shelf, "red/pets", 2), example_bytes=10
    )
    Archives(shelf.database, files, max_bytes=1 << 40).recover()
    assert set(files.files) == {"stays"}
    assert desk.ledger.usage()["red"].example_bytes == 5


def test_two_who_release_the_last_uses_of_an_archive_at_once_count_it_out_once(shelf: Shelf) -> None:
    desk = Desk(shelf)
    desk.submit("parent", tenant="red", model="red/pets", nbytes=100)
    first = desk.succeed(desk.claim())
    desk.submit("child", tenant="red", model="red/pets", archives=["parent"], nbytes=1)
    second = desk.succeed(desk.claim())
    threads = [
        threading.Thread(
            target=shelf.registry.delete_version, args=("red/pets", number), kwargs={"force": True}
        )
        for number in (first, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert desk.ledger.usage() == {}
    assert desk.ledger.recount_usage() == 0


def test_a_correction_leaves_alone_what_changed_meanwhile(shelf: Shelf) -> None:
    desk = Desk(shelf)
    desk.submit(tenant="red", model="red/pets", nbytes=5)
    with shelf.database.write() as connection:
        connection.exec_driver_sql("UPDATE tenant_usage SET example_bytes = 9")
    with shelf.database.snapshot() as connection:
        wrong = usage.wrong_sums(connection)
    desk.submit(tenant="red", model="red/pets", nbytes=1)
    with shelf.database.write() as connection:
        usage.correct(connection, wrong)
    assert desk.ledger.usage()["red"].example_bytes == 10
    assert desk.ledger.recount_usage() == 1
    assert desk.ledger.usage()["red"].example_bytes == 6


def test_rows_of_archives_that_are_gone_go(shelf: Shelf) -> None:
    desk = Desk(shelf)
    desk.submit("one", tenant="red", model="red/pets", nbytes=5)
    desk.ledger.cancel("one")
    Archives(shelf.database, FakeArchives(), max_bytes=0).sweep()
    with shelf.database.read() as connection:
        assert connection.execute(select(archive_sizes)).all() == []
    assert desk.ledger.usage() == {}
