"""Feeds a real server in a separate process, over gRPC."""

import time
from collections import Counter
from pathlib import Path

import grpc
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st

from fuzz import inputs
from integration.server.calls import Api, digits
from server_process import running

#: Seconds of one call after which it counts as a hang.
HANG_SECONDS = 30.0
#: What may be said to a caller who sent nonsense.
REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    # A backbone that nothing had used before is loaded meanwhile.
    grpc.StatusCode.UNAVAILABLE,
}


def feed(seconds: float, number: int, folder: Path) -> dict[str, object]:
    """Send a server damaged requests for some seconds; the counts, as `fuzz.parsers.feed` sends them."""
    counts: Counter[str] = Counter()
    faults: dict[str, str] = {}
    with running(folder / "data", "--max-input-size", "2MiB", "--max-queued-jobs", "20") as server:
        server.event("serving")
        with Api.connect(server.target) as api:
            api.published(digits((0, 1, 7), 4), model="digits")
            began, rounds, half = time.monotonic(), 0, 0
            while time.monotonic() - began < seconds:
                _round(api, number * 100_003 + rounds, counts, faults)
                rounds += 1
                if not half and time.monotonic() - began >= seconds / 2:
                    half = server.rss
            grown = server.rss - half
            # It answers as before.
            api.published(digits((0, 1), 4), model="after")
    return {"counts": dict(counts), "faults": faults, "grown": grown}


def _round(api: Api, number: int, counts: Counter[str], faults: dict[str, str]) -> None:
    known = inputs.messages()
    unary = st.sampled_from(sorted(known)).flatmap(
        lambda path: st.tuples(st.just(path), inputs.any_of(known[path]).map(lambda one: [one]))
    )
    first, second = inputs.stream()
    streamed = st.tuples(
        st.sampled_from(["FineTuningService/FineTune", "EvaluationService/Evaluate"]).map(
            lambda name: f"/headstart.v1.{name}"
        ),
        st.tuples(inputs.damaged(first), inputs.damaged(second)).map(list),
    )

    @seed(number)
    @settings(
        max_examples=50,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(unary, unary, streamed))
    def each(call: tuple[str, list[bytes]]) -> None:
        path, sent = call
        counts["inputs"] += 1
        try:
            if path in known:
                api.channel.unary_unary(path)(sent[0], timeout=HANG_SECONDS)
            else:
                api.channel.stream_unary(path)(iter(sent), timeout=HANG_SECONDS)
            counts["taken"] += 1
        except grpc.RpcError as error:
            code = error.code()
            if code in REFUSED:
                return
            counts["hangs" if code is grpc.StatusCode.DEADLINE_EXCEEDED else "crashes"] += 1
            faults.setdefault(f"{path} {code.name}", f"{error.details()} <- {sent!r}"[:500])

    each()
