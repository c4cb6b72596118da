"""Checks of a running container from outside: the documentation's promises about the images."""

import ssl
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509

from benchmarks.sample_images import digits, split
from certificates import identity
from headstart import Client, HeadstartError, JobState, Partial, Text, TlsConfig
from images.containers import VOLUME, Container, Run, Runtime

GRPC, HTTP, METRICS = 8765, 8080, 9090
#: Seconds that a server gets to serve; it takes about two.
START_SECONDS = 60
#: Seconds that a job gets; the limit ends only one that hangs.
JOB_SECONDS = 600
#: The server's grace period, and a second for the interpreter to end.
GRACE_SECONDS = 31
TEXTS = [
    *[
        (Text(f"The invoice of {month} is wrong, please refund me."), "billing")
        for month in ("May", "June", "July")
    ],
    *[
        (Text(f"The {thing} crashes as soon as I start it."), "crash")
        for thing in ("app", "program", "editor")
    ],
]
READ_ONLY = "import os; print(bool(os.statvfs('/').f_flag & os.ST_RDONLY), os.getuid(), os.getgid())"
MAPPED = "print([line for line in open('/proc/1/maps') if '-packages/tensorflow/' in line])"


class ImageChecks:
    """Runs an image as documented, and counts what held.

    Args:
        runtime: runs it.
        image: its tag.
        is_slim: whether it is without Keras and TensorFlow.
        folder: an empty folder for certificates.
    """

    def __init__(self, runtime: Runtime, image: str, *, is_slim: bool, folder: Path) -> None:
        self._runtime, self._image, self._is_slim, self._folder = runtime, image, is_slim, folder
        self._volume = runtime.new_volume()
        self._settings = runtime.settings(image)
        # Its first word says that the rest is a command without a shell.
        self._health = self._settings["Healthcheck"]["Test"][1:]
        self._authority = identity("authority")
        images = split([each for each in digits() if each.label in "017"], train=8, test=4)
        self._train = [(each.png, each.label) for each in images[0]]
        self._test = [each.png for each in images[1]]
        self._labels: list[str] = []
        self._job = ""
        self.seconds_to_serving: float | None = None
        self.passed: list[str] = []
        self.failed: dict[str, str] = {}

    def run(self) -> None:
        """Run all checks: without TLS at first, then with TLS and every port on the same volume."""
        try:
            self._check_settings()
            with (
                self._container({"HEADSTART_PLAINTEXT": "true"}) as container,
                self._client(container) as client,
            ):
                self.seconds_to_serving = self._wait(client, container)
                self._check_process(container)
                self._check_closed_ports(container)
                self._check_learning(client)
                self._check_exports(client, container)
                self._check_partial(client)
                self._check_stop_with_running_job(client, container)
            tls = self._tls_folder()
            environment = {
                "HEADSTART_TLS_CERT": "/tls/tls.crt",
                "HEADSTART_TLS_KEY": "/tls/tls.key",
                "HEADSTART_CA": "/tls/ca.crt",
                "HEADSTART_HTTP_PORT": str(HTTP),
                "HEADSTART_METRICS_PORT": str(METRICS),
            }
            config = TlsConfig(ca=self._authority.chain)
            with (
                self._container(environment, {"/tls": tls}) as container,
                self._client(container, config) as client,
            ):
                self._wait(client, container)
                self._check_restart(client, container)
                self._check_open_ports(container)
                with self._check("SIGTERM ends an idle server with exit code 0"):
                    expect(container.terminate(), 0)
        finally:
            self._runtime.remove_volume(self._volume)

    def _check_settings(self) -> None:
        with self._check("exposes its ports and declares its volume"):
            expect(set(self._settings["ExposedPorts"]), {f"{port}/tcp" for port in (GRPC, HTTP, METRICS)})
            expect(list(self._settings["Volumes"]), [VOLUME])
        with self._check("leaves the choice between TLS and plain text to its user"):
            expect([line for line in self._settings["Env"] if "PLAINTEXT" in line], [])

    def _check_process(self, container: Container) -> None:
        with self._check("runs as 10001:10001 on a read-only root"):
            expect(container.command("python", "-c", READ_ONLY).output.strip(), "True 10001 10001")
        with self._check("serves without TensorFlow in memory"):
            expect(container.command("python", "-c", MAPPED).output.strip(), "[]")
        with self._check("health check: 0 while serving, 1 without a server"):
            expect(container.command(*self._health).code, 0)
            expect(container.command("headstart-server", "health", "--server", "localhost:1").code, 1)
        if self._is_slim:
            with self._check("contains no Keras and no TensorFlow"):
                for name in ("keras", "tensorflow"):
                    expect(container.command("python", "-c", f"import {name}").code, 1)
            with self._check("names the full image for a Keras source"):
                done = container.command(
                    "headstart-server", "prepare", "--backbone", "keras:MobileNetV3Small"
                )
                expect(done.code, 1)
                expect_full_image(done.output)

    def _check_closed_ports(self, container: Container) -> None:
        for name, port in (("HTTP", HTTP), ("metrics", METRICS)):
            with self._check(f"{name} is off by default"):
                try:
                    answer = fetch(f"http://{container.address(port)}/")
                except OSError:
                    continue
                raise AssertionError(f"Port {port} answered: {answer[:100]}")

    def _check_learning(self, client: Client) -> None:
        with self._check("fine-tunes on images and predicts"):
            client.fine_tune(self._train, model="digits").result(JOB_SECONDS)
            self._labels = [each.label for each in client.predict(self._test, model="digits")]
            expect(len(self._labels), len(self._test))
            right = sum(label in "017" for label in self._labels)
            expect(right, len(self._test))
        with self._check("fine-tunes on texts and predicts"):
            client.fine_tune(TEXTS, model="mails", backbone="all-minilm-l6-v2").result(JOB_SECONDS)
            expect(client.predict(Text("Wrong invoice, I want a refund."), model="mails").label, "billing")

    def _check_exports(self, client: Client, container: Container) -> None:
        with self._check("exports OpenVINO"), tempfile.TemporaryDirectory() as name:
            client.export("digits", format="openvino", path=Path(name) / "digits")
            expect(bool(list(Path(name).rglob("*.xml"))), True)
        title = f"{'names the full image for' if self._is_slim else 'exports'} Keras"
        with self._check(title), tempfile.TemporaryDirectory() as name:
            path = Path(name) / "digits.keras"
            self._refused_if_slim(lambda: client.export("digits", format="keras", path=path))

    def _check_partial(self, client: Client) -> None:
        with self._check(f"{'names the full image for' if self._is_slim else 'trains'} the recipe partial"):
            recipe = Partial(max_epochs=1)
            self._refused_if_slim(
                lambda: client.fine_tune(self._train, model="partial", recipe=recipe).result(JOB_SECONDS)
            )

    def _check_stop_with_running_job(self, client: Client, container: Container) -> None:
        with self._check("SIGTERM ends it within the grace period, and returns the running job to the queue"):
            job = client.fine_tune([(each.png, each.label) for each in digits()], model="interrupted")
            self._job = job.job_id
            for event in job.watch():
                if event.state is JobState.RUNNING:
                    break
            began = time.monotonic()
            expect(container.terminate(), 0)
            seconds = time.monotonic() - began
            expect(seconds <= GRACE_SECONDS or f"{seconds:.1f} s", True)
            expect("job_released" in container.log() or container.log()[-2000:], True)

    def _check_restart(self, client: Client, container: Container) -> None:
        with self._check("TLS: serves a client that trusts the authority, and health is 0 as documented"):
            expect(client.ready(), True)
            expect(container.command(*self._health).code, 0)
        with self._check("doctor finds no failure next to the running server"):
            done = container.command("headstart-server", "doctor")
            expect(done.output if done.code else "0", "0")
        with self._check("restart on the same volume keeps models"):
            expect([each.label for each in client.predict(self._test, model="digits")], self._labels)
        with self._check("the interrupted job finishes after the restart"):
            expect(client.job(self._job).result(JOB_SECONDS).model, "interrupted")

    def _check_open_ports(self, container: Container) -> None:
        context = ssl.create_default_context(cadata=self._authority.chain.decode())
        with self._check("HTTP answers from outside when it is enabled"):
            expect("digits" in fetch(f"https://{container.address(HTTP)}/v1/models", context), True)
        with self._check("metrics answer from outside when they are enabled"):
            expect("headstart_" in fetch(f"http://{container.address(METRICS)}/metrics"), True)

    def _refused_if_slim(self, call: Callable[[], object]) -> None:
        try:
            call()
        except HeadstartError as error:
            if not self._is_slim:
                raise
            expect_full_image(str(error))
        else:
            expect(self._is_slim, False)

    def _tls_folder(self) -> Path:
        host = self._runtime.host
        names = [
            x509.DNSName("localhost"),
            *([] if host == "127.0.0.1" else [x509.IPAddress(ip_address(host))]),
        ]
        server = identity("headstart", self._authority, *names)
        folder = self._folder / "tls"
        folder.mkdir()
        for name, content in (
            ("tls.crt", server.chain),
            ("tls.key", server.private),
            ("ca.crt", self._authority.chain),
        ):
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o644)
        folder.chmod(0o755)
        return folder

    def _wait(self, client: Client, container: Container) -> float:
        began = time.monotonic()
        while not client.ready(1.0):
            seconds, log = time.monotonic() - began, container.log()[-5000:]
            if seconds > START_SECONDS or not container.is_running():
                raise TimeoutError(f"Not serving after {seconds:.0f} s. Its log:\n{log}")
            time.sleep(0.05)
        return time.monotonic() - began

    @contextmanager
    def _container(
        self, environment: dict[str, str], mounts: dict[str, Path] | None = None
    ) -> Iterator[Container]:
        container = self._runtime.start(
            Run(image=self._image, volume=self._volume, environment=environment, mounts=mounts or {})
        )
        try:
            yield container
        finally:
            container.remove()

    @contextmanager
    def _client(self, container: Container, tls: TlsConfig | None = None) -> Iterator[Client]:
        with Client(container.address(GRPC), tls=tls, timeout=60) as client:
            yield client

    @contextmanager
    def _check(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the table counts it
            self.failed[name] = f"{type(error).__name__}: {error}"
            print(f"  FAILED  {name}: {self.failed[name]}", flush=True)
        else:
            self.passed.append(name)
            print(f"  ok      {name}", flush=True)


def expect(received: object, expected: object) -> None:
    """Raise an AssertionError if two values differ."""
    if received != expected:
        raise AssertionError(f"Expected {expected!r}. Received: {received!r}")


def expect_full_image(text: str) -> None:
    """Raise an AssertionError if a refusal does not name its remedy."""
    if "full image" not in text and "headstart[server]" not in text:
        raise AssertionError(f"Expected a message that names the full image. Received: {text[-1000:]}")


def fetch(url: str, context: ssl.SSLContext | None = None) -> str:
    """Return what a URL answers; raises OSError if nothing does."""
    with urllib.request.urlopen(url, timeout=10, context=context) as answer:
        return answer.read().decode()
