"""A server with several processes acts as one, whichever of them ends."""

import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2

from chaos.replica import HOST, Replica
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1 import input_pb2, job_pb2
from headstart.v1 import model_service_pb2 as keeping
from integration.server.calls import Api, Refusal, example, refused, serves
from postgres import PostgresServer
from server_process import SECOND, eventually, free_port

pytestmark = pytest.mark.timeout(300)

PROCESSES = 2
#: Seconds until a process that was killed is replaced, on a machine that also runs other tests.
RESTART_SECONDS = 120.0
CONNECTIONS = 16


class Server(Replica):
    """A server with an engine and two serving processes."""

    def __init__(self, folder: Path, **settings: object) -> None:
        settings = {"processes": PROCESSES, "metrics_port": free_port(), "lease_duration": "3s", **settings}
        super().__init__(folder, **settings)

    @property
    def supervisor(self) -> psutil.Process:
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def processes(self) -> dict[str, psutil.Process]:
        """Its processes by their names."""
        named = {}
        for child in self.supervisor.children():
            command = child.cmdline()
            if "headstart_server.app.process" in command:
                named[command[-1]] = child
        return named

    def serving(self) -> dict[str, psutil.Process]:
        return {name: process for name, process in self.processes().items() if name != "engine"}

    def ready(self) -> "Server":
        self.start()
        with Api.connect(self.target) as api:
            eventually(lambda: serves(api), RESTART_SECONDS, "a server that serves")
        return self


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("processes")
    with ExitStack() as closing:
        settings = {}
        if request.param == "postgresql":
            postgres = PostgresServer()
            closing.callback(postgres.close)
            settings["database"] = postgres.database()
        server = Server(folder / request.param, **settings)
        closing.callback(server.kill)
        yield server.ready()


@pytest.fixture
def apis(server: Server) -> Iterator[list[Api]]:
    """Connections to every serving process."""
    server.ready()
    with ExitStack() as closing:
        apis = [closing.enter_context(Api.connect(server.target)) for _ in range(CONNECTIONS)]
        for api in apis:
            assert serves(api)
        yield apis


def quick(count: int = 12) -> list[input_pb2.Example]:
    return [example(f"quick{place % 3}:{place}".encode(), f"c{place % 3}") for place in range(count)]


def slow(count: int) -> list[input_pb2.Example]:
    """Fifty a second."""
    return [example(f"slow{place % 3}:{place}".encode(), f"c{place % 3}") for place in range(count)]


def connections(process: psutil.Process, port: int) -> int:
    """The open connections of callers to a process."""
    return sum(
        each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port
        for each in process.net_connections("tcp")
    )


def published(apis: Sequence[Api], model: str, **spec: object) -> job_pb2.Job:
    job = apis[0].ended(apis[0].fine_tune(quick(), model=model, **spec).job_id, 120)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    eventually(lambda: all(knows(api, model, job.version) for api in apis), 60, "the version everywhere")
    return job


def knows(api: Api, model: str, version: int) -> bool:
    try:
        return api.predict(model, b"quick1:x", version=version).results[0].version == version
    except grpc.RpcError:
        return False


def counted(server: Server, version: int) -> float:
    page = server.metrics()
    return page.value("headstart_predictions_total", model="counted", version=str(version))


def test_every_process_answers_alike_and_one_page_counts_all(server: Server, apis: list[Api]):
    version = published(apis, "counted").version
    before = counted(server, version)
    answers = {str(api.predict("counted", b"quick1:x").results[0]) for api in apis}

    serving = server.serving()
    assert len(serving) == PROCESSES
    assert all(connections(process, server.port) for process in serving.values())
    assert len(answers) == 1
    assert counted(server, version) == before + CONNECTIONS


def test_an_alias_moves_everywhere_within_a_second(apis: list[Api]):
    published(apis, "aliased")
    published(apis, "aliased")
    for number in (1, 2):
        moved = keeping.SetAliasRequest(model="aliased", alias="live", version=number)
        apis[number].models.SetAlias(moved)

        def follow(number: int = number) -> bool:
            try:
                found = {api.predict("aliased", b"quick1:x", alias="live").results[0].version for api in apis}
            except grpc.RpcError:
                return False
            return found == {number}

        eventually(follow, 2 * SECOND, f"the alias at version {number}")


def test_a_job_is_watched_from_every_process_to_its_end(apis: list[Api]):
    job = apis[0].fine_tune(slow(60), model="watched")
    with ThreadPoolExecutor(len(apis)) as pool:
        watched = list(pool.map(lambda api: [each.number for each in api.watch(job.job_id)], apis))

    assert apis[0].ended(job.job_id).state == job_pb2.JOB_STATE_SUCCEEDED
    assert {tuple(numbers) for numbers in watched} == {tuple(range(1, len(watched[0]) + 1))}


def test_a_cancel_reaches_the_engine(apis: list[Api]):
    job = apis[0].fine_tune(slow(2000), model="cancelled")
    eventually(lambda: apis[1].status(job.job_id).state == job_pb2.JOB_STATE_RUNNING, 60, "a running job")
    apis[2].fine_tuning.Cancel(tuning.CancelRequest(job_id=job.job_id))
    assert apis[3].ended(job.job_id).state == job_pb2.JOB_STATE_CANCELLED


