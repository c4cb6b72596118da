"""The end of the program's process."""

import subprocess
import sys

#: A thread that never ends, as one that computes in a library.
PROGRAM = """
import sys, threading
from headstart_server.__main__ import main
threading.Thread(target=threading.Event().wait).start()
sys.argv = ["headstart-server", *sys.argv[1:]]
main()
"""


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_a_thread_that_still_computes_does_not_keep_the_process() -> None:
    done = run("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("headstart ")


def test_the_exit_code_of_an_error_is_kept() -> None:
    done = run("nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr
