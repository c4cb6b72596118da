"""Checks the bucket of artifacts with an object that is written, listed, read and removed."""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

from headstart_server.database.probe import examine
from headstart_server.doctor.finding import Finding, Status, failed, ok, skipped
from headstart_server.errors import HeadstartError
from headstart_server.settings.settings import Settings
from headstart_server.storage.address import BucketAddress, artifacts_address
from headstart_server.storage.bucket import Bucket, open_bucket
from headstart_server.storage.ownership import (
    BucketMarker,
    FileMarker,
    OwnershipMarker,
    foreign_artifacts,
    foreign_remedy,
)

_CONTENT = b"headstart-server doctor"
#: Matches the libraries' errors about credentials. Codes must be whole words, because ports contain them.
_CREDENTIALS = re.compile(
    r"credential|invalidaccesskeyid|access key|signature|token|access ?denied|forbidden|permission|"
    r"\b40[13]\b",
    re.IGNORECASE,
)


def check_artifacts(config: Settings) -> Iterator[Finding]:
    """Check the bucket, if one is configured, and whether the artifacts belong to the database."""
    try:
        address = (
            artifacts_address(config.storage.artifacts) if config.storage.artifacts is not None else None
        )
    except ValueError as error:
        yield failed("bucket", str(error), "Correct --artifacts (HEADSTART_ARTIFACTS).")
        return
    if not isinstance(address, BucketAddress):
        yield skipped("bucket", "Examples and versions are stored in a folder.")
        yield from _owner(config, FileMarker(config.storage.data_dir if address is None else address))
        return
    try:
        bucket = open_bucket(address)
    except ModuleNotFoundError as error:
        message, _, command = str(error).partition(": ")
        yield failed("bucket", f"{message}.", command.rstrip(".") or message)
        return
    found = _probed(bucket, address)
    yield found
    if found.status is Status.OK:
        yield from _owner(config, BucketMarker(bucket, address.root))


def _owner(config: Settings, marker: OwnershipMarker) -> Iterator[Finding]:
    """Yield a failure if the artifacts belong to another database, because a server would not start."""
    try:
        identity = _identity(config)
        found = foreign_artifacts(marker, identity)
    except (OSError, ValueError, RuntimeError, HeadstartError, ModuleNotFoundError):
        # Other checks report unreachable services.
        return
    if found is not None:
        yield failed(
            "artifacts", f"They may belong to another database: {found}.", foreign_remedy(marker, identity)
        )


def _identity(config: Settings) -> str | None:
    """Return the identity of the database; None if it has none yet."""
    try:
        return examine(config.storage.database_target).identity
    except FileNotFoundError:
        return None


def _probed(bucket: Bucket, address: BucketAddress) -> Finding:
    folder = f"{address.root}/.doctor-{uuid.uuid4().hex}"
    path = f"{folder}/probe"
    steps: list[tuple[str, Callable[[], object]]] = [
        ("reach it", lambda: bucket.check(address.root)),
        ("write to it", lambda: bucket.write(path, _CONTENT)),
        ("list it", lambda: _expect(path in bucket.list(folder), "the new object is not in the list")),
        ("read from it", lambda: _expect(bucket.read(path) == _CONTENT, "the object has another content")),
        ("remove from it", lambda: bucket.remove([path])),
    ]
    name = f"{address.protocol}://{address.root}"
    details = {"address": name}
    for number, (step, run) in enumerate(steps):
        try:
            run()
        except (OSError, HeadstartError) as error:
            if number > 1:
                with suppress(OSError, HeadstartError):
                    bucket.remove([path])
            cause = _cause(error)
            return failed("bucket", f"{name}: cannot {step}: {cause}.", _remedy(cause), step=step, **details)
    return ok("bucket", f"{name}: write, list, read and remove succeeded", **details)


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise OSError(f"{message}, so this is not a bucket with consistent reads")


def _cause(error: BaseException) -> str:
    """Return the message of the library's own error, which the server's error hides from callers."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error) or type(error).__name__).rstrip(".")[:200]


def _remedy(cause: str) -> str:
    words = cause.lower()
    if _CREDENTIALS.search(cause):
        return (
            "Check the credentials that the library finds (AWS_ACCESS_KEY_ID, AWS_PROFILE, a role; "
            "GOOGLE_APPLICATION_CREDENTIALS), and their rights on the bucket. See docs/operate/replicas.md."
        )
    if "no bucket" in words or "nosuchbucket" in words or "does not exist" in words:
        return "Create the bucket, or correct its name in --artifacts."
    return "Check the endpoint (AWS_ENDPOINT_URL), the network and the name of the bucket in --artifacts."
