"""The tables of the comparison, in Markdown, from what was measured."""

from collections.abc import Callable, Sequence
from statistics import mean

from peers.contenders import FLAVORS, HEADSTART
from peers.measuring import Measured
from report import print_table

Value = Callable[[Measured], float | None]
Best = Callable[[Sequence[float]], float]


def print_tables(measured: Sequence[Measured], callers: Sequence[int]) -> None:
    """Print what every contender did, and how Headstart compares with the best of the others."""
    titles = list(dict.fromkeys(one.title for one in measured))
    counts = sorted({one.variants for one in measured})
    groups = {
        (title, count): [one for one in measured if (one.title, one.variants) == (title, count)]
        for title in titles
        for count in counts
    }
    _print_speed([groups[title, counts[0]] for title in titles], callers)
    if counts[1:]:
        _print_variants([groups[title, count] for count in counts for title in titles], callers[1:])
    _print_ratios(measured, counts, callers[1:])
    for note in sorted({note for one in measured for note in one.notes}):
        print(f"The peers said: {note}.")


def _print_speed(groups: Sequence[Sequence[Measured]], callers: Sequence[int]) -> None:
    head = ["server"]
    for number in callers:
        head += [f"{_callers(number)}: calls/s", "p50", "p99"]
    rows = []
    for group in groups:
        row = [group[0].title]
        for number in callers:
            row.append(_cell(group, _rate(number), "{:.0f}"))
            row.append(_cell(group, _latency(number, "p50_ms"), "{:.0f} ms"))
            row.append(_cell(group, _latency(number, "p99_ms"), "{:.0f} ms"))
        rows.append(_cells_of(row, group))
    print_table("One network, one 640 x 480 JPEG a call", head, rows)


def _print_variants(groups: Sequence[Sequence[Measured]], callers: Sequence[int]) -> None:
    head = ["variants", "server", "start until all answer", "memory"]
    head += [f"{_callers(number)}: calls/s" for number in callers]
    rows = []
    for group in groups:
        row = [str(group[0].variants), group[0].title]
        row.append(_cell(group, lambda one: one.ready_seconds, "{:.1f} s"))
        row.append(_cell(group, lambda one: one.memory and one.memory / 2**20, "{:,.0f} MiB"))
        row += [_cell(group, _rate(number), "{:.0f}") for number in callers]
        rows.append(_cells_of(row, group))
    print_table("Variants of the network, each call asks one at random", head, rows)


def _print_ratios(measured: Sequence[Measured], counts: Sequence[int], callers: Sequence[int]) -> None:
    rows = []
    for count in counts:
        for flavor in FLAVORS:
            here = [one for one in measured if one.variants == count]
            ours = [one for one in here if one.title == HEADSTART.title]
            others = [one for one in here if one.title != HEADSTART.title and one.title.endswith(flavor)]
            row = [str(count), f"peers with {flavor}"]
            row += [_advantage(ours, others, _rate(number), max) for number in callers]
            row.append(_advantage(ours, others, lambda one: one.memory, min))
            row.append(_advantage(ours, others, lambda one: one.ready_seconds, min))
            rows.append(row)
    head = ["variants", "against", *(f"calls/s, {_callers(number)}" for number in callers), "memory", "start"]
    print_table("How many times better Headstart is than the best of the peers in each", head, rows)


def _callers(number: int) -> str:
    return "1 caller" if number == 1 else f"{number} callers"


def _rate(callers: int) -> Value:
    return lambda one: one.loads.get(callers, {}).get("per_second")


def _latency(callers: int, which: str) -> Value:
    return lambda one: one.loads.get(callers, {}).get(which)


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
    failures = sum(sum(load["failures"].values()) for one in group for load in one.loads.values())
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
