"""Remove the server's locations (folders, bucket, database host) from texts for callers.

Headstart's messages do not contain them. This is the last check of every error, because messages of libraries
may name a file or an address. The server's log has the whole text.
"""

import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from headstart_server.settings.settings import SETTINGS, Settings

#: The replacement of a location.
FILE, STORAGE, DATABASE = "[a file of the server]", "[artifact storage]", "[database]"
#: Minimum length of a host name without a dot that is removed: shorter ones, such as `db`, are common words.
_LEAST_NAME = 8
#: The end of a location: a longer name is another location.
_END = r"(?![\w-]|\.\w)"
#: The rest of a word after a location, which is removed, too.
_REST = r"(?:/[^\s'\",;)\]>]*)?"


class LocationRedactor:
    """Remove the locations of this process from texts."""

    def __init__(self) -> None:
        self._patterns: dict[str, str] = {}
        self._compiled: re.Pattern[str] | None = None
        self._words: list[str] = []

    def add(self, config: Settings, hosts: Iterable[str] = ()) -> None:
        """Add the locations that a configuration names."""
        found = [value for name in SETTINGS if isinstance(value := config[name], Path)]
        folders = {Path(sys.prefix), *found}
        with suppress(RuntimeError):
            # A user without an entry in the password file may have none.
            folders.add(Path.home())
        if config.storage.artifacts and "://" in config.storage.artifacts:
            bucket = "/".join(config.storage.artifacts.split("/")[:3])
            self._patterns[rf"{re.escape(bucket)}{_END}{_REST}"] = STORAGE
        elif config.storage.artifacts:
            folders.add(Path(config.storage.artifacts))
        for folder in {str(form) for each in folders for form in (each, each.absolute(), each.resolve())}:
            if len(folder.strip("./")) > 0:
                self._patterns[rf"(?<![\w/.-]){re.escape(folder)}{_END}{_REST}"] = FILE
        for host in hosts:
            if host.startswith("/") or "." in host or ":" in host or len(host) >= _LEAST_NAME:
                self._patterns[rf"(?<![\w.-]){re.escape(host)}{_END}(?::\d+)?"] = DATABASE
        # Longer locations first, because they may be inside shorter ones.
        ordered = sorted(self._patterns, key=len, reverse=True)
        self._compiled = re.compile("|".join(f"({pattern})" for pattern in ordered))
        self._words = [self._patterns[pattern] for pattern in ordered]

    def redact(self, text: str) -> str:
        """Return a text without the locations."""
        if self._compiled is None:
            return text
        return self._compiled.sub(lambda match: self._words[(match.lastindex or 1) - 1], text)


#: The locations of this process.
LOCATIONS = LocationRedactor()
