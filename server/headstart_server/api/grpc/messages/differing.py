"""The messages of examples that only one of two versions predicts correctly."""

from collections.abc import Sequence

from headstart.v1 import evaluation_service_pb2
from headstart.v1.label_pb2 import ExampleReference
from headstart.v1.version_selector_pb2 import VersionRef
from headstart_server.api.grpc.messages.common import label_message
from headstart_server.api.grpc.messages.examples import reduced
from headstart_server.datasets.example_index import predicted_target
from headstart_server.learning.metrics.comparison import PairedOutcome


def differing_messages(
    differing: tuple[Sequence[PairedOutcome], Sequence[PairedOutcome]], versions: Sequence[VersionRef]
) -> list[evaluation_service_pb2.DifferingExample]:
    """The messages of examples that only the first of two versions predicts correctly, or only the second."""
    return [
        _differing_message(pair, versions, is_first=side == 0)
        for side, pairs in enumerate(differing)
        for pair in pairs
    ]


def _differing_message(
    pair: PairedOutcome, versions: Sequence[VersionRef], *, is_first: bool
) -> evaluation_service_pb2.DifferingExample:
    labels = [predicted_target(outcome, pair.target.task) for outcome in (pair.first, pair.second)]
    first, second = (None if label is None else label_message(label) for label in labels)
    return evaluation_service_pb2.DifferingExample(
        example=ExampleReference(
            index=pair.index, example_id=pair.id, label=label_message(reduced(pair.target))
        ),
        version=None if pair.source is None else versions[pair.source],
        first_right=is_first,
        first_label=first,
        second_label=second,
    )
