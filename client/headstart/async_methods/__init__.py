"""The methods of `AsyncClient`, by topic."""

from headstart.async_methods.evaluation import AsyncEvaluationMethods
from headstart.async_methods.examples import AsyncExampleMethods
from headstart.async_methods.feedback import AsyncFeedbackMethods
from headstart.async_methods.models import AsyncModelMethods
from headstart.async_methods.prediction import AsyncPredictionMethods
from headstart.async_methods.review import AsyncReviewMethods
from headstart.async_methods.training import AsyncTrainingMethods

__all__ = ["AsyncClientMethods"]


class AsyncClientMethods(
    AsyncTrainingMethods,
    AsyncExampleMethods,
    AsyncEvaluationMethods,
    AsyncPredictionMethods,
    AsyncModelMethods,
    AsyncReviewMethods,
    AsyncFeedbackMethods,
):
    """All methods that send calls."""
