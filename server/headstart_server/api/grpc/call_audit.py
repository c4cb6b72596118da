"""The audit log's line about a call."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError, Message

from headstart_server.api.grpc.call import Call
from headstart_server.api.grpc.permissions import Rule
from headstart_server.api.grpc.requests.model_names import model_names
from headstart_server.api.grpc.status import CODES
from headstart_server.auth.audit import AuditLog
from headstart_server.errors import (
    DatasetNotFound,
    HeadstartError,
    JobNotFound,
    ModelNotFound,
    PermissionDenied,
    Unauthenticated,
)
from headstart_server.models.traffic_split import MAX_SHARES

#: Fields of a request that are logged, in addition to its models and its job.
_FIELDS = ("version", "alias", "force", "request_id", "dataset", "batch", "prediction_id")
#: Maximum fields of a mask in a line.
_MAX_PATHS = 20
#: Maximum characters of a name, or of another text.
_MAX_CHARACTERS = 128
#: The errors of calls whose caller is unknown or has no right. A model on which it has no right is not found.
_REFUSALS = (Unauthenticated, PermissionDenied, ModelNotFound, DatasetNotFound, JobNotFound)


class CallAudit:
    """Write calls to the audit log: all, or only rejected calls and calls that change data or read inputs.

    Args:
        rules: the permission table, which marks the methods whose calls are logged.
    """

    def __init__(self, log: AuditLog, rules: Mapping[str, Rule], *, audits_all: bool) -> None:
        self._log = log
        self._rules = rules
        self._audits_all = audits_all

    def note(self, call: Call, request: Message) -> None:
        """Keep the fields of a request that are logged."""
        part: Any = getattr(request, "spec", request)
        fields = part.DESCRIPTOR.fields_by_name
        call.audited.update(_values(part))
        if "traffic" in fields and (shares := part.traffic[:MAX_SHARES]):
            call.audited["traffic"] = {str(each.version): each.fraction for each in shares}
        if "update_mask" in fields and (paths := part.update_mask.paths[:_MAX_PATHS]):
            call.audited["update_mask"] = [path[:_MAX_CHARACTERS] for path in paths]
        call.add_models(model_names(request))
        if "job_id" in request.DESCRIPTOR.fields_by_name:
            call.job_id = request.job_id  # type: ignore[attr-defined]

    def write(self, call: Call, error: BaseException | None) -> None:
        """Write a call that ended, if such calls are logged."""
        # An unavailable database or issuer may also end a call before it is admitted.
        ended_early = call.caller is None or (not call.is_admitted and isinstance(error, HeadstartError))
        rule = self._rules.get(call.method.name)
        is_logged = rule is not None and (rule.changes or rule.reads_inputs)
        if not (ended_early or self._audits_all or is_logged):
            return
        outcome = _outcome(error)
        line = _line(call, outcome, is_refused=not call.is_admitted and isinstance(error, _REFUSALS))
        if call.caller is None:
            kind = " ".join(word for word in outcome.values() if word)
            self._log.write_unauthenticated(kind, line)
        else:
            self._log.write(line)


def _values(message: Message) -> dict[str, Any]:
    """Return the fields of a message that are logged; for a version selector, the selector's fields."""
    found: dict[str, Any] = {}
    for name in _FIELDS:
        if name in message.DESCRIPTOR.fields_by_name and (value := getattr(message, name)):
            found.update(_values(value) if isinstance(value, Message) else {name: value})
    return found


def _line(call: Call, outcome: Mapping[str, str | None], *, is_refused: bool) -> dict[str, Any]:
    principal = call.caller.principal if call.caller else None
    return {
        "principal": principal.name if principal else None,
        "subject": call.caller.subject if call.caller else None,
        "tenant": principal.tenant if principal else None,
        "peer": call.context.peer(),
        "method": call.method.name,
        "models": [name[:_MAX_CHARACTERS] for name in call.models],
        "job_id": call.job_id and call.job_id[:_MAX_CHARACTERS],
        "request": {
            name: value[:_MAX_CHARACTERS] if isinstance(value, str) else value
            for name, value in call.audited.items()
        },
        "refused": is_refused,
        **outcome,
        "seconds": round(time.perf_counter() - call.started, 3),
    }


def _outcome(error: BaseException | None) -> dict[str, str | None]:
    if error is None:
        return {"outcome": "OK", "reason": None}
    if isinstance(error, HeadstartError):
        return {"outcome": CODES[error.reason].name, "reason": error.reason}
    if isinstance(error, DecodeError):
        return {"outcome": "INVALID_ARGUMENT", "reason": "INVALID_FIELD"}
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return {"outcome": "CANCELLED", "reason": None}
    return {"outcome": "INTERNAL", "reason": None}
