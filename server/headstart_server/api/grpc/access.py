"""Access control of methods: identify the caller, check the permission table, and isolate tenants."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import Any

from google.protobuf.message import Message

from headstart_server.api.grpc.call import Call, CallCheck, Context, Method
from headstart_server.api.grpc.call_audit import CallAudit
from headstart_server.api.grpc.caller import set_caller
from headstart_server.api.grpc.error_messages import redact
from headstart_server.api.grpc.permissions import RULES, Rule, Subject
from headstart_server.api.grpc.requests.model_names import (
    count_parts,
    dataset_names,
    model_names,
    rename_models,
)
from headstart_server.auth.audit import AuditLog
from headstart_server.auth.authenticator import Authenticator, Caller, Credentials
from headstart_server.auth.issuer import PendingIssuerKeys
from headstart_server.auth.permissions import Principal, Right
from headstart_server.auth.tenants import SEPARATOR, full_name, own_name, tenant_of
from headstart_server.datasets.dataset_rows import dataset_not_found_error
from headstart_server.errors import (
    HeadstartError,
    InvalidField,
    PermissionDenied,
    RateExceeded,
    Unauthenticated,
)
from headstart_server.jobs.rows import no_job
from headstart_server.models.names import MAX_MODEL_NAME, check_dataset_name, check_model_name
from headstart_server.models.rows import model_not_found_error

_BEARER = "bearer "
_NAMES = ("x509_subject_alternative_name", "x509_common_name")
#: Threads that check tokens of issuers, and the maximum number of running and queued checks.
_THREADS, _MAX_CHECKS = 4, 1024
#: Maximum number of calls that wait for a fetch of their issuer's keys, and the seconds that they wait.
_MAX_WAITING, _WAIT_SECONDS = 1024, 10.0

#: Maximum entries of a response that are renamed in the event loop, at about 1.5 µs each: a whole page.
_RENAMED_HERE = 1000

#: The call of this task, and its caller once identified: checking a token twice would take twice the time.
_IDENTIFIED: ContextVar[tuple[Any, Caller | None]] = ContextVar("identified", default=(None, None))


class AccessCheck(CallCheck):
    """Admit calls whose caller is identified and has the right that the permission table requires.

    A method without an entry in the table is denied. Requests and responses have model names without the
    tenant, and methods see names with the tenant.

    Args:
        model_of_job: returns the full name of a job's model; raises `JobNotFound`.
        audits_all: whether to also log calls that change nothing.
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
        self._audit = None if audit is None else CallAudit(audit, rules, audits_all=audits_all)
        self._rules = rules
        self._threads = ThreadPoolExecutor(_THREADS, "identify")
        self._pending_checks = 0
        self._waiting = 0

    def applies_to(self, method: Method) -> bool:
        """Return whether there is anything to check or to log."""
        rule = self._rules.get(method.name)
        if rule is None:
            return True
        is_idle = self._authenticator.is_open and self._audit is None and not rule.makes
        return rule.on is not Subject.NONE and not is_idle

    async def knows(self, method: str, context: Context) -> bool:
        """Return whether the caller is identified, or the method needs no caller."""
        rule = self._rules.get(method)
        if self._authenticator.is_open or (rule is not None and rule.on is Subject.NONE):
            return True
        try:
            await self.identify(context)
        except HeadstartError:
            return False
        return True

    async def begin(self, call: Call) -> None:
        """Identify the caller before the request is read."""
        call.caller = await self.identify(call.context)
        if call.method.name not in self._rules:
            raise PermissionDenied(
                f"{call.method.name} has no entry in the permission table, so every call is denied."
            )
        set_caller(call.caller)

    async def request(self, call: Call, message: Message) -> None:
        """Check the caller's rights, and add the tenant to the names of models and datasets."""
        if call.caller is None:
            raise Unauthenticated("The caller is not identified. Send a token.")
        if self._audit is not None:
            self._audit.note(call, message)
        rule = self._rules[call.method.name]
        found = await self._check(call.caller, rule, message)
        call.add_models(found)
        call.is_admitted = True
        if tenant := call.caller.principal.tenant:
            rename_models(message, partial(_full_name, tenant, rule))

    async def response(self, call: Call, message: Message) -> None:
        """Remove the tenant from the names of models and datasets."""
        job = getattr(message, "job", None)
        if call.job_id is None and job is not None:
            call.job_id = job.job_id or None
        if call.caller is not None and call.caller.principal.tenant:
            if count_parts(message) > _RENAMED_HERE:
                await asyncio.to_thread(rename_models, message, own_name)
            else:
                rename_models(message, own_name)

    def end(self, call: Call, error: BaseException | None) -> None:
        """Remove details that the caller may not see from the error, and log the call."""
        if isinstance(error, HeadstartError):
            redact(error, call.caller)
        if self._audit is not None:
            self._audit.write(call, error)

    async def identify(self, context: Context) -> Caller:
        """Return the caller of a call."""
        known, caller = _IDENTIFIED.get()
        if known is context and caller is not None:
            return caller
        credentials = Credentials() if self._authenticator.is_open else _credentials(context)
        if self._authenticator.is_slow(credentials):
            caller = await self._identify_in_thread(credentials)
        else:
            caller = self._authenticator.identify(credentials)
        _IDENTIFIED.set((context, caller))
        return caller

    async def _identify_in_thread(self, credentials: Credentials) -> Caller:
        try:
            return await self._checked(credentials)
        except PendingIssuerKeys as pending:
            await self._until_fetched(pending.fetched)
        return await self._checked(credentials)

    async def _checked(self, credentials: Credentials) -> Caller:
        if self._pending_checks >= _MAX_CHECKS:
            raise _too_many(_MAX_CHECKS, "a check of their token")
        self._pending_checks += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._authenticator.identify, credentials)
        finally:
            self._pending_checks -= 1

    async def _until_fetched(self, fetched: "Future[None]") -> None:
        """Wait for the fetch of an issuer's keys, which takes no thread from callers with a known key."""
        if self._waiting >= _MAX_WAITING:
            raise _too_many(_MAX_WAITING, "the keys of their issuer")
        self._waiting += 1
        try:
            await asyncio.wait([asyncio.wrap_future(fetched)], timeout=_WAIT_SECONDS)
        finally:
            self._waiting -= 1

    async def _check(self, caller: Caller, rule: Rule, request: Message) -> list[str]:
        """Check that a caller may send a request; return the request's models, as the caller names them.

        Raise ModelNotFound, DatasetNotFound or JobNotFound if one is missing or not permitted.
        """
        names = list(dict.fromkeys(model_names(request)))
        found = list(dict.fromkeys(dataset_names(request)))
        principal = caller.principal
        if not (self._authenticator.is_open or any(map(principal.has, rule.rights))):
            raise _denied(rule)
        if rule.makes and rule.on is Subject.DATASET:
            for name in found:
                check_dataset_name(name)
        if self._authenticator.is_open:
            if rule.makes:
                for name in names:
                    check_model_name(name, "spec.model")
            return names
        if rule.on is Subject.JOB:
            return [await self._check_job(principal, rule, request.job_id)]  # type: ignore[attr-defined]
        if rule.on is Subject.MODEL:
            for name in names:
                _check_model(principal, rule, name)
        for name in filter(None, found):
            _check_dataset(principal, rule, name)
        return names

    async def _check_job(self, principal: Principal, rule: Rule, job_id: str) -> str:
        full = await asyncio.to_thread(self._model_of_job, job_id)
        name = own_name(full)
        if tenant_of(full) != principal.tenant or not principal.knows(name):
            raise no_job(job_id)
        if not any(principal.may(right, name) for right in rule.rights):
            raise _denied(rule)
        return name


