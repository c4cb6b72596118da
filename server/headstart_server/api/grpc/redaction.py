"""Removes the server's own places from texts for callers: its folders, bucket and database host.

Messages are written without them. This is the last check of every error, for words of libraries that name a
file or an address; the server's log has the whole text.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from headstart_server.settings.settings import SETTINGS, Settings

#: What callers read instead.
FILE, STORAGE, DATABASE = "[a file of the server]", "[artifact storage]", "[database]"
#: Shortest name of a host without a dot that is removed; shorter ones are everyday words, such as `db`.
_LEAST_NAME = 8
#: The end of a place: a longer name is another place.
_END = r"(?![\w-]|\.\w)"
#: What may follow a place in the same word; it is removed too.
_REST = r"(?:/[^\s'\",;)\]>]*)?"


class LocationRedactor:
    """Knows the places of this process and removes them from texts."""

    def __init__(self) -> None:
        self._patterns: dict[str, str] = {}
        self._compiled: re.Pattern[str] | None = None
        self._words: list[str] = []

    def add(self, config: Settings, hosts: Iterable[str] = ()) -> None:
        """Add the places that a configuration names."""
        found = [value for name in SETTINGS if isinstance(value := config[name], Path)]
        folders = {Path(sys.prefix), Path.home(), *found}
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
        # A longer place first: it may lie in a shorter one.
        ordered = sorted(self._patterns, key=len, reverse=True)
        self._compiled = re.compile("|".join(f"({pattern})" for pattern in ordered))
        self._words = [self._patterns[pattern] for pattern in ordered]

    def redact(self, text: str) -> str:
        """Return a text without the places."""
        if self._compiled is None:
            return text
        return self._compiled.sub(lambda match: self._words[(match.lastindex or 1) - 1], text)


#: The places of this process.
LOCATIONS = LocationRedactor()
