"""Lets calls in: tells who makes them, checks what they may do, and writes down what they did."""

# Annotations stay unread: grpc's handler class takes its type arguments in the stubs only.
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from inspect import isasyncgenfunction
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message

from headstart_server.api.grpc.caller import is_operator, set_caller
from headstart_server.api.grpc.handlers import behaviour_of, changed
from headstart_server.api.grpc.permissions import RULES, Rule, Subject
from headstart_server.api.grpc.requests.model_names import model_names, rename_models
from headstart_server.api.grpc.requests.request_parsing import RequestParser, check_required, read_request
from headstart_server.api.grpc.status import CODES
from headstart_server.api.grpc.telemetry_interceptor import Context
from headstart_server.auth.audit import AuditLog
from headstart_server.auth.authenticator import Authenticator, Caller, Credentials
from headstart_server.auth.permissions import Principal
from headstart_server.auth.tenants import SEPARATOR, full_name, own_name, tenant_of, without_tenant
from headstart_server.errors import (
    HeadstartError,
    InvalidField,
    JobNotFound,
    ModelNotFound,
    PermissionDenied,
    RateExceeded,
    Unauthenticated,
    redacted_message,
)
from headstart_server.jobs.rows import no_job
from headstart_server.models.names import MAX_MODEL_NAME, check_model_name
from headstart_server.models.rows import model_not_found_error
from headstart_server.models.traffic_split import MAX_SHARES

_BEARER = "bearer "
_NAMES = ("x509_subject_alternative_name", "x509_common_name")
#: What the audit log has of a request beside models and job.
_TOLD = ("version", "alias", "force", "request_id")
#: Most models that a line of the audit log names.
_MAX_MODELS = 20
#: Most characters of a name, or of another text, that it has.
_MAX_CHARACTERS = 128
#: The errors of calls whose caller is unknown or has no right; a model without a right does not exist to it.
_REFUSALS = (Unauthenticated, PermissionDenied, ModelNotFound, JobNotFound)
#: Threads that check tokens of issuers, and checks that run or wait for one of them.
_THREADS, _MAX_CHECKS = 4, 1024

#: The call that runs here, and its caller once identified: checking a token twice would take twice the time.
_IDENTIFIED: ContextVar[tuple[Any, Caller | None]] = ContextVar("identified", default=(None, None))


