"""Processes beside a server: each ends with it, and how one ended is told."""

import os
import signal
import threading

#: How a process that nobody waits for yields to serving: beside it, it gets about a tenth of a core.
NICE = 10


def end_with_stdin() -> None:
    """End this process when its stdin does: nobody waits for it any more."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    # Not through `sys.stdin`: a thread that waits in it holds up the interpreter's end.
    while os.read(0, 1):
        pass
    os._exit(1)


def death(code: int, log: str) -> str:
    """What is told of a process that ended without a result.

    Args:
        code: its exit code; below 0 the signal that ended it.
        log: what it wrote to stderr.
    """
    how = f"exit code {code}" if code else "exit code 0 and no result"
    if code < 0:
        how = f"signal {-code} ({signal.Signals(-code).name})"
        if -code == signal.SIGKILL:
            how += "; the system ends processes so when memory runs out"
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
    said = f" Its last words: {last[:300]}" if last else ""
    return f"{how}.{said}"
