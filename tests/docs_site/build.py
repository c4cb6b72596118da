"""Builds the documentation site into build/site and checks it: `make docs`."""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from docs_site import grpc_pages, llms
from docs_site.checks import faults
from docs_site.staging import DOCS, ROOT, StagingError, stage

#: Where the settings have what this machine and the contract add.
_PLACE_OF_GRPC_PAGES = '["GRPC PAGES"]'
_PLACE_OF_CLIENT = "../../client"
#: What a terminal reads as colors.
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


def main() -> None:
    """Build and check the site."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="the site goes to FOLDER/site")
    folder = parser.parse_args().folder.resolve()
    try:
        site = build(folder)
    except StagingError as error:
        sys.exit(str(error))
    if found := faults(site):
        sys.exit("\n".join([*found, f"{len(found)} faults in {site}."]))
    pages = sum(1 for _ in site.rglob("*.html"))
    print(f"{pages} pages. Open them with: python -m http.server --directory {site}")


def build(folder: Path) -> Path:
    """Write the pages, run Zensical on them, add the pages as Markdown, and return the site's folder."""
    sources, site = folder / "docs", folder / "site"
    shutil.rmtree(sources, ignore_errors=True)
    shutil.rmtree(site, ignore_errors=True)
    pages = sources / "docs"
    stage(pages)
    for name, text in grpc_pages.pages().items():
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        (pages / name).write_text(text, encoding="utf-8")
    (sources / "zensical.toml").write_text(settings(), encoding="utf-8")
    done = subprocess.run(
        [Path(sys.executable).with_name("zensical"), "build", "--strict", "--clean"],
        cwd=sources,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    if done.returncode:
        lines = _COLORS.sub("", done.stdout or done.stderr).splitlines()
        sys.exit("\n".join(["Zensical could not build the site:", *lines]))
    (sources / "site").rename(site)
    llms.write(pages, site)
    return site


def settings() -> str:
    """Return the settings of Zensical with the pages of the contract in the navigation."""
    text = (DOCS / "zensical.toml").read_text(encoding="utf-8")
    entries = ", ".join(f'{{ "{title}" = "{name}" }}' for title, name in grpc_pages.navigation())
    return text.replace(_PLACE_OF_GRPC_PAGES, f"[{entries}]").replace(_PLACE_OF_CLIENT, f"{ROOT}/client")


if __name__ == "__main__":
    main()