def _too_many(limit: int, awaited: str) -> RateExceeded:
    return RateExceeded(
        f"{limit} calls wait for {awaited}. Try again in a moment.",
        metadata={"subject": "checks of tokens", "limit": str(limit)},
        retry_after=1.0,
    )


def _check_model(principal: Principal, rule: Rule, name: str) -> None:
    if name == rule.all_models:
        return
    if not name:
        raise InvalidField("The name of the model is missing. Set it in the request.", field="model")
    if rule.makes:
        check_model_name(name, "spec.model")
    # In other protocols, an alias may follow the name.
    name = name.partition("@")[0]
    if any(principal.may(right, name) for right in rule.rights):
        if SEPARATOR in name:
            raise model_not_found_error(name)
        return
    # No lookup comes before this decision, so the error does not reveal whether the model exists.
    if rule.makes or principal.knows(name):
        raise _denied(rule)
    raise model_not_found_error(name)


def _check_dataset(principal: Principal, rule: Rule, name: str) -> None:
    """Check the right on a dataset: the rule's, or the right to train if the method is not about datasets."""
    rights = rule.rights if rule.on is Subject.DATASET else frozenset({Right.TRAIN})
    if any(principal.may(right, name) for right in rights):
        if SEPARATOR in name:
            raise dataset_not_found_error(name)
        return
    # As for models, no lookup comes before this decision.
    if rule.makes or principal.knows(name):
        raise PermissionDenied(
            f"You lack the permission {' or '.join(sorted(rights))} on the dataset '{name}'. Ask the "
            "operator for it."
        )
    raise dataset_not_found_error(name)


def _full_name(tenant: str, rule: Rule, name: str) -> str:
    if name == rule.all_models:
        return name
    full = full_name(tenant, name)
    if rule.makes and len(full) > MAX_MODEL_NAME:
        raise InvalidField(
            f"Expected a name of at most {MAX_MODEL_NAME - len(full) + len(name)} characters. "
            f"Received: {len(name)}.",
            field="dataset" if rule.on is Subject.DATASET else "spec.model",
        )
    return full


def _denied(rule: Rule) -> PermissionDenied:
    wanted = " or ".join(sorted(rule.rights))
    kind = "dataset" if rule.on is Subject.DATASET else "model"
    where = "" if rule.on in (Subject.ANY, Subject.LISTED) else f" on this {kind}"
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
