"""Bare Debian systems in folders, made with debootstrap and entered with chroot."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fresh import host

#: What README says that `make demo` and `make test` need. `ca-certificates` is for HTTPS.
PACKAGES = ("make", "python3", "python3-venv", "ca-certificates")
USER = "newcomer"
#: Runs a command in the root folder that is its first argument. All mounts end with its namespace.
ENTER = r"""
set -e
root=$1; shift
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
exec chroot "$root" "$@"
"""
NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")


@dataclass(frozen=True, slots=True)
class Debian:
    """A release of Debian.

    Attributes:
        suite: its name.
        number: its version.
        umask: of the account that runs the commands. It differs, so that both common ones are tested.
    """

    suite: str
    number: int
    umask: str


RELEASES = {each.suite: each for each in (Debian("bookworm", 12, "022"), Debian("trixie", 13, "077"))}


class Container:
    """A new system with an unprivileged account.

    Args:
        debian: its release.
        folder: where the system and the base archives of the releases are.
        mirror: the address of the Debian packages; empty for the one of debootstrap.

    Raises:
        subprocess.CalledProcessError: debootstrap failed.
    """

    def __init__(self, debian: Debian, folder: Path, mirror: str) -> None:
        self._debian = debian
        self._root = folder / debian.suite
        base = folder / f"{debian.suite}-base.tar.gz"
        self.close()
        if not base.exists():
            self._bootstrap(base, mirror)
        self._root.mkdir(parents=True)
        _run("tar", "-x", "-z", "-p", "--numeric-owner", "-f", str(base), "-C", str(self._root))
        self._connect()
        _run("chroot", str(self._root), "useradd", "--create-home", "--shell", "/bin/sh", USER)

    def python_version(self) -> str:
        """Return the version of its `python3`."""
        command = ("chroot", str(self._root), "python3", "--version")
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[1]

    def check_out(self, project: Path, *, account: str) -> None:
        """Put the committed files of a project into the home of an account."""
        checkout = self._root / self._home(account).lstrip("/") / "headstart"
        checkout.mkdir(exist_ok=True)
        git = ("git", "-c", "safe.directory=*", "-C", str(project), "archive", "HEAD")
        with subprocess.Popen(git, stdout=subprocess.PIPE) as archive:
            unpack = ("tar", "-x", "--no-same-owner", "-C", str(checkout))
            subprocess.run(unpack, stdin=archive.stdout, check=True)
        if archive.returncode != 0:
            raise subprocess.CalledProcessError(archive.returncode, git)
        owner = f"{account}:{account}"
        _run("chroot", str(self._root), "chown", "-R", owner, f"{self._home(account)}/headstart")

    def run(self, *command: str, account: str, log: Path, seconds: float) -> int:
        """Run a command in the checkout of an account; return its exit code, and 124 after a time limit."""
        variables = host.network_variables(os.environ) | {
            "HOME": self._home(account),
            "USER": account,
            "LOGNAME": account,
            "PATH": "/usr/local/bin:/usr/bin:/bin" + (":/usr/sbin:/sbin" if account == "root" else ""),
        }
        become = ("setpriv", "--reuid", account, "--regid", account, "--init-groups")
        assignments = (f"{name}={value}" for name, value in variables.items())
        script = f'umask {self._debian.umask} && cd "$HOME/headstart" && exec "$@"'
        entered = (*NAMESPACES, "sh", "-c", ENTER, "sh", str(self._root), *become, "env", "-i", *assignments)
        with log.open("wb") as output:
            process = subprocess.Popen(
                (*entered, "sh", "-c", script, "sh", *command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                return process.wait(seconds)
            except subprocess.TimeoutExpired:
                return 124
            finally:
                process.kill()
                process.wait()

    def close(self) -> None:
        """Remove the system."""
        if self._root.exists():
            shutil.rmtree(self._root)

    def _bootstrap(self, base: Path, mirror: str) -> None:
        print(f"Making a base of Debian {self._debian.number}", flush=True)
        self._root.mkdir(parents=True)
        include = f"--include={','.join(PACKAGES)}"
        log = base.with_name(f"{self._debian.suite}-debootstrap.log")
        with log.open("wb") as output:
            _run(
                "debootstrap", "--variant=minbase", include, self._debian.suite, str(self._root),
                *([mirror] if mirror else []), output=output,
            )  # fmt: skip
        # Only a complete archive gets its name.
        part = base.with_suffix(".part")
        _run("tar", "-c", "-z", "--numeric-owner", "-f", str(part), "-C", str(self._root), ".")
        part.rename(base)
        self.close()

    def _connect(self) -> None:
        """Take over from the host how the network is reached."""
        settings = host.pip_settings(host.pip_files(os.environ))
        lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
        (self._root / "etc/pip.conf").write_text(f"[global]\n{lines}")
        (self._root / "etc/apt/apt.conf.d/90host").write_text(host.apt_settings())
        named = [*settings.values(), *host.network_variables(os.environ).values()]
        for path in (Path("/etc/resolv.conf"), Path("/etc/hosts"), *host.certificate_files(named)):
            copy = self._root / str(path).lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            shutil.copyfile(path, copy)
            copy.chmod(0o644)

    def _home(self, account: str) -> str:
        return "/root" if account == "root" else f"/home/{account}"


def _run(*command: str, output: object = None) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # type: ignore[call-overload]
