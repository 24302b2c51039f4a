"""What is stored per series, as bytes: a header, the last prediction and value, and the state.

A record is one row of float32 words, little-endian, so a batch of records is one array and encoding is a copy:

    bytes    what
    0-3      magic and version, b"SLR1"; b"SLR2" where numbers are pairs (see `models.pairs`); b"SLR3" and b"SLR4" are
             the same two with a calibration; b"SLR5" to b"SLR8" are those four of a model that carries float16
    4-6      D, the length of the state in words (uint24)
    7        values in a row that the model had no answer to (uint8; see `engine.overflow`)
    8-15     the first eight bytes of the model's fingerprint
    16-23    time of the last value, ms since the epoch (int64)
    24-31    steps since the series began or was reset (uint64)
    32-39    scored: predictions whose value has come (uint64)
    40-71    sums over the scored ones, float64: |error|, error^2, |error of the naive forecast|, its square
    72-      the last prediction (O float32, 2O of pairs), the last value (F float32, 2F), the state (D words:
             float32, or two float16 where the model carries them so, see `models.packing`)
    then     with intervals or scores: the series' calibration, 17 float64 (see `store.record.conformal`); older
             records have 14 of them, behind b"SLR1" or b"SLR2", and are read as if nothing odd had been lately

Checks come in pairs: what `encode` promises (length, magic, model, finite, a calibration that goes on being finite)
`decode` demands. For D = 128, O = F = 1 a record is 592 bytes; Redis allocates it in the same 640-byte class as a bare
512-byte state with its header.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import RecordError
from streamlstm.models import ModelSpec, Packing
from streamlstm.store.record.conformal import CALIBRATION, OLDER_CALIBRATION_SIZE, is_learned, numbers_of
from streamlstm.store.resp import EntryId

Rows = NDArray[np.float32]  # (n, words): one record a row

MAGIC = int.from_bytes(b"SLR1", "little")
EXACT_MAGIC = int.from_bytes(b"SLR2", "little")  # of records whose prediction and value are pairs
CALIBRATED_MAGIC = int.from_bytes(b"SLR3", "little")  # the same two with a calibration
EXACT_CALIBRATED_MAGIC = int.from_bytes(b"SLR4", "little")
# Of records whose state is packed: the same four, four further on in the last letter.
_PACKED = {magic: magic + (4 << 24) for magic in (MAGIC, EXACT_MAGIC, CALIBRATED_MAGIC, EXACT_CALIBRATED_MAGIC)}
_UNPACKED = {packed: magic for magic, packed in _PACKED.items()}

STATE_SIZE_MASK = (1 << 24) - 1

_FIELDS = (
    ("magic", "<u4", 0),
    ("rejected", "u1", 7),
    ("state_size", "<u4", 4),  # in its lower three bytes; the fourth is `rejected`
    ("model", "<u8", 8),
    ("time_ms", "<i8", 16),
    ("steps", "<u8", 24),
    ("scored", "<u8", 32),
    ("absolute_error", "<f8", 40),
    ("squared_error", "<f8", 48),
    ("naive_absolute_error", "<f8", 56),
    ("naive_squared_error", "<f8", 64),
)
HEADER = np.dtype(
    {
        "names": [name for name, _, _ in _FIELDS],
        "formats": [kind for _, kind, _ in _FIELDS],
        "offsets": [at for _, _, at in _FIELDS],
    }
)
_BYTES = {name: slice(at, at + np.dtype(kind).itemsize) for name, kind, at in _FIELDS}
SUMS = ("absolute_error", "squared_error", "naive_absolute_error", "naive_squared_error")
HEADER_WORDS = HEADER.itemsize // 4
_LARGEST_COUNT = (1 << 64) - 1
LATEST_MS = (1 << 63) - 1  # later ids count as this one
assert HEADER.itemsize == 72, "the documented layout"


@dataclass(frozen=True)
class Records:
    """Records to be stored: some rows of an array that is not to change until they are."""

    rows: Rows  # C-contiguous
    slots: NDArray[np.int64]  # (n,) the rows meant

    def __iter__(self) -> Iterator[bytes]:
        """The bytes of one after the other."""
        return (self.rows[slot].tobytes() for slot in self.slots.tolist())


NO_RECORDS = Records(np.empty((0, 1), np.float32), np.empty(0, np.int64))


def count_on(counts: Any, more: Any) -> NDArray[np.uint64]:
    """Counts (n,) and so many more; a count stops at the largest there is, which only a forged record comes near.

    Begun again at 0 it would say that a series has no past, or not, by how its values were batched.
    """
    total: NDArray[np.uint64] = np.asarray(counts, np.uint64) + np.asarray(more, np.uint64)
    return np.where(total < counts, np.uint64(_LARGEST_COUNT), total)


def time_of(record: bytes, otherwise: int) -> int:
    """Time of the last value of a record, ms since the epoch; `otherwise` for what has none and is set aside."""
    there = len(record) >= HEADER.itemsize
    time_ms = int.from_bytes(record[_BYTES["time_ms"]], "little", signed=True) if there else -1
    return otherwise if time_ms < 0 else time_ms


def steps_of(record: bytes) -> int:
    """How many values a series has had by its record; 0 for what has none."""
    return int.from_bytes(record[_BYTES["steps"]], "little") if len(record) >= HEADER.itemsize else 0


def idle_edge(position: bytes, idle_ms: int) -> int:
    """The time, ms since the epoch, before which a series' last value was long ago, of a stream at this position."""
    return min(EntryId.parse(position).time_ms, LATEST_MS) - idle_ms


