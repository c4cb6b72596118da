"""Settings of all tests."""

import os

from hypothesis import HealthCheck, settings

# Machines are shared: how long an example takes says nothing. In CI the same examples come every time, so
# that a change is blamed for its own faults only.
settings.register_profile(
    "headstart",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("headstart")