def test_an_erasure_replaces_the_versions_of_every_process(apis: list[Api]):
    examples = [example(b"quick0:90", "c0", example_id="erased"), *quick()]
    job = apis[0].ended(apis[0].fine_tune(examples, model="erased").job_id, 120)
    assert job.state == job_pb2.JOB_STATE_SUCCEEDED, job.error
    request = keeping.EraseExampleRequest(model="erased", example_id="erased", rebuild=True)
    certificate = apis[1].models.EraseExample(request).certificate
    assert [(each.version, each.new_version) for each in certificate.versions] == [(1, 2)]
    assert [version.version for version in apis[1].versions("erased")] == [2]
    eventually(lambda: all(knows(api, "erased", 2) for api in apis), 60, "the successor everywhere")


def test_a_bad_input_is_an_error_of_its_call_only(apis: list[Api]):
    published(apis, "robust")
    error = refused(lambda: apis[0].predict("robust", b"broken"))
    assert isinstance(error, Refusal)
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert apis[0].names("robust", b"quick2:x") == ["c2"]


def test_a_killed_serving_process_is_replaced_and_the_others_go_on(server: Server, apis: list[Api]):
    published(apis, "served")
    published(apis, "counted")
    before = server.metrics().value("headstart_predictions_total", model="served", version="1")
    victim = server.serving()["serving-1"]
    victim.kill()
    errors = set()
    for api in apis:
        # gRPC connects again by itself, to a process that is there.
        try:
            api.predict("served", b"quick1:x", timeout=60)
        except grpc.RpcError as error:
            errors.add(error.code())
    eventually(lambda: restarted(server, victim.pid), RESTART_SECONDS, "another serving process")
    eventually(lambda: serves(apis[-1]), RESTART_SECONDS, "a server that serves")

    assert errors <= {grpc.StatusCode.UNAVAILABLE}
    assert server.metrics().value("headstart_predictions_total", model="served", version="1") >= before
    assert all(knows(api, "served", 1) for api in apis)
    # The memory of its rows went with it.
    assert not Path("/dev/shm").joinpath("headstart-rows").exists()
    assert shared_maps(server.processes()["engine"]) <= 8


def restarted(server: Server, pid: int) -> bool:
    serving = server.serving()
    return len(serving) == PROCESSES and pid not in {process.pid for process in serving.values()}


def shared_maps(process: psutil.Process) -> int:
    """The memory of rows that a process has mapped."""
    maps = Path(f"/proc/{process.pid}/maps").read_text()
    return sum("memfd:headstart-rows" in line for line in maps.splitlines())


def test_a_killed_engine_is_replaced_and_its_job_goes_on(server: Server, apis: list[Api]):
    published(apis, "lasting")
    job = apis[0].fine_tune(slow(150), model="resumed")
    eventually(lambda: apis[1].status(job.job_id).state == job_pb2.JOB_STATE_RUNNING, 60, "a running job")
    victim = server.processes()["engine"]
    victim.kill()
    errors = []

    def answers() -> bool:
        try:
            apis[2].predict("lasting", b"quick1:x", timeout=60)
        except grpc.RpcError as error:
            errors.append(error)
            return False
        return server.processes().get("engine", victim).pid != victim.pid

    eventually(answers, RESTART_SECONDS, "an answer of the next engine")
    eventually(lambda: serves(apis[3]), RESTART_SECONDS, "a server that serves")

    assert {error.code() for error in errors} <= {grpc.StatusCode.UNAVAILABLE}
    ended = apis[0].ended(job.job_id, 120)
    assert (ended.state, ended.version) == (job_pb2.JOB_STATE_SUCCEEDED, 1)
    assert all(knows(api, "lasting", 1) for api in apis)


def test_another_server_gets_neither_the_port_nor_the_folder(server: Server, tmp_path: Path):
    taken = Server(tmp_path / "other", port=server.port)
    taken.start()
    assert taken.wait(60) == 1
    assert "Cannot listen" in taken.log
    second = Server(tmp_path / "second", data_dir=str(server.folder / "data"))
    second.start()
    assert second.wait(60) == 1
    assert "Another headstart-server uses the data folder" in second.log


def test_the_end_of_the_supervisor_ends_all_and_the_next_one_goes_on(server: Server, apis: list[Api]):
    published(apis, "kept")
    processes = list(server.processes().values())
    server.kill()
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive
    server.ready()
    with Api.connect(server.target) as api:
        assert knows(api, "kept", 1)


def test_a_signal_lets_the_calls_end_and_then_stops_all(server: Server, apis: list[Api]):
    published(apis, "drained")
    processes = list(server.processes().values())
    codes = set()

    def call(api: Api) -> None:
        for _ in range(200):
            try:
                api.predict("drained", b"quick1:x", timeout=30)
            except grpc.RpcError as error:
                codes.add(error.code())
                return

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(call, api) for api in apis[:4]]
        time.sleep(0.2)
        server.send(signal.SIGTERM)
        assert server.wait(60) == 0
        for each in calls:
            each.result(60)

    assert codes <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    assert not any(process.is_running() for process in processes)
    assert server.events("stopped")


def test_health_waits_for_all(server: Server):
    server.ready()
    with Api.connect(server.target) as api:
        assert serves(api)
        server.serving()["serving-2"].kill()
        request = health_pb2.HealthCheckRequest()

        def status() -> int:
            try:
                return int(api.health.Check(request, timeout=5).status)
            except grpc.RpcError:
                return -1

        eventually(lambda: status() == health_pb2.HealthCheckResponse.NOT_SERVING, 60, "NOT_SERVING")
        eventually(lambda: serves(api), RESTART_SECONDS, "a server that serves")
    assert HOST in server.target
