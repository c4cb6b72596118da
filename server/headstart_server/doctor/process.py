"""Checks Python, the clock, and the limits of this process."""

import platform
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path

from headstart_server.doctor.finding import Finding, failed, ok, warning
from headstart_server.settings.settings import Settings

#: The oldest and newest Python that the server is tested with.
OLDEST, NEWEST = (3, 11), (3, 13)
#: Open files of a server in addition to one for the connection of each call.
OWN_FILES = 256
#: Time of this release. An earlier clock must be wrong.
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def check_process(config: Settings) -> Iterator[Finding]:
    """Check Python, the clock, the umask and the limit of open files."""
    yield _python(sys.version_info[:2])
    yield clock_finding(time.time())
    yield umask_finding(_umask())
    yield files_finding(resource.getrlimit(resource.RLIMIT_NOFILE), config.limits.max_concurrent_requests)


def _python(version: tuple[int, int]) -> Finding:
    facts = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} "
        f"{platform.release()} {platform.machine()}"
    )
    details = {"headstart": package_version("headstart"), "executable": sys.executable}
    if OLDEST <= version <= NEWEST and sys.platform == "linux":
        return ok("Python", facts, **details)
    return warning(
        "Python",
        f"{facts} is not tested.",
        f"Use Python {'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))} on Linux.",
        **details,
    )


def clock_finding(now: float) -> Finding:
    """Return a finding about whether the machine's clock is plausible."""
    local = datetime.fromtimestamp(now).astimezone()
    text = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"
    details = {"seconds": now, "timezone": local.tzname(), "utc_offset": f"{local:%z}"}
    if now >= EARLIEST:
        return ok("clock", text, **details)
    return failed(
        "clock",
        f"{text} is in the past: certificates and tokens would be rejected.",
        "Set the machine's clock, for instance by enabling NTP.",
        **details,
    )


def umask_finding(umask: int | None) -> Finding:
    """Return a finding about whether new files are protected from changes by other users."""
    if umask is None:
        return ok("umask", "The umask is unknown.")
    if umask & 0o002:
        return ok("umask", f"{umask:03o}", umask=f"{umask:03o}")
    return warning(
        "umask",
        f"{umask:03o} lets every user change the files that the server writes.",
        "Start the server with the umask 027: umask 027; headstart-server serve ...",
        umask=f"{umask:03o}",
    )


def _umask() -> int | None:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    except (OSError, ValueError, IndexError):
        pass
    return None


def files_finding(limits: tuple[int, int], max_calls: int) -> Finding:
    """Return a finding about whether the limit of open files allows `max_calls` concurrent calls."""
    soft, hard = (sys.maxsize if limit == resource.RLIM_INFINITY else limit for limit in limits)
    need = max_calls + OWN_FILES
    details = {"soft_limit": soft, "hard_limit": hard, "needed": need}
    if soft >= need:
        return ok("open files", "unlimited" if soft == sys.maxsize else f"up to {soft:,}", **details)
    remedy = f"Raise the limit (ulimit -n {need}; systemd: LimitNOFILE={need})"
    return warning(
        "open files",
        f"up to {soft:,}; {max_calls:,} concurrent calls (--max-concurrent-requests), each on its own "
        f"connection, may need {need:,}.",
        f"{remedy}, or lower --max-concurrent-requests to {max(1, soft - OWN_FILES)}.",
        **details,
    )
