"""How the command ends: exit codes, and errors in a line or two that a person can act on."""

from enum import IntEnum

from headstart.errors import HeadstartError, JobCancelled, JobFailed, NotFound, Unavailable

__all__ = ["ExitCode", "exit_code", "explain"]


class ExitCode(IntEnum):
    """What the command's exit code means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    NOT_FOUND = 4
    INTERRUPTED = 130


def exit_code(error: Exception) -> ExitCode:
    """The code that an error ends the command with. What is wrong on this side of the network is usage."""
    match error:
        case Unavailable():
            return ExitCode.UNAVAILABLE
        case NotFound():
            return ExitCode.NOT_FOUND
        case HeadstartError() | TimeoutError():
            return ExitCode.FAILED
    return ExitCode.USAGE


def explain(error: Exception) -> list[str]:
    """The lines to show: what happened, and what to do where that is known."""
    if isinstance(error, OSError) and error.filename is not None:
        return [f"{error.strerror}: {error.filename}"]
    if not isinstance(error, HeadstartError):
        return [str(error)]
    prefix = "The job failed: " if isinstance(error, JobFailed) else ""
    advice = _advice(error)
    return [f"{prefix}{error}", *([advice] if advice else [])]


def _advice(error: HeadstartError) -> str:
    if isinstance(error, JobFailed | JobCancelled):
        return ""
    if error.retry_after is not None:
        return f"Try again in {error.retry_after.total_seconds():g} s."
    if isinstance(error, Unavailable) and not error.reason:
        return "Is the server running? Start it with `headstart-server`, or name another one with --server."
    news = [each for each in error.field_violations if each.description not in error.message]
    return "; ".join(f"{each.field}: {each.description}" for each in news[:3])
