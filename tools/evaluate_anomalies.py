"""False alarms and found events on the Numenta Anomaly Benchmark's files, with their labelled windows.

python tools/evaluate_anomalies.py FOLDER [--above 0.999] [--spikes 200] [--only GROUP]... [-o RESULTS.json]

FOLDER is a checkout of github.com/numenta/NAB: `data/GROUP/*.csv` and `labels/combined_windows.json`. A model is
trained on the first 15 % of each file (NAB's own probation) by `streamlstm.fit` with its defaults, then all of it is
served with `--score` by the daemon's own engine; what is told as an anomaly after the first 15 % counts. A window is
found if a value in it is told. Beside it stands what chance finds at the promised rate, and in brackets what is told if
each value is scored by its own forecast alone, whatever was odd before it.

Last, spikes of so many times the mean change are put into the files of real measurements, a thousand values apart: how
many of them are told, and how many of the three values after each.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import streamlstm
from streamlstm.common import EngineSettings
from streamlstm.engine import Engine
from streamlstm.errors import ModelError
from streamlstm.evaluation.served import Walk, serve, step_walks
from streamlstm.models import Model
from streamlstm.store import Commit
from streamlstm.store.record import LABELLED, Constants, Events, conformal
from streamlstm.tables import Series

RESULTS = Path(__file__).parent / "anomaly_results.json"
TRAINED = 0.15  # of each file
SOON = 10  # values after one that was told, within which another is counted as one right after it
Mask = NDArray[np.bool_]


@dataclass
class Told:
    """What was told of some files."""

    false: int = 0  # outside of windows
    late: int = 0  # of these, in the second half of their file
    soon: int = 0  # of these, right after another
    found: int = 0  # windows

    def add(self, told: Mask, windows: list[Mask], counted: Mask) -> None:
        """Count one file: what was told (n,), where each window is (n,), what counts outside of them (n,)."""
        false = np.flatnonzero(told & counted)
        self.false += len(false)
        self.late += int((false >= len(told) // 2).sum())
        self.soon += int((np.diff(false) <= SOON).sum())
        self.found += sum(bool(told[window].any()) for window in windows)


@dataclass
class Group:
    """One folder of files."""

    files: int = 0
    values: int = 0  # outside of windows, after the part that was trained on
    late_values: int = 0  # of these, in the second half of their file
    windows: int = 0
    by_chance: float = 0.0  # windows that chance finds
    now: Told = field(default_factory=Told)
    alone: Told = field(default_factory=Told)  # each value scored by its own forecast alone
    not_trained: list[str] = field(default_factory=list)
    spikes: list[int] = field(default_factory=lambda: [0] * 5)  # put in; told now, alone; told after them now, alone

    def __iadd__(self, other: Group) -> Group:
        for name in ("files", "values", "late_values", "windows", "by_chance", "not_trained"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.spikes = [mine + theirs for mine, theirs in zip(self.spikes, other.spikes, strict=True)]
        for mine, theirs in ((self.now, other.now), (self.alone, other.alone)):
            for name in ("false", "late", "soon", "found"):
                setattr(mine, name, getattr(mine, name) + getattr(theirs, name))
        return self


class ToldWalk(Walk):
    """A series on its way through the engine, and which of its values were told."""

    def __init__(self, engine: Engine, one: Series) -> None:
        super().__init__(engine, one.name, one)
        self.told = np.zeros(len(one.values), bool)

    def take(self, commit: Commit, rows: int) -> None:
        """Keep which were."""
        super().take(commit, rows)
        if commit.anomalies is not None:
            self.told[commit.anomalies.ids.at] = True


def main() -> None:
    """Run everything, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--above", type=float, default=0.999, help="as `serve --anomaly-above`")
    parser.add_argument("--spikes", type=float, default=200.0, help="their size, in mean changes of their series")
    parser.add_argument("--only", action="append", help="name of a group, such as realAWSCloudwatch")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    labels = given.folder / "labels" / "combined_windows.json"
    if not labels.exists():
        sys.exit(f"{labels} is not there; give a checkout of github.com/numenta/NAB")
    windows = json.loads(labels.read_text())
    found: dict[str, Group] = {}
    columns = ("group", "files", "values", "false alarms in 1000", "in second halves", "right after another")
    print("| " + " | ".join((*columns, "windows found", "by chance")) + " |")
    for name in sorted(windows):
        group = name.partition("/")[0]
        if not given.only or group in given.only:
            found.setdefault(group, Group())
            found[group] += measured(given.folder / "data" / name, windows[name], given.above, given.spikes)
    if not found:
        sys.exit(f"there is no group of these names in {labels}")
    total = Group()
    for group_ in found.values():
        total += group_
    report = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "above": given.above,
        "groups": {name: asdict(one) for name, one in (*found.items(), ("all", total))},
    }
    given.output.write_text(json.dumps(report, indent=1) + "\n")
    for name, group_ in (*found.items(), ("all", total)):
        print(row(name, group_))
    put, now, alone, after, after_alone = total.spikes
    print(f"of {put} spikes told: {now} ({alone}); of the three values after each: {after} ({after_alone})")


