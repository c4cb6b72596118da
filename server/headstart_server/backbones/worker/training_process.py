"""Training in a separate process, so that a server on a CPU runs without Keras and TensorFlow."""

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from headstart_server.backbones.contract.child_process import death
from headstart_server.backbones.contract.machine import resident_bytes
from headstart_server.backbones.contract.tail_training import TailEpoch, TailRequest, TailResult
from headstart_server.backbones.worker.worker_process import run_program
from headstart_server.errors import JobMemoryLimit, TrainerDied
from headstart_server.storage.disk import check_space, storage_errors


def train_in_process(
    program: Sequence[str],
    request: TailRequest,
    progress: Callable[[TailEpoch], None],
    checkpoint: Callable[[], None],
    *,
    credentials: Collection[str] = (),
) -> TailResult:
    """Train a tail in another process, which is killed when this raises.

    Args:
        program: Python arguments of the train command, without its folder.
        progress: receives each epoch.
        checkpoint: called every `CHECK_SECONDS`; may raise to stop.

    Raises:
        StorageFull: the disk is full, for this process or the other one.
        LocalStorageUnavailable: another error of the operating system.
        TrainerDied: the process ended without a result.
    """
    parent = request.activations.parent
    # The parent folder is removed with the job, so a file that cannot be removed now does not fail the job.
    with storage_errors(writes=False), TemporaryDirectory(dir=parent, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with storage_errors():
            request.save(folder)
        ended = run_program(
            [*program, name],
            checkpoint=lambda process: _check(checkpoint, process, request.memory_bytes),
            on_line=lambda line: progress(TailEpoch(**json.loads(line))),
            credentials=credentials,
        )
        with suppress(OSError), storage_errors(writes=False):
            if ended.code == 0:
                return TailResult.load(folder)
        # Before the folder with the partial result is removed, which would free the space that it lacked.
        with suppress(OSError):
            check_space(folder)
        how = death(ended.code, ended.stderr)
        raise TrainerDied(f"Expected the training process to end with a result. Received: {how}")


def _check(checkpoint: Callable[[], None], process: int, memory_bytes: int | None) -> None:
    """Raise if the checkpoint does, or if the training process exceeds its memory limit."""
    checkpoint()
    if memory_bytes is None:
        return
    held = resident_bytes(process)
    if held > memory_bytes:
        raise JobMemoryLimit(
            f"The training process used {held / 2**20:,.0f} MiB of memory, and this server limits jobs to "
            f"{memory_bytes / 2**20:,.0f} MiB (--job-memory). Use fewer blocks, or a smaller "
            "backbone.",
            metadata={"limit": str(memory_bytes), "estimate": str(held)},
        )
