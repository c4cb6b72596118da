"""Training in another process: its result, its words on the way, and every way it can end before."""

import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from full_disk import FullDisk
from headstart_server.backbones.contract.tail import TailWeights
from headstart_server.backbones.contract.tail_training import (
    Loss,
    TailEpoch,
    TailRequest,
    TailResult,
    TrainingStop,
)
from headstart_server.backbones.worker.training_process import train_in_process
from headstart_server.errors import JobMemoryLimit, LocalStorageUnavailable, StorageFull, TrainerDied

#: A program that trains nothing: it reports two epochs and gives back the heads it began with.
HONEST = """
import sys
from pathlib import Path
from headstart_server.backbones.contract.tail import TailWeights
from headstart_server.backbones.contract.tail_training import TailRequest, TailResult, TrainingStop
folder = Path(sys.argv[1])
request = TailRequest.load(folder)
print('{"number": 0, "loss": 2.0}\\n{"number": 1, "loss"', flush=True)
print(': 1.0}', flush=True)
tail = TailWeights(blocks=request.blocks, tensors={"head/kernel": request.heads[-1]})
head = request.heads[-1]
losses, stop = (2.0, 1.0), TrainingStop.STEPS
TailResult(epoch=1, losses=losses, stop=stop, outputs=request.targets, head=head, tail=tail).save(folder)
""".replace('"loss"\', flush=True)', '"loss"\', end="", flush=True)')


def request(folder: Path) -> TailRequest:
    rng = np.random.default_rng(0)
    return TailRequest(
        blocks=2,
        activations=folder / "activations.npy",
        rows=np.arange(6),
        fixed_features=rng.normal(size=(6, 2)).astype(np.float32),
        targets=np.eye(3, dtype=np.float32)[np.arange(6) % 3],
        weights=np.ones(6, np.float32),
        loss=Loss.SOFTMAX,
        folds=np.arange(6) % 2,
        heads=rng.normal(size=(3, 5, 3)).astype(np.float32),
        learning_rate=1e-4,
        max_epochs=2,
        patience=1,
        batch=4,
        seed=7,
        seconds=3.5,
    )


def train(
    folder: Path,
    program: str,
    *,
    reported: list[TailEpoch] | None = None,
    checkpoint: Callable[[], None] = lambda: None,
) -> TailResult:
    heard = [] if reported is None else reported
    return train_in_process(["-c", program], request(folder), heard.append, checkpoint)


def test_request_result_and_epochs_pass_between_the_processes(tmp_path: Path) -> None:
    reported: list[TailEpoch] = []
    result = train(tmp_path, HONEST, reported=reported)
    requested = request(tmp_path)
    assert reported == [TailEpoch(number=0, loss=2.0), TailEpoch(number=1, loss=1.0)]
    assert (result.epoch, result.losses, result.stop) == (1, (2.0, 1.0), TrainingStop.STEPS)
    assert result.outputs.tobytes() == requested.targets.tobytes()
    assert result.tail.blocks == 2
    assert result.tail.tensors["head/kernel"].tobytes() == requested.heads[-1].tobytes()
    assert list(tmp_path.iterdir()) == []


def test_a_request_comes_back_from_its_files(tmp_path: Path) -> None:
    requested = request(tmp_path)
    requested.save(tmp_path)
    found = TailRequest.load(tmp_path)
    for name in TailRequest.__dataclass_fields__:
        expected, received = getattr(requested, name), getattr(found, name)
        assert type(received) is type(expected), name
        assert np.array_equal(expected, received), name


def test_a_result_comes_back_from_its_files(tmp_path: Path) -> None:
    made = TailResult(
        epoch=3,
        losses=(1.0, 0.5),
        stop=TrainingStop.TIME,
        outputs=np.ones((2, 3), np.float32),
        head=np.zeros((4, 3), np.float32),
        tail=TailWeights(blocks=1, tensors={"a/kernel": np.ones(3, np.float32)}),
    )
    made.save(tmp_path)
    found = TailResult.load(tmp_path)
    assert (found.epoch, found.losses, found.stop) == (3, (1.0, 0.5), TrainingStop.TIME)
    assert list(found.tail.tensors) == ["a/kernel"]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise SystemExit('out of luck')", r"exit code 1\. Its last output: out of luck"),
        ("1 / 0", r"exit code 1\. Its last output: ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", r"signal 9 \(SIGKILL\); the system does this when"),
        ("import os; os.kill(os.getpid(), 11)", r"signal 11 \(SIGSEGV\)\.$"),
        ("pass", "exit code 0 and no result"),
    ],
)
def test_a_process_that_ends_without_a_result_is_reported(tmp_path: Path, program: str, said: str) -> None:
    with pytest.raises(TrainerDied, match=said):
        train(tmp_path, program)
    assert list(tmp_path.iterdir()) == []


class _StopError(Exception):
    pass


def test_a_process_that_is_not_wanted_any_more_is_ended_at_once(tmp_path: Path) -> None:
    born = tmp_path.with_suffix(".pid")
    program = f"import os, time; open({str(born)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    def checkpoint() -> None:
        if born.exists() and born.read_text():
            raise _StopError

    with pytest.raises(_StopError):
        train(tmp_path, program, checkpoint=checkpoint)
    with pytest.raises(ProcessLookupError):
        os.kill(int(born.read_text()), signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_takes_too_much_memory_ends_at_once_and_its_server_lives(tmp_path: Path) -> None:
    greedy = "import time\nheld = bytearray(400 << 20)\nheld[::4096] = held[::4096]\ntime.sleep(600)"
    requested = replace(request(tmp_path), memory_bytes=200 << 20)
    with pytest.raises(JobMemoryLimit, match="this server limits jobs to 200 MiB") as raised:
        train_in_process(["-c", greedy], requested, lambda _: None, lambda: None)
    assert int(raised.value.metadata["estimate"]) > 200 << 20
    assert not any(is_waiting(child) for child in psutil.Process().children())
    assert list(tmp_path.iterdir()) == []


def is_waiting(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "held" in " ".join(process.cmdline())
    return False


# Errors of the operating system


@contextmanager
def without_free_files() -> Iterator[None]:
    """Let this process open no further file."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_request_that_does_not_fit_on_the_disk_is_a_full_disk(tmp_path: Path) -> None:
    with FullDisk(tmp_path) as disk, pytest.raises(StorageFull):
        disk.full_while = lambda: True
        train(tmp_path, HONEST)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_cannot_open_files_postpones_the_job(tmp_path: Path) -> None:
    with without_free_files(), pytest.raises(LocalStorageUnavailable, match="EMFILE"):
        train(tmp_path, HONEST)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_process_that_cannot_be_started_postpones_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("headstart_server.backbones.worker.worker_process.start_child", fail)
    with pytest.raises(LocalStorageUnavailable, match=errno.errorcode[number]):
        train(tmp_path, HONEST)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_died_while_the_disk_is_full_is_a_full_disk(tmp_path: Path) -> None:
    with FullDisk(tmp_path) as disk:

        def fill() -> None:
            disk.full_while = lambda: True

        with pytest.raises(StorageFull):
            train(tmp_path, "raise SystemExit('No space left on device')", checkpoint=fill)
    assert list(tmp_path.iterdir()) == []
