"""A machine whose clock is wrong; imported before what may keep hold of the time."""

import inspect
import time

_right = time.time
#: Seconds by which this process is ahead of the others.
ahead = 0.0


def _now() -> float:
    # gRPC takes it from deadlines on the machine's own clock, which is right here; its frame is its caller's.
    frame = inspect.currentframe()
    caller = frame.f_back.f_globals.get("__name__", "") if frame and frame.f_back else ""
    return _right() + (0.0 if caller.startswith(("headstart_server.api", "grpc")) else ahead)


time.time = _now
