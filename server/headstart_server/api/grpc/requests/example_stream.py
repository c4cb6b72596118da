"""Streams of a spec and examples, for FineTune, Evaluate and Compare."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc

from headstart_server.api.grpc.call import Context
from headstart_server.errors import HeadstartError, InvalidField, InvalidLabel, InvalidStream

# The form of an example in the path of a field within one message.
_EXAMPLE = re.compile(r"\bexamples\.examples\[([0-9]+)\]")


async def stream_parts(
    requests: AsyncIterator[Any], method: str, context: Context
) -> AsyncGenerator[Any, None]:
    """Yield the spec of a stream, then its batches of examples; end only if the caller ended the stream.

    Args:
        requests: the messages, each with a oneof `part` of `spec` and `examples`.

    Raises:
        CancelledError: the stream was interrupted.
    """
    begun, count = False, 0
    try:
        async for request in requests:
            part = request.WhichOneof("part")
            if part != ("examples" if begun else "spec"):
                where = "every message after the first" if begun else "the first message"
                raise InvalidStream(
                    f"Expected {'examples' if begun else 'the spec'} in {where} of a {method} stream. "
                    f"Received: {part or 'an empty message'}."
                )
            yield request.examples.examples if begun else request.spec
            count += len(request.examples.examples)
            begun = True
    except (InvalidField, InvalidLabel) as error:
        raise _located(error, count) from None
    if not begun:
        raise InvalidStream(f"Expected a spec and examples in a {method} stream. Received: an empty stream.")
    await _check_complete(context)


def _located(error: HeadstartError, before: int) -> HeadstartError:
    """Return the error of a message with the example's index in the whole stream."""

    def located(text: str) -> str:
        return _EXAMPLE.sub(lambda found: f"examples[{int(found[1]) + before}]", text)

    return type(error)(located(error.message), field=located(error.field or "") or None)


async def _check_complete(context: Context) -> None:
    """Check that a request stream ended because its caller ended it.

    grpc.aio ends the iterator of an interrupted stream (cancelled, deadline passed, connection lost) like
    that of a complete one. It cancels the handler only a moment later, so an incomplete stream would look
    complete. But sending fails on a call that is over, which distinguishes the two.
    """
    try:
        await context.send_initial_metadata(())
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
