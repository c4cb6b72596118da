"""Reads objects in buckets of other parties; their faults are not outages of this server's storage."""

import math
from collections.abc import Mapping
from typing import Any

import structlog
from fsspec import AbstractFileSystem
from fsspec.exceptions import FSTimeoutError

from headstart_server.storage.address import BucketAddress, Scheme
from headstart_server.storage.bucket import CALL_SECONDS, LINE_BYTES, open_filesystem

log = structlog.get_logger(__name__)


class ObjectUnreadableError(Exception):
    """An object that is missing, unreadable or too large; the message names the cause."""


class ObjectTooLargeError(ObjectUnreadableError):
    """An object with more bytes than allowed."""


class BucketUnavailableError(Exception):
    """A bucket that does not respond."""


class ObjectReader:
    """Reads objects of all buckets of a kind, with the credentials in its library's environment.

    The library's error messages are logged only: they may contain endpoints and accounts.
    """

    def __init__(self, files: AbstractFileSystem) -> None:
        self._files = files

    def read(self, path: str, max_bytes: int) -> bytes:
        """Return the content of an object.

        Raise ObjectUnreadableError if the object is missing, unreadable or too large, and
        BucketUnavailableError if the bucket does not respond.
        """
        try:
            facts: Mapping[str, Any] = self._files.info(path, timeout=CALL_SECONDS)
            if facts.get("type", "file") != "file":
                raise ObjectUnreadableError("it is not an object")
            nbytes = int(facts["size"])
            if nbytes > max_bytes:
                raise ObjectTooLargeError(f"it has {nbytes} bytes, more than {max_bytes}")
            if not nbytes:
                return b""
            # By its size, because it may grow meanwhile.
            content = self._files.cat_file(
                path, start=0, end=nbytes, timeout=CALL_SECONDS + math.ceil(nbytes / LINE_BYTES)
            )
        except ObjectUnreadableError:
            raise
        except FileNotFoundError:
            raise ObjectUnreadableError("it is not there") from None
        except PermissionError:
            raise ObjectUnreadableError("this server may not read it") from None
        except FSTimeoutError as error:
            raise BucketUnavailableError from error
        except Exception as error:
            # The libraries have different errors.
            log.warning(
                "dataset_bucket_unavailable", bucket=path.partition("/")[0], error=type(error).__name__
            )
            raise BucketUnavailableError from error
        return bytes(content)


def open_objects(scheme: Scheme) -> ObjectReader:
    """Return a reader of all buckets of a kind. Raise ModuleNotFoundError if its library is not installed."""
    return ObjectReader(open_filesystem(BucketAddress(scheme=scheme, bucket="any")))
