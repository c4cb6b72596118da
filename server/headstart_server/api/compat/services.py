"""The services of each dialect, by the dialect's name."""

from collections.abc import Collection, Sequence

from headstart_server.api.compat import open_inference_pb2, tensorflow_serving_pb2
from headstart_server.api.compat.binding import BoundService, bind
from headstart_server.api.compat.compat_predictor import Asking
from headstart_server.api.compat.open_inference_service import OpenInferenceService
from headstart_server.api.compat.tensorflow_model_service import TensorFlowModelService
from headstart_server.api.compat.tensorflow_prediction_service import TensorFlowPredictionService
from headstart_server.api.grpc.executors import LongWork
from headstart_server.embedding.backbone_pool import BackbonePool
from headstart_server.models.registry import Registry

#: The Open Inference Protocol, version 2, and the API of TensorFlow Serving.
OIP, TFSERVING = "oip", "tfserving"


def services_of(
    dialects: Collection[str], asking: Asking, registry: Registry, pool: BackbonePool, long_work: LongWork
) -> Sequence[BoundService]:
    """The services of some dialects.

    Args:
        dialects: their names.
        asking: finds versions and lets them answer.
        registry: knows models and versions.
        pool: knows backbones.
        long_work: for what takes long.
    """
    services = []
    if OIP in dialects:
        known = open_inference_pb2.DESCRIPTOR.services_by_name
        servicer = OpenInferenceService(asking, registry, pool, long_work)
        services.append(bind(known["GRPCInferenceService"], servicer))
    if TFSERVING in dialects:
        known = tensorflow_serving_pb2.DESCRIPTOR.services_by_name
        services.append(bind(known["PredictionService"], TensorFlowPredictionService(asking)))
        models = TensorFlowModelService(registry, pool, long_work)
        services.append(bind(known["ModelService"], models))
    return services
