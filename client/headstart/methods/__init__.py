"""The methods of `Client`, by topic."""

from headstart.methods.evaluation import EvaluationMethods
from headstart.methods.examples import ExampleMethods
from headstart.methods.feedback import FeedbackMethods, ReviewMethods
from headstart.methods.models import ModelMethods
from headstart.methods.prediction import PredictionMethods
from headstart.methods.training import TrainingMethods

__all__ = ["ClientMethods"]


class ClientMethods(
    TrainingMethods,
    ExampleMethods,
    EvaluationMethods,
    PredictionMethods,
    ModelMethods,
    ReviewMethods,
    FeedbackMethods,
):
    """All methods that send calls."""
