"""Several serving processes with real backbones: texts, 8 bits, tails, HTTP and renewed certificates."""

import json
import shutil
import socket
import ssl
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509

from certificates import Identity, identity
from headstart.inputs import tensors
from headstart.v1 import input_pb2, job_pb2, version_selector_pb2
from headstart.v1 import prediction_service_pb2 as predicting
from headstart_server.backbones.catalog import DEFAULT, Catalog
from headstart_server.backbones.contract.runtimes import (
    RuntimeKind,
    RuntimeSettings,
)
from headstart_server.backbones.networks.quantization import SUFFIX, QuantizationProof
from integration.server.calls import TIMEOUT, Api, digit, digits, photograph
from integration.server.test_partial import EXAMPLES, WAIT
from integration.server.test_texts_and_tensors import LONG, MINILM
from prepared import copy_prepared, prepared_settings
from server_process import START_SECONDS, ServerProcess, eventually, running

# The first use of the text backbone on a machine converts it.
pytestmark = pytest.mark.timeout(600)

AUTHORITY = identity("authority")
CONNECTIONS = 8
BRIEF = job_pb2.Recipe(partial=job_pb2.PartialRecipe(max_epochs=1, patience=1))
SENTENCES = [("a joy from start to end", "good"), ("dull, long and loud", "bad")]


@dataclass(frozen=True)
class Site:
    """A server with two serving processes, TLS on both ports, and a model `texts`.

    Attributes:
        server: the server.
        folder: has its certificate and key.
        apis: connections, to all of its processes.
    """

    server: ServerProcess
    folder: Path
    apis: Sequence[Api]


def copy_backbones(cache: Path) -> None:
    """Copy the backbones that other tests prepared, and the default one in 8 bits with a proof."""
    for name in (DEFAULT, MINILM):
        copy_prepared(name, cache)
    _, quantized = Catalog(runtimes=prepared_settings()).quantized.quantize(DEFAULT, None)
    copied = Path(shutil.copytree(quantized, cache / quantized.name))
    QuantizationProof(
        dataset="digits",
        example_count=100,
        float_runtime="openvino float32",
        float_accuracy=0.9,
        accuracy=0.9,
        float_calibration_error=0.02,
        calibration_error=0.02,
        float_rows_per_second=100.0,
        rows_per_second=200.0,
    ).write(copied)


def write_identity(folder: Path, shown: Identity) -> None:
    """Replace the server's files, the key first."""
    for name, content in (("key", shown.private), ("cert", shown.chain)):
        (folder / f"{name}.new").write_bytes(content)
        (folder / f"{name}.new").replace(folder / f"{name}.pem")


