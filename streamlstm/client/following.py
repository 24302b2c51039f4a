"""Predictions as records: followed over restarts and failovers, from a place that the reader keeps or Redis does."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType

from streamlstm.client.promotions import Entry, Promotion
from streamlstm.client.reading import ANOMALIES, PREDICTIONS, Reader
from streamlstm.common import EPOCH
from streamlstm.errors import StoreError, StoreUnavailableError, UsageError
from streamlstm.store import Keys, as_number
from streamlstm.store.resp import BEGINNING, EntryId, Nodes

SAVE_EVERY_S = 1.0  # at the latest, while records are taken
END = "$"  # as with XREAD: only what comes from now on
LARGEST_SEQUENCE = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was answered to one value: the forecast of its series' next one.

    `columns` are numbers by name, `yhat` and what `serve` adds (`lo`, `hi`, `score`), in the values' unit; nan where
    there is none. Their texts in Redis parse to these very numbers.
    """

    id: str  # of the entry, the same in the input and in the predictions
    series: str
    columns: Mapping[str, float]
    number: int = 1  # which of its entry's records it is, from 1

    @property
    def time_ms(self) -> int:
        """The time of the value answered, by its entry's id, ms since 1970."""
        return EntryId.parse(self.id).time_ms

    @property
    def time(self) -> datetime:
        """The time of the value answered, in UTC; the last there is beyond the year 9999."""
        try:
            return EPOCH + timedelta(milliseconds=self.time_ms)
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC)

    @property
    def place(self) -> str:
        """Where it stands: what comes after it is given by `predictions(after=place)`, in whichever process."""
        return f"{self.id}/{self.number}"

    def __getitem__(self, column: str) -> float:
        return self.columns[column]


class Anomaly(Prediction):
    """A value that scored as an anomaly (`serve --score`).

    `columns` are `value`, the `forecast` of it, `lo` and `hi` of that forecast's interval, and the `score`.
    """

    __slots__ = ()


After = str | int | datetime | Prediction | None