class AccessInterceptor(grpc.aio.ServerInterceptor):
    """Stands between the caller and every method. What it raises becomes a status where all errors do.

    Args:
        authenticator: tells who is calling.
        model_of_job: gives the full name of a job's model; raises `JobNotFound`.
        audit: where calls are written down; None for nowhere.
        audits_all: whether calls are written down that change nothing, too.
        rules: what each method needs.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        model_of_job: Callable[[str], str],
        audit: AuditLog | None = None,
        *,
        audits_all: bool = False,
        rules: Mapping[str, Rule] = RULES,
    ) -> None:
        self._authenticator = authenticator
        self._model_of_job = model_of_job
        self._audit = audit
        self._audits_all = audits_all
        self._rules = rules
        # Their own, so that nobody else waits for a thread behind callers who wait for an issuer's keys.
        self._threads = ThreadPoolExecutor(_THREADS, "identify")
        self._checks = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a method."""
        handler = await continuation(details)
        rule = self._rules.get(details.method)
        if handler is None or (rule is not None and (rule.on is Subject.NONE or self._is_idle(rule))):
            return handler
        return self._wrap(handler, details.method, rule)

    def _is_idle(self, rule: Rule) -> bool:
        """Whether there is nothing to check and nothing to write down."""
        return self._authenticator.is_open and self._audit is None and not rule.makes

    def _wrap(
        self, handler: grpc.RpcMethodHandler[Any, Any], method: str, rule: Rule | None
    ) -> grpc.RpcMethodHandler[Any, Any]:
        inner = behaviour_of(handler)
        # Messages of a stream are read when the method asks for them; a single one is read here, once it is
        # known who sent it.
        admit: Any = _each
        parse: Any = handler.request_deserializer
        # Rights come first: a caller without them does not learn which fields a method requires.
        requires = isinstance(parse, RequestParser)
        if requires:
            parse = parse.without_required()
        if not handler.request_streaming:
            admit, parse = partial(_one, parse), _unread
            if handler.response_streaming and not isasyncgenfunction(inner):
                raise TypeError(f"Expected an asynchronous generator for {method}. Received: {inner!r}.")
        wrap = _streaming if handler.response_streaming else _unary
        return changed(
            handler, behaviour=wrap(partial(_Call, self, method, rule, requires), inner, admit), parse=parse
        )

    async def identify(self, context: Context) -> Caller:
        """Who makes a call.

        Raises:
            Unauthenticated or IssuerKeysUnavailable: as `Authenticator.identify`.
            RateExceeded: too many tokens of issuers are being checked.
        """
        known, caller = _IDENTIFIED.get()
        if known is context and caller is not None:
            return caller
        credentials = Credentials() if self._authenticator.is_open else _credentials(context)
        if self._authenticator.may_wait(credentials):
            caller = await self._checked(credentials)
        else:
            caller = self._authenticator.identify(credentials)
        _IDENTIFIED.set((context, caller))
        return caller

    async def _checked(self, credentials: Credentials) -> Caller:
        if self._checks >= _MAX_CHECKS:
            raise RateExceeded(
                f"{_MAX_CHECKS} calls wait for a check of their token. Try again in a moment.",
                metadata={"subject": "checks of tokens", "limit": str(_MAX_CHECKS)},
                retry_after=1.0,
            )
        self._checks += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._authenticator.identify, credentials)
        finally:
            self._checks -= 1

    async def knows(self, method: str, context: Context) -> bool:
        """Whether a caller of a method is known, or need not be; asked before a request is read."""
        rule = self._rules.get(method)
        if self._authenticator.is_open or (rule is not None and rule.on is Subject.NONE):
            return True
        try:
            await self.identify(context)
        except HeadstartError:
            return False
        return True

    async def check(self, caller: Caller, rule: Rule, request: Message) -> list[str]:
        """Check that a caller may make a request; returns the models it is about, as the caller calls them.

        Raises:
            PermissionDenied: they have a right on each of these models, but not this one.
            ModelNotFound or JobNotFound: they have no right on one, it is another tenant's, or there is none.
            InvalidField: a model is not named, or not as models may be.
        """
        names = list(dict.fromkeys(model_names(request)))
        if self._authenticator.is_open:
            if rule.makes:
                for name in names:
                    check_model_name(name, "spec.model")
            return names
        principal = caller.principal
        if not any(map(principal.has, rule.rights)):
            raise _denied(rule)
        if rule.on is Subject.JOB:
            return [await self._check_job(principal, rule, request.job_id)]  # type: ignore[attr-defined]
        if rule.on is Subject.MODEL:
            for name in names:
                _check_model(principal, rule, name)
        return names

    async def _check_job(self, principal: Principal, rule: Rule, job_id: str) -> str:
        full = await asyncio.to_thread(self._model_of_job, job_id)
        name = own_name(full)
        if tenant_of(full) != principal.tenant or not principal.knows(name):
            raise no_job(job_id)
        if not any(principal.may(right, name) for right in rule.rights):
            raise _denied(rule)
        return name

    def note(self, call: _Call, error: BaseException | None, peer: str) -> None:
        """Write a call down, if it is one that is."""
        if self._audit is None:
            return
        # A call may also end before it was admitted because the database or an issuer's keys are unavailable.
        refused = not call.was_let_in and isinstance(error, _REFUSALS)
        ended_early = call.caller is None or (not call.was_let_in and isinstance(error, HeadstartError))
        if not (ended_early or self._audits_all or (call.rule is not None and call.rule.changes)):
            return
        principal, outcome = call.caller.principal if call.caller else None, _outcome(error)
        line = {
            "principal": principal.name if principal else None,
            "subject": call.caller.subject if call.caller else None,
            "tenant": principal.tenant if principal else None,
            "peer": peer,
            "method": call.method,
            "models": [name[:_MAX_CHARACTERS] for name in call.models[:_MAX_MODELS]],
            "job_id": call.job_id and call.job_id[:_MAX_CHARACTERS],
            "request": {
                name: value[:_MAX_CHARACTERS] if isinstance(value, str) else value
                for name, value in call.told.items()
            },
            "refused": refused,
            **outcome,
            "seconds": round(time.perf_counter() - call.started, 3),
        }
        if call.caller is None:
            kind = " ".join(word for word in outcome.values() if word)
            self._audit.write_unauthenticated(kind, line)
        else:
            self._audit.write(line)


