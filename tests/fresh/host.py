"""What a container takes over from the host to reach the network: how pip and apt reach their servers.

Wheels and version limits of the host stay outside: a container gets what everyone gets from PyPI.
"""

import configparser
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Where an installation finds the certificates of the authorities that it trusts.
SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
#: The settings of pip that concern the network.
_PIP_KEYS = (
    "index-url", "extra-index-url", "trusted-host", "cert", "client-cert", "proxy", "timeout",
    "default-timeout", "retries",
)  # fmt: skip
#: Variables for programs that read neither pip's nor apt's settings.
_VARIABLES = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "no_proxy",
)  # fmt: skip


def network_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of the host that concern the network."""
    names = (*_VARIABLES, *(f"PIP_{key.upper().replace('-', '_')}" for key in _PIP_KEYS))
    return {name: variables[name] for name in names if name in variables}


def pip_files(variables: Mapping[str, str]) -> list[Path]:
    """Return the files of settings that pip reads, the strongest last."""
    home = Path(variables.get("HOME", "/root"))
    folders = variables.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)
    own = Path(variables.get("XDG_CONFIG_HOME", home / ".config"))
    files = [Path(folder) / "pip" / "pip.conf" for folder in reversed(folders)]
    files += [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", own / "pip" / "pip.conf"]
    if named := variables.get("PIP_CONFIG_FILE"):
        files.append(Path(named))
    return files


def pip_settings(files: Sequence[Path]) -> dict[str, str]:
    """Return the settings in these files that concern the network."""
    parser = configparser.RawConfigParser()
    parser.read(files)
    settings: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            settings |= {key: value for key, value in parser.items(section) if key in _PIP_KEYS}
    return settings


def certificate_files(values: Sequence[str]) -> list[Path]:
    """Return the files of certificates that settings name, and those of the system."""
    named = (Path(value) for value in values if value.startswith("/"))
    return [path for path in (SYSTEM_CERTIFICATES, *named) if path.is_file()]


def debian_mirror() -> str:
    """Return the mirror of Debian that the host uses; empty on other systems, for the one of debootstrap."""
    targets = _output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    found = re.search(r"^(https?://\S*/debian)/?$", targets, re.MULTILINE)
    return found[1] if found else ""


def apt_settings() -> str:
    """Return the host's settings of apt that concern the network."""
    lines = _output("apt-config", "dump", "Acquire").splitlines()
    return "".join(f"{line}\n" for line in lines if re.match(r"Acquire::(https?::|Check-)", line))


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout
    except OSError:
        return ""
