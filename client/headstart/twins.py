"""Asynchronous methods from the synchronous ones: both have one definition and documentation.

The body of such a method returns the value of a call of its connection or client, also if that is None. An
asynchronous connection or client returns a coroutine or an asynchronous iterator instead.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def coroutine(
    method: Callable[Concatenate[Any, Arguments], Result],
) -> Callable[Concatenate[Any, Arguments], Coroutine[Any, Any, Result]]:
    """Return the asynchronous method for a synchronous one that returns a value."""

    @wraps(method)
    async def call(self: Any, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        return await cast(Coroutine[Any, Any, Result], method(self, *args, **kwargs))

    return call


def async_iterator(
    method: Callable[Concatenate[Any, Arguments], Iterator[Result]],
) -> Callable[Concatenate[Any, Arguments], AsyncIterator[Result]]:
    """Return the asynchronous method for a synchronous one that returns an iterator."""

    @wraps(method)
    def call(self: Any, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> AsyncIterator[Result]:
        return cast(AsyncIterator[Result], method(self, *args, **kwargs))

    signature, items = inspect.signature(method), cast(Any, AsyncIterator)
    annotation = items[signature.return_annotation.__args__]
    vars(call)["__signature__"] = signature.replace(return_annotation=annotation)
    return call
