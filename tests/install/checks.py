"""What the README and the docs promise for each extra, checked in an environment that has it."""

import io
import json
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from install import drivers
from install.cases import (
    MODEL,
    Case,
    Times,
    expect,
    expect_labels,
    fine_tune,
    headstart,
    main_job,
    predict,
)
from install.server import InstalledServer
from integration.server.receiver import receiving, secret_file

TESTS = Path(__file__).parents[1]
#: How far an exported version's probabilities may be from those served in float32 (docs/guides/export.md).
TOLERANCE = 1e-4
FORMS = {
    "onnx": "pets.onnx",
    "keras": "pets.keras",
    "savedmodel": "saved",
    "openvino": "ov",
    "litert": "pets.tflite",
}


def client(case: Case) -> Times:
    """The client fine-tunes and predicts against a server."""
    with case.companion.serving(case.scratch / "data") as server:
        done = case.environment.script("client_job", server.target, case.images.folder, *case.images.files)
    expect_labels(case, done["labels"])
    return Times(done["cold"], done["warm"])


def command(case: Case) -> Times:
    """The command fine-tunes, predicts, lists models and reports."""
    with case.companion.serving(case.scratch / "data") as server:
        began = time.perf_counter()
        fine_tune(case, server.target)
        first, cold = predict(case, server.target), time.perf_counter() - began
        began = time.perf_counter()
        expect(predict(case, server.target) == first, "the second prediction differs from the first")
        warm = time.perf_counter() - began
        models = headstart(case, server.target, "model", "list")["models"]
        expect([each["model"] for each in models] == [MODEL], f"models lists {models}")
        report = headstart(case, server.target, "version", "report", MODEL)
        metrics = report["version"]["metrics"]
        expect(metrics["accuracy"] > 0.5, f"report says {metrics}")
    return Times(cold, warm)


def slim_server(case: Case) -> Times:
    """A server without Keras runs on prepared backbones. Without them one line names what is missing."""
    server = InstalledServer(case.environment, case.scratch / "unprepared")
    try:
        lines = server.failure()
    finally:
        server.kill()
    expect(
        len(lines) == 1 and "headstart[server]" in lines[0],
        f"without prepared backbones the server should print one line that names headstart[server]: {lines}",
    )
    return main_job(case, *case.prepared)


def http(case: Case) -> Times:
    """A ZIP is fine-tuned on and an image predicted over HTTP, and a webhook is delivered."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(case.images.folder.rglob("*.png")):
            file.write(path, path.relative_to(case.images.folder))
    secrets = secret_file(case.scratch)
    with receiving() as receiver:

        def over_http(server: InstalledServer) -> None:
            url = f"{server.http}/v1/models/over-http"
            job = post(f"{url}:fineTune", archive.getvalue(), "application/zip")
            (_, message, _), *_ = receiver.wait(find(job, "jobId"))
            expect(message["type"] == "job.succeeded", f"the webhook says {message}")
            answers = [post(f"{url}:predict", path.read_bytes(), "image/png") for path in case.images.files]
            expect_labels(case, [find(find(each, "classes")[0], "name") for each in answers])

        flags = ("--http-port", "0", "--webhook", receiver.url, "--allow-webhook", receiver.url)
        return main_job(
            case,
            *(*case.prepared, *flags, "--allow-private-addresses", "--webhook-secret-file", secrets),
            also=over_http,
        )


def post(url: str, body: bytes, kind: str) -> Any:
    """POST a body; returns the JSON that comes back."""
    request = urllib.request.Request(url, body, {"content-type": kind}, method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def find(content: Any, key: str) -> Any:
    """Return the first value of a key in nested JSON."""
    waiting = [content]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, dict):
            if key in one:
                return one[key]
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    raise LookupError(f"{key} in {content}")


def export(case: Case) -> Times:
    """Each form is exported, and its runtime computes what the server predicts."""
    rows = case.scratch / "rows.npy"
    names: dict[str, Any] = {}
    # The code that docs/guides/export.md shows for the step before.
    exec((TESTS.parent / "docs/guides/export.md").read_text().split("```python\n")[1].split("```")[0], names)
    np.save(rows, np.stack([names["row"](path) for path in case.images.files]))

    def every_form(server: InstalledServer) -> None:
        served = [[each["0"], each["1"]] for each in predict(case, server.target)]
        for form, name in FORMS.items():
            path = case.scratch / name
            case.environment.run(
                *(
                    "headstart",
                    "--server",
                    server.target,
                    "version",
                    "export",
                    MODEL,
                    "--format",
                    form,
                    "--output",
                    path,
                )
            )
            # Runtimes that the extra does not install run in the environment of the tests.
            found = case.environment.script("exported", form, path, rows) or elsewhere(form, path, rows)
            worst = float(np.abs(np.array(found) - served).max())
            expect(worst <= TOLERANCE, f"the {form} export is {worst:g} from the served probabilities")

    return main_job(case, "--precision", "float32", also=every_form)


def elsewhere(form: str, path: Path, rows: Path) -> list[list[float]]:
    """Compute with an exported version in the environment of the tests."""
    script = Path(__file__).with_name("scripts") / "exported.py"
    done = subprocess.run(
        [sys.executable, script, form, path, rows], capture_output=True, text=True, check=False
    )
    expect(done.returncode == 0, f"{form} export: {done.stderr}")
    found: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def keras_hub(case: Case) -> Times:
    """A folder that KerasHub wrote is prepared and used."""
    made(case, "kerashub_folder")
    return declared(case, f"kerashub:{case.scratch / 'resnet'}")


def exported_program(case: Case) -> Times:
    """A program that PyTorch exported is prepared and used."""
    made(case, "torch_program")
    return declared(case, f"torch:{case.scratch / 'small.pt2'},scale=0.00392156862745098")


def made(case: Case, script: str) -> None:
    """Make a small network in the environment of the tests, whose Python ships more frameworks."""
    done = subprocess.run(
        [sys.executable, "-m", f"install.scripts.{script}", case.scratch],
        capture_output=True,
        text=True,
        check=False,
        cwd=TESTS,
    )
    expect(done.returncode == 0, f"{script} fails:\n{done.stderr}")


def declared(case: Case, source: str) -> Times:
    """Prepare a declared backbone with the command, and do the main job on it."""
    flag = ("--backbone", f"small={source}")
    case.environment.run("headstart-server", "prepare", "small", *flag)
    return main_job(case, *flag, "--default-backbone", "small", backbone="small")


def demo(case: Case) -> Times:
    """`make demo` runs: its files are copied, so that nothing else of the repository is importable."""
    for path in ("benchmarks/demo.py", "benchmarks/sample_images.py", "server_process.py"):
        shutil.copy(TESTS / path, case.environment.work)
    began = time.perf_counter()
    flags = ("demo.py", "--held-out", "10")
    output = case.environment.run("python", *flags)
    cold = time.perf_counter() - began
    expect("accuracy" in output, f"the demo prints no accuracy:\n{output}")
    began = time.perf_counter()
    case.environment.run("python", *flags)
    return Times(cold, time.perf_counter() - began)


#: By extra; in the order of the table.
CHECKS: Mapping[str, Callable[[Case], Times]] = {
    "none": client,
    "cli": command,
    "serving": slim_server,
    "server": main_job,
    "http": http,
    "postgres": drivers.postgres,
    "s3": drivers.s3,
    "gcs": drivers.gcs,
    "oidc": drivers.oidc,
    "otel": drivers.otel,
    "export": export,
    "kerashub": keras_hub,
    "torch": exported_program,
    "demo": demo,
}
