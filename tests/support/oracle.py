"""The sequential oracle: what must come out if every value is stepped alone, one after the other, nothing batched.

It is written apart from the engine and shares nothing with it but the model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import StepError
from streamlstm.models.model import Model
from streamlstm.store.record.columns import NO_EXTRAS, Extras
from support.calibrator import Calibrator

Fields = Sequence[str]

CORRECTIONS = {"!correct", "!late"}
MOST_REJECTED = 10  # in a row; then a series begins anew if it can
REFUSED = "refused"
LEAST_OVERFLOW = 2.0**128 - 2.0**103  # what is smaller rounds to a finite float32


@dataclass
class Series:
    """One series as the oracle carries it."""

    state: NDArray[np.float32]
    output: NDArray[np.floating]
    value: NDArray[np.floating]
    steps: int = 0
    time_ms: int = 0
    rejected: int = 0  # in a row
    calibrator: Calibrator | None = None


@dataclass
class Oracle:
    """Steps entries one value at a time."""

    model: Model
    missing: str = "impute"
    extras: Extras = NO_EXTRAS
    above: float = 0.999  # the score of an anomaly
    idle_ms: int | None = None
    gap_ms: int | None = None  # longer silences are filled, a missing value every
    spacing_ms: int = 1000
    max_series: int | None = None
    series: dict[str, Series] = field(default_factory=dict)
    predictions: list[tuple[str, list[tuple[str, NDArray[np.floating]]]]] = field(default_factory=list)
    anomalies: list[tuple[str, list[tuple[str, NDArray[np.floating]]]]] = field(default_factory=list)
    dead: list[tuple[str, str, str]] = field(default_factory=list)
    _odd: list[tuple[str, NDArray[np.floating]]] = field(default_factory=list)  # of the entry at work
    refused: Container[tuple[str, str, str]] = ()  # corrections not made though they could be: entry, command and text
    lost: Container[str] = ()  # entries that went at some time, so that nobody knows of their values any more
    history: list[tuple[str, list[str]]] = field(default_factory=list)  # all that was fed, as it should have been
    begun: tuple[int, int] = (0, 0)  # id of the last entry before those that are fed
    late: dict[tuple[str, tuple[int, int]], list[str]] = field(default_factory=dict)  # what of it came late

    @property
    def said(self) -> tuple[list[Any], list[Any], list[Any]]:
        """All that was answered: predictions, anomalies and dead letters."""
        return self.predictions, self.anomalies, self.dead

    def feed(self, entries: Iterable[tuple[str, Fields]]) -> Oracle:
        """Take entries (id, [field, value, …]) in order."""
        for entry_id, fields in entries:
            answers, warm = [], None
            pairs = list(zip(fields[0::2], fields[1::2], strict=True))
            asked = [(entry_id, name, text) for name, text in pairs if name in CORRECTIONS]
            made = [
                one not in self.refused and self._correct(*one) for one in asked
            ]  # before the values of their entry
            self.history.append((entry_id, list(fields)))
            for name, text in zip(fields[0::2], fields[1::2], strict=True):
                if name in CORRECTIONS:
                    if not made.pop(0):
                        self.dead.append((entry_id, name, text))
                    continue
                if name == "!reset":
                    self._reset(text)
                    continue
                if name == "!warm" and warm != REFUSED:
                    warm = _warm_time(entry_id, text)
                    if warm != REFUSED:
                        continue
                output = None if warm == REFUSED else self._step(warm or entry_id, name, text)
                if output is None:
                    self.dead.append((entry_id, name, text))
                elif warm is None:
                    answers.append((name, output))
            if answers:
                self.predictions.append((entry_id, answers))
            if self._odd:
                self.anomalies.append((entry_id, self._odd))
                self._odd = []
        return self

    def _correct(self, own: str, command: str, text: str) -> bool:
        """Put a value in its place and step the series again from its first one; False if it cannot be."""
        name, place, value = ["", "", "", *text.rsplit(" ", 2)][-3:]
        place, sign, which = place.partition("#")
        try:
            number, entry = float((value or "nan").replace("_", "?").encode("ascii")), _order(place)
        except ValueError:
            return False
        is_numbered = re.fullmatch("[0-9]{1,9}", which) and int(which) and command != "!late"
        if (
            (sign and not is_numbered)
            or not (abs(number) < LEAST_OVERFLOW or math.isnan(number))
            or name[:1] in {"", "!"}
            or entry >= _order(own)
        ):
            return False
        there = [fields for known, fields in self.history if _order(known) == entry and name in fields[0::2]]
        late = self.late.get((name, entry))
        is_new = late is None
        if entry <= self.begun:
            return True  # of no effect
        if command == "!late" and not there:
            self.late[name, entry] = late = [name, ""]
            self.history.append((f"{entry[0]}-{entry[1]}", late))
            self.history.sort(key=lambda one: _order(one[0]))
        if command == "!late":
            if late is None and not (len(there) == 1 and f"{entry[0]}-{entry[1]}" in self.lost):
                return False
            (late or there[0])[1 if late else 2 * there[0][0::2].index(name) + 1] = value
        else:
            at = [at for at, one in enumerate(there[0][0::2]) if one == name] if len(there) == 1 else []
            if late is not None or (len(at) != 1 if not sign else int(which) > len(at)):
                return False
            there[0][2 * at[int(which or 1) - 1] + 1] = value
        nothing: dict[str, Any] = {"predictions": [], "anomalies": [], "_odd": [], "dead": [], "history": []}
        again = replace(self, max_series=None, series={}, late={}, **nothing)
        for known, fields in self.history:
            pairs = zip(fields[0::2], fields[1::2], strict=True)
            mine = [
                pair for pair in pairs if pair[0] in {name, "!warm"} or (pair[0] == "!reset" and pair[1] in {name, "*"})
            ]
            again.feed([(known, [part for pair in mine for part in pair])])
        added = (f"{entry[0]}-{entry[1]}", late or [])
        is_made = not (is_new and math.isnan(number) and (added[0], *added[1]) in again.dead)
        if is_made:
            self.series.pop(name, None)
            self.series |= {one: series for one, series in again.series.items() if one == name}
        else:
            self.history.remove(added)
            del self.late[name, entry]
        return is_made

    def _reset(self, name: str) -> None:
        if name == "*":
            self.series.clear()
        else:
            self.series.pop(name, None)

    def _step(self, entry_id: str, name: str, text: str) -> NDArray[np.floating] | None:  # noqa: PLR0911
        time_ms = int(entry_id.partition("-")[0])
        carried, held = self._past(name, time_ms)
        parts = text.split(",")
        if len(parts) != len(self.model.spec.features):
            return None
        x = np.empty(len(parts), self._kind)
        for feature, part in enumerate(parts):
            if part.strip().lower() in {"", "nan"}:
                if held is None:
                    return None
                if self.missing == "skip":
                    return self._with_extras(held, self._kind("nan"))
                target = self.model.spec.targets[feature]
                use_output = self.missing == "impute" and target is not None
                x[feature] = held.output[target] if use_output and target is not None else held.value[feature]
                continue
            try:
                number = float(part.replace("_", "?").encode("ascii"))
            except ValueError:  # UnicodeEncodeError too: other scripts' digits are text here
                return None
            if not abs(number) < LEAST_OVERFLOW:
                return None
            x[feature] = self.model.as_fed([number])[0] if self.model.spec.exact else number
        if name not in self.series and len(self.series) == self.max_series:
            return None
        answer = self._answer(x, self.model.initial_state(1) if held is None else held.state[None], time_ms)
        is_whole = all(part.strip().lower() not in {"", "nan"} for part in parts)
        if answer is None and carried is not None and carried.rejected >= MOST_REJECTED and is_whole:
            answer, held = self._answer(x, self.model.initial_state(1), time_ms), None
        if answer is None:
            if carried is not None:
                carried.rejected = min(carried.rejected + 1, MOST_REJECTED)
            return None
        y, after = answer
        calibrator = held.calibrator if held else self._calibrator()
        made = Series(after[0], y[0], x, held.steps + 1 if held else 1, time_ms, calibrator=calibrator)
        score = self._kind("nan")
        if is_whole and held is not None and held.calibrator is not None:
            score = self._score(name, x, held, held.calibrator)
        self.series[name] = made
        return self._with_extras(made, score)

    def _score(self, name: str, x: NDArray[np.floating], held: Series, calibrator: Calibrator) -> np.floating:
        """The score of a value of a series that was so; a high one is told."""
        feature, target = self._scored
        against = (held.output[target], *calibrator.ends(held.output[target]))
        score = calibrator.take(x[feature], held.output[target])
        if self.extras.score and score >= self._kind(self.above):
            self._odd.append((name, np.array([x[feature], *against, score], self._kind)))
        return score

    def _past(self, name: str, time_ms: int) -> tuple[Series | None, Series | None]:
        """The series as it was carried to a value at this time, and as it is once a gap before it is filled."""
        carried = self.series.get(name)
        if carried is not None and self.idle_ms is not None and time_ms - carried.time_ms > self.idle_ms:
            return None, None
        if carried is not None and self.gap_ms is not None and time_ms - carried.time_ms > self.gap_ms:
            return carried, self._filled(carried, time_ms)
        return carried, carried

    def _answer(
        self, x: NDArray[np.float32], state: NDArray[np.float32], time_ms: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """What the model says to a value, (1, O) and (1, D); None if it fails or it is not finite."""
        try:
            y, after = self.model.step(x[None], state, [time_ms] if self.model.spec.uses_time else None)
        except StepError:
            return None
        return (y, after) if np.isfinite(np.concatenate([y[0], after[0]])).all() else None

    def _filled(self, held: Series, end_ms: int) -> Series:
        """The series after the missing values of a gap; nothing is kept of it unless the value after it is."""
        begin_ms, count = held.time_ms, (end_ms - held.time_ms + self.spacing_ms // 2) // self.spacing_ms - 1
        for number in range(1, count + 1):
            time_ms = begin_ms + (end_ms - begin_ms) * number // (count + 1)
            x = held.value.copy()
            for feature, target in enumerate(self.model.spec.targets):
                if self.missing == "impute" and target is not None:
                    x[feature] = held.output[target]
            if (answer := self._answer(x, held.state[None], time_ms)) is not None:
                held = Series(answer[1][0], answer[0][0], x, held.steps + 1, time_ms, calibrator=held.calibrator)
        return held

    @property
    def _kind(self) -> type[np.float32] | type[np.float64]:
        """What numbers are kept in."""
        return np.float64 if self.model.spec.exact else np.float32

    @property
    def _scored(self) -> tuple[int, int]:
        """The first feature that an output forecasts, and the output."""
        return next((i, target) for i, target in enumerate(self.model.spec.targets) if target is not None)

    def _calibrator(self) -> Calibrator | None:
        return Calibrator(self.extras.level, self._kind) if self.extras.wanted else None

    def _with_extras(self, held: Series, score: np.floating) -> NDArray[np.floating]:
        if held.calibrator is None:
            return held.output
        ends = held.calibrator.ends(held.output[self._scored[1]]) if self.extras.interval is not None else ()
        return np.array([*held.output, *ends, *((score,) if self.extras.score else ())], self._kind)


def _warm_time(entry_id: str, text: str) -> str:
    """The time at which what follows `!warm` is stepped, or REFUSED."""
    if text == "*":
        return entry_id
    digits, _, rest = text.partition("-")
    is_id = all(part.isascii() and part.isdigit() for part in (digits, rest or "0")) and not text.endswith("-")
    return digits if is_id and int(digits) <= int(entry_id.partition("-")[0]) else REFUSED


def _order(entry: str) -> tuple[int, int]:
    """An entry's id as it is ordered; raises ValueError for what is none."""
    time_ms, dash, sequence = entry.partition("-")
    if not (time_ms.isdigit() and (sequence.isdigit() or not dash)):
        raise ValueError(entry)
    return int(time_ms), int(sequence or 0)
