"""Calls that upload datasets, fine-tune with edits, and erase examples.

No ID is ever used for two examples, so a checker can follow each of them.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any

import grpc

from chaos.caller import CALL_SECONDS, CLASSES, Caller, state_name
from headstart.v1 import dataset_service_pb2 as datasets
from headstart.v1 import example_record_pb2, example_service_pb2, input_pb2, model_service_pb2
from headstart.v1 import fine_tuning_service_pb2 as tuning
from headstart.v1.job_pb2 import FineTuneSpec
from headstart.v1.version_selector_pb2 import VersionSelector
from histories.stored_data import MODEL, content_of
from integration.server.calls import TERMINAL, Api, example

#: The alias of the newest version of the model.
ALIAS = "current"
#: Examples of a batch, and batches of a dataset at most.
BATCH, BATCHES = 6, 4
#: Versions of the model that are not deleted, and examples of a class that no edit and no erasure goes below.
KEPT_VERSIONS, KEPT_EXAMPLES = 5, 4
#: Seconds of an erasure with its refits.
ERASE_SECONDS = 60.0


class DataClients:
    """What the clients of datasets, edits and erasures share.

    Args:
        over: set once nothing new begins.
    """

    def __init__(self, over: threading.Event) -> None:
        self._over = over
        self._lock = threading.Lock()
        self._count = 0
        self._ready: list[str] = []
        self._uploaded: list[str] = []
        self._erasing: set[str] = set()

    # Datasets

    def upload(self, caller: Caller) -> None:
        """Upload and read a dataset, at times from where a server says that it ends; delete an old one."""
        chance = caller.chance
        with self._lock:
            self._count += 1
            name = f"d{self._count}"
        caller.insist("CreateDataset", name, {}, lambda api: _create(api, name))
        last, batch = chance.randint(1, BATCHES), 0
        while batch < last:
            batch = self._write(caller, name, batch)
            if chance.random() < 0.3:
                batch = caller.insist("GetDataset", name, {}, lambda api: _next_batch(api, name)) or 0
        finish = datasets.FinishDatasetRequest(dataset=name)
        caller.insist(
            "FinishDataset",
            name,
            {},
            lambda api: api.datasets.FinishDataset(finish, timeout=CALL_SECONDS).dataset.digest,
        )
        caller.insist("ReadDataset", name, {}, lambda api: sorted(_listed(api, {"dataset": name})))
        with self._lock:
            self._ready.append(name)
            dropped = self._ready.pop(chance.randrange(len(self._ready))) if len(self._ready) > 3 else None
        if dropped is not None:
            deletion = datasets.DeleteDatasetRequest(dataset=dropped)
            caller.insist(
                "DeleteDataset",
                dropped,
                {},
                lambda api: _nothing(api.datasets.DeleteDataset(deletion, timeout=CALL_SECONDS)),
            )
        self._over.wait(chance.uniform(0.1, 0.6))

    def _write(self, caller: Caller, name: str, batch: int) -> int:
        """Write a batch until it is acknowledged; return the number of the next one."""
        labels = {f"{name}-{batch}-{place}": CLASSES[place % len(CLASSES)] for place in range(BATCH)}
        request = datasets.WriteExamplesRequest(
            dataset=name, batch=batch, examples=tuning.ExampleBatch(examples=_examples(labels))
        )
        found = caller.insist(
            "WriteExamples",
            name,
            {"batch": batch, "examples": labels},
            lambda api: int(api.datasets.WriteExamples(request, timeout=CALL_SECONDS).dataset.next_batch),
        )
        with self._lock:
            self._uploaded += labels
        return batch + 1 if found is None else found

    # Edits

    def edit(self, caller: Caller) -> None:
        """Fine-tune with edits of the newest version, and wait for the end."""
        parent = self._newest(caller)
        listed = {} if parent is None else self._read(caller, parent)
        if listed is None:
            return
        with self._lock:
            taken = self._ready.pop(0) if self._ready and (parent is None or len(listed) < 60) else None
        if parent is None and taken is None:
            self._over.wait(0.2)
            return
        edits = _edits(caller, listed)
        sent = {"request_id": uuid.uuid4().hex, "parent": parent, "dataset": taken, "edits": edits}
        job_id = self._submit(caller, sent)
        state = "" if job_id is not None else "refused"
        while job_id is not None and state in ("", "queued", "running"):
            found = caller.insist("Status", job_id, {}, lambda api: _status(api, str(job_id)))
            state = found[0] if found else "gone"
            self._over.wait(0.05)
        self._delete_old(caller)

    def _submit(self, caller: Caller, sent: Mapping[str, Any]) -> str | None:
        spec = _spec(sent)

        def send(api: Api) -> str:
            requests = iter([tuning.FineTuneRequest(spec=spec)])
            return str(api.fine_tuning.FineTune(requests, timeout=CALL_SECONDS).job.job_id)

        try:
            return caller.insist("FineTune", MODEL, sent, send)
        except grpc.RpcError as error:
            with self._lock:
                is_erased = bool(self._erasing.intersection(sent["edits"]))
            # An edit of an example that was erased meanwhile is invalid.
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT and is_erased:
                return None
            raise

    def _newest(self, caller: Caller) -> int | None:
        numbers = self._numbers(caller, 1)
        return numbers[0] if numbers else None

    def _numbers(self, caller: Caller, count: int) -> list[int]:
        request = model_service_pb2.ListVersionsRequest(model=MODEL, page_size=count)

        def send(api: Api) -> list[int]:
            found = api.models.ListVersions(request, timeout=CALL_SECONDS).versions
            return [version.version for version in found]

        return caller.insist("ListVersions", MODEL, {}, send) or []

    def _read(self, caller: Caller, number: int) -> dict[str, str] | None:
        """Return the labels of a version's examples; None if it was replaced meanwhile."""
        source = {"version": VersionSelector(model=MODEL, version=number)}
        return caller.insist("ReadVersion", MODEL, {"version": number}, lambda api: _listed(api, source))

    def _delete_old(self, caller: Caller) -> None:
        for number in self._numbers(caller, KEPT_VERSIONS + 2)[KEPT_VERSIONS:]:
            request = model_service_pb2.DeleteVersionRequest(model=MODEL, version=number)
            caller.insist(
                "DeleteVersion",
                MODEL,
                {"version": number},
                lambda api, request=request: _nothing(
                    api.models.DeleteVersion(request, timeout=CALL_SECONDS)
                ),
            )

    # Erasures

    def erase(self, caller: Caller) -> None:
        """Erase an example of the newest version or of a dataset, at times with a rebuild."""
        chance = caller.chance
        self._over.wait(chance.uniform(0.5, 2.0))
        parent = self._newest(caller)
        listed = (None if parent is None else self._read(caller, parent)) or {}
        with self._lock:
            of_version = chance.random() < 0.7
            chosen = _spare(listed) if of_version else self._uploaded[-3 * BATCH :]
            if not chosen or self._over.is_set():
                return
            example_id = chance.choice(sorted(chosen))
            self._erasing.add(example_id)
        rebuild = of_version and chance.random() < 0.5
        request = model_service_pb2.EraseExampleRequest(
            example_id=example_id,
            model=MODEL if of_version and chance.random() < 0.5 else "-",
            rebuild=rebuild,
            request_id=uuid.uuid4().hex if rebuild else "",
        )
        caller.insist(
            "EraseExample",
            example_id,
            {"rebuild": rebuild, "model": request.model},
            lambda api: int(api.models.EraseExample(request, timeout=ERASE_SECONDS).deleted_contents),
        )


