"""The extras of the distribution: what each installs, and which modules import only with it."""

import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement

#: The extras that `make test-install` covers, in the order of its table, each as the docs install it: an
#: extra that adds a driver to the server is installed with `server`.
INSTALLED_AS = {
    "none": (),
    "cli": ("cli",),
    "sklearn": ("sklearn",),
    "serving": ("serving",),
    "server": ("server",),
    "http": ("server", "http"),
    "postgres": ("server", "postgres"),
    "s3": ("server", "s3"),
    "gcs": ("server", "gcs"),
    "oidc": ("server", "oidc"),
    "otel": ("server", "otel"),
    "export": ("export",),
    "kerashub": ("kerashub",),
    "quantize": ("quantize",),
    "torch": ("torch",),
    "demo": ("demo",),
}
#: Modules that import only with an extra. Those of the server need `serving` too. All other modules of the
#: client import without any extra.
OWNERS = {
    "headstart.cli": "cli",
    "headstart.sklearn": "sklearn",
    "headstart_server": "serving",
    "headstart_server.database.driver": "postgres",
    "headstart_server.datasets.uris.web": "http",
    "headstart_server.outbound.connection": "http",
    "headstart_server.webhooks.sender": "http",
    "headstart_server.api.http.request": "http",
    "headstart_server.api.http.forms": "http",
    "headstart_server.api.http.gateway": "http",
    "headstart_server.api.http.routed_call": "http",
    "headstart_server.api.http.inputs": "http",
    "headstart_server.api.http.setup": "http",
    "headstart_server.api.http.port": "http",
    "headstart_server.api.http.uploads": "http",
    "headstart_server.api.label_studio": "http",
    "headstart_server.observability.open_telemetry": "otel",
    "headstart_server.backbones.worker.quantization_samples": "quantize",
    "headstart_server.backbones.worker.quantize_command": "quantize",
    "headstart_server.evaluation.quantization": "quantize",
    "headstart_server.backbones.worker.onnx_export": "export",
}
#: Packages that only development installs, and that the server imports if the user chooses them.
CHOSEN_BY_THE_USER = {"jax"}


def needs(module: str) -> set[str]:
    """Return the extras that a module needs to be imported."""
    parts = module.split(".")
    places = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return {OWNERS[place] for place in places if place in OWNERS}


class Declared:
    """The requirements that a pyproject.toml declares.

    Args:
        pyproject: its path.
    """

    def __init__(self, pyproject: Path) -> None:
        content = tomllib.loads(pyproject.read_text())
        project = content["project"]
        #: Packages by modules, of packages that may not be installed.
        self.package_of = {
            module: package
            for package, module in content["tool"]
            .get("deptry", {})
            .get("package_module_name_map", {})
            .items()
        }
        self._name = project["name"]
        self._groups = {
            "none": [Requirement(each) for each in project["dependencies"]],
            **{
                extra: [Requirement(each) for each in requirements]
                for extra, requirements in project["optional-dependencies"].items()
            },
        }

    def extras(self, chosen: Iterable[str]) -> set[str]:
        """Return extras with the extras that they include, and `none`."""
        found, waiting = {"none"}, list(chosen)
        while waiting:
            extra = waiting.pop()
            found.add(extra)
            for each in self._groups[extra]:
                if each.name == self._name:
                    waiting += each.extras - found
        return found

    def packages(self, chosen: Iterable[str]) -> set[str]:
        """Return the names of the packages that extras declare, without those that the packages bring."""
        return {
            each.name.lower().replace("_", "-")
            for extra in self.extras(chosen)
            for each in self._groups[extra]
            if each.name != self._name
        }
