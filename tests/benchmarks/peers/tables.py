"""The tables of the comparison, in Markdown, from what was measured."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from statistics import mean
from typing import Any

from peers.contenders import INT8, KERAS, MINIMAL, OPENVINO, headstarts, peers
from peers.measuring import Measured
from report import print_table

Loads = Callable[[Measured], Mapping[int, Mapping[str, Any]]]
Value = Callable[[Measured], float | None]
Best = Callable[[Sequence[float]], float]

#: The loads of the client in Python, and of h2load.
_PYTHON: Loads = attrgetter("loads")
_H2LOAD: Loads = attrgetter("light_loads")


def print_tables(measured: Sequence[Measured], callers: Sequence[int]) -> None:
    """Print what every contender did, and how Headstart compares with the best of the others."""
    titles = list(dict.fromkeys(one.title for one in measured))
    counts = sorted({one.variants for one in measured})
    groups = {
        (title, count): [one for one in measured if (one.title, one.variants) == (title, count)]
        for title in titles
        for count in counts
    }
    first = [groups[title, counts[0]] for title in titles]
    _print_speed("One network, one 640 x 480 JPEG a call", first, callers, _PYTHON)
    if any(one.light_loads for one in measured):
        _print_speed("The same, with load from h2load", first, callers, _H2LOAD)
    if counts[1:]:
        _print_variants([groups[title, count] for count in counts for title in titles], callers[1:])
    _print_ratios(measured, counts, callers[1:])
    for note in sorted({note for one in measured for note in one.notes}):
        print(f"The peers printed: {note}.")


def _print_speed(
    title: str, groups: Sequence[Sequence[Measured]], callers: Sequence[int], loads: Loads
) -> None:
    head = ["server"]
    for number in callers:
        head += [f"{_callers(number)}: calls/s", "p50", "p99"]
    rows = []
    for group in filter(None, groups):
        row = [group[0].title]
        for number in callers:
            row.append(_cell(group, _figure(loads, number, "per_second"), "{:.0f}"))
            row.append(_cell(group, _figure(loads, number, "p50_ms"), "{:.0f} ms"))
            row.append(_cell(group, _figure(loads, number, "p99_ms"), "{:.0f} ms"))
        rows.append(_cells_of(row, group))
    print_table(title, head, rows)


def _print_variants(groups: Sequence[Sequence[Measured]], callers: Sequence[int]) -> None:
    head = ["variants", "server", "start until all answer", "memory"]
    head += [f"{_callers(number)}: calls/s" for number in callers]
    rows = []
    for group in groups:
        row = [str(group[0].variants), group[0].title]
        row.append(_cell(group, lambda one: one.ready_seconds, "{:.1f} s"))
        row.append(_cell(group, lambda one: one.memory and one.memory / 2**20, "{:,.0f} MiB"))
        row += [_cell(group, _figure(_PYTHON, number, "per_second"), "{:.0f}") for number in callers]
        rows.append(_cells_of(row, group))
    print_table("Variants of the network, each call to one at random", head, rows)


def _print_ratios(measured: Sequence[Measured], counts: Sequence[int], callers: Sequence[int]) -> None:
    """Print one row for each precision of Headstart and group of peers that was measured."""
    figures: list[tuple[str, Value, Best]] = [
        (f"{name}, {_callers(number)}", _figure(loads, number, "per_second"), max)
        for name, loads in (("h2load", _H2LOAD), ("Python client", _PYTHON))
        for number in callers
    ]
    figures += [("memory", lambda one: one.memory, min), ("start", lambda one: one.ready_seconds, min)]
    rows = []
    for count in counts:
        here = [one for one in measured if one.variants == count]
        for title in [each.title for each in headstarts()]:
            own = [one for one in here if one.title == title]
            for against, titles in _rivals().items():
                others = [one for one in here if one.title in titles]
                if own and others:
                    cells = [_advantage(own, others, value, best) for _, value, best in figures]
                    rows.append([str(count), title, against, *cells])
    head = ["variants", "what", "against", *(name for name, _, _ in figures)]
    print_table("How many times better Headstart is than the best of the others in each", head, rows)


def _rivals() -> dict[str, set[str]]:
    """Return what Headstart is compared with, each with the titles of its contenders."""
    servers = [each for each in peers() if each.name != MINIMAL]
    flavors = {
        "best peer as documented (Keras)": KERAS,
        "best peer with OpenVINO in its best precision": OPENVINO,
        "best peer with OpenVINO, quantized by hand": INT8,
    }
    minimal = f"minimal hand-written gRPC server with OpenVINO in {headstarts()[-1].flavor}"
    return {
        against: {each.title for each in servers if each.flavor == flavor}
        for against, flavor in flavors.items()
    } | {minimal: {each.title for each in peers() if each.name == MINIMAL}}


def _callers(number: int) -> str:
    return "1 caller" if number == 1 else f"{number} callers"


def _figure(loads: Loads, callers: int, which: str) -> Value:
    return lambda one: loads(one).get(callers, {}).get(which)


def _values(group: Sequence[Measured], value: Value) -> list[float]:
    return [found for found in map(value, group) if found is not None]


def _cell(group: Sequence[Measured], value: Value, form: str) -> str:
    """The mean, and where it was measured twice how far each lies from it."""
    values = _values(group, value)
    if not values:
        return "-"
    spread = (max(values) - min(values)) / 2
    text = form.format(mean(values))
    return f"{text} (± {form.format(spread).split()[0]})" if len(values) > 1 else text


def _cells_of(row: list[str], group: Sequence[Measured]) -> list[str]:
    """A row, with what went wrong behind the name."""
    faults = [one.fault for one in group if one.fault]
    loads = [load for one in group for load in (*one.loads.values(), *one.light_loads.values())]
    failures = sum(sum(load["failures"].values()) for load in loads)
    if failures:
        faults.append(f"{failures} calls failed")
    place = row.index(group[0].title)
    row[place] += "".join(f": {fault}" for fault in dict.fromkeys(faults))
    return row


def _advantage(ours: Sequence[Measured], peers: Sequence[Measured], value: Value, best: Best) -> str:
    """How many times better ours is than the best peer, by its mean; below 1 where it is worse."""
    own, others = _values(ours, value), _values(peers, value)
    if not own or not others:
        return "-"
    ratio = mean(own) / best(others) if best is max else best(others) / mean(own)
    return f"{ratio:.2f}"
