"""The messages of errors, as a caller may see them."""

from headstart_server.api.grpc.caller import caller, is_operator
from headstart_server.api.grpc.status import message_for_callers, status_of
from headstart_server.auth.authenticator import Caller
from headstart_server.auth.tenants import without_tenant
from headstart_server.errors import HeadstartError, redacted_message


def redact(error: HeadstartError, caller: Caller | None) -> None:
    """Remove paths and URLs of the server, unless the caller is an operator, and the names of tenants."""
    if caller is None or not is_operator(caller.principal):
        error.message = redacted_message(error.reason, error.message, error.metadata)
    tenant = caller.principal.tenant if caller else ""
    error.message = without_tenant(tenant, error.message)
    error.metadata = {name: without_tenant(tenant, value) for name, value in error.metadata.items()}


def visible_message(error: Exception) -> str:
    """Return the message of an error within a response, as the caller would get it if it were raised."""
    if not isinstance(error, HeadstartError):
        message: str = status_of(error).message
        return message
    redact(error, caller())
    return message_for_callers(error.message)
