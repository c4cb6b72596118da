"""Checks the folders that a server writes to: rights, file system, free space, and their users."""

import errno
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headstart_server.backbones.contract.runtimes import default_cache
from headstart_server.database.address import sqlite_file
from headstart_server.doctor.finding import Detail, Finding, failed, ok, warning
from headstart_server.export.cache import MAX_BYTES as EXPORT_BYTES
from headstart_server.settings.settings import Settings
from headstart_server.storage.address import artifacts_address


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds a lock."""

    pid: int | None  # its process ID; None if it is in another container


def holder_of(lock: Path) -> Holder | None:
    """Return the server that holds a lock file, which must be readable; None if the lock is free.

    A free lock is taken for some microseconds, shared and without waiting. A server that starts at exactly
    that moment would fail to start.
    """
    try:
        file = os.open(lock, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Holder(_pid(os.fstat(file).st_ino))
    finally:
        os.close(file)
    return None


def _pid(inode: int) -> int | None:
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        # The device is not compared, because file systems on several devices report different ones.
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].endswith(f":{inode}"):
            return int(fields[4])
    return None


_MIB = 1 << 20
#: Network file systems, on which SQLite's locks do not work.
_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|9p|afs|ceph|glusterfs|lustre|beegfs|fuse\.(?!fuse-overlayfs).+"
)
#: File systems that do not survive a restart.
_MEMORY = ("tmpfs", "ramfs")
#: Below this much space or this many inodes a disk counts as full.
_FULL_MIB, _FEW_INODES = 64, 10_000
#: MiB of a converted backbone.
_BACKBONE_MIB = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class _Folder:
    """A folder that a server writes to."""

    name: str
    setting: str
    path: Path
    need_mib: int  # MiB that may still be written to it
    is_local: bool = False  # whether it needs a local file system
    is_kept: bool = True  # whether its content has to outlive a restart of the machine or container

    @property
    def or_other(self) -> str:
        return f"or choose another folder with {self.setting}"


def check_disk(config: Settings) -> Iterator[Finding]:
    """Check the data folder, its lock, and all other folders that a server writes to."""
    for folder in _folders(config):
        yield _checked(folder)
    yield from _foreign_files(config)
    yield from _lock(config)


def _folders(config: Settings) -> Iterator[_Folder]:
    data, storage = config.storage.data_dir, config.storage
    needs_all = (storage.feature_cache_disk or 0) + (storage.thumbnail_storage or 0) + EXPORT_BYTES
    needs_all += config.limits.max_activation_size * config.jobs.job_workers
    artifacts = artifacts_address(config.storage.artifacts) if config.storage.artifacts is not None else data
    kept = (storage.example_storage or 0) + config.limits.max_dataset_size
    if not isinstance(artifacts, Path):
        needs_all += (storage.artifact_cache or 0) + config.limits.max_dataset_size
    elif artifacts == data:
        needs_all += kept
    yield _Folder(
        name="data folder",
        setting="--data-dir",
        path=data,
        need_mib=max(0, needs_all // _MIB - _used_mib(data)),
        is_local=True,
    )
    if isinstance(artifacts, Path) and artifacts != data:
        yield _Folder(
            name="artifacts folder",
            setting="--artifacts",
            path=artifacts,
            need_mib=max(0, kept // _MIB - _used_mib(artifacts)),
        )
    yield _Folder(
        name="backbone cache",
        setting="--backbone-cache",
        path=config.backbones.backbone_cache or default_cache(),
        need_mib=_BACKBONE_MIB,
        is_kept=False,
    )
    if config.auth.audit_file is not None:
        yield _Folder(
            name="audit log", setting="--audit-log", path=config.auth.audit_file.parent, need_mib=_FULL_MIB
        )
    file = _sqlite_file(config)
    if file is not None:
        yield _Folder(
            name="database folder", setting="--database", path=file.parent, need_mib=_FULL_MIB, is_local=True
        )


def _used_mib(folder: Path) -> int:
    """Return the MiB of the files that already count against the limits."""
    used = 0
    exports = (folder / "exports").rglob("*")
    archives = (*_entries(folder / "datasets"), *_entries(folder / "copies"))
    for path in (folder / "features.sqlite3", *archives, *exports):
        try:
            used += path.stat().st_size
        except OSError:
            continue
    return used // _MIB


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _checked(folder: _Folder) -> Finding:
    path = folder.path
    try:
        base = nearest(path)
        _try_to_write(base)
    except OSError as error:
        return failed(folder.name, f"{path}: {_reason(error)}.", _remedy(error, folder), path=str(path))
    status = os.statvfs(base)
    kind, free = file_system(base), status.f_bavail * status.f_frsize // _MIB
    # Some file systems have no fixed number of inodes.
    inodes = status.f_favail if status.f_files else None
    place = str(path) if path.exists() else f"{path} (will be created)"
    summary = f"{place}: {kind}, {_size(free)} free"
    details: dict[str, Detail] = {
        "path": str(path),
        "file_system": kind,
        "free_mib": free,
        "needed_mib": folder.need_mib,
        "free_inodes": inodes,
    }
    if free < _FULL_MIB:
        return failed(
            folder.name, f"{summary}: the disk is full.", f"Free space, {folder.or_other}.", **details
        )
    problem = _weakness(folder, kind, free, inodes)
    if problem is None:
        return ok(folder.name, summary, **details)
    return warning(folder.name, f"{summary}; {problem[0]}.", f"{problem[1]}, {folder.or_other}.", **details)


def _weakness(folder: _Folder, kind: str, free: int, inodes: int | None) -> tuple[str, str] | None:
    """Return a risk of a writable folder and its remedy; None if there is no risk."""
    if inodes is not None and inodes < _FEW_INODES:
        return f"only {inodes:,} inodes are free", "Remove small files"
    if folder.is_local and _NETWORK.fullmatch(kind):
        return "the locks of SQLite do not hold on a network file system", "Use a local disk"
    if folder.is_kept and kind in _MEMORY:
        return "its content is lost with a restart", "Mount a volume there"
    if folder.is_kept and kind == "overlay":
        return "its content is lost with the container", "Mount a volume there"
    if free < folder.need_mib:
        return (
            f"the limits allow {_size(folder.need_mib)} more",
            "Provide more space, lower limits such as --example-storage and --feature-cache-disk",
        )
    return None


def nearest(path: Path) -> Path:
    """Return a folder or the nearest existing one above it; raise OSError if a part is not a folder."""
    path = Path(os.path.abspath(path))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise FileNotFoundError(errno.ENOENT, "is a link to a missing folder") from None
        return nearest(path.parent)
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return path


def _try_to_write(folder: Path) -> None:
    """Write, sync and lock a file without a name in a folder. Raise OSError if one of these is impossible."""
    with tempfile.TemporaryFile(dir=folder, prefix=".headstart-doctor-") as file:
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _remedy(error: OSError, folder: _Folder) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        first = f"Give the user ID {os.geteuid()} the right to write there (chown or chmod)"
    elif error.errno == errno.EROFS:
        first = "Mount a writable volume there"
    elif error.errno in (errno.ENOSPC, errno.EDQUOT):
        first = "Free space"
    else:
        first = f"Make {folder.path} a folder on a file system with locks and fsync"
    return f"{first}, {folder.or_other}."


def file_system(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the type of the file system that a path is on, such as ext4."""
    real = os.path.realpath(path)
    best, found = "", "unknown"
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return found
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields.split()[4])
        # A later mount on the same point hides the earlier one.
        if len(point) >= len(best) and (real == point or real.startswith(f"{point.rstrip('/')}/")):
            best, found = point, rest.split()[0]
    return found