def _edits(caller: Caller, listed: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return up to three changes of examples, by their IDs."""
    spare = sorted(_spare(listed))
    edits: dict[str, dict[str, Any]] = {}
    for example_id in caller.chance.sample(spare, min(len(spare), 3)):
        kind = caller.chance.choice(("label", "weight", "remove"))
        values = {"label": caller.chance.choice(CLASSES), "weight": caller.chance.choice((0.5, 2.0))}
        edits[example_id] = {kind: values.get(kind, True)}
    return edits


def _spare(listed: Mapping[str, str]) -> list[str]:
    """Return the examples of classes that have enough others."""
    counts = Counter(listed.values())
    return [example_id for example_id, label in listed.items() if counts[label] > KEPT_EXAMPLES]


def _spec(sent: Mapping[str, Any]) -> FineTuneSpec:
    edits = [
        example_record_pb2.ExampleEdit(
            example_id=example_id,
            label={"class_name": change["label"]} if "label" in change else None,
            weight=change.get("weight"),
            remove="remove" in change,
        )
        for example_id, change in sent["edits"].items()
    ]
    return FineTuneSpec(
        model=MODEL,
        alias=ALIAS,
        request_id=sent["request_id"],
        parent_version=sent["parent"],
        dataset=sent["dataset"] or "",
        edits=edits,
    )


def _examples(labels: Mapping[str, str]) -> list[input_pb2.Example]:
    return [
        example(content_of(example_id), label, example_id=example_id) for example_id, label in labels.items()
    ]


def _create(api: Api, name: str) -> None:
    try:
        api.datasets.CreateDataset(datasets.CreateDatasetRequest(dataset=name), timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        # An earlier attempt of this caller has created it: the name is this caller's alone.
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
            raise


def _next_batch(api: Api, name: str) -> int:
    request = datasets.GetDatasetRequest(dataset=name)
    return int(api.datasets.GetDataset(request, timeout=CALL_SECONDS).dataset.next_batch)


def _status(api: Api, job_id: str) -> tuple[str, int]:
    job = api.fine_tuning.Status(tuning.StatusRequest(job_id=job_id), timeout=CALL_SECONDS).job
    assert job.state in TERMINAL or not job.version
    return state_name(job.state), int(job.version)


def _listed(api: Api, source: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of the examples of a version or a dataset."""
    request = example_service_pb2.ListExamplesRequest(page_size=1000, **source)
    found = api.examples.ListExamples(request, timeout=CALL_SECONDS).examples
    return {record.example.example_id: record.label.class_name for record in found}


def _nothing(_: object) -> None:
    """Return nothing: the response has nothing to check."""
