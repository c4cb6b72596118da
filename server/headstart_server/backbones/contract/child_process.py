"""Child processes of a server: environment, start and exit."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import IO, Any


def own_stdout() -> IO[str]:
    """Return this process's stdout, and redirect later prints of libraries to stderr."""
    stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return stdout


#: Niceness of a process without a waiting caller: during serving, it gets about a tenth of a core.
NICE = 10

#: Environment variables that every child process receives; others may contain secrets of the server.
_INHERITED = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TEMP", "TMP", "LANG", "LANGUAGE", "TZ", "TERM", "CI"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"),
        *("PYTHONUNBUFFERED", "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONWARNINGS"),
        *("VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_ARENA_MAX"),
        *("XDG_CACHE_HOME", "KERAS_HOME", "KERAS_BACKEND", "KAGGLEHUB_CACHE", "TORCH_HOME"),
        *("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET", "HF_ENDPOINT"),
        *("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"),
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
    )
)
#: Prefixes of other received variables, for languages, threads and devices.
_INHERITED_PREFIXES = ("LC_", "OMP_", "MKL_", "KMP_", "GOMP_", "TF_", "XLA_", "CUDA_", "NVIDIA_", "ONEDNN_")


def start_child(
    arguments: Sequence[str],
    *,
    stdin: int,
    stdout: int | IO[bytes],
    stderr: int | IO[bytes],
    credentials: Collection[str] = (),
    **more: Any,
) -> "subprocess.Popen[Any]":
    """Start Python in a process without the server's secrets, except the variables in `credentials`.

    The process ends when its stdin ends; see `end_with_stdin`. Raise OSError if it cannot be started.
    """
    environment = child_environment(os.environ, credentials)
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, *arguments], stdin=stdin, stdout=stdout, stderr=stderr, env=environment, **more
    )


def child_environment(environment: Mapping[str, str], credentials: Collection[str] = ()) -> dict[str, str]:
    """Return the environment variables that a child process may have."""
    return {
        name: value
        for name, value in environment.items()
        if name in _INHERITED or name.startswith(_INHERITED_PREFIXES) or name in credentials
    }


def end_with_stdin() -> None:
    """Exit when stdin ends, because the parent no longer waits."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    # Not through `sys.stdin`, because a thread that waits in it delays the interpreter's exit.
    while os.read(0, 1):
        pass
    os._exit(1)


def death(code: int, log: str) -> str:
    """Describe a process that exited without a result, by its exit code and its stderr."""
    how = f"exit code {code}" if code else "exit code 0 and no result"
    if code < 0:
        how = f"signal {-code} ({signal.Signals(-code).name})"
        if -code == signal.SIGKILL:
            how += "; the system does this when memory runs out"
    last = next((line for line in reversed(log.splitlines()) if line.strip()), "")
    last_output = f" Its last output: {last[:300]}" if last else ""
    return f"{how}.{last_output}"
