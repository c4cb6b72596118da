"""Calls of the gRPC services on behalf of a request of Label Studio."""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2

from headstart.v1 import input_pb2, version_selector_pb2
from headstart.v1 import model_service_pb2 as pb
from headstart_server.api.grpc.caller import caller
from headstart_server.api.grpc.permissions import RULES
from headstart_server.api.http.exchange import HttpExchange
from headstart_server.api.http.in_process_server import CallDetails, InProcessServer
from headstart_server.errors import PermissionDenied
from headstart_server.models.version import Selector

PREDICT = "/headstart.v1.PredictionService/Predict"
SEND_FEEDBACK = "/headstart.v1.ReviewService/SendFeedback"
_GET_VERSION = "/headstart.v1.ModelService/GetVersion"
_BASIC = "basic "


class CallFailedError(Exception):
    """A call has ended with an error."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


class Calls:
    """Call methods with the credentials of a request, so that every check applies."""

    def __init__(self, server: InProcessServer, exchange: HttpExchange) -> None:
        self._server = server
        self._exchange = exchange
        accept_basic(exchange.headers)

    async def is_known(self) -> bool:
        """Return whether the caller is identified."""
        context = self._exchange.context()
        return await self._server.knows(CallDetails(_GET_VERSION, context.invocation_metadata()), context)

    async def require(self, method: str, model: str, request: Message) -> None:
        """Check that the caller, whom an earlier call identified, may call a method on a model.

        Contents are read with the server's credentials, so this comes first. Raise CallFailedError if the
        caller may not.

        Args:
            request: a request about the model without contents; its call is rejected, counted and logged.
        """
        principal = caller().principal
        if not any(principal.may(right, model) for right in RULES[method].rights):
            await self.call(method, request)
            raise PermissionDenied(
                f"You lack the permission for {method} on this model. Ask the operator for it."
            )

    async def call(self, method: str, request: Message | bytes) -> Any:
        """Return the response of a method, such as `/headstart.v1.PredictionService/Predict`.

        Args:
            request: the message; for a large one its bytes, which were serialized in a thread.

        Raises:
            CallFailedError: the call failed.
        """
        context = self._exchange.context()
        handler = await self._server.find(CallDetails(method, context.invocation_metadata()))
        try:
            content = request if isinstance(request, bytes) else request.SerializeToString()
            return await handler.unary_unary(content, context)
        except grpc.aio.AbortError:
            raise CallFailedError(context.status) from None


def accept_basic(headers: dict[str, str]) -> None:
    """Use the password of basic authentication as the token: Label Studio cannot send it otherwise."""
    value = headers.get("authorization", "")
    if value[: len(_BASIC)].lower() != _BASIC:
        return
    try:
        text = base64.b64decode(value[len(_BASIC) :].strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return
    headers["authorization"] = f"Bearer {text.partition(':')[2]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedVersion:
    """A version that serves a backend's requests."""

    model: str
    number: int
    task: input_pb2.Task  # the task, which determines the kind of predicted label

    @property
    def name(self) -> str:
        """The name of the version, as in the path of a backend."""
        return f"{self.model}@{self.number}"

    @property
    def selector(self) -> version_selector_pb2.VersionSelector:
        """The selector of the version in calls."""
        return version_selector_pb2.VersionSelector(model=self.model, version=self.number)


def selector_message(selector: Selector) -> version_selector_pb2.VersionSelector:
    """Return a selector as a message."""
    message = version_selector_pb2.VersionSelector(model=selector.model)
    if selector.number is not None:
        message.version = selector.number
    elif selector.alias is not None:
        message.alias = selector.alias
    return message


async def served_version(calls: Calls, selector: Selector) -> ServedVersion:
    """Return the version that a selector currently names, if the caller may use its model.

    Raise CallFailedError if it is missing, or the caller lacks every right on its model.
    """
    request = pb.GetVersionRequest(target=selector_message(selector), view=pb.VERSION_VIEW_BASIC)
    version = (await calls.call(_GET_VERSION, request)).version
    return ServedVersion(model=selector.model, number=version.version, task=version.task)
