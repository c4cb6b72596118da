"""The methods of `Client`, by topic."""

from headstart.methods.evaluation import EvaluationMethods
from headstart.methods.models import ModelMethods
from headstart.methods.prediction import PredictionMethods
from headstart.methods.training import TrainingMethods

__all__ = ["ClientMethods"]


class ClientMethods(TrainingMethods, EvaluationMethods, PredictionMethods, ModelMethods):
    """All methods that send calls."""
