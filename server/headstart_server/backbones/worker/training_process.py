"""Training in a separate process, so that a server on a CPU runs without Keras and TensorFlow."""

import json
import selectors
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from headstart_server.backbones.contract.child_process import death, start_child
from headstart_server.backbones.contract.memory import resident_bytes
from headstart_server.backbones.contract.tail_training import TailEpoch, TailRequest, TailResult
from headstart_server.errors import JobMemoryLimit, TrainerDied

#: Seconds between two calls of the checkpoint.
CHECK_SECONDS = 0.1


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
        request: the training request. Its files are written to the folder of its activations.
        progress: receives each epoch.
        checkpoint: called every `CHECK_SECONDS`; may raise to stop.
        credentials: as in `start_child`.

    Raises:
        TrainerDied: the process exited without a result.
        JobMemoryLimit: it exceeded the memory limit of the request.
    """
    with TemporaryDirectory(dir=request.activations.parent) as name:
        folder = Path(name)
        request.save(folder)
        with (folder / "log").open("wb") as log:
            process = start_child(
                [*program, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                credentials=credentials,
            )
        with process:
            try:
                assert process.stdout is not None  # noqa: S101 - for the type checker
                watched = partial(_check, checkpoint, process.pid, request.memory_bytes)
                for line in _lines(process.stdout, watched):
                    progress(TailEpoch(**json.loads(line)))
                code = process.wait()
            finally:
                process.kill()
        try:
            if code == 0:
                return TailResult.load(folder)
        except OSError:
            pass
        how = death(code, (folder / "log").read_text(errors="replace"))
        raise TrainerDied(f"Expected the process that trains to end with a result. Received: {how}")


def _check(checkpoint: Callable[[], None], process: int, memory_bytes: int | None) -> None:
    """Raise if the checkpoint does, or if the training process exceeds its memory limit."""
    checkpoint()
    if memory_bytes is None:
        return
    held = resident_bytes(process)
    if held > memory_bytes:
        raise JobMemoryLimit(
            f"The process that trains took {held / 2**20:,.0f} MiB of memory, and this server gives "
            f"{memory_bytes / 2**20:,.0f} MiB to jobs (--job-memory). Use fewer blocks, or a smaller "
            "backbone.",
            metadata={"limit": str(memory_bytes), "estimate": str(held)},
        )


def _lines(stream: IO[bytes], checkpoint: Callable[[], None]) -> Iterator[bytes]:
    """Yield the lines of a stream, calling the checkpoint while waiting."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            checkpoint()
            if not selector.select(CHECK_SECONDS):
                continue
            came = stream.read1()  # type: ignore[attr-defined]
            if not came:
                return
            *lines, rest = (rest + came).split(b"\n")
            yield from lines