@dataclass(frozen=True)
class Place:
    """So many records of an entry, and all of those before it, are done."""

    id: EntryId
    done: int | None = None  # None: all of the entry

    @classmethod
    def of(cls, after: After) -> Place:
        """Read what a caller said; raises UsageError for what is no place."""
        try:
            if after is None:
                return cls(EntryId.parse(BEGINNING))
            if isinstance(after, Prediction):
                return cls.of(after.place)
            if isinstance(after, datetime):
                when = after if after.tzinfo is not None else after.replace(tzinfo=UTC)
                return cls.of((when - EPOCH) // timedelta(milliseconds=1))
            if isinstance(after, bool) or not isinstance(after, int | str):
                raise ValueError
            entry_id, slash, number = str(after).partition("/")
            return cls(EntryId.parse(entry_id), int(number) if slash else None)
        except (ValueError, StoreError):
            raise UsageError(
                f"after is a prediction, its place or id (such as '1706659200000-0'), a time, or '$' for what comes "
                f"from now on; not {after!r}"
            ) from None

    @property
    def before(self) -> bytes:
        """After which id to read."""
        if self.done is None or self.id <= EntryId(0, 1):
            return bytes(self.id) if self.done is None else BEGINNING
        time_ms, sequence = self.id
        return bytes(EntryId(time_ms, sequence - 1) if sequence else EntryId(time_ms - 1, LARGEST_SEQUENCE))

    def __str__(self) -> str:
        return f"{self.id}" if self.done is None else f"{self.id}/{self.done}"


class KeptPlace:
    """The place of a reader with a name, in the hash `base:places`."""

    def __init__(self, keys: Keys, name: str, nodes: Nodes) -> None:
        self._keys, self._name, self._nodes = keys, name, nodes
        self._lock = threading.Lock()
        self._saved: str | None = None
        self._saved_s = time.monotonic()

    def load(self) -> Place | None:
        """Where the reader stopped; None if there never was one of the name. Raises StoreError without the rights."""
        found = self._nodes.call(self._keys.places, "HGET", self._keys.places, self._name)
        place = None if found is None else Place.of(found.decode("utf-8", "replace"))
        self._saved = None if place is None else str(place)
        return place

    def save(self, place: Place, *, now: bool) -> None:
        """Keep a place, unless it is kept; not `now`: once a second at most. A server that is away is tried later."""
        if str(place) == self._saved or not (now or time.monotonic() - self._saved_s >= SAVE_EVERY_S):
            return
        with self._lock, suppress(StoreUnavailableError):
            self._nodes.call(self._keys.places, "HSET", self._keys.places, self._name, str(place))
            self._saved, self._saved_s = str(place), time.monotonic()

    def close(self) -> None:
        """Close the connection."""
        self._nodes.close()


class StoppedError(Exception):
    """Whoever followed has left."""


class Waits:
    """Waits that another thread may end; apart from `Predictions`, which is so gone as soon as nobody has it."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def stop(self) -> None:
        """End the wait under way, and all that follow."""
        self._stop.set()

    def pause(self, seconds: float) -> None:
        """Wait; raises StoppedError."""
        if self._stop.wait(seconds):
            raise StoppedError

    def between(self) -> None:
        """Raise StoppedError if that is so."""
        if self._stop.is_set():
            raise StoppedError


class Predictions(Iterator[Prediction]):
    """Predictions, the oldest first, each once; waits for more at the end unless it is not to follow.

    A record is done once the next is asked for, or the loop has been left; left by an error in a `with` block, it is
    not. So whoever reads by a name gets every record, and after a crash those since its last save (a second) again.
    """

    def __init__(
        self,
        keys: Keys,
        place: Place | None,
        *,
        locate: Callable[[], str],
        follow: bool,
        series: frozenset[str],
        kept: KeptPlace | None,
        say: Callable[[str], None],
        on_promotion: Callable[[Promotion], object] | None = None,
        what: str = PREDICTIONS,
    ) -> None:
        """`place` None: begin at the end; `locate` says where the server is; `what` is PREDICTIONS or ANOMALIES.

        `on_promotion` is told of another model before the first record of its is given.
        """
        self._record = Anomaly if what == ANOMALIES else Prediction
        self._waits = Waits()
        self._place, self._series, self._kept = place, series, kept
        self._waiting: deque[Prediction | Promotion] = deque()
        self._on_promotion = on_promotion
        self._given: Prediction | None = None  # and not known to be done
        reader = Reader(
            keys,
            what=what,
            after=BEGINNING if place is None else place.before,
            promotions=on_promotion is not None,
            locate=locate,
            pause=self._waits.pause,
            between=self._waits.between,
            say=say,
        )
        self._batches = reader.read(last=0 if place is None else None, follow=follow, awaited=follow)

    def __iter__(self) -> Predictions:
        return self

    def __next__(self) -> Prediction:
        while (found := self.waiting(save=True)) is None:
            if not self.fetch():
                raise StopIteration
        return found

    def done(self, *, save: bool = True) -> None:
        """What was given is done: the place is beyond it."""
        if self._given is None:
            return
        self._place = Place(EntryId.parse(self._given.id), self._given.number)
        self._given = None
        if save and self._kept is not None:
            self._kept.save(self._place, now=False)

    def fetch(self) -> bool:
        """Wait for the next records; whether there may be more. None of them may be waiting."""
        if self._kept is not None and self._place is not None:
            self._kept.save(self._place, now=True)
        try:
            entries, columns = next(self._batches)
        except (StopIteration, StoppedError):
            self.close()
            return False
        for entry in entries:
            if isinstance(entry, Promotion):
                self._waiting.append(entry)
            else:
                self._take(entry, columns)
        return True

    def _take(self, entry: Entry, columns: Sequence[str]) -> None:
        entry_id, fields = entry
        parsed = EntryId.parse(entry_id)
        place = self._place
        skip = place.done or 0 if place is not None and place.id == parsed else 0
        for number, (name, text) in enumerate(fields[skip:], skip + 1):
            series = name.decode("utf-8", "surrogateescape")
            if not self._series or series in self._series:
                numbers = dict(zip(columns, map(as_number, text.split(b",")), strict=False))
                self._waiting.append(self._record(str(parsed), series, numbers, number))

    def not_done(self) -> None:
        """What was given is not done: a reader by name is given it again."""
        self._given = None

    def waiting(self, *, save: bool = False) -> Prediction | None:
        """The next record that has been read, if one is; for who fetches by himself. Promotions before it are told."""
        self.done(save=save)
        while self._waiting:
            found = self._waiting.popleft()
            if not isinstance(found, Promotion):
                self._given = found
                return found
            if self._on_promotion is not None:
                self._on_promotion(found)
        return None

    def stop(self) -> None:
        """Have a wait that another thread is in end within a second or so."""
        self._waits.stop()

    def close(self) -> None:
        """Leave: what was given is done, and the place is kept."""
        self._waits.stop()
        self.done()
        kept, self._kept = self._kept, None
        if kept is not None:
            if self._place is not None:
                kept.save(self._place, now=True)
            kept.close()
        with suppress(ValueError):  # under way in another thread, which ends by itself
            self._batches.close()

    def __enter__(self) -> Predictions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.not_done()
        self.close()

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()

    def __repr__(self) -> str:
        return f"<Predictions: up to {self._place or 'nothing yet'}; iterate for what follows>"
