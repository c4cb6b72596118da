"""One gRPC call on its way to its method, and the checks that it passes."""

# Annotations are not evaluated: grpc's context class accepts type arguments in its stubs only.
from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message

from headstart_server.auth.authenticator import Caller

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[Any, Any]
else:
    Context = grpc.aio.ServicerContext


#: Maximum names of models that a call keeps: a stream may name another one in each message.
MAX_CALL_MODELS = 20


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service."""

    name: str  # `/package.Service/Method`
    request_streaming: bool = False  # whether callers send a stream of requests
    response_streaming: bool = False  # whether it returns a stream of responses


@dataclass(slots=True, eq=False)
class Call:
    """A call, and the results of its checks."""

    method: Method  # the called method
    context: Context  # the context of gRPC, or its equivalent for HTTP
    started: float = field(default_factory=time.perf_counter)  # `time.perf_counter` at its arrival
    caller: Caller | None = None  # the caller, once identified
    is_admitted: bool = False  # whether the caller has the right to make the request
    models: list[str] = field(default_factory=list)  # names of its first models, without the tenant
    job_id: str | None = None  # its job, if any
    audited: dict[str, Any] = field(default_factory=dict)  # further fields of the request for the audit log
    rate_key: str = ""  # the key of its caller's rate limits
    is_counted: bool = False  # whether it counts as a concurrent call of its caller
    paid_bytes: int = 0  # bytes of its body that passed the rate limits, without the messages read from them
    paid_messages: int = 0  # messages of its stream that passed the rate limits

    def add_models(self, names: Iterable[str]) -> None:
        """Keep the names of models, up to `MAX_CALL_MODELS`; empty ones are skipped."""
        for name in names:
            if len(self.models) == MAX_CALL_MODELS:
                return
            if name and name not in self.models:
                self.models.append(name)


class CallCheck:
    """A check that calls pass. Each hook does nothing by default, and rejects the call by raising."""

    def applies_to(self, method: Method) -> bool:
        """Return whether calls of a method pass this check."""
        del method
        return True

    async def knows(self, method: str, context: Context) -> bool:
        """Return whether the caller is identified or needs no identity. Runs before a request is received."""
        del method, context
        return True

    async def begin(self, call: Call) -> None:
        """Check a call before any of its requests is parsed."""

    async def request(self, call: Call, message: Message) -> None:
        """Check a parsed request that is within the limits of the contract, and change it if needed."""

    async def response(self, call: Call, message: Message) -> None:
        """Change a response before it is sent."""

    def end(self, call: Call, error: BaseException | None) -> None:
        """Release the resources of the call. The error may be changed in place before it becomes a status."""
