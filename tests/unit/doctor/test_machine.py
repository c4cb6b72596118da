"""Checks of the machine, with the files of other machines."""

import resource
from pathlib import Path

import pytest

from headstart_server.backbones.contract.runtimes import Precision, RuntimeKind, RuntimeSettings
from headstart_server.doctor import hardware
from headstart_server.doctor.finding import Status
from headstart_server.doctor.hardware import (
    cpu_features,
    cpu_finding,
    memory_finding,
    quota_finding,
    runtime_finding,
)
from headstart_server.doctor.packages import check_packages, needed_extras
from headstart_server.doctor.process import clock_finding, files_finding, umask_finding
from headstart_server.settings.settings import Settings

MIB = 1 << 20


@pytest.mark.parametrize(
    ("machine", "text", "status"),
    [
        ("x86_64", "flags\t\t: sse4_2 avx2 avx512f amx_bf16\n", Status.OK),
        ("x86_64", "flags : sse4_2 avx\n", Status.WARNING),
        ("aarch64", "Features\t: asimd bf16\n", Status.OK),
        ("x86_64", "nothing", Status.OK),
        ("riscv64", "isa : rv64", Status.FAILED),
    ],
)
def test_processors(tmp_path: Path, machine: str, text: str, status: Status):
    (tmp_path / "cpuinfo").write_text(text)
    found = cpu_finding(machine, cpu_features(tmp_path / "cpuinfo"))
    assert found.status is status
    assert ("amx_bf16" in found.summary) == ("amx_bf16" in text)


def test_less_than_a_core_is_a_warning():
    assert quota_finding(8, None).status is Status.OK
    assert "1.5" in quota_finding(8, 1.5).summary
    assert quota_finding(8, 0.5).status is Status.WARNING


def test_the_runtime_is_what_a_server_would_choose():
    assert runtime_finding(RuntimeSettings(), has_bfloat16=True).details["runtime"] == "openvino"
    forced = RuntimeSettings(kind=RuntimeKind.OPENVINO, precision=Precision.BFLOAT16)
    assert runtime_finding(forced, has_bfloat16=False).status is Status.WARNING
    assert runtime_finding(forced, has_bfloat16=True).status is Status.OK


@pytest.mark.parametrize(
    ("total", "limit", "available", "status"),
    [
        (8000, None, 4000, Status.OK),
        (8000, 700, 4000, Status.WARNING),
        (8000, 200, 4000, Status.FAILED),
        (8000, None, 50, Status.WARNING),
        (None, None, None, Status.SKIPPED),
    ],
)
def test_memory(total: int | None, limit: int | None, available: int | None, status: Status):
    sizes = {"total": total, "limit": limit, "available": available}
    found = memory_finding(
        **{name: None if mib is None else mib * MIB for name, mib in sizes.items()},
        need=(300 * MIB, 800 * MIB),
    )
    assert found.status is status


class FakeGpus:
    """Two devices."""

    def memory(self) -> dict[str, float]:
        return {"gpu0": 8e10, "gpu1": 8e10}


@pytest.mark.parametrize(
    ("present", "kind", "tensorflow", "gpus", "status"),
    [
        (False, RuntimeKind.OPENVINO, True, None, Status.SKIPPED),
        (True, RuntimeKind.KERAS, True, FakeGpus(), Status.OK),
        (True, RuntimeKind.OPENVINO, True, FakeGpus(), Status.WARNING),
        (True, RuntimeKind.KERAS, False, FakeGpus(), Status.FAILED),
        (True, RuntimeKind.KERAS, True, None, Status.WARNING),
    ],
)
def test_gpus(
    monkeypatch: pytest.MonkeyPatch,
    present: bool,
    kind: RuntimeKind,
    tensorflow: bool,
    gpus: FakeGpus | None,
    status: Status,
):
    monkeypatch.setattr(hardware, "has_gpu", lambda: present)
    monkeypatch.setattr(hardware, "open_gpus", lambda: gpus)
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: tensorflow or None)
    found = hardware.gpu_finding(kind)
    assert found.status is status
    if status is Status.OK:
        assert found.details["devices"] == ["gpu0", "gpu1"]


def test_a_server_needs_a_file_for_each_concurrent_call():
    assert files_finding((1024, 4096), 1024).status is Status.WARNING
    assert "1280" in files_finding((1024, 4096), 1024).remedy
    assert files_finding((4096, 4096), 1024).status is Status.OK
    assert files_finding((resource.RLIM_INFINITY,) * 2, 1024).status is Status.OK


def test_a_clock_in_the_past_fails_and_an_open_umask_warns():
    assert clock_finding(0.0).status is Status.FAILED
    assert clock_finding(1.8e9).status is Status.OK
    assert umask_finding(0o000).status is Status.WARNING
    assert umask_finding(0o022).status is Status.OK
    assert umask_finding(None).status is Status.OK


def test_settings_name_the_extras_that_they_need(tmp_path: Path):
    assert needed_extras(Settings()) == {}
    (tmp_path / "secret").write_text("x")
    config = Settings.of(
        database="postgresql://me@db/x",
        artifacts="gs://bucket",
        allow_dataset_uri=("s3://bucket/x", "/srv/data"),
        http_port=8080,
        trace_endpoint="http://collector:4317",
        backbone=("own=hf:org/name", "other=torch:/x.pt2"),
    )
    assert set(needed_extras(config)) == {"postgres", "gcs", "s3", "http", "otel", "kerashub", "torch"}


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    from headstart_server.doctor import packages

    real = packages.package_version

    def without(name: str) -> str:
        if name in ("uvicorn", "tensorflow"):
            raise packages.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(packages, "package_version", without)
    found = {one.name: one for one in check_packages(Settings.of(http_port=8080))}
    assert found["packages"].status is Status.OK
    assert found["extra http"].status is Status.FAILED
    assert "uvicorn" in found["extra http"].summary
    assert found["extra http"].remedy == "pip install 'headstart[http]'"
    assert "slim" in found["Keras"].summary


def test_an_invalid_declaration_does_not_hide_other_checks():
    broken = Settings.of(backbone=("nonsense",))
    assert [one.name for one in check_packages(broken)]