def _size(mib: int) -> str:
    return f"{mib / 1024:,.1f} GiB" if mib >= 1024 else f"{mib:,} MiB"


def _foreign_files(config: Settings) -> Iterator[Finding]:
    """Yield a failure if files of an earlier server, which may belong to another user, are not writable."""
    names = ("headstart.sqlite3", "features.sqlite3", "lock", "versions", "datasets", "scratch", "exports")
    files = [config.storage.data_dir / name for name in names]
    files += [config.auth.audit_file] if config.auth.audit_file is not None else []
    files += [file] if (file := _sqlite_file(config)) is not None else []
    locked = [str(file) for file in files if os.path.lexists(file) and not os.access(file, os.W_OK)]
    if locked:
        user = os.geteuid()
        yield failed(
            "data files",
            f"The user ID {user} may not write {', '.join(locked)}.",
            f"Run the server as the owner of these files, or: chown -R {user} {config.storage.data_dir}",
            files=locked,
        )


def _sqlite_file(config: Settings) -> Path | None:
    """Return the SQLite file in the settings; None without a valid one."""
    try:
        return sqlite_file(config.storage.database_url) if config.storage.database_url else None
    except ValueError:
        return None


def _lock(config: Settings) -> Iterator[Finding]:
    lock = config.storage.data_dir / "lock"
    try:
        holder = holder_of(lock)
    except OSError as error:
        # Another finding reports a data folder that is not a folder.
        if config.storage.data_dir.is_dir():
            yield failed("data lock", f"{lock}: {_reason(error)}.", f"Make {lock} readable.")
        return
    if holder is None:
        yield ok("data lock", "No server uses the data folder.", running=False)
        return
    process = f"process {holder.pid}" if holder.pid else "in another container"
    yield warning(
        "data lock",
        f"A running headstart-server uses the data folder ({process}).",
        "Do nothing if you are checking that server. Otherwise stop it, or choose another --data-dir.",
        running=True,
        pid=holder.pid,
    )
