"""A recording shows what commands wrote in a terminal, as SVG that needs no scripts."""

import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from illustrations.recording import COLORS, Recording

SVG = "{http://www.w3.org/2000/svg}"


def recording(folder: Path) -> Recording:
    return Recording({"PATH": os.environ["PATH"]}, str(folder))


def shown(frame: ElementTree.Element) -> list[tuple[str | None, str | None]]:
    return [(text.text, text.get("fill")) for text in frame.iter(f"{SVG}text")]


def test_frames_follow_each_other_and_the_last_one_shows_all_output_in_its_colors(tmp_path: Path) -> None:
    made = recording(tmp_path)
    code = r"import os; print('\x1b[1;31m<b>', os.get_terminal_size().columns, '\x1b[0mdone')"
    made.run("make it", [sys.executable, "-c", code])

    root = ElementTree.fromstring(made.svg("A & B"))

    frames = root.findall(f"{SVG}g")
    assert shown(frames[0]) == [("$", COLORS["green"])]
    assert ("make it", COLORS["default"]) in [
        (text.strip() if text else None, color) for text, color in shown(frames[-1])
    ]
    assert [("<b> 88 ", COLORS["red"]), ("done", COLORS["default"])] == shown(frames[-1])[-2:]
    times = [animate.get("keyTimes") for animate in root.iter(f"{SVG}animate")]
    assert len(times) == len(frames)
    assert all(time is not None and time.startswith("0;") for time in times)
    assert not list(root.iter(f"{SVG}script"))


def test_a_command_that_fails_ends_the_recording(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 3"):
        recording(tmp_path).run("fail", [sys.executable, "-c", "raise SystemExit(3)"])
