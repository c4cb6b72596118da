"""A machine whose clock is wrong; imported before what may keep hold of the time."""

import sys
import time

_right = time.time
#: Seconds by which this process is ahead of the others.
ahead = 0.0


def _now() -> float:
    # gRPC takes this from a deadline on the machine's own clock, which is right here: its frame is its caller's.
    caller = sys._getframe(1).f_globals.get("__name__", "")
    return _right() + (0.0 if caller.startswith(("headstart_server.rpc", "grpc")) else ahead)


time.time = _now
