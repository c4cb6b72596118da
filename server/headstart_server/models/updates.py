"""Changes of descriptions and policies of models and versions, and of when versions expire."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, or_, update

from headstart_server.database.tables import models, versions
from headstart_server.errors import InvalidField
from headstart_server.models import captures, feedback_rows, rows
from headstart_server.models.capture_policy import CapturePolicy
from headstart_server.models.retrain_policy import RetrainPolicy

#: Minimum and maximum seconds until a version expires: one second and 100 years.
MIN_TTL, MAX_TTL = 1.0, 3_155_760_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Expiration:
    """When a version expires; without a time and a duration, never."""

    time: float | None = None  # in seconds since 1970
    ttl: float | None = None  # in seconds from now

    def at(self, now: float, message: str = "") -> float | None:
        """Return the time of the expiration; None for never.

        Args:
            message: path of the request's message that has the fields, with a dot at its end.
        """
        if self.time is None and self.ttl is None:
            return None
        ttl = self.ttl if self.time is None else self.time - now
        # Written so that NaN fails.
        if ttl is None or not MIN_TTL <= ttl <= MAX_TTL:
            name = "ttl" if self.time is None else "expire_time"
            raise InvalidField(
                f"The {name} is {ttl:g} seconds from now. Choose one of 1 second to 100 years from now.",
                field=f"{message}{name}",
            )
        return now + ttl


def update_version(
    connection: Connection,
    model: str,
    number: int,
    details: Mapping[str, Any],
    *,
    expiration: Expiration | None,
    now: float,
) -> None:
    """Change the given details of a version, and its expiration unless it is None."""
    rows.artifact_of(connection, model, number)
    values = dict(details)
    if expiration is not None:
        values["expires"] = expiration.at(now)
    is_live = or_(versions.c.expires.is_(None), versions.c.expires > now)
    here = (versions.c.model == model, versions.c.number == number, is_live)
    if not connection.execute(update(versions).where(*here).values(values or {"model": model})).rowcount:
        raise rows.version_not_found_error(model, number)


def update_model(connection: Connection, model: str, details: Mapping[str, Any]) -> None:
    """Change the given details and policies of a model."""
    rows.require_model(connection, model)
    values = dict(details)
    policy: CapturePolicy | None = values.get("capture")
    if policy is not None:
        values["capture"] = policy.to_json()
    if "retrain" in values:
        retrain: RetrainPolicy | None = values["retrain"]
        values["retrain"] = None if retrain is None else retrain.to_json()
        feedback_rows.reset(connection, model)
    if values:
        connection.execute(update(models).where(models.c.name == model).values(values))
    if policy is not None:
        # After the row of the model is locked, so that no batch is added meanwhile.
        captures.shorten(connection, model, policy.ttl)