@dataclass(kw_only=False, slots=True)
class _Call:
    """One call on its way."""

    access: AccessInterceptor
    method: str
    rule: Rule | None
    requires: bool
    started: float = field(default_factory=time.perf_counter)
    caller: Caller | None = None
    was_let_in: bool = False
    models: list[str] = field(default_factory=list)
    job_id: str | None = None
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def tenant(self) -> str:
        return self.caller.principal.tenant if self.caller else ""

    async def begin(self, context: Context) -> None:
        """Tell who it is, before anything of the request is looked at."""
        self.caller = await self.access.identify(context)
        if self.rule is None:
            raise PermissionDenied(
                f"{self.method} has no entry in the permission table, so every call is denied."
            )
        set_caller(self.caller)

    async def admit(self, request: Message) -> Message:
        """Check a request, and name its models as they are named within the server."""
        if self.caller is None or self.rule is None:
            raise Unauthenticated("Expected a caller that is known.")
        self._tell(request)
        found = await self.access.check(self.caller, self.rule, request)
        self.models = list(dict.fromkeys([*self.models, *filter(None, found)]))
        self.was_let_in = True
        if self.requires:
            check_required(request)
        if self.tenant:
            rename_models(request, partial(_full, self.tenant, self.rule))
        return request

    def answer(self, response: Message) -> Message:
        """Name the models of an answer as its caller does."""
        job = getattr(response, "job", None)
        if self.job_id is None and job is not None:
            self.job_id = job.job_id or None
        if self.tenant:
            rename_models(response, own_name)
        return response

    @contextmanager
    def watched(self, context: Context) -> Iterator[None]:
        """Name models as the caller does in what goes wrong, and write down how it ended."""
        error: BaseException | None = None
        try:
            yield
        except HeadstartError as raised:
            error = raised
            if self.caller is None or not is_operator(self.caller.principal):
                raised.message = redacted_message(raised.reason, raised.message, raised.metadata)
            raised.message = without_tenant(self.tenant, raised.message)
            raised.metadata = {
                name: without_tenant(self.tenant, value) for name, value in raised.metadata.items()
            }
            raise
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.access.note(self, error, context.peer())

    def _tell(self, request: Message) -> None:
        part: Any = getattr(request, "spec", request)
        fields = part.DESCRIPTOR.fields_by_name
        for name in _TOLD:
            if name in fields and (value := getattr(part, name)):
                self.told[name] = value
        if "traffic" in fields and (shares := part.traffic[:MAX_SHARES]):
            self.told["traffic"] = {str(each.version): each.fraction for each in shares}
        self.models = list(dict.fromkeys([*self.models, *filter(None, model_names(request))]))
        if "job_id" in request.DESCRIPTOR.fields_by_name:
            self.job_id = request.job_id  # type: ignore[attr-defined]


def _unread(content: bytes) -> bytes:
    return content


async def _one(parse: Callable[[bytes], Message], call: _Call, content: bytes) -> Message:
    return await call.admit(await read_request(parse, content))


async def _each(call: _Call, requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """Not asynchronous itself: what it gives is read by the method."""

    async def admitted() -> AsyncIterator[Message]:
        async for request in requests:
            yield await call.admit(request)

    return admitted()


def _unary(begin: Callable[[], _Call], inner: Any, admit: Any) -> Any:
    async def handle(request: Any, context: Context) -> Any:
        call = begin()
        with call.watched(context):
            await call.begin(context)
            return call.answer(await inner(await admit(call, request), context))

    return handle


def _streaming(begin: Callable[[], _Call], inner: Any, admit: Any) -> Any:
    async def handle(request: Any, context: Context) -> AsyncIterator[Any]:
        call = begin()
        with call.watched(context):
            await call.begin(context)
            async with aclosing(inner(await admit(call, request), context)) as responses:
                async for response in responses:
                    yield call.answer(response)

    return handle


def _check_model(principal: Principal, rule: Rule, name: str) -> None:
    if name == rule.all_models:
        return
    if not name:
        raise InvalidField("The name of the model is missing.", field="model")
    if rule.makes:
        check_model_name(name, "spec.model")
    # In other protocols an alias may follow.
    name = name.partition("@")[0]
    if any(principal.may(right, name) for right in rule.rights):
        if SEPARATOR in name:
            raise model_not_found_error(name)
        return
    # Told before anything is looked up, so it says nothing about which models there are.
    if rule.makes or principal.knows(name):
        raise _denied(rule)
    raise model_not_found_error(name)


def _full(tenant: str, rule: Rule, name: str) -> str:
    if name == rule.all_models:
        return name
    full = full_name(tenant, name)
    if rule.makes and len(full) > MAX_MODEL_NAME:
        raise InvalidField(
            f"Expected a model name of at most {MAX_MODEL_NAME - len(full) + len(name)} characters. "
            f"Received: {len(name)}.",
            field="spec.model",
        )
    return full


def _denied(rule: Rule) -> PermissionDenied:
    wanted = " or ".join(sorted(rule.rights))
    where = "" if rule.on in (Subject.ANY, Subject.LISTED) else " on this model"
    return PermissionDenied(f"You lack the permission {wanted}{where}. Ask the operator for it.")


def _credentials(context: Context) -> Credentials:
    token = None
    for name, value in context.invocation_metadata() or ():
        if name == "authorization":
            text = value if isinstance(value, str) else ""
            if text[: len(_BEARER)].lower() != _BEARER or not text[len(_BEARER) :].strip():
                raise Unauthenticated("The metadata 'authorization' is malformed. Send it as 'Bearer TOKEN'.")
            token = text[len(_BEARER) :].strip()
    properties = context.auth_context()
    names = [value.decode(errors="replace") for name in _NAMES for value in properties.get(name, ())]
    return Credentials(token=token, certificate_names=tuple(names))


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
