"""Stdout of a program that reports to another process."""

import os
from typing import IO


def own_stdout() -> IO[str]:
    """Return this process's stdout, and redirect later prints of libraries to stderr."""
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return stdout
