"""The documentation site builds, and is complete without other origins."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", name="site")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the site, built as `make docs` does, without a fault."""
    folder = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "docs_site.build", "--folder", folder],
        cwd=ROOT,
        env={"PYTHONPATH": "tests", "PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_each_page_has_its_markdown_next_to_it(site: Path) -> None:
    pages = [page.parent for page in site.rglob("index.html") if page.parent != site]
    missing = [
        page.relative_to(site)
        for page in pages
        if not page.with_suffix(".md").exists()
        and not (page / "index.md").exists()
        and not (page / "README.md").exists()
    ]
    assert missing == []


def test_llms_txt_lists_pages_that_exist(site: Path) -> None:
    lines = (site / "llms.txt").read_text().splitlines()
    listed = [line.rpartition("](")[2].rstrip(")") for line in lines if line.startswith("- [")]
    assert len(listed) > 40
    assert [name for name in listed if not (site / name).is_file()] == []


def test_the_pages_of_the_contract_have_methods_fields_and_limits(site: Path) -> None:
    page = (site / "reference/grpc/prediction_service.md").read_text()
    assert "## Predict\n" in page
    assert "POST /v1/models/{model}:predict" in page
    assert "| `top_k` | int32 |" in page
    assert "<br>Limit: 1 or more." in page


def test_the_python_reference_has_the_methods_of_the_client(site: Path) -> None:
    page = (site / "reference/python/index.html").read_text()
    for method in ("predict", "fine_tune", "evaluate", "report"):
        assert f'id="headstart.Client.{method}"' in page
    assert "Args:" in (site / "reference/python.md").read_text()
