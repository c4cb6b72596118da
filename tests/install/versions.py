"""Writes the versions that the checks last passed with into a document, between two markers."""

import re
from collections.abc import Mapping
from pathlib import Path

#: Packages whose versions are documented.
VERSIONS = ("grpcio", "protobuf", "keras", "tensorflow", "openvino", "numpy", "pillow")
BEGIN, END = "<!-- versions: written by make test-newest -->", "<!-- end of versions -->"


def write_versions(document: Path, found: Mapping[str, Mapping[str, str]]) -> None:
    """Replace what is between the markers by a table.

    Args:
        document: Markdown file with both markers.
        found: by version of Python the versions of packages, by their name.

    Raises:
        ValueError: a marker is missing.
    """
    heads = ["Python", *VERSIONS]
    lines = [heads, ["---"] * len(heads)]
    lines += [[python, *(versions.get(name, "") for name in VERSIONS)] for python, versions in found.items()]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    text, pattern = document.read_text(), f"{re.escape(BEGIN)}.*?{re.escape(END)}"
    if not re.search(pattern, text, re.DOTALL):
        raise ValueError(f"{document} lacks the markers {BEGIN} and {END}. Add them where the table belongs.")
    document.write_text(re.sub(pattern, f"{BEGIN}\n{table}\n{END}", text, flags=re.DOTALL))
