"""What is needed to find a version of a model without the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from headstart_server.database.tables import aliases, versions
from headstart_server.models import alias_rows
from headstart_server.models.version import VersionShare


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """The versions and aliases of a model.

    Attributes:
        numbers: expiry by number, ascending; None for never, and while a version has a share of an alias.
        aliases: the numbers that aliases name.
        shares: what others have of an alias's calls, by alias; only of those of which they have some.
    """

    numbers: dict[int, float | None]
    aliases: Mapping[str, int]
    shares: Mapping[str, tuple[VersionShare, ...]]


def read_routes(connection: Connection, names: Sequence[str]) -> dict[str, Route]:
    """The routes of models; of those that are not there empty ones.

    Args:
        connection: whose statements all see the same commit.
        names: the models.
    """
    numbers: dict[str, dict[int, float | None]] = {name: {} for name in names}
    named: dict[str, dict[str, int]] = {name: {} for name in names}
    shares: dict[str, dict[str, tuple[VersionShare, ...]]] = {name: {} for name in names}
    for row in connection.execute(
        select(versions.c.model, versions.c.number, versions.c.expires)
        .where(versions.c.model.in_(names))
        .order_by(versions.c.model, versions.c.number)
    ):
        numbers[row.model][int(row.number)] = row.expires
    for row in connection.execute(
        select(aliases.c.model, aliases.c.name, aliases.c.number).where(aliases.c.model.in_(names))
    ):
        named[row.model][row.name] = int(row.number)
    for (model, alias), given in alias_rows.shares_of(connection, names).items():
        shares[model][alias] = given
        numbers[model].update(dict.fromkeys((each.number for each in given), None))
    return {name: Route(numbers=numbers[name], aliases=named[name], shares=shares[name]) for name in names}
