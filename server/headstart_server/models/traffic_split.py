"""Traffic splits: the choice of the version that serves a call of an alias."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import fsum, log
from secrets import token_hex

from headstart_server.errors import InvalidField
from headstart_server.models.version import TrafficSplit

#: Maximum versions in addition to the one that an alias names.
MAX_SHARES = 10
#: Tolerance of sums of fractions, because 0.1 is not exact in binary.
_ROUNDING = 1e-9


class TrafficRouter:
    """Route one call: the same key and traffic split always lead to the same versions.

    Args:
        key: returns the caller's key; empty for a random one, the same for all targets of the call. Called
            only if an alias splits its traffic.
    """

    __slots__ = ("_key", "_key_of_caller", "chosen")

    def __init__(self, key: Callable[[], str] = str) -> None:
        self._key_of_caller = key
        self._key = ""
        #: Model and number of each version that was chosen.
        self.chosen: set[tuple[str, int]] = set()

    def route(self, model: str, named: int, shares: Sequence[TrafficSplit]) -> int:
        """Return the version that serves an alias of the version `named`."""
        if not self._key:
            self._key = self._key_of_caller() or token_hex(16)
        number = choose_version(self._key, model, named, shares)
        self.chosen.add((model, number))
        return number


def choose_version(key: str, model: str, named: int, shares: Sequence[TrafficSplit]) -> int:
    """Return the number of the version that answers the calls of a key.

    Weighted rendezvous hashing (Thaler and Ravishankar 1998; with logarithms Schindelhauer and Schomaker
    2005). A hash of each version and the key gives a time, which is shorter for a larger share. The version
    with the shortest time answers. So a version whose share grows keeps its keys, and each version gets
    different keys.
    """
    rest = 1 - fsum(each.fraction for each in shares)
    weights = {each.number: each.fraction for each in shares}
    if rest > _ROUNDING:
        weights[named] = rest
    return min(weights, key=lambda number: (-log(_uniform(key, model, number)) / weights[number], number))


def check_traffic(named: int | None, shares: Sequence[TrafficSplit]) -> None:
    """Check the traffic split of an alias that names the version `named`, or none."""
    if shares and named is None:
        raise InvalidField(
            "Traffic can only be split when the alias names a version. Set version too.",
            field="traffic",
        )
    if len(shares) > MAX_SHARES:
        raise InvalidField(
            f"Expected at most {MAX_SHARES} versions in traffic. Received: {len(shares)}.", field="traffic"
        )
    seen = {named}
    for place, each in enumerate(shares):
        if each.number in seen:
            raise InvalidField(
                "Expected each version in traffic once, without the one that the alias names. "
                f"Received: version {each.number} again.",
                field=f"traffic[{place}].version",
            )
        seen.add(each.number)
        # Written so that NaN fails.
        if not 0 < each.fraction <= 1:
            raise InvalidField(
                f"Expected a fraction above 0 and at most 1 for version {each.number}. "
                f"Received: {each.fraction}.",
                field=f"traffic[{place}].fraction",
            )
    total = fsum(each.fraction for each in shares)
    if total > 1 + _ROUNDING:
        raise InvalidField(f"Expected fractions that sum to at most 1. Received: {total:g}.", field="traffic")


def _uniform(key: str, model: str, number: int) -> float:
    """Return a pseudo-random number above 0 and at most 1."""
    digest = blake2b(f"{model}\0{number}\0{key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) + 1) / 2**64
