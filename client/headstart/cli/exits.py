"""Exit codes, and errors with their remedies."""

import errno
import os
import shlex
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from headstart.cli.output.layout import excludable_fraction
from headstart.cli.session import Session
from headstart.errors import (
    DeadlineExceeded,
    HeadstartError,
    JobCancelled,
    JobFailed,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from headstart.transport.status import has_remedy, metadata_number

_EXCLUDE = "Leave them out with --max-excluded-fraction {fraction:g}, or list all with headstart check."
_JOB_ADVICE = {
    "UNDECODABLE_INPUT": _EXCLUDE,
    "INPUT_TOO_LARGE": _EXCLUDE,
    "CONTRADICTING_LABELS": "If you corrected the label of an example of the parent, leave out the old "
    "example: --remove ID. List all with headstart check, or exclude both with --max-excluded-fraction "
    "{fraction:g}.",
}
_LISTS = {
    "JOB_NOT_FOUND": "job list",
    "MODEL_NOT_FOUND": "model list",
    "VERSION_NOT_FOUND": "version list {model}",
    "BACKBONE_NOT_FOUND": "backbone list",
}


class ExitCode(IntEnum):
    """Exit codes of the command; `EXIT_CODES_HELP` documents them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    NOT_FOUND = 4
    NOT_PROMOTED = 5
    INCOMPLETE = 6
    INTERRUPTED = 130


_MEANINGS = {
    ExitCode.OK: "Success.",
    ExitCode.FAILED: "The call or the job failed.",
    ExitCode.USAGE: "The command line, a file or an environment variable is invalid.",
    ExitCode.UNAVAILABLE: "No server answers.",
    ExitCode.NOT_FOUND: "The model, version, alias, job or backbone does not exist.",
    ExitCode.NOT_PROMOTED: "The alias stayed on its version, and --require-promotion was given.",
    ExitCode.INCOMPLETE: "Some inputs could not be used; the results are those of the others.",
    ExitCode.INTERRUPTED: "Interrupted by Ctrl-C. Jobs continue on the server.",
}
EXIT_CODES_HELP = "\n".join(["Exit codes:", *(f"  {code:<4} {text}" for code, text in _MEANINGS.items())])


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """An error for display; `is_remote` if a call returned it."""

    code: str
    reason: str
    message: str
    advice: str = ""
    is_remote: bool = False

    @property
    def lines(self) -> list[str]:
        """Return the lines for people."""
        reason = f" ({self.reason or self.code})" if self.is_remote else ""
        return [f"error: {self.message}{reason}", *([self.advice] if self.advice else [])]

    @property
    def document(self) -> dict[str, dict[str, str]]:
        """Return the JSON document for programs."""
        return {"error": {"code": self.code, "reason": self.reason, "message": self.message}}


def exit_code(error: Exception) -> ExitCode:
    """Return the exit code of an error; errors of the client are usage errors."""
    match error:
        case Unavailable():
            return ExitCode.UNAVAILABLE
        case NotFound():
            return ExitCode.NOT_FOUND
        case HeadstartError() | TimeoutError():
            return ExitCode.FAILED
    return ExitCode.USAGE


def explain(error: Exception, session: Session | None) -> Failure:
    """Return the problem, and its remedy if it is known."""
    if isinstance(error, HeadstartError):
        return Failure(
            code=error.code.name,
            reason=error.reason,
            message=_message(error, session),
            advice=_advice(error, session),
            is_remote=True,
        )
    message = _file_message(error) if isinstance(error, OSError) else str(error)
    return Failure(code="INVALID_ARGUMENT", reason="", message=message)


def _file_message(error: OSError) -> str:
    if error.filename is None or isinstance(error.filename, int):
        return str(error)
    folder = Path(os.fsdecode(error.filename)).parent
    # Other reasons are written by the client, with a remedy.
    if error.strerror == os.strerror(errno.ENOENT) and not folder.exists():
        return f"No such folder: {folder}"
    return f"{error.strerror}: {error.filename}"


def _message(error: HeadstartError, session: Session | None) -> str:
    match error:
        case JobFailed():
            return f"The job failed: {error.message}"
        case DeadlineExceeded() if session is not None:
            return f"No answer within {session.options.timeout:g} s. Raise --timeout."
    return error.message


def _advice(error: HeadstartError, session: Session | None) -> str:
    match error:
        case JobFailed() | JobCancelled():
            return _JOB_ADVICE.get(error.reason, "").format(fraction=_fraction_to_exclude(error))
        case Unauthenticated():
            return "Pass the token with --token or HEADSTART_TOKEN, or store it with headstart login."
        case NotFound() if session is not None and error.reason in _LISTS:
            model = shlex.quote(error.metadata.get("model", "MODEL"))
            return f"List them with: {session.command(_LISTS[error.reason].format(model=model))}"
    if error.retry_after is not None:
        return f"Try again in {error.retry_after.total_seconds():g} s."
    if isinstance(error, Unavailable) and not error.reason:
        return _reaching_a_server(error, session)
    news = [each for each in error.field_violations if each.description not in error.message]
    return "; ".join(f"{each.field}: {each.description}" for each in news[:3])


def _fraction_to_exclude(error: HeadstartError) -> float:
    count, total = (metadata_number(error, name) or 0 for name in ("unusable_examples", "examples"))
    return excludable_fraction(count, total)


def _reaching_a_server(error: Unavailable, session: Session | None) -> str:
    if has_remedy(error.message):
        return ""
    advice = (
        "Is the server running? Start it with `headstart-server serve`, or name another one with --server."
    )
    # gRPC reports only the last address of a name, so its message does not reveal this case.
    if session is None or not session.connection.tls:
        return f"{advice} A server with TLS needs --tls."
    if not session.connection.cert:
        return (
            f"{advice} A server that requires client certificates needs --cert and --key; one without TLS, "
            "a connection without --tls."
        )
    return advice
