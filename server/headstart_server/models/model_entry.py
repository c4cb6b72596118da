"""What is needed to find a version of a model without the database."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import BindParameter, Connection, bindparam, select

from headstart_server.database.tables import aliases, versions
from headstart_server.learning.metrics.promotion import Decision
from headstart_server.models import alias_rows
from headstart_server.models.version import TrafficSplit

_NAMES: BindParameter[str] = bindparam("names", expanding=True)
# Built once: building a statement takes longer than executing it.
_VERSIONS = (
    select(
        versions.c.model,
        versions.c.number,
        versions.c.expires,
        versions.c.promotion["decision"].as_string().label("decision"),
    )
    .where(versions.c.model.in_(_NAMES))
    .order_by(versions.c.model, versions.c.number)
)
_ALIASES = select(aliases.c.model, aliases.c.name, aliases.c.number).where(aliases.c.model.in_(_NAMES))


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelEntry:
    """The versions and aliases of a model.

    Attributes:
        numbers: expiry by number, ascending; None for never, and while a version has a share of an alias.
        aliases: the numbers that aliases name.
        shares: what others have of an alias's calls, by alias; only of those of which they have some.
        rejected: numbers of the versions that a promotion gate rejected and that no alias names.
    """

    numbers: dict[int, float | None]
    aliases: Mapping[str, int]
    shares: Mapping[str, tuple[TrafficSplit, ...]]
    rejected: Collection[int] = frozenset()

    def default(self, is_live: Callable[[float | None], bool]) -> int | None:
        """Return the newest live version that is not rejected, or else the newest; None without a live one.

        Args:
            is_live: returns whether a version of some expiry is there.
        """
        newest = None
        for number in reversed(self.numbers):
            if is_live(self.numbers[number]):
                if number not in self.rejected:
                    return number
                newest = newest or number
        return newest


def read_model_entries(connection: Connection, names: Sequence[str]) -> dict[str, ModelEntry]:
    """The entries of models; of those that are not there empty ones.

    Args:
        connection: whose statements all see the same commit.
        names: the models.
    """
    numbers: dict[str, dict[int, float | None]] = {name: {} for name in names}
    named: dict[str, dict[str, int]] = {name: {} for name in names}
    shares: dict[str, dict[str, tuple[TrafficSplit, ...]]] = {name: {} for name in names}
    rejected: dict[str, set[int]] = {name: set() for name in names}
    those = {"names": list(names)}
    for row in connection.execute(_VERSIONS, those):
        numbers[row.model][int(row.number)] = row.expires
        if row.decision == Decision.KEPT:
            rejected[row.model].add(int(row.number))
    for row in connection.execute(_ALIASES, those):
        named[row.model][row.name] = int(row.number)
    for (model, alias), given in alias_rows.traffic_of(connection, names).items():
        shares[model][alias] = given
        numbers[model].update(dict.fromkeys((each.number for each in given), None))
    return {
        name: ModelEntry(
            numbers=numbers[name],
            aliases=named[name],
            shares=shares[name],
            rejected=rejected[name].difference(named[name].values()),
        )
        for name in names
    }