class RecordKind(NamedTuple):
    """What a record says of its layout."""

    exact: bool  # it has pairs
    packed: bool  # its state holds float16
    words: int  # of its state


def kind_of(record: bytes) -> RecordKind:
    """What is said of its layout by what may be a record."""
    magic, state_size = (int.from_bytes(record[_BYTES[name]], "little") for name in ("magic", "state_size"))
    exact = _UNPACKED.get(magic, magic) in {EXACT_MAGIC, EXACT_CALIBRATED_MAGIC}
    return RecordKind(exact, magic in _UNPACKED, state_size & STATE_SIZE_MASK)


def calibration_size_of(record: bytes) -> int:
    """How many bytes at the end of what may be a record, of a stream where calibrations are kept, are one."""
    magic = int.from_bytes(record[_BYTES["magic"]], "little")
    magic = _UNPACKED.get(magic, magic)
    return CALIBRATION.itemsize if magic in {CALIBRATED_MAGIC, EXACT_CALIBRATED_MAGIC} else OLDER_CALIBRATION_SIZE


class RecordPart(NamedTuple):
    """One number of a record."""

    name: str
    first: int  # where it begins
    kind: str  # numpy's name of its type

    def number(self, record: bytes) -> float:
        found: float = np.frombuffer(record, self.kind, 1, self.first)[0].item()
        return found


