"""The settings that a container takes over from its host, and the results that are read from a log."""

from pathlib import Path

from fresh.host import certificate_files, network_variables, pip_files, pip_settings
from fresh.run import read_summary


def test_pip_reaches_its_index_as_on_the_host_and_gets_no_wheels_of_the_host(tmp_path: Path):
    certificates = tmp_path / "authorities.pem"
    certificates.touch()
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "pip.conf").write_text(
        "[global]\nfind-links = /wheels\nindex-url = https://one\n[install]\nconstraint = /limits.txt\n"
    )
    last = tmp_path / "last.conf"
    last.write_text(f"[global]\nindex-url = https://two\ncert = {certificates}\n")
    home = tmp_path / "home"
    variables = {
        "XDG_CONFIG_DIRS": str(tmp_path),
        "HOME": str(home),
        "PIP_CONFIG_FILE": str(last),
        "PIP_FIND_LINKS": "/wheels",
        "PIP_INDEX_URL": "https://three",
        "https_proxy": "http://proxy:3128",
    }

    files = pip_files(variables)
    settings = pip_settings([path for path in files if path != Path("/etc/pip.conf")])

    assert files[0] == tmp_path / "pip" / "pip.conf"
    assert home / ".config" / "pip" / "pip.conf" in files
    assert settings == {"index-url": "https://two", "cert": str(certificates)}
    assert certificates in certificate_files(list(settings.values()))
    assert network_variables(variables) == {
        "PIP_INDEX_URL": "https://three",
        "https_proxy": "http://proxy:3128",
    }


def test_the_summary_is_the_count_of_tests_and_what_was_not_tested():
    log = (
        "Not installed: Chromium. The tests that need them are skipped. E: no network\n"
        "SKIPPED [2] tests/a.py:3: Prometheus is missing.\n"
        "\x1b[32m===== \x1b[1m5 passed\x1b[0m, \x1b[33m2 skipped\x1b[0m in 3.10s =====\x1b[0m\n"
        "Not tested: Prometheus (2 tests). To enable them: apt-get install prometheus\n"
    )

    assert read_summary(log) == [
        "5 passed, 2 skipped in 3.10s",
        "Not installed: Chromium. The tests that need them are skipped. E: no network",
        "Not tested: Prometheus (2 tests). To enable them: apt-get install prometheus",
    ]
    assert read_summary("===== 1 failed, 3 passed in 700.02s (0:11:40) =====\n") == [
        "1 failed, 3 passed in 700.02s (0:11:40)"
    ]
