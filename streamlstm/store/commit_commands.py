"""A commit as the bytes of one flight: its commands and EXEC, then WATCH, HMGET and MULTI for the next one.

The MULTI of a flight is sent, and answered, before the flight: were it refused while the commands are on their way
already, they would be carried out one by one, whatever the position is by then.
"""

from __future__ import annotations

from dataclasses import dataclass

from streamlstm.store.base import Commit, SingleCommit
from streamlstm.store.keys import Keys
from streamlstm.store.resp import EntryId, bulk, pack, pack_entries, pack_records, pack_single, parse_replies
from streamlstm.store.stream_meta import FORMAT
from streamlstm.store.transaction import Command

QUEUED, ABSENT, ERROR = b"+QUEUED\r\n", b"$-1\r\n", b"\r\n-"
_POSITION, _ENTRIES = bulk(b"position"), bulk(b"entries")


@dataclass(slots=True)
class Flight:
    """A commit under way, and what is answered to it."""

    pieces: list[bytes]
    commands: int  # before its EXEC
    commit: Commit
    epoch: bytes | None

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
        guarded = b"\r\n+OK\r\n*2\r\n%b%b+OK\r\n" % (bulk(self.commit.position), epoch)
        return raw.startswith(queued) and raw.endswith(guarded) and ERROR not in raw

    def take_apart(self) -> list[Command]:
        return [tuple(command) for command in parse_replies(b"".join(self.pieces))[: self.commands]]


class FlightPacker:
    """Packs the commits of one stream."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        seen = pack("HMGET", keys.meta, "position", "epoch")
        self._end = pack("EXEC") + pack("WATCH", keys.meta) + seen + pack("MULTI")
        self._add = b"$4\r\nXADD\r\n" + bulk(keys.predictions.encode())
        self._model, self._columns, self._meta = "", "", b""
        self._pieces: tuple[bytes, bytes, bytes, bytes, bytes] | None = None
        self._set = b"$4\r\nHSET\r\n" + bulk(keys.state.encode())

    def pack(self, commit: Commit) -> tuple[list[bytes], int]:
        """A flight in pieces, and how many commands stand before its EXEC."""
        if isinstance(commit, SingleCommit) and not commit.removed and commit.trim_before_ms is None:
            pieces = self._single(commit)
            return [pack_single(commit.reply, commit.found, commit.rows, commit.y, commit.answered, pieces)], 3
        parts: list[bytes] = []
        commands = self._pack_records(commit, parts)
        if len(commit.ids):
            parts.append(pack_entries(self._add, commit.ids, commit.counts, commit.fields, commit.texts))
            commands += len(commit.ids)
        commands += self._pack_rest(commit, parts)
        parts.append(self._end)
        return parts, commands

    def _single(self, commit: Commit) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """The pieces of a single value's flight."""
        moving = self._moving(commit)
        if self._pieces is None:
            begin, add = b"*4\r\n" + self._set, b"*5\r\n" + self._add
            self._pieces = begin, add, moving + _POSITION, _ENTRIES, self._end
        return self._pieces

    def _moving(self, commit: Commit) -> bytes:
        """The command that moves the position, up to there."""
        if commit.model != self._model or commit.columns != self._columns:
            self._model, self._columns, self._pieces = commit.model, commit.columns, None
            self._meta = (
                b"*12\r\n$4\r\nHSET\r\n"
                + bulk(self._keys.meta.encode())
                + b"".join(
                    map(bulk, (b"model", commit.model.encode(), b"columns", commit.columns.encode(), b"format", FORMAT))
                )
            )
        return self._meta

    def _pack_records(self, commit: Commit, parts: list[bytes]) -> int:
        commands = 0
        if commit.reset_all:
            parts.append(pack("DEL", self._keys.state))
            commands += 1
        elif commit.removed:
            parts.append(pack("HDEL", self._keys.state, *commit.removed))
            commands += 1
        if len(commit.names):
            parts.append(b"*%d\r\n%b" % (2 + 2 * len(commit.names), self._set))
            parts.append(pack_records(commit.names, commit.records.rows, commit.records.slots))
            commands += 1
        return commands

    def _pack_rest(self, commit: Commit, parts: list[bytes]) -> int:
        keys = self._keys
        # About: whole nodes of the stream go, which costs the server next to nothing.
        bound = () if commit.most_dead is None else ("MAXLEN", "~", commit.most_dead)
        parts += [pack("XADD", keys.dead, *bound, "*", *letter.stored()) for letter in commit.dead]
        answered = b"%d" % commit.answered
        parts += [self._moving(commit), _POSITION, bulk(commit.position), _ENTRIES, bulk(answered)]
        commands = len(commit.dead) + 1
        if commit.trim_before_ms is not None:
            # Predictions go with the input they answer; MINID is below the position, so nothing unread is trimmed.
            edge = bytes(min(EntryId(commit.trim_before_ms, 0), EntryId.parse(commit.position)))
            parts += [pack("XTRIM", key, "MINID", "~", edge) for key in (keys.input, keys.predictions)]
            commands += 2
        return commands
