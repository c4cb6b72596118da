"""``headstart-server doctor`` as users run it, with real databases, buckets, mounts and servers."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest

from forked import run_headstart
from headstart_server.database.database import Database
from headstart_server.doctor.artifacts import check_artifacts
from headstart_server.doctor.database import check_database
from headstart_server.doctor.finding import Finding, Status
from headstart_server.settings.settings import Settings
from headstart_server.storage.storage_roots import open_storage_roots
from postgres import HOST, PostgresServer
from s3 import Fault, S3Server
from server_process import running

PROGRAM = str(Path(sys.executable).with_name("headstart-server"))
SECRET = "a-password-that-must-stay-secret"


def doctor(
    *flags: object, before: tuple[str, ...] = (), **variables: str
) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADSTART_")}
    arguments, environment = ["doctor", *map(str, flags)], environment | variables
    if before:
        command = [*before, PROGRAM, *arguments]
        done = subprocess.run(
            command, capture_output=True, env=environment, text=True, timeout=60, check=False
        )
    else:
        done = run_headstart(*arguments, environment=environment, module="headstart_server")
    assert "Traceback" not in done.stdout + done.stderr
    return done


#: Settings of ports that no other server uses.
PORTS = '[server]\nport = 0\n[observability]\nmetrics_port = "off"\n'


def findings(*flags: object, code: int, **more: Any) -> dict[str, dict[str, Any]]:
    done = doctor("--json", *flags, **more)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    for one in found:
        assert set(one) == {"name", "status", "summary", "remedy", "details"}
        assert one["status"] in ("ok", "skipped") or one["remedy"], one
    return {one["name"]: one for one in found}


def settings(data: Path) -> list[object]:
    return ["--data-dir", data, "--port", 0, "--metrics-port", "off"]


def database(url: str, **more: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_database(Settings.of(database=url), **more)}


def test_good_settings_exit_with_0_and_make_nothing(tmp_path: Path):
    done = doctor(*settings(tmp_path / "data"), COLUMNS="80")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("0 failed, ")
    assert all(len(line) <= 80 for line in lines)
    assert "\x1b" not in done.stdout
    assert not (tmp_path / "data").exists()


def test_it_never_imports_keras(tmp_path: Path):
    code = (
        "import sys\nfrom headstart_server.settings.settings import Settings\n"
        "from headstart_server.doctor.command import run_doctor\n"
        "from pathlib import Path\n"
        f"run_doctor(Settings.of(data_dir=Path({str(tmp_path)!r})), as_json=True, strict=False)\n"
        "found = {'keras', 'tensorflow', 'torch', 'jax', 'openvino'} & set(sys.modules)\n"
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_warnings_fail_only_if_strict(tmp_path: Path):
    flags = [*settings(tmp_path), "--max-concurrent-requests", 100_000_000]
    assert findings(*flags, code=0)["open files"]["status"] == "warning"
    findings(*flags, "--strict", code=1)


def test_settings_come_from_the_same_places_as_those_of_serve(tmp_path: Path):
    file = tmp_path / "settings.toml"
    file.write_text(
        f'{PORTS}[storage]\ndata_dir = "{tmp_path / "data"}"\n[backbones]\ndefault_backbone = "missing"\n'
    )
    assert findings("--config", file, code=1)["backbone"]["status"] == "failed"
    found = findings("--config", file, code=0, HEADSTART_DEFAULT_BACKBONE="features:8")
    assert found["data folder"]["details"]["path"] == str(tmp_path / "data")


@pytest.mark.parametrize("content", [b"data = ", b"\xff\xfe", b"nonsense = 1"])
def test_a_broken_file_of_settings_is_named(tmp_path: Path, content: bytes):
    file = tmp_path / "settings.toml"
    file.write_bytes(content)
    done = doctor("--config", file)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(file) in line


def test_a_file_of_settings_with_a_password_is_a_secret(tmp_path: Path):
    file = tmp_path / "settings.toml"
    file.write_text(f'[storage]\ndatabase = "postgresql://me:{SECRET}@127.0.0.1:1/x"\n{PORTS}')
    file.chmod(0o644)
    found = findings("--config", file, "--data-dir", tmp_path, code=1)["secret files"]
    assert found["status"] == "warning"
    assert str(file) in found["summary"]
    file.chmod(0o640)
    assert findings("--config", file, "--data-dir", tmp_path, code=1)["secret files"]["status"] == "ok"


def test_settings_that_serve_refuses_are_findings_without_secrets(tmp_path: Path):
    flags = [*settings(tmp_path), "--access-file", tmp_path / "none", "--artifacts", "ftp://x/y"]
    done = doctor("--json", *flags, "--database", f"mysql://me:{SECRET}@host/x")
    assert SECRET not in done.stdout + done.stderr
    found = {one["name"]: one["status"] for one in json.loads(done.stdout)}
    assert found["database"] == found["bucket"] == found["access file"] == "failed"


def test_it_runs_next_to_a_server_and_finds_it(tmp_path: Path):
    with running(tmp_path / "data", "--default-backbone", "features:8", "--metrics-port", "off") as server:
        server.wait_until_serving()
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*") if path.is_file()}
        flags = ["--data-dir", tmp_path / "data", "--metrics-port", "off", "--port", server.port]
        found = findings(*flags, "--default-backbone", "features:8", code=0)
        assert found["gRPC port"]["status"] == "ok"
        assert found["gRPC port"]["details"]["pid"] == server.pid
        assert found["data lock"]["status"] == "warning"
        assert found["data lock"]["details"]["pid"] == server.pid
        assert found["database"]["details"]["schema"] >= 1
        after = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*") if path.is_file()}
        assert {path for path in after if "-shm" not in path.name} == {
            path for path in before if "-shm" not in path.name
        }
        other = findings(
            "--data-dir", tmp_path / "other", "--metrics-port", "off", "--port", server.port, code=1
        )
        assert other["gRPC port"]["status"] == "failed"
        assert server.is_running
        assert server.terminate() == 0
    assert "running" not in findings(*flags, code=0)["data lock"]["summary"]


def test_a_start_that_fails_names_the_command(tmp_path: Path):
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        flags = ["--data-dir", str(tmp_path), "--port", str(port), "--metrics-port", "off"]
        done = subprocess.run(
            [PROGRAM, "serve", *flags, "--default-backbone", "features:8"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "Run 'headstart-server doctor' with the same settings to check this machine."
    )


@pytest.mark.parametrize(("options", "word"), [("ro", "read-only"), ("size=1m", "disk is full")])
def test_a_data_folder_on_a_bad_mount(tmp_path: Path, options: str, word: str):
    unshare = shutil.which("unshare")
    script = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'
    before = (str(unshare), "--mount", "--map-root-user", "sh", "-c", script, "-", options, str(tmp_path))
    if unshare is None or subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("This user may not mount anything.")
    found = findings(*settings(tmp_path / "data"), code=1, before=before)["data folder"]
    assert found["status"] == "failed"
    assert word in found["summary"]


def test_folders_and_files_without_rights():
    if os.geteuid() != 0:
        pytest.skip("Only root can become another user.")
    before = ("setpriv", "--reuid=12345", "--clear-groups")
    if subprocess.run([*before, PROGRAM, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("Another user cannot run this Python.")
    # Not in the tests' own folder, which other users may not enter.
    with TemporaryDirectory() as folder:
        data = Path(folder, "data")
        data.mkdir()
        (data / "headstart.sqlite3").write_text("")
        Path(folder).chmod(0o755)
        flags = [*settings(data), "--backbone-cache", folder]
        found = findings(*flags, code=1, before=before)
    for name in ("data folder", "data files", "backbone cache"):
        assert found[name]["status"] == "failed"
        assert "12345" in found[name]["summary"] + found[name]["remedy"]


def test_an_sqlite_file_is_read_without_leaving_files(tmp_path: Path):
    data = tmp_path / os.fsdecode(b"x y?#%41\xff")
    data.mkdir()
    Database(data / "headstart.sqlite3").close()
    found = next(iter(check_database(Settings.of(data_dir=data))))
    assert found.status is Status.OK, found
    assert found.details["schema"] == 2
    assert [path.name for path in data.iterdir()] == ["headstart.sqlite3"]


@pytest.mark.parametrize("kind", ["nonsense", "folder", "fifo", "newer"])
def test_a_file_that_is_not_an_sqlite_database(tmp_path: Path, kind: str):
    file = tmp_path / "headstart.sqlite3"
    if kind == "nonsense":
        file.write_bytes(b"nonsense" * 1000)
    elif kind == "folder":
        file.mkdir()
    elif kind == "fifo":
        os.mkfifo(file)
    else:
        made = Database(file)
        with made.write() as connection:
            connection.exec_driver_sql("UPDATE schema_version SET version = 90909")
        made.close()
    found = next(iter(check_database(Settings.of(data_dir=tmp_path))))
    assert found.status is Status.FAILED
    assert ("90909" in found.summary) == (kind == "newer")


def test_postgresql_before_and_after_the_first_start(postgres: PostgresServer):
    url = postgres.database()
    found = database(url)
    assert found["database"].status is found["clock skew"].status is Status.OK
    assert "no tables yet" in found["database"].summary
    assert database(url)["database"].details["schema"] is None, "it made tables"
    Database(url).close()
    assert database(url)["database"].details["schema"] == 2
    made = Database(url)
    with made.write() as connection:
        connection.exec_driver_sql("UPDATE schema_version SET version = 90909")
    made.close()
    assert "newer Headstart" in database(url)["database"].summary


def test_the_clock_of_postgresql_is_compared_with_the_machines(postgres: PostgresServer):
    behind = database(postgres.database(), clock=lambda: time.time() - 90)["clock skew"]
    assert behind.status is Status.WARNING
    assert "90.0 s ahead of this machine's" in behind.summary
    ahead = database(postgres.database(), clock=lambda: time.time() + 3600)["clock skew"]
    assert "3,600.0 s behind this machine's" in ahead.summary


def test_a_database_that_refuses_names_the_remedy(postgres: PostgresServer):
    url = postgres.database()
    missing = database(url.rpartition("/")[0] + "/missing")["database"]
    assert missing.status is Status.FAILED
    assert "createdb" in missing.remedy
    stranger = database(url.replace("headstart@", f"stranger:{SECRET}@"))["database"]
    assert "the user or the password" in stranger.remedy
    assert SECRET not in str(stranger)
    read_only = database(postgres.database(default_transaction_read_only="on"))["database"]
    assert "rejects writes" in read_only.summary


def test_a_user_who_may_not_create_tables_is_found(postgres: PostgresServer):
    url = postgres.database()
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE role_{name} LOGIN")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    found = database(url.replace("headstart@", f"role_{name}@"))["database"]
    assert found.status is Status.FAILED
    assert "GRANT CREATE" in found.remedy


def test_unreachable_and_silent_databases_end_in_time(tmp_path: Path):
    refused = database("postgresql://me@127.0.0.1:1/x")["database"]
    assert "Connection refused" in refused.summary
    with socket.create_server((HOST, 0)) as listener:
        url = f"postgresql://me:{SECRET}@{HOST}:{listener.getsockname()[1]}/x"
        # The subprocess has a time limit.
        found = findings(*settings(tmp_path), "--database", url, code=1)
    assert found["database"]["status"] == "failed"
    assert "timeout expired" in found["database"]["summary"]
    assert "firewall" in found["database"]["remedy"]
    assert SECRET not in str(found)


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3.bucket()


def check_bucket(name: str) -> Finding:
    return next(iter(check_artifacts(Settings.of(artifacts=f"s3://{name}/prefix"))))


def test_a_bucket_is_tried_and_left_as_it_was(s3: S3Server, bucket: str):
    found = check_bucket(bucket)
    assert found.status is Status.OK, found
    assert s3.keys(bucket) == []


def test_artifacts_of_another_database_are_found(tmp_path: Path, s3: S3Server, bucket: str):
    own, other = Database(tmp_path / "headstart.sqlite3"), Database(tmp_path / "other.sqlite3")
    for artifacts in (f"s3://{bucket}/x", str(tmp_path / "artifacts")):
        config = Settings.of(data_dir=tmp_path, artifacts=artifacts)
        if "://" not in artifacts:
            (tmp_path / "artifacts").mkdir()
        places = open_storage_roots(artifacts, tmp_path, copies_bytes=1)
        assert "artifacts" not in {one.name for one in check_artifacts(config)}
        places.claim(own)
        assert "artifacts" not in {one.name for one in check_artifacts(config)}
        theirs = Settings.of(
            data_dir=tmp_path, artifacts=artifacts, database=f"sqlite:///{tmp_path}/other.sqlite3"
        )
        found = {one.name: one for one in check_artifacts(theirs)}["artifacts"]
        assert found.status is Status.FAILED
        assert own.identity in found.summary
        fresh = Settings.of(data_dir=tmp_path / "fresh", artifacts=artifacts)
        assert "artifacts" in {one.name for one in check_artifacts(fresh)}
    own.close()
    other.close()


def test_a_data_folder_whose_database_is_lost_is_found(tmp_path: Path):
    own = Database(tmp_path / "headstart.sqlite3")
    places = open_storage_roots(None, tmp_path, copies_bytes=0)
    places.claim(own)
    places.versions.write("job.1", {"manifest.json": b"{}"})
    own.close()

    def artifacts(**settings: str) -> list[Finding]:
        config = Settings.of(data_dir=tmp_path, **settings)
        return [one for one in check_artifacts(config) if one.name == "artifacts"]

    assert artifacts() == []
    others = [artifacts(database=f"sqlite:///{tmp_path}/new.sqlite3")]
    (tmp_path / "headstart.sqlite3").rename(tmp_path / "moved")
    others.append(artifacts())
    (tmp_path / "owner").unlink()
    others.append(artifacts())
    for [found] in others:
        assert found.status is Status.FAILED
        assert "put it back or restore a backup" in found.remedy
    assert "artifacts without the file" in others[-1][0].summary


def test_a_missing_bucket_and_one_that_is_away(s3: S3Server, bucket: str):
    missing = check_bucket("no-such-bucket-here")
    assert missing.status is Status.FAILED
    assert "Create the bucket" in missing.remedy
    with s3.proxy.failing(Fault.AWAY):
        away = check_bucket(bucket)
    assert away.status is Status.FAILED
    assert "endpoint" in away.remedy


def test_a_bucket_that_allows_no_removal_is_a_finding(s3: S3Server, bucket: str):
    with s3.proxy.failing(Fault.UNREMOVABLE):
        found = check_bucket(bucket)
    assert found.status is Status.FAILED
    assert "cannot remove from it" in found.summary
    assert "Access Denied" in found.summary
    assert "their rights on the bucket" in found.remedy


def test_without_credentials_a_bucket_names_them(bucket: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    found = check_bucket(bucket)
    assert found.status is Status.FAILED
    assert "credentials" in found.summary
    assert "AWS_ACCESS_KEY_ID" in found.remedy


def test_a_bucket_that_never_answers_does_not_hold_up_the_report(tmp_path: Path, s3: S3Server, bucket: str):
    with s3.proxy.failing(Fault.HANGING):
        found = findings(*settings(tmp_path), "--artifacts", f"s3://{bucket}/x", code=1)
    assert "10 seconds" in found["bucket"]["summary"]
    assert found["database"]["status"] == "ok"
