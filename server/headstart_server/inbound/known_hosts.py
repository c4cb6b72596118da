"""The host names under which browsers may send requests to a port.

A page of another site can point its own name at this server's address (DNS rebinding). The browser then
treats both as one site, and only the header Host still has the other name.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address

#: Host names that always mean this machine.
_LOCAL = ("localhost", "*.localhost")


class KnownHosts:
    """The accepted host names of requests. IP addresses are always accepted: no site has one as its name.

    Args:
        names: host names without ports, in addition to `localhost` and names below it; a leading `*.` stands
            for one or more labels.
    """

    def __init__(self, names: Iterable[str]) -> None:
        lowered = [name.lower() for name in (*_LOCAL, *names)]
        self._names = frozenset(lowered)
        self._endings = tuple(name[1:] for name in lowered if name.startswith("*."))

    def __contains__(self, host: str) -> bool:
        """Return whether the value of a header Host is known."""
        name = re.sub(r":[0-9]*$", "", host).lower().removesuffix(".")
        if name.startswith("["):
            return name.endswith("]") and _is_address(name[1:-1])
        return name in self._names or name.endswith(self._endings) or _is_address(name)


def unknown_host(host: str) -> str:
    """Return the message for a request whose host is not known."""
    return (
        f"The host {host[:80]!r} is not a known name of this server. If it is one, add it with "
        "--allow-http-host."
    )


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
