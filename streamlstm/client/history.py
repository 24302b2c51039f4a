"""What a stream retains of its input as series of a table: to train on, and to score a model on.

A value's time is that of its entry's id. Entries of one millisecond become a millisecond apart, so that each value of a
series has a time of its own; a stream most of whose values came so has no times. What a daemon would refuse is left
out, and counted; what was corrected is taken as it was put right. A series that was reset goes on as another one, as
its state does.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamlstm.client.resets import forget
from streamlstm.common import counted, listed
from streamlstm.engine import (
    CORRECTIONS,
    RESET,
    Correction,
    Parsed,
    Place,
    name_error,
    parse,
    read_correction,
    read_numbers,
    take_warm,
    with_right,
)
from streamlstm.errors import StreamlstmError, TableError
from streamlstm.models import ModelSpec, join
from streamlstm.store import NO_ENTRIES, About, Keys, fetch_meta, kept_model, read_letters, read_range
from streamlstm.store.resp import BEGINNING, Connection, EntryId, Table, beyond, encode_read
from streamlstm.tables import Series, SeriesTable

if TYPE_CHECKING:
    from streamlstm.models import Model

COMMAND = b"!"  # how names begin that are none of series
PAGE = 1_000  # entries of one command
MOST_VALUES = 5_000_000  # as a table of so many cells
MOST_AT_ONCE = 0.5  # of all values that may have come in the millisecond of their series' one before

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


def read_history(
    connection: Connection,
    keys: Keys,
    *,
    spec: ModelSpec | None = None,
    last_ms: int | None = None,
    most: int = MOST_VALUES,
    say: Callable[[str], None],
) -> SeriesTable:
    """The values that a stream retains; `spec` is that of its model, and names the numbers of a value.

    `last_ms`: only entries that are at most so much older than the last one. `say` is told, in a line each, what is
    left out. Raises TableError for a stream without values, or with more than `most` numbers.
    """
    begin, end = history_bounds(connection, keys, last_ms)
    source = f"the stream {keys.input!r}"
    columns = value_columns(connection, keys, spec, begin, end)
    gathered = _Gathered(source, len(columns), most)
    for parsed in _pages(connection, keys, begin, end, len(columns)):
        gathered.add(parsed)
    if gathered.asked:
        right = _right(connection, keys, gathered.asked, len(columns))
        gathered = _Gathered(source, len(columns), most)
        for parsed in _pages(connection, keys, begin, end, len(columns), right):
            gathered.add(parsed)
    series = gathered.series()
    for kind, count in gathered.left_out.items():
        say(f"{source}: {counted(count, 'value')} left out, which no model can be given ({kind.replace('_', ' ')})")
    if gathered.came_at_once:
        say(f"{source}: most values came in the millisecond of the one before, so they are taken without times")
        series = [Series(one.name, None, one.values) for one in series]
    if not series:
        raise TableError(f"{source} retains no values that a model could learn from")
    return SeriesTable(source, tuple(columns), tuple(series), {keys.input: end.decode()})


def joined_histories(tables: Sequence[SeriesTable]) -> SeriesTable:
    """Several streams as one table; a series that is in several is one a stream.

    Raises TableError where their values have other columns.
    """
    if len(tables) == 1:
        return tables[0]
    first, *others = tables
    for other in others:
        if other.columns != first.columns:
            raise TableError(f"{other.source} has values ({', '.join(other.columns)}), {first.source} others; take one")
    times = Counter(one.name for table in tables for one in table.series)
    untimed = any(one.times_ms is None for table in tables for one in table.series)
    series = [
        Series(
            f"{one.name} of {stream}" if times[one.name] > 1 else one.name,
            None if untimed else one.times_ms,
            one.values,
        )
        for table in tables
        for stream in table.last
        for one in table.series
    ]
    last = {stream: entry for table in tables for stream, entry in table.last.items()}
    return SeriesTable(f"the streams {listed(list(last))}", first.columns, tuple(series), last)


def history_bounds(connection: Connection, keys: Keys, last_ms: int | None) -> tuple[bytes, bytes]:
    """The id after which reading begins, and that of the last entry; raises TableError where there is none."""
    found = connection.call("XREVRANGE", keys.input, "+", "-", "COUNT", 1)
    if not found:
        raise TableError(f"the stream {keys.input!r} retains no entries; `serve --retain` says how many are kept")
    end: bytes = found[0][0]
    if last_ms is None:
        return BEGINNING, end
    first = max(0, EntryId.parse(end).time_ms - last_ms)
    return bytes(EntryId(first, 0).before()) if first else BEGINNING, end


def stream_spec(connection: Connection, keys: Keys, opened: Callable[[bytes], Model]) -> ModelSpec | None:
    """What the model that serves a stream says of itself, where its file is kept there and can be opened."""
    meta = fetch_meta(connection, keys)
    try:
        data = None if meta.model is None else kept_model(connection, keys, meta.model)
        return None if data is None else opened(data).spec
    except StreamlstmError:
        return None  # the names of columns are all that is lost


def value_columns(
    connection: Connection, keys: Keys, spec: ModelSpec | None, begin: bytes, end: bytes
) -> tuple[str, ...]:
    """Names of the numbers of a value: the model's, or by the first value that has any `y`, or `y0`, `y1`, ….

    Raises TableError where no value has.
    """
    if spec is not None:
        return spec.features
    for parsed in _pages(connection, keys, begin, end, 1):
        for name, text in zip(parsed.names, parsed.texts, strict=True):
            count = text.count(b",") + 1
            numbers = read_numbers(text, count) if name_error(name) is None else None
            if isinstance(numbers, list) and not np.isnan(numbers).all():
                return ("y",) if count == 1 else tuple(f"y{number}" for number in range(count))
    raise TableError(f"the stream {keys.input!r} retains no values that a model could learn from")


def _right(connection: Connection, keys: Keys, asked: Sequence[About], features: int) -> dict[Place, bytes]:
    """What is right in which places, by the corrections that were carried out: no dead letter says otherwise."""
    position = EntryId.parse(fetch_meta(connection, keys).position)
    refused = read_letters(connection, keys, CORRECTIONS)
    right = {}
    for one in asked:
        found = read_correction(one, features)
        if isinstance(found, Correction) and one not in refused and EntryId.parse(one[0]) <= position:
            right[found.place] = found.value
    return right


def _corrected(connection: Connection, keys: Keys, after: bytes, end: bytes, right: Mapping[Place, bytes]) -> bytes:
    """The next entries with what is right in its place, as a read would have answered."""
    entries = connection.call("XRANGE", keys.input, *beyond(after, end), "COUNT", PAGE)
    if not entries:
        return NO_ENTRIES
    first, last = EntryId.parse(after), EntryId.parse(entries[-1][0])
    of_page = {place: text for place, text in right.items() if first < EntryId.parse(place[0]) <= last}
    return encode_read({keys.input: with_right([(one[0], one[1]) for one in entries], of_page)})


def _pages(
    connection: Connection,
    keys: Keys,
    begin: bytes,
    end: bytes,
    features: int,
    right: Mapping[Place, bytes] | None = None,
) -> Iterator[Parsed]:
    """The entries, parsed as they are when they are served."""
    after, nothing = begin, Table()

    def read() -> bytes:
        if right:
            return _corrected(connection, keys, after, end, right)
        return read_range(connection, keys, after, end, PAGE)

    while (reply := read()) != NO_ENTRIES:
        (parsed,) = parse(reply, nothing, {keys.input.encode(): 0}, features, exact=True)
        take_warm(parsed)
        yield parsed
        after = parsed.position


@dataclass
class _Gathered:
    """The values read so far, in the order of the stream, each with the number of its series."""

    source: str
    features: int
    most: int
    left_out: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._current: dict[bytes, int] = {}  # series -> its number, since its last reset
        self._pieces: Counter[bytes] = Counter()  # of a series, by its resets
        self._names: list[str] = []
        self._numbers = array("i")
        self._times: list[Int64] = []
        self._values: list[Float64] = []
        self._spacings = self._at_once = 0
        self.asked: list[About] = []  # corrections

    def add(self, parsed: Parsed) -> None:
        """Take in a page."""
        kept = []
        for item, name in enumerate(parsed.names):
            if name.startswith(COMMAND):
                self._command(parsed.ids[int(parsed.entry[item])], name, parsed.texts[item])
                continue
            flaw = parsed.wrong.get(item)
            number = self._current.get(name) if flaw is None else None
            if number is None and flaw is None:
                flaw = name_error(name)
                number = self._begin(name) if flaw is None else None
            if flaw is not None:
                self.left_out[flaw.kind] += 1
            elif number is not None:
                self._numbers.append(number)
                kept.append(item)
        if len(self._numbers) * self.features > self.most:
            raise TableError(
                f"{self.source} retains more than {self.most:,} numbers, and no more are read; --last says how far "
                "back, --max-cells how many may be"
            )
        self._times.append(parsed.item_times_ms[kept])
        self._values.append(_exact(parsed, kept, self.features))

    def series(self) -> list[Series]:
        """All of them, in the order they first appear."""
        numbers = np.frombuffer(self._numbers, np.int32) if self._numbers else np.empty(0, np.int32)
        if not len(numbers):
            return []
        order = np.argsort(numbers, kind="stable")
        times, values = np.concatenate(self._times)[order], np.concatenate(self._values)[order]
        cuts = np.flatnonzero(np.diff(numbers[order])) + 1
        found = []
        for number, when, what in zip(
            numbers[order][np.append(0, cuts)].tolist(), np.split(times, cuts), np.split(values, cuts), strict=True
        ):
            self._spacings += len(when) - 1
            self._at_once += int(np.count_nonzero(np.diff(when) <= 0))
            found.append(Series(self._names[number], _apart(when), what))
        return found

    @property
    def came_at_once(self) -> bool:
        """Whether times say nothing of when values were."""
        return self._at_once > MOST_AT_ONCE * self._spacings

    def _begin(self, name: bytes) -> int:
        """The number of a series that begins, or begins anew."""
        self._pieces[name] += 1
        piece = self._pieces[name]
        self._current[name] = len(self._names)
        self._names.append(name.decode() + (f" ({piece})" if piece > 1 else ""))
        return self._current[name]

    def _command(self, entry_id: bytes, name: bytes, text: bytes) -> None:
        if name in CORRECTIONS:
            self.asked.append((entry_id, name, text))
        elif name == RESET:
            forget(self._current, text)


def _exact(parsed: Parsed, kept: Sequence[int], features: int) -> Float64:
    """Values (n, F) as a table of the same texts has them: a pair of float32 lacks the last bits of a float64."""
    values = join(parsed.values[kept])
    plain = np.flatnonzero(~parsed.odd[kept])
    if len(plain):
        texts = b",".join(parsed.texts[kept[place]] for place in plain.tolist()).split(b",")
        values[plain] = np.array(texts).astype(np.float64).reshape(-1, features)
    return values


def _apart(times: Int64) -> Int64:
    """Times that grow by a millisecond at least, each as late as it was or later."""
    places = np.arange(len(times))
    found: Int64 = np.maximum.accumulate(times - places) + places
    return found
