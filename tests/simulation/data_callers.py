"""What callers of a simulation do with the data of a model; every attempt is written into the history."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from headstart_server.datasets.batch_writer import BatchRequest
from headstart_server.datasets.erasure_log import ErasureRequest
from headstart_server.errors import DatasetExists, HeadstartError, ServiceUnavailable
from headstart_server.feedback.feedback_service import SentFeedback
from headstart_server.jobs.spec import FineTuneSpec
from headstart_server.learning.examples.dataset import Example
from headstart_server.learning.examples.example_edit import ExampleEdit
from headstart_server.learning.examples.target import Target
from headstart_server.models.feedback_rows import Answer
from histories.history import Outcome
from histories.stored_data import MODEL, content_of
from simulation.coverage import CALLED
from simulation.plan import Step
from simulation.replica import Replica
from simulation.scheduler import LostError

if TYPE_CHECKING:
    from simulation.world import World

#: The alias that retrains move, and at times fine-tunes.
ALIAS = "current"
CLASSES = ("cat", "dog")
#: Examples of a batch, and examples of a class that no edit goes below.
BATCH, KEPT_EXAMPLES = 2, 1
#: Why a call may be refused when others change the same things at once.
_REFUSALS: Mapping[str, set[str]] = {
    "FinishDataset": {"EMPTY_DATASET"},
    "ReadDataset": {"DATASET_NOT_FOUND"},
    "DeleteDataset": {"DATASET_NOT_FOUND"},
    "ReadVersion": {"VERSION_NOT_FOUND"},
    "DeleteVersion": {"VERSION_NOT_FOUND"},
    "FineTune": {
        "DATASET_NOT_FOUND",
        "EMPTY_DATASET",
        "EXAMPLES_NOT_KEPT",
        "INVALID_FIELD",
        "TOO_FEW_CLASSES",
        "VERSION_NOT_FOUND",
    },
    "EraseExample": {"EXAMPLE_NOT_FOUND"},
    "SendFeedback": {"PREDICTION_NOT_CAPTURED"},
}

Reply = TypeVar("Reply")


class DataCallers:
    """All callers of the data loop.

    Args:
        world: where they call.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._ready: list[str] = []
        self._predicted: list[str] = []
        #: The name of the content of each acknowledged feedback, by its ID.
        self._names: dict[str, str] = {}
        self._uploaded: list[str] = []

    def carry_out(self, step: Step) -> None:
        """Do what a step says."""
        self._world.scheduler.note(f"CALL {step}")
        work = {
            "upload": self._upload,
            "edit": self._edit,
            "erase": self._erase,
            "teach": self._teach,
            "look": self._look,
            "drop": self._drop,
            "prune": self._prune,
        }
        work[step.kind](step)

    def read_everything(self) -> None:
        """Read every dataset at the end."""
        for name in self._ready:
            self._read(Step(at=0.0, kind="read"), name)

    # Datasets

    def _upload(self, step: Step) -> None:
        """Upload a dataset, after each fault from where a server says that it ends."""
        chance, name = self._world.chance, f"d{step.number}"
        details = {"display_name": "", "description": "", "tags": {}}

        def create(replica: Replica) -> None:
            # An earlier attempt has created it: the name is this caller's alone.
            with suppress(DatasetExists):
                replica.data.catalog.create(name, details)

        self._insist(step, "CreateDataset", name, {}, create)
        batch, last = 0, chance.randint(1, 3)
        while batch < last:
            batch = self._write(step, name, batch)
            if chance.random() < 0.3:
                found = self._insist(
                    step, "GetDataset", name, {}, lambda replica: replica.data.catalog.get(name).next_batch
                )
                batch = batch if found is None else found
        digest = self._insist(
            step, "FinishDataset", name, {}, lambda replica: replica.data.catalog.finish(name).digest
        )
        if digest is not None:
            self._ready.append(name)
            self._read(step, name)

    def _write(self, step: Step, name: str, batch: int) -> int:
        labels = {f"{name}-{batch}-{place}": CLASSES[place % len(CLASSES)] for place in range(BATCH)}
        request = BatchRequest(
            dataset=name,
            number=batch,
            examples=[_example(example_id, label) for example_id, label in labels.items()],
            checksum=lambda before: bytes([before[0] + 1, *before[1:]]),
        )
        found = self._insist(
            step,
            "WriteExamples",
            name,
            {"batch": batch, "examples": labels},
            lambda replica: replica.data.batches.write(request).next_batch,
        )
        self._uploaded += labels
        return batch + 1 if found is None else found

    def _read(self, step: Step, name: str) -> None:
        self._insist(
            step,
            "ReadDataset",
            name,
            {},
            lambda replica: sorted(each.id for each in replica.data.catalog.examples(name)),
        )

    def _drop(self, step: Step) -> None:
        """Delete a dataset."""
        if self._ready:
            name = self._ready.pop(self._world.chance.randrange(len(self._ready)))
            self._insist(step, "DeleteDataset", name, {}, lambda replica: replica.data.catalog.delete(name))

    # Edits

    def _newest(self, step: Step) -> tuple[int, dict[str, str]]:
        """Return the newest version, and the labels of its examples."""
        found = self._insist(step, "ReadVersion", MODEL, {}, lambda replica: replica.data.newest())
        if found is None:
            return 0, {}
        number, listed = found
        return number, {each.id: each.target.label for each in listed.examples}

    def _edit(self, step: Step) -> None:
        """Fine-tune with edits of the newest version, and with a dataset."""
        chance = self._world.chance
        parent, listed = self._newest(step)
        taken = chance.choice(self._ready) if self._ready and chance.random() < 0.7 else None
        if not parent or (taken is not None and any(each.startswith(f"{taken}-") for each in listed)):
            # Its examples would replace themselves.
            taken = None
        edits = self._edits(listed)
        if not parent or (taken is None and not edits):
            return
        spec = FineTuneSpec(
            model=MODEL,
            backbone="fake",
            alias=ALIAS if "alias" in step.flags else None,
            parent_version=parent,
            dataset=taken,
            edits=tuple(_edit_of(example_id, change) for example_id, change in edits.items()),
        )
        request_id = f"edit {step.number}"
        sent = {"request_id": request_id, "parent": parent, "dataset": taken, "edits": edits}
        self._insist(step, "FineTune", MODEL, sent, lambda replica: replica.data.submit(spec, request_id))

    def _edits(self, listed: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Return up to two changes of examples, by their IDs."""
        chance, counts = self._world.chance, Counter(listed.values())
        edits: dict[str, dict[str, Any]] = {}
        for example_id in chance.sample(sorted(listed), min(len(listed), 2)):
            label = listed[example_id]
            if counts[label] > KEPT_EXAMPLES:
                kind = chance.choice(("label", "weight", "remove"))
                counts[label] -= kind != "weight"
                values = {"label": chance.choice(CLASSES), "weight": chance.choice((0.5, 2.0))}
                edits[example_id] = {kind: values.get(kind, True)}
        return edits

    def _prune(self, step: Step) -> None:
        """Delete a version that is not the newest one."""
        newest, _ = self._newest(step)
        if newest > 1:
            number = self._world.chance.randint(1, newest - 1)
            self._insist(
                step,
                "DeleteVersion",
                MODEL,
                {"version": number},
                lambda replica: replica.registry.delete_version(MODEL, number, force=True),
            )

    # Erasures

    def _erase(self, step: Step) -> None:
        """Erase an example of the newest version, of a dataset or of feedback, or a captured input."""
        chance = self._world.chance
        of_version = "recent" not in step.flags and chance.random() < 0.5
        chosen = sorted(self._newest(step)[1]) if of_version else []
        chosen = chosen or [*self._names, *self._predicted] or self._uploaded
        if "recent" in step.flags:
            chosen = chosen[-1:]
        if not chosen:
            return
        example_id, rebuild = chance.choice(chosen), "rebuild" in step.flags
        request = ErasureRequest(
            example_id=example_id,
            model=MODEL if chance.random() < 0.3 else "",
            request_id=f"erase {step.number} {step.at}" if rebuild else "",
        )
        sent = {"rebuild": rebuild, "model": request.model or "-"}
        found = self._insist(
            step,
            "EraseExample",
            example_id,
            sent,
            lambda replica: replica.data.erasures.erase(request, rebuild=rebuild)[0].contents,
        )
        if found is not None:
            self._check_content_gone(example_id)

    def _check_content_gone(self, example_id: str) -> None:
        """Look for the content of an example whose erasure was acknowledged just now.

        An erasure may have written the archive that another one has rewritten; then it writes it again.
        """
        world, name = self._world, self._names.get(example_id, example_id)
        steps = world.plan.steps
        resent = {f"taught-{step.number}" for step in steps if "again" in step.flags}
        if name in resent or sum(step.kind == "erase" for step in steps) > 1:
            return
        named = {archive for (archive,) in world.tables.rows("SELECT archive FROM archive_uses")}
        content = content_of(name)
        for archive, stored in world.archives.contents().items():
            if archive.removesuffix(".zip") in named and content in stored:
                world.faults.append(f"archive {archive} has content of {example_id} after its erasure")

    # Captures and feedback

    def _look(self, step: Step) -> None:
        """Let an input be predicted and captured; at times send feedback about it."""
        prediction_id = f"p{step.number}"
        parent, _ = self._newest(step)
        self._world.scheduler.sleep(0.01)
        with suppress(LostError, ServiceUnavailable):
            self._world.callers.call(
                step.replica, lambda replica: replica.data.capture(prediction_id, parent), "capture"
            )
            self._world.coverage["captures"] += 1
        self._predicted.append(prediction_id)
        if "again" in step.flags:
            self._world.scheduler.sleep(step.seconds)
            self._send(
                step,
                SentFeedback(
                    model=MODEL,
                    prediction_id=prediction_id,
                    answer=Answer.LABEL,
                    target=Target.of_label(CLASSES[step.number % 2]),
                    request_id=f"feedback {step.number}",
                ),
                prediction_id,
            )

    def _teach(self, step: Step) -> None:
        """Send feedback about an input; at times a second time, or other feedback after that."""
        name = f"taught-{step.number}"
        sent = SentFeedback(
            model=MODEL,
            content=content_of(name),
            answer=Answer.LABEL,
            target=Target.of_label(CLASSES[step.number % 2]),
            request_id=f"feedback {step.number}",
        )
        for _ in range(1 + ("again" in step.flags)):
            found = self._send(step, sent, name)
            if found is not None and found not in self._names:
                self._names[found] = name
            self._world.scheduler.sleep(step.seconds)
        # Otherwise the content of an erased example would be that of another one, too.
        if "contradict" in step.flags and not any(each.kind == "erase" for each in self._world.plan.steps):
            other = Target.of_label(CLASSES[(step.number + 1) % 2])
            self._send(step, replace(sent, target=other, request_id=f"other {step.number}"), name)

    def _send(self, step: Step, sent: SentFeedback, name: str) -> str | None:
        return self._insist(
            step,
            "SendFeedback",
            MODEL,
            {"request_id": sent.request_id, "content": name, "example": sent.prediction_id},
            lambda replica: replica.data.feedback.send(sent)[0].feedback_id,
        )

    def _insist(
        self, step: Step, kind: str, key: str, sent: Mapping[str, Any], work: Callable[[Replica], Reply]
    ) -> Reply | None:
        """Call one replica after another until one answers; None if it refuses."""
        callers, world = self._world.callers, self._world
        place, is_unknown = step.replica, False
        while True:
            call = callers.call_of(kind, place, key, **sent)
            try:
                result: Reply = callers.call(place, work, kind)
            except (LostError, ServiceUnavailable):
                callers.add(call, Outcome.UNKNOWN)
                is_unknown = True
                world.coverage["failed calls of the data loop"] += 1
                world.scheduler.sleep(world.chance.uniform(0.2, 0.6))
                place = (place + 1) % world.plan.replicas
            except HeadstartError as error:
                # An earlier attempt may be what this one is refused for.
                callers.add(call, Outcome.UNKNOWN if is_unknown else Outcome.FAILED, error.reason)
                if error.reason not in _REFUSALS.get(kind, ()):
                    world.faults.append(f"{kind} of {key} was refused: {error.reason} {error.message}")
                return None
            else:
                callers.add(call, Outcome.OK, result)
                if kind in CALLED:
                    world.coverage[CALLED[kind]] += 1
                return result


def _example(example_id: str, label: str) -> Example:
    return Example(content=content_of(example_id), target=Target.of_label(label), id=example_id)


def _edit_of(example_id: str, change: Mapping[str, Any]) -> ExampleEdit:
    return ExampleEdit(
        id=example_id,
        target=Target.of_label(change["label"]) if "label" in change else None,
        weight=change.get("weight"),
        remove="remove" in change,
    )
