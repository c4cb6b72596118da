"""What a tenant stores is counted with the rows that say it is there, and bounded where it is accepted."""

import threading

import pytest
from sqlalchemy import delete, select

from fakes import FakeArchives, JobDriver, Publisher
from headstart_server.database.dataset_tables import archive_sizes
from headstart_server.errors import TenantQuotaExceeded
from headstart_server.jobs.archive_retention import ArchiveRetention
from headstart_server.jobs.job import Findings, JobError, JobState
from headstart_server.jobs.stored import Stored, TenantLimits
from headstart_server.models import usage
from postgres import on_both_databases

pytestmark = on_both_databases


def limited(publisher: Publisher, **limits: int) -> JobDriver:
    """A driver where only the tenant red has limits."""
    by_tenant = {"red": TenantLimits(**limits)}
    return JobDriver(publisher, tenant_limits=lambda tenant: by_tenant.get(tenant, TenantLimits()))


def size_of(publisher: Publisher, model: str, number: int) -> int:
    return publisher.registry.reader.version(model, number).size_bytes


def test_versions_and_archives_are_counted_for_their_tenant(publisher: Publisher) -> None:
    driver = JobDriver(publisher)
    for tenant, model, nbytes in (("red", "red/pets", 100), ("red", "red/cars", 20), ("", "pets", 7)):
        driver.submit(tenant=tenant, model=model, nbytes=nbytes)
        driver.succeed(driver.claim())
    driver.submit("waits", tenant="redder", model="redder/pets", nbytes=3)
    red = size_of(publisher, "red/pets", 1) + size_of(publisher, "red/cars", 1)
    assert driver.job_store.quotas.usage() == {
        "": Stored(version_count=1, version_bytes=size_of(publisher, "pets", 1), example_bytes=7),
        "red": Stored(version_count=2, version_bytes=red, example_bytes=120),
        "redder": Stored(example_bytes=3),
    }
    # An archive of two versions counts once.
    driver.submit("child", tenant="redder", model="redder/pets", archives=["waits"], nbytes=1)
    assert driver.job_store.quotas.usage()["redder"].example_bytes == 4


def test_the_usage_of_a_tenant_counts_its_versions_examples_and_jobs(publisher: Publisher) -> None:
    driver = limited(publisher, versions=5)
    driver.submit(tenant="red", model="red/pets", nbytes=100)
    driver.succeed(driver.claim())
    for tenant in ("red", "red", "blue"):
        driver.submit(tenant=tenant, model=f"{tenant}/cars", nbytes=1)
    driver.claim()
    usage = driver.job_store.quotas.usage_of("red")
    assert usage.stored == Stored(
        version_count=1, version_bytes=size_of(publisher, "red/pets", 1), example_bytes=102
    )
    assert usage.limits == TenantLimits(versions=5)
    assert (usage.queued, usage.running) == (1, 1)
    assert driver.job_store.quotas.usage_of("empty").stored == Stored()


def test_a_fine_tune_beyond_the_bytes_is_refused_with_the_usage(publisher: Publisher) -> None:
    driver = limited(publisher, stored_bytes=1 << 20)
    driver.submit(tenant="red", model="red/pets", nbytes=500_000)
    number = driver.succeed(driver.claim())
    assert driver.job_store.quotas.room_for("red", "red/pets") == (1 << 20) - 500_000 - size_of(
        publisher, "red/pets", 1
    )
    with pytest.raises(TenantQuotaExceeded) as caught:
        driver.submit("late", tenant="red", model="red/pets", nbytes=600_000)
    error = caught.value
    assert "at most 1.00 MiB" in error.message
    assert "0.48 MiB of examples" in error.message
    assert "1 versions are of model 'red/pets'" in error.message
    assert error.metadata["limit"] == str(1 << 20)
    assert error.metadata["stored"] == str(500_000 + size_of(publisher, "red/pets", 1))
    assert error.retry_after is None
    # A model without versions is not mentioned.
    with pytest.raises(TenantQuotaExceeded) as caught:
        driver.submit("late", tenant="red", model="red/other", nbytes=600_000)
    assert "are of model" not in caught.value.message
    # Others are not bounded by it, and room comes when a version goes.
    driver.submit(tenant="blue", model="blue/pets", nbytes=5 << 20)
    publisher.registry.delete_version("red/pets", number, force=True)
    driver.submit("late", tenant="red", model="red/pets", nbytes=600_000)


def test_jobs_under_way_count_as_the_versions_they_would_make(publisher: Publisher) -> None:
    driver = limited(publisher, versions=2)
    driver.submit(tenant="red", model="red/pets")
    driver.succeed(driver.claim())
    driver.submit(tenant="red", model="red/cars")
    with pytest.raises(TenantQuotaExceeded, match="has 1 versions and 1 unfinished jobs"):
        driver.submit(tenant="red", model="red/new")
    with pytest.raises(TenantQuotaExceeded, match="has 1 versions and 1 unfinished jobs"):
        driver.job_store.quotas.room_for("red", "red/new")
    job = driver.claim()
    driver.job_store.runs.fail(job, JobError(reason="INTERNAL", message="no"), Findings())
    driver.submit(tenant="red", model="red/new")


