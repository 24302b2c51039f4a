"""Puts the metrics of several processes together, as if one had counted: what each shows, family by family.

prometheus_client has a mode for several processes, with files that they map and a value class of its own; ours are
counted without locks (`instruments`), so what is added up is what each would show alone. All of it is written by this
package, so two samples are the same one if the text before their numbers is. Counters and histograms are summed. What
a process counted that has ended since stays in the sums, or Prometheus would take their fall for a restart and count
everything a second time. What only means something of one process carries its number in the label `worker`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from prometheus_client.utils import floatToGoString

# Gauges, by how those of several processes are one. A stream is served by one of them; of two that show it, while it
# changes hands, the one with the larger number is the one that knows of it.
_HIGHEST = (
    *("lag_entries", "lag_seconds", "unreachable_entries", "series", "last_commit_timestamp_seconds"),
    *("challenger_behind_seconds", "challenger_stopped", "refused", "skill", "interval_coverage"),
    *("build_info", "compiled", "model_info", "interval_level", "anomaly_above"),
    *("steps_since_reset", "rounding_share", "limit", "model_loaded_timestamp_seconds"),
    "model_modified_timestamp_seconds",
)
_ADDED = ("cached_series", "state_bytes", "owned_streams")
# The loop is one thread: that one of them is at its limit must not vanish in a mean, and who hangs has to be named.
_OF_EACH = ("loop_beats", "store_connected", "stage_seconds_total")
_LIMIT_OF_MEMORY = 'streamlstm_limit{of="state_bytes"}'  # each has a share of it
HIGHEST, ADDED, OF_EACH = (frozenset(f"streamlstm_{name}" for name in names) for names in (_HIGHEST, _ADDED, _OF_EACH))
BEATS = "streamlstm_loop_beats"

_STREAM = re.compile(r'[{,]stream="((?:[^"\\]|\\.)*)"')
_EDGE = re.compile(r'[{,]le="([^"]*)"')
_ESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


@dataclass
class MergedFamily:
    """One metric: its lines of HELP and TYPE, and its samples by the text before their numbers."""

    name: str
    kind: str
    heading: str
    samples: dict[str, float] = field(default_factory=dict)


Families = dict[str, MergedFamily]
SUPERVISOR = 0  # as the number of a process


def parse(text: str) -> Families:
    """Read what `Metrics.exposition` writes."""
    found: Families = {}
    family = MergedFamily("", "", "")
    for line in text.split("\n")[:-1]:  # names may hold what else ends lines to Python
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            family = found[name] = MergedFamily(name, "", line + "\n")
        elif line.startswith("# TYPE "):
            family.kind = line.rpartition(" ")[2]
            family.heading += line + "\n"
        else:
            head, _, number = line.rpartition(" ")
            family.samples[head] = float(number)
    return found


def write(families: Mapping[str, MergedFamily]) -> str:
    """The text of metrics, as `generate_latest` writes it."""
    parts = []
    for family in families.values():
        parts.append(family.heading)
        parts += [f"{head} {floatToGoString(number)}\n" for head, number in family.samples.items()]  # type: ignore[no-untyped-call]
    return "".join(parts)


class Totals:
    """The metrics of some processes together, those that have ended included."""

    def __init__(self) -> None:
        self._ended: Families = {}  # sums only

    def end(self, last: Families) -> None:
        """A process has ended; `last` is what it showed last, and no other process will have counted it."""
        add(self._ended, last, _is_counted, _sum)

    def merge(self, living: Mapping[int, Families], silent: Sequence[tuple[int, Families]]) -> Families:
        """All together; `silent` are those that do not answer just now, with what they showed last."""
        made: Families = {}
        for families in (*living.values(), *(last for _, last in silent), self._ended):
            add(made, families, _is_counted, _sum)
        for families in living.values():
            add(made, families, _is_added, _sum)
            add(made, families, _is_highest, _higher)
        for number, families in living.items():
            for name in families:
                if _is_of_each(name):
                    _take_in(made, families[name], partial(labelled, worker=number))
        for number, families in silent:
            if BEATS in families:  # it hangs
                _take_in(made, families[BEATS], partial(labelled, worker=number), 0.0)
        _derive(made, "skill", ("absolute_error_total", "naive_absolute_error_total"), lambda of, by: 1.0 - of / by)
        _derive(made, "interval_coverage", ("interval_covered_total", "interval_values_total"), lambda of, by: of / by)
        return made


def add(
    to: Families, families: Families, chosen: Callable[[MergedFamily, str], bool], join: Callable[[float, float], float]
) -> None:
    """Take in the samples that are chosen, by family and text; one that is there already is joined with the other."""
    for name, family in families.items():
        for head, number in family.samples.items():
            if chosen(family, head):
                samples = to.setdefault(name, MergedFamily(name, family.kind, family.heading)).samples
                samples[head] = join(samples[head], number) if head in samples else number


def labelled(head: str, worker: int) -> str:
    """The text of a sample with the number of its process as a label, the last of them."""
    name, brace, labels = head.partition("{")
    return f'{name}{{{labels[:-1]},worker="{worker}"}}' if brace else f'{name}{{worker="{worker}"}}'


def streams_of(families: Families, metric: str) -> dict[str, list[float]]:
    """The numbers of a metric by stream, in the order in which they stand."""
    found: dict[str, list[float]] = {}
    if metric in families:
        for head, number in families[metric].samples.items():
            match = _STREAM.search(head)
            if match is not None:
                found.setdefault(re.sub(r"\\.", lambda one: _ESCAPED[one[0]], match[1]), []).append(number)
    return found


def buckets_of(families: Families, metric: str) -> tuple[dict[str, list[int]], list[float]]:
    """How many observations of a histogram fell into each bucket, by stream, and the edges between the buckets."""
    edges: dict[float, None] = {}
    for head in families[metric].samples if metric in families else ():
        match = _EDGE.search(head)
        if match is not None:
            edges[float(match[1])] = None
    found = {}
    for stream, numbers in streams_of(families, metric).items():
        below = [0.0, *numbers[: len(edges)]]  # the count and the sum are behind them
        found[stream] = [int(upper - lower) for lower, upper in pairwise(below)]
    return found, list(edges)[:-1]


def numbers_of(families: Families, metric: str) -> list[float]:
    """All numbers of a metric."""
    return list(families[metric].samples.values()) if metric in families else []


def _is_of_each(name: str) -> bool:
    return name in OF_EACH or name.startswith("process_")


def _is_counted(family: MergedFamily, head: str) -> bool:  # noqa: ARG001
    return family.kind in {"counter", "histogram"} and not _is_of_each(family.name)


def _is_added(family: MergedFamily, head: str) -> bool:
    return family.name in ADDED or head == _LIMIT_OF_MEMORY


def _is_highest(family: MergedFamily, head: str) -> bool:
    return not (_is_of_each(family.name) or _is_counted(family, head) or _is_added(family, head))


def _sum(one: float, other: float) -> float:
    return one + other


def _higher(one: float, other: float) -> float:
    return other if math.isnan(one) or other > one else one


def _take_in(to: Families, family: MergedFamily, named: Callable[[str], str], instead: float | None = None) -> None:
    samples = to.setdefault(family.name, MergedFamily(family.name, family.kind, family.heading)).samples
    samples.update({named(head): number if instead is None else instead for head, number in family.samples.items()})


def _derive(made: Families, gauge: str, sums: Iterable[str], ratio: Callable[[float, float], float]) -> None:
    """A ratio of sums is one of what all have counted of the stream, not of what who has it now has."""
    shown = made.get(f"streamlstm_{gauge}")
    of, by = (made.get(f"streamlstm_{name}") for name in sums)
    if shown is None or of is None or by is None:
        return
    for head in shown.samples:
        labels = head[len(shown.name) :]
        whole = by.samples.get(by.name + labels, 0.0)
        if whole > 0.0:
            shown.samples[head] = ratio(of.samples[of.name + labels], whole)