def connected(server: ServerProcess) -> Api:
    credentials = grpc.ssl_channel_credentials(AUTHORITY.chain)
    return Api(grpc.secure_channel(server.target, credentials, [("grpc.use_local_subchannel_pool", 1)]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("processes-inputs")
    write_identity(folder, identity("first", AUTHORITY))
    cache = folder / "backbones"
    copy_backbones(cache)
    flags = ["--processes", "2", "--http-port", "0", "--backbone-cache", str(cache)]
    flags += ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]
    with ExitStack() as closing:
        server = closing.enter_context(running(folder / "data", *flags))
        server.wait_until_serving(2 * START_SECONDS)
        apis = [closing.enter_context(connected(server)) for _ in range(CONNECTIONS)]
        apis[0].published(text_examples(), model="texts")
        yield Site(server, folder, apis)


def predicted(api: Api, model: str, *inputs: input_pb2.Input) -> bytes:
    """The predictions of a call, without its times."""
    target = version_selector_pb2.VersionSelector(model=model)
    request = predicting.PredictRequest(targets=[target], inputs=inputs)
    return api.prediction.Predict(request, timeout=TIMEOUT).results[0].SerializeToString(deterministic=True)


def text_examples() -> list[input_pb2.Example]:
    return [
        input_pb2.Example(
            input=input_pb2.Input(text=f"{text}, {place}"),
            label={"class_name": label},
            example_id=f"{place} {label}",
        )
        for place in range(6)
        for text, label in SENTENCES
    ]


def test_texts_of_any_length_have_one_answer_in_every_process(site: Site) -> None:
    inputs = [input_pb2.Input(text=text) for text in ("a joy", "loud and dull, " * 20, LONG)]
    (answer,) = {predicted(api, "texts", *inputs) for api in site.apis for _ in range(2)}
    first, _, last = predicting.VersionPredictions.FromString(answer).predictions
    assert first.label.class_name == "good"
    assert last.HasField("truncation")


@pytest.mark.parametrize("name", [DEFAULT, DEFAULT + SUFFIX, MINILM])
def test_every_process_gives_the_features_of_a_process_without_an_engine(site: Site, name: str) -> None:
    content = "a film" if name == MINILM else photograph("china")
    given = input_pb2.Input(text=content) if name == MINILM else input_pb2.Input(image=content)
    request = predicting.EmbedRequest(backbone=name, inputs=[given])
    found = {
        tensors.decode(api.prediction.Embed(request, timeout=TIMEOUT).features.views["last"]).tobytes()
        for api in site.apis
    }
    settings = RuntimeSettings(kind=RuntimeKind.OPENVINO, cache=site.folder / "backbones")
    backbone = Catalog(runtimes=settings.settled()).load(name)
    alone = backbone.run(backbone.decode(content)[np.newaxis])["last"]
    assert found == {alone.astype("<f4").tobytes()}


def test_a_call_over_http_has_the_same_answer_as_over_grpc(site: Site) -> None:
    site.apis[0].published(digits((0, 1), 8), model="over-http")
    context = ssl.create_default_context(cadata=AUTHORITY.chain.decode())
    url = f"https://{site.server.event('http_listening')}/v1/models/over-http:predict"
    found = set()
    for _ in range(CONNECTIONS):
        request = urllib.request.Request(url, digit(1, 40), {"content-type": "image/png"})
        with urllib.request.urlopen(request, timeout=TIMEOUT, context=context) as answer:
            (prediction,) = json.load(answer)["results"][0]["predictions"]
            found.add((prediction["label"]["className"], round(prediction["classes"][0]["probability"], 5)))
    message = predicting.VersionPredictions.FromString(
        predicted(site.apis[0], "over-http", input_pb2.Input(image=digit(1, 40)))
    )
    (over_grpc,) = message.predictions
    assert found == {(over_grpc.label.class_name, round(over_grpc.classes[0].probability, 5))}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tail_of_a_version_has_one_answer_in_every_process(site: Site) -> None:
    job = site.apis[0].ended(site.apis[0].fine_tune(EXAMPLES[:24], model="tails", recipe=BRIEF).job_id, WAIT)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    inputs = [each.input for each in EXAMPLES[:4]]
    assert len({predicted(api, "tails", *inputs) for api in site.apis}) == 1


def shown(server: ServerProcess) -> str:
    """The subject of the certificate that a new connection gets."""
    context = ssl.create_default_context(cadata=AUTHORITY.chain.decode())
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        certificate = secured.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()


def test_every_process_shows_a_renewed_certificate(site: Site) -> None:
    inputs = [input_pb2.Input(text="a joy")]
    answers = [predicted(api, "texts", *inputs) for api in site.apis]
    assert {shown(site.server) for _ in range(CONNECTIONS)} == {"CN=first"}
    write_identity(site.folder, identity("second", AUTHORITY))
    eventually(
        lambda: {shown(site.server) for _ in range(2 * CONNECTIONS)} == {"CN=second"},
        60,
        "the new certificate in every process",
    )
    # Calls of connections from before go on.
    assert [predicted(api, "texts", *inputs) for api in site.apis] == answers