def test_a_version_that_there_is_no_room_for_is_not_published_and_its_job_may_fail(
    publisher: Publisher,
) -> None:
    driver = limited(publisher, stored_bytes=1000)
    job = driver.running(tenant="red", model="red/pets", nbytes=999)
    with pytest.raises(TenantQuotaExceeded) as caught:
        driver.succeed(job)
    assert driver.job_store.reader.get(job.job_id).state is JobState.RUNNING
    assert driver.job_store.quotas.usage()["red"].version_count == 0
    error = caught.value
    driver.job_store.runs.fail(job, JobError(reason=error.reason, message=error.message), Findings())
    assert driver.job_store.reader.get(job.job_id).state is JobState.FAILED


def test_examples_that_do_not_stay_with_the_version_do_not_keep_it_from_being_published(
    publisher: Publisher,
) -> None:
    made = JobDriver(publisher)
    made.submit("first", tenant="blue", model="blue/pets")
    made.succeed(made.claim())
    driver = limited(publisher, stored_bytes=size_of(publisher, "blue/pets", 1) + 500)
    job = driver.running(tenant="red", model="red/pets", nbytes=900, discard_examples=True)
    assert driver.succeed(job) == 1


@pytest.mark.parametrize("ends", [False, True], ids=["of a job under way", "of a version"])
def test_archives_of_an_earlier_release_are_measured_by_a_cleaning(publisher: Publisher, ends: bool) -> None:
    driver, files = JobDriver(publisher), FakeArchives()
    job = driver.running("old", tenant="red", model="red/pets", nbytes=5)
    if ends:
        driver.succeed(job)
        with publisher.database.write() as connection:
            connection.exec_driver_sql("DELETE FROM jobs")
    with publisher.database.write() as connection:
        connection.execute(delete(archive_sizes))
    files.files["old"] = 70
    archives = ArchiveRetention(publisher.database, files, max_bytes=1 << 40)
    assert driver.job_store.quotas.recount_usage() == 1
    assert driver.job_store.quotas.usage().get("red", Stored()).example_bytes == 0
    archives.recover()
    assert driver.job_store.quotas.usage()["red"].example_bytes == 70
    # And when one was written again without an example.
    files.files["old"] = 60
    archives.recover()
    assert driver.job_store.quotas.usage()["red"].example_bytes == 60
    assert driver.job_store.quotas.recount_usage() == 0


def test_what_no_job_and_no_version_holds_is_released_by_a_cleaning(publisher: Publisher) -> None:
    driver, files = JobDriver(publisher), FakeArchives()
    for name in ("gone", "stays"):
        driver.submit(name, tenant="red", model="red/pets", nbytes=5)
        driver.succeed(driver.claim())
        files.files[name] = 5
    with publisher.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM versions WHERE job_id = 'gone'")
    assert driver.job_store.quotas.recount_usage() == 1
    assert driver.job_store.quotas.usage()["red"] == Stored(
        version_count=1, version_bytes=size_of(publisher, "red/pets", 2), example_bytes=10
    )
    ArchiveRetention(publisher.database, files, max_bytes=1 << 40).recover()
    assert set(files.files) == {"stays"}
    assert driver.job_store.quotas.usage()["red"].example_bytes == 5


def test_two_who_release_the_last_uses_of_an_archive_at_once_count_it_out_once(publisher: Publisher) -> None:
    driver = JobDriver(publisher)
    driver.submit("parent", tenant="red", model="red/pets", nbytes=100)
    first = driver.succeed(driver.claim())
    driver.submit("child", tenant="red", model="red/pets", archives=["parent"], nbytes=1)
    second = driver.succeed(driver.claim())
    threads = [
        threading.Thread(
            target=publisher.registry.delete_version, args=("red/pets", number), kwargs={"force": True}
        )
        for number in (first, second)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert driver.job_store.quotas.usage() == {}
    assert driver.job_store.quotas.recount_usage() == 0


def test_a_correction_leaves_alone_what_changed_meanwhile(publisher: Publisher) -> None:
    driver = JobDriver(publisher)
    driver.submit(tenant="red", model="red/pets", nbytes=5)
    with publisher.database.write() as connection:
        connection.exec_driver_sql("UPDATE tenant_usage SET example_bytes = 9")
    with publisher.database.snapshot() as connection:
        wrong = usage.wrong_sums(connection)
    driver.submit(tenant="red", model="red/pets", nbytes=1)
    with publisher.database.write() as connection:
        usage.correct(connection, wrong)
    assert driver.job_store.quotas.usage()["red"].example_bytes == 10
    assert driver.job_store.quotas.recount_usage() == 1
    assert driver.job_store.quotas.usage()["red"].example_bytes == 6


def test_rows_of_archives_that_are_gone_go(publisher: Publisher) -> None:
    driver = JobDriver(publisher)
    driver.submit("one", tenant="red", model="red/pets", nbytes=5)
    driver.job_store.queue.cancel("one")
    ArchiveRetention(publisher.database, FakeArchives(), max_bytes=0).sweep()
    with publisher.database.read() as connection:
        assert connection.execute(select(archive_sizes)).all() == []
    assert driver.job_store.quotas.usage() == {}
