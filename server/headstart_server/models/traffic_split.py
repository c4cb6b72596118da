"""An alias that gives other versions a share of its calls: which version answers which call."""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import fsum, log
from secrets import token_hex

from headstart_server.errors import InvalidField
from headstart_server.models.version import TrafficSplit

#: Versions beside the one that an alias names.
MAX_SHARES = 10
#: By how much shares may sum to more than 1, for 0.1 is no binary number; what is less is none.
_ROUNDING = 1e-9


class TrafficRouter:
    """Which versions answer one call: with the same key and shares always the same ones.

    Args:
        key: gives the caller's key; empty where chance decides, once for all targets of the call. Asked only
            if there is something to choose.
    """

    __slots__ = ("_key", "_key_of_caller", "chosen")

    def __init__(self, key: Callable[[], str] = str) -> None:
        self._key_of_caller = key
        self._key = ""
        #: Model and number of each version that was chosen.
        self.chosen: set[tuple[str, int]] = set()

    def route(self, model: str, named: int, shares: Sequence[TrafficSplit]) -> int:
        """Choose the version that answers for an alias.

        Args:
            model: the model.
            named: number of the version that the alias names.
            shares: those that others have.
        """
        if not self._key:
            self._key = self._key_of_caller() or token_hex(16)
        number = choose_version(self._key, model, named, shares)
        self.chosen.add((model, number))
        return number


def choose_version(key: str, model: str, named: int, shares: Sequence[TrafficSplit]) -> int:
    """The number of the version that answers the calls of a key.

    Weighted rendezvous hashing (Thaler and Ravishankar 1998; with logarithms Schindelhauer and Schomaker
    2005): a hash of each version and the key is a time that is the shorter the larger its share, and the
    first one answers. So a version whose share grows keeps the keys it had, and each version is tried out on
    other keys.
    """
    rest = 1 - fsum(each.fraction for each in shares)
    weights = {each.number: each.fraction for each in shares}
    if rest > _ROUNDING:
        weights[named] = rest
    return min(weights, key=lambda number: (-log(_uniform(key, model, number)) / weights[number], number))


def check_traffic(named: int | None, shares: Sequence[TrafficSplit]) -> None:
    """Check what an alias shall give others.

    Args:
        named: number of the version that the alias shall name; None where it shall be removed.
        shares: those that others shall have.

    Raises:
        InvalidField: names what is not in its range.
    """
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
    """A number above 0 and at most 1 that looks like chance."""
    digest = blake2b(f"{model}\0{number}\0{key}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) + 1) / 2**64