def measured(path: Path, windows: list[list[str]], above: float, spikes: float) -> Group:
    """One file."""
    one, model = read(path), trained(path)
    if model is None:
        return Group(not_trained=[path.stem])
    inside = [mask_of(one, begin, end) for begin, end in windows]
    counted = ~np.logical_or.reduce([np.zeros(len(one.values), bool), *inside])
    counted[: int(TRAINED * len(one.values))] = False
    late = int(counted[len(counted) // 2 :].sum())
    made = Group(files=1, values=int(counted.sum()), late_values=late, windows=len(inside))
    made.by_chance = float(sum(1 - above ** int(window.sum()) for window in inside))
    made.now.add(told(model, one, above), inside, counted)
    made.alone.add(scored_alone(model, one) >= above, inside, counted)
    if path.parent.name.startswith("real"):
        made.spikes = spiked(model, one, above, spikes)
    return made


def told(model: Model, one: Series, above: float) -> Mask:
    """Which values (n,) the daemon tells."""
    engine = Engine(model, EngineSettings(score=True, anomaly_above=above, gap_after_ms=0))
    walk = ToldWalk(engine, one)
    step_walks(engine, [walk], [1])
    step_walks(engine, [walk], [len(one.values)])
    return walk.told


def spiked(model: Model, one: Series, above: float, size: float) -> list[int]:
    """What is told of a file with spikes in it, as `Group.spikes` has it."""
    values = one.values.copy()
    at = np.arange(3 * len(values) // 10, len(values) - 20, 1000)
    values[at, 0] += size * np.abs(np.diff(values[:, 0])).mean()
    other = Series(name=one.name, values=values, times_ms=one.times_ms)
    both = (told(model, other, above), scored_alone(model, other) >= above)
    after = (at[:, None] + np.arange(1, 4)).ravel()
    return [len(at), *(int(found[at].sum()) for found in both), *(int(found[after].sum()) for found in both)]


def read(path: Path) -> Series:
    """The rows of a file, as they stand."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    times = np.array([ms_of(line["timestamp"]) for line in rows])
    return Series(name=path.stem, values=np.array([[float(line["value"])] for line in rows]), times_ms=times)


def ms_of(text: str) -> int:
    """A time of a file, in ms since 1970."""
    return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp() * 1000)


def mask_of(one: Series, begin: str, end: str) -> Mask:
    """Which values lie in a window."""
    assert one.times_ms is not None, "all have times"
    found: Mask = (one.times_ms >= ms_of(begin)) & (one.times_ms <= ms_of(end))
    return found


def trained(path: Path) -> Model | None:
    """A model of the first part; of another seed where one cannot be exported."""
    for seed in range(3):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return streamlstm.fit(path, test_size=1 - TRAINED, seed=seed).model
        except ModelError as error:
            print(f"{path.stem}, seed {seed}: {error}", file=sys.stderr)
    return None


def scored_alone(model: Model, one: Series) -> NDArray[np.float64]:
    """Scores (n,), each by the forecast of its value alone."""
    constants, kept = Constants(), np.zeros(1, conformal.CALIBRATION)
    kept[:] = constants.fresh()
    said = serve(model, [one]).outputs[0][:, 0]
    x = one.values[:, 0].astype(np.float32).astype(np.float64)
    flags = np.where(np.isfinite(said[:-1]) & np.isfinite(x[1:]), np.uint8(LABELLED), np.uint8(0))
    numbers = map(np.nan_to_num, (x[1:], said[:-1], said[1:]))
    out, counts = np.empty((len(flags), 3)), np.zeros((1, 2))
    before, conformal.AFTERMATH = conformal.AFTERMATH, 0.0
    try:
        events = Events(np.zeros(len(flags), np.int64), flags, *numbers)
        conformal.calibrate(kept, constants.fresh(), constants.numbers, events, out, counts, 0)
    finally:
        conformal.AFTERMATH = before
    return np.concatenate([[np.nan], out[:, 2]])


def row(name: str, found: Group) -> str:
    """A line of the table; in brackets what it is with values scored by their forecasts alone."""
    return "| " + " | ".join(cells(name, found)) + " |"


def cells(name: str, found: Group) -> Iterator[str]:
    """What stands in it."""
    yield from (name, f"{found.files}", f"{found.values:,}")
    for now, alone, values in (
        (found.now.false, found.alone.false, found.values),
        (found.now.late, found.alone.late, found.late_values),
    ):
        yield f"{1000 * now / max(1, values):.2f} ({1000 * alone / max(1, values):.2f})"
    yield f"{found.now.soon} ({found.alone.soon})"
    yield f"{found.now.found} of {found.windows} ({found.alone.found})"
    yield f"{found.by_chance:.0f}"


if __name__ == "__main__":
    main()
