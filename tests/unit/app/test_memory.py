"""What a process keeps of the memory that it freed."""

import ctypes
import subprocess
import sys

import pytest

_PROGRAM = """
import resource, threading
from headstart_server.app.memory import keep_freed_memory

def copies():
    return [bytes(bytearray(b"x") * (20 << 20)) for _ in range(2)]

keep_freed_memory()
copies()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread = threading.Thread(target=copies)
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_a_message_in_another_thread_uses_the_memory_of_the_last_one() -> None:
    faults = int(subprocess.check_output([sys.executable, "-c", _PROGRAM]))

    # All of one copy, in pages of 4 KiB, would be 5120.
    assert faults < 1000
