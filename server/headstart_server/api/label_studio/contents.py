"""The contents of Label Studio's tasks: texts, files of the instance, and files at allowed URIs."""

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from headstart.v1 import input_pb2
from headstart_server.api.grpc.requests.limits import MAX_TEXT
from headstart_server.api.http.long_strings import LongString
from headstart_server.api.label_studio.labeling import Labeling
from headstart_server.api.label_studio.site import LabelStudioSite
from headstart_server.datasets.uris.location import SourceUnavailableError, TooLargeError, UnreadableError
from headstart_server.datasets.uris.reader import DatasetReader
from headstart_server.errors import DataUnavailable, DataUnreadable, InputTooLarge, InvalidField
from headstart_server.settings.secret import Secret
from headstart_server.settings.settings import Settings

#: Maximum files that are read concurrently for all calls.
THREADS = 8
_DATA_URI_START = 64
_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)


def task_contents(config: Settings, reader: DatasetReader | None) -> "TaskContents":
    """Return the reader of tasks' contents.

    Args:
        reader: reads files at allowed URIs; None if none is allowed.

    Raises:
        ValueError: the URL of Label Studio is invalid.
    """
    server = config.server
    site = None
    if server.label_studio_url is not None:
        site = LabelStudioSite(server.label_studio_url, Secret.of(server.label_studio_token))
    return TaskContents(site, reader, config.limits.max_input_size)


class TaskContents:
    """Read the contents of tasks.

    Args:
        site: the Label Studio instance; None if none may be read.
        reader: reads files at allowed URIs; None if none is allowed.
    """

    def __init__(self, site: LabelStudioSite | None, reader: DatasetReader | None, max_bytes: int) -> None:
        self._site = site
        self._reader = reader
        self._max_bytes = max_bytes
        self._threads = ThreadPoolExecutor(THREADS, "label-studio")

    async def input_of(self, labeling: Labeling, data: Any, tenant: str) -> input_pb2.Input:
        """Return the input of a task's data on behalf of a tenant; empty for none.

        Raise DataUnreadable, InputTooLarge or DataUnavailable if the content cannot be read.
        """
        value = data.get(labeling.key) if isinstance(data, Mapping) else None
        if not isinstance(value, str | LongString if labeling.is_url else str):
            raise InvalidField(
                f"Expected a string of at most {MAX_TEXT} characters in data.{labeling.key} of the task.",
                field="tasks",
            )
        if not labeling.is_url:
            return _text(value)
        content = await asyncio.get_running_loop().run_in_executor(self._threads, self._read, value, tenant)
        if labeling.is_image:
            return input_pb2.Input(image=content)
        try:
            return _text(content.decode())
        except UnicodeDecodeError:
            raise InvalidField(f"Expected UTF-8 at {value[:200]!r}.", field="tasks") from None

    def _read(self, value: str | LongString, tenant: str) -> bytes:
        if isinstance(value, LongString):
            return self._long(value)
        if match := _DATA_URI.match(value):
            return self._decoded(value[match.end() :])
        if value.startswith("/") and not value.startswith("//"):
            if self._site is None:
                raise InvalidField(
                    f"The task has a file of Label Studio, {value[:200]!r}, which requires "
                    "--label-studio-url. Ask the operator to set it.",
                    field="tasks",
                )
            return self._from_site(self._site, self._site.url_of(value))
        if self._site is not None and self._site.contains(value):
            return self._from_site(self._site, value)
        if self._reader is None:
            raise InvalidField(
                "Expected a URL within --label-studio-url or --allow-dataset-uri. "
                f"Received: {value[:200]!r}.",
                field="tasks",
            )
        return self._reader.content(value, tenant)

    def _decoded(self, text: str) -> bytes:
        self._check_size(len(text))
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise _no_base64() from None

    def _long(self, string: LongString) -> bytes:
        """Return the content of a data URI of many characters."""
        match = _DATA_URI.match(string.content[:_DATA_URI_START].decode("latin-1"))
        if match is None:
            raise InvalidField(
                f"Expected a URL of at most {MAX_TEXT} characters, or a data URI of an image, in the task.",
                field="tasks",
            )
        self._check_size(len(string.content) - match.end())
        try:
            return string.decoded(match.end())
        except ValueError:
            raise _no_base64() from None

    def _check_size(self, characters: int) -> None:
        if characters * 3 // 4 > self._max_bytes:
            raise InputTooLarge(
                f"The content of the task is too large. Use at most {self._max_bytes} bytes.", field="tasks"
            )

    def _from_site(self, site: LabelStudioSite, url: str) -> bytes:
        try:
            return site.read(url, self._max_bytes)
        except TooLargeError as error:
            raise InputTooLarge(f"{url[:200]} is too large: {error}.", field="tasks") from None
        except UnreadableError as error:
            raise DataUnreadable(
                f"{url[:200]} cannot be read: {error}. Check --label-studio-token, and that Label Studio "
                "sends files of cloud storage itself instead of pre-signed URLs.",
                field="tasks",
            ) from None
        except SourceUnavailableError:
            raise DataUnavailable(url[:200]) from None
        except ValueError as error:
            raise InvalidField(f"Expected a URL of Label Studio. Received: {error}", field="tasks") from None


def _text(text: str) -> input_pb2.Input:
    if "\0" in text:
        raise InvalidField("The text of the task has a NUL character. Remove it.", field="tasks")
    return input_pb2.Input(text=text)


def _no_base64() -> InvalidField:
    return InvalidField("The data URI of the task is not valid base64. Encode its content.", field="tasks")
