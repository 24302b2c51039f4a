"""A commit as the bytes of one flight: its commands and EXEC, then WATCH, HMGET and MULTI for the next one.

The MULTI of a flight is sent, and answered, before the flight: were it refused while the commands are on their way
already, they would be carried out one by one, whatever the position is by then.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamlstm.store.base import Commit, Kept, LiveCommit
from streamlstm.store.keys import Keys
from streamlstm.store.resp import EntryId, bulk, pack, pack_entries, pack_live, pack_records, parse_replies
from streamlstm.store.stream_meta import format_of
from streamlstm.store.transaction import Command

# What stands before names and rows, before each id, name and text, before the last id, before the number of entries,
# at the end.
Pieces = tuple[bytes, bytes, bytes, bytes, bytes]

QUEUED, ABSENT, ERROR = b"+QUEUED\r\n", b"$-1\r\n", b"\r\n-"
_POSITION, _ENTRIES = bulk(b"position"), bulk(b"entries")


@dataclass(slots=True)
class Flight:
    """A commit under way, and what is answered to it."""

    pieces: list[bytes]
    commands: int  # before its EXEC
    commit: Commit
    epoch: bytes | None
    beside: bytes | None  # where the challenger stands once it is carried out; None if there is none

    @property
    def replies(self) -> int:
        """How many are to come: to the commands, to EXEC, WATCH, HMGET and MULTI."""
        return self.commands + 4

    @property
    def least_bytes(self) -> int:
        """How many bytes come at least before the reply to EXEC does."""
        return len(QUEUED) * self.commands

    def went_well(self, raw: bytes) -> bool:
        """Whether the replies say what they nearly always do; else they have to be taken apart.

        Every command was queued and carried out without an error, and the position is still the one it set.
        """
        queued = b"%b*%d\r\n" % (QUEUED * self.commands, self.commands)
        epoch = ABSENT if self.epoch is None else bulk(self.epoch)
        beside = ABSENT if self.beside is None else bulk(self.beside)
        guarded = b"\r\n+OK\r\n*3\r\n%b%b%b+OK\r\n" % (bulk(self.commit.position), epoch, beside)
        return raw.startswith(queued) and raw.endswith(guarded) and ERROR not in raw

    def take_apart(self) -> list[Command]:
        return [tuple(command) for command in parse_replies(b"".join(self.pieces))[: self.commands]]


class _Output:
    """Packs what a model gives: its records and its predictions."""

    def __init__(self, state: str, predictions: str) -> None:
        self._state = state
        self.set = b"$4\r\nHSET\r\n" + bulk(state.encode())
        self.add = b"$4\r\nXADD\r\n" + bulk(predictions.encode())
        # How the commands begin that write live values' records, without the count of its parts, and each prediction.
        self.live = self.set, b"*5\r\n" + self.add

    def pack(self, commit: Commit, parts: list[bytes]) -> int:
        """Add the commands; returns how many they are."""
        commands = 0
        if commit.reset_all:
            parts.append(pack("DEL", self._state))
            commands += 1
        elif commit.removed:
            parts.append(pack("HDEL", self._state, *commit.removed))
            commands += 1
        if len(commit.names):
            parts.append(b"*%d\r\n%b" % (2 + 2 * len(commit.names), self.set))
            parts.append(pack_records(commit.names, commit.records.rows, commit.records.slots))
            commands += 1
        if len(commit.ids):
            parts.append(pack_entries(self.add, commit.ids, commit.counts, commit.fields, commit.texts))
            commands += len(commit.ids)
        return commands


class FlightPacker:
    """Packs the commits of one stream."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._output = _Output(keys.state, keys.predictions)
        self._add_anomaly = b"$4\r\nXADD\r\n" + bulk(keys.anomalies.encode())
        self._challenger = _Output(keys.challenger_state, keys.challenger_predictions)
        seen = pack("HMGET", keys.meta, "position", "epoch", "challenger_position")
        self._end = pack("EXEC") + pack("WATCH", keys.meta) + seen + pack("MULTI")
        self._model, self._columns, self._meta = "", "", b""
        self._pieces: Pieces | None = None
        self._beside: tuple[bytes, str, bytes] | None = None  # of both roles' columns: the third piece

    def pack(self, commit: Commit) -> tuple[list[bytes], int]:
        """A flight in pieces, and how many commands stand before its EXEC."""
        if isinstance(commit, LiveCommit) and not commit.removed:
            rides_nothing = commit.trim_before_ms is None and commit.anomalies is None
            beside = commit.challenger
            if rides_nothing and (beside is None or (isinstance(beside, LiveCommit) and not beside.removed)):
                return self._pack_live(commit, beside)
        parts: list[bytes] = []
        commands = self._output.pack(commit, parts)
        told = commit.anomalies
        if told is not None:
            parts.append(pack_entries(self._add_anomaly, told.ids, told.counts, told.fields, told.texts))
            commands += len(told.ids)
        if commit.challenger is not None:
            commands += self._challenger.pack(commit.challenger, parts)
        if commit.kept is not None:
            commands += self._pack_kept(commit.kept, parts)
        commands += self._pack_rest(commit, parts)
        parts.append(self._end)
        return parts, commands

    def _pack_kept(self, kept: Kept, parts: list[bytes]) -> int:
        packed = [] if kept.begins is None else [pack("DEL", self._keys.checkpoints(kept.begins))]
        for window, records in kept.records.items():
            if records:
                packed.append(pack("HSET", self._keys.checkpoints(window), *(part for one in records for part in one)))
        parts += packed
        return len(packed)

    def _pack_live(self, commit: LiveCommit, challenger: LiveCommit | None) -> tuple[list[bytes], int]:
        """The flight of live values; as in every other, one command moves both roles."""
        if challenger is None:
            return [self._filled(commit, commit.answered, self._live(commit))], commit.entries + 2
        beside = self._filled(challenger, None, (*self._challenger.live, b"", b"", b""))
        whole = [beside, self._filled(commit, commit.answered, self._live_beside(commit, challenger))]
        return whole, challenger.entries + commit.entries + 3

    @staticmethod
    def _filled(commit: LiveCommit, answered: int | None, pieces: Pieces) -> bytes:
        told, series = commit.told, commit.series
        return pack_live(commit.reply, commit.found, commit.rows, commit.y, told, series, answered, pieces)

    def _live(self, commit: Commit) -> Pieces:
        """The pieces of live values' commands."""
        moving = self._moving(commit)
        if self._pieces is None:
            self._pieces = (*self._output.live, b"*12" + moving + _POSITION, _ENTRIES, self._end)
        return self._pieces

    def _live_beside(self, commit: Commit, challenger: Commit) -> Pieces:
        """Likewise with a challenger: the id that is written behind the third piece is where that stands."""
        moving = self._moving(commit)
        if self._beside is None or self._beside[:2] != (moving, challenger.columns):
            position, _, *columns = _roles(challenger)
            self._beside = moving, challenger.columns, b"*16" + moving + b"".join(columns) + position
        count = _POSITION + bulk(commit.position) + _ENTRIES
        return (*self._output.live, self._beside[2], count, self._end)

    def _moving(self, commit: Commit) -> bytes:
        """The command that moves the position, up to there, without the count of its parts."""
        if commit.model != self._model or commit.columns != self._columns:
            self._model, self._columns, self._pieces = commit.model, commit.columns, None
            self._meta = (
                b"\r\n$4\r\nHSET\r\n"
                + bulk(self._keys.meta.encode())
                + b"".join(map(bulk, (b"model", commit.model.encode(), b"columns", commit.columns.encode())))
                + b"".join(map(bulk, (b"format", format_of(commit.columns))))
            )
        return self._meta

    def _pack_rest(self, commit: Commit, parts: list[bytes]) -> int:
        keys = self._keys
        # About: whole nodes of the stream go, which costs the server next to nothing.
        bound = () if commit.most_dead is None else ("MAXLEN", "~", commit.most_dead)
        parts += [pack("XADD", keys.dead, *bound, "*", *letter.stored()) for letter in commit.dead]
        answered = b"%d" % commit.answered
        beside = _roles(commit.challenger)
        count = b"*%d" % (12 + len(beside))
        parts += [count, self._moving(commit), _POSITION, bulk(commit.position), _ENTRIES, bulk(answered), *beside]
        commands = len(commit.dead) + 1
        if commit.trim_before_ms is not None:
            # Predictions and anomalies go with their input; MINID is below the position, so nothing unread is trimmed.
            edge = bytes(min(EntryId(commit.trim_before_ms, 0), EntryId.parse(commit.position)))
            trimmed = (keys.input, keys.predictions, keys.anomalies, *([keys.challenger_predictions] if beside else []))
            parts += [pack("XTRIM", key, "MINID", "~", edge) for key in trimmed]
            commands += len(trimmed)
        return commands


def _roles(challenger: Commit | None) -> list[bytes]:
    """The fields of `base:meta` that say how far the challenger is, and their values."""
    if challenger is None:
        return []
    fields = (b"challenger_position", challenger.position, b"challenger_columns", challenger.columns.encode())
    return [bulk(part) for part in fields]