class RecordFormat:
    """The layout of one model's records: O outputs, F features, D words of state."""

    def __init__(
        self,
        *,
        outputs: int,
        features: int,
        initial_state: NDArray[np.float32],
        fingerprint: str,
        calibration: NDArray[np.void] | None = None,
        exact: bool = False,
        packed: bool = False,
        packing: Packing | None = None,
    ) -> None:
        """`calibration` is that of a series before its first value; None where none is kept.

        With `exact` outputs and features are pairs, and counted twice. A state that is `packed` is given so; where it
        is known how (`packing`), what it holds is checked too.
        """
        self.exact, self._packing = exact, packing
        self._plain = EXACT_MAGIC if exact else MAGIC
        calibrated = EXACT_CALIBRATED_MAGIC if exact else CALIBRATED_MAGIC
        if packed:
            self._plain, calibrated = _PACKED[self._plain], _PACKED[calibrated]
        self._magic = self._plain if calibration is None else calibrated
        self._calibrated = calibrated
        self.state_size = len(initial_state)
        self.outputs, self.features = outputs, features
        self._last_output = slice(HEADER_WORDS, HEADER_WORDS + outputs)
        self._last_value = slice(self._last_output.stop, self._last_output.stop + features)
        self._state = slice(self._last_value.stop, self._last_value.stop + self.state_size)
        self.words = self._state.stop + (0 if calibration is None else CALIBRATION.itemsize // 4)
        self.size = 4 * self.words  # bytes
        self.calibration_at = 0 if calibration is None else 4 * self._state.stop
        self._model = int.from_bytes(bytes.fromhex(fingerprint[:16]), "little")
        self.fresh = np.zeros(self.words, np.float32)  # the record of a series before its first value
        head = self.header(self.fresh[None])
        head["magic"], head["state_size"], head["model"] = self._magic, self.state_size, self._model
        self.fresh[self._state] = initial_state
        if calibration is not None:
            self.calibration(self.fresh[None])[:] = calibration
        self.fresh.setflags(write=False)

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        *,
        initial_state: NDArray[np.float32],
        fingerprint: str,
        calibration: NDArray[np.void] | None = None,
    ) -> RecordFormat:
        """The layout of a model's records; `initial_state` (D,) is as the model has it."""
        packing = Packing.of(spec)
        return cls(
            outputs=spec.y_width,
            features=spec.x_width,
            initial_state=initial_state if packing is None else packing.pack(initial_state[None])[0],
            fingerprint=fingerprint,
            calibration=calibration,
            exact=spec.exact,
            packed=packing is not None,
            packing=packing,
        )

    def places(self) -> tuple[int, int, int]:
        """Where in a record the last prediction, the last value and the state begin, in bytes."""
        return 4 * self._last_output.start, 4 * self._last_value.start, 4 * self._state.start

    def part_at(self, at: int) -> RecordPart:
        """What of a record a byte belongs to."""
        for name, kind, first in _FIELDS:
            if first <= at < _BYTES[name].stop:
                return RecordPart(name, first, kind)
        if self.calibration_at and at >= self.calibration_at:
            return _numbered("calibration", self.calibration_at, at, "<f8")
        parts = (("state", self._state), ("last value", self._last_value), ("last prediction", self._last_output))
        name, first = next((name, 4 * part.start) for name, part in parts if at >= 4 * part.start)
        return _numbered(name, first, at, "<f4")

    def header(self, rows: Rows) -> NDArray[Any]:
        """The headers of C-contiguous rows (n, words), as a structured view: writing to it writes the rows."""
        return np.ndarray(shape=(len(rows),), dtype=HEADER, buffer=rows, strides=(self.size,))

    def last_output(self, rows: Rows) -> NDArray[np.float32]:
        """View of the last predictions, (n, O)."""
        return rows[:, self._last_output]

    def last_value(self, rows: Rows) -> NDArray[np.float32]:
        """View of the last values, (n, F)."""
        return rows[:, self._last_value]

    def state(self, rows: Rows) -> NDArray[np.float32]:
        """View of the states, (n, D): words that nobody looks into."""
        return rows[:, self._state]

    def numbers(self, rows: Rows) -> NDArray[np.float32]:
        """The states (n, D) of rows (n, words) as the model has them, not to be written to."""
        words = self.state(rows)
        return words if self._packing is None else self._packing.unpack(words)

    def calibration(self, rows: Rows) -> NDArray[Any]:
        """The calibrations of C-contiguous rows, as a structured view (n,); of a format that keeps them."""
        place = self.calibration_at if len(rows) else 0  # an empty array has no place inside
        return np.ndarray((len(rows),), CALIBRATION, buffer=rows, offset=place, strides=(self.size,))

    def decode(self, records: Sequence[bytes]) -> tuple[Rows, dict[int, str]]:
        """Rows (n, words) of n records, and for each bad one its index and what is wrong; a bad one's row is fresh.

        Records written without calibrations get fresh ones where they are wanted, and lose theirs where they are not.
        """
        if any(len(record) != self.size for record in records):
            records = [self._fitted(record) for record in records]
        wrong = {
            i: f"a record of {len(record)} bytes where this model's have {self.size}"
            for i, record in enumerate(records)
            if len(record) != self.size
        }
        if wrong:
            blank = self.fresh.tobytes()
            records = [blank if i in wrong else record for i, record in enumerate(records)]
        rows = np.frombuffer(b"".join(records), np.float32).reshape(len(records), self.words).copy()
        head = self.header(rows)
        finite = np.isfinite(rows[:, HEADER_WORDS : self._state.stop]).all(axis=1)
        if self._packing is not None:
            finite &= self._packing.finite(self.state(rows))
        sums = np.stack([head[name] for name in SUMS], axis=1)
        finite &= np.isfinite(sums).all(axis=1)
        learned: Any = True
        if self.calibration_at:
            calibrations = numbers_of(self.calibration(rows))
            finite &= np.isfinite(calibrations).all(axis=1)
            learned = is_learned(calibrations)
        checks = (
            (head["magic"] == self._magic, "a record of an unknown format"),
            (head["state_size"] & STATE_SIZE_MASK == self.state_size, "a record with a state of another length"),
            (head["model"] == self._model, "a record made by another model"),
            (finite, "a record that holds a number that is not finite"),
            (head["time_ms"] >= 0, "a record of a time that no entry has"),
            ((sums >= 0.0).all(axis=1), "a record whose errors are less than nothing"),
            (learned, "a record with a calibration that no values lead to"),
        )
        for holds, reason in checks:
            if np.all(holds):
                continue
            for i in np.flatnonzero(~np.asarray(holds)).tolist():
                wrong.setdefault(i, reason)
        for i in wrong:
            rows[i] = self.fresh
        return rows, wrong

    def _fitted(self, record: bytes) -> bytes:
        """A record with or without a calibration, as this format has it."""
        end, magic = 4 * self._state.stop, int.from_bytes(record[_BYTES["magic"]], "little")
        kept = len(record) - end
        if (magic, kept) not in {
            (self._plain, 0),
            (self._plain, OLDER_CALIBRATION_SIZE),
            (self._calibrated, CALIBRATION.itemsize),
        }:
            return record
        head = self._magic.to_bytes(4, "little") + record[_BYTES["magic"].stop : end]
        if not self.calibration_at:
            return head
        return head + (record[end:] if kept else b"") + self.fresh.tobytes()[end + kept :]

    def decode_one(self, record: bytes) -> Rows:
        """The row (words,) of one record; raises RecordError for a bad one."""
        rows, wrong = self.decode([record])
        if wrong:
            raise RecordError(wrong[0])
        return np.asarray(rows[0])


def _numbered(name: str, first: int, at: int, kind: str) -> RecordPart:
    """The number that has a byte, of a part of the record that begins at `first`."""
    width = np.dtype(kind).itemsize
    number = (at - first) // width
    return RecordPart(f"{name}[{number}]", first + width * number, kind)
