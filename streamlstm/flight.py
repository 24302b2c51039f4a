"""A commit as the bytes of one flight: MULTI … EXEC, then WATCH and HMGET for the next one."""

from __future__ import annotations

from streamlstm.codec import pack_entries, pack_records
from streamlstm.entry_id import EntryId
from streamlstm.keys import Keys
from streamlstm.store import FORMAT, Commit
from streamlstm.wire import bulk, pack


class FlightPacker:
    """Packs the commits of one stream."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._begin = pack("MULTI")
        self._end = pack("EXEC") + pack("WATCH", keys.meta) + pack("HMGET", keys.meta, "position", "epoch")
        self._add = b"$4\r\nXADD\r\n" + bulk(keys.predictions.encode())
        self._model, self._columns, self._meta = "", "", b""  # the command that moves the position, up to there
        self._set = b"$4\r\nHSET\r\n" + bulk(keys.state.encode())

    def pack(self, commit: Commit) -> tuple[list[bytes], int]:
        """A flight in pieces, and how many commands stand between its MULTI and its EXEC."""
        parts = [self._begin]
        commands = self._pack_records(commit, parts)
        if len(commit.ids):
            parts.append(pack_entries(self._add, commit.ids, commit.counts, commit.fields, commit.texts))
            commands += len(commit.ids)
        commands += self._pack_rest(commit, parts)
        parts.append(self._end)
        return parts, commands

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
        for letter in commit.dead:
            fields = ("id", letter.id, "series", letter.series, "value", letter.value, "error", letter.error)
            parts.append(pack("XADD", keys.dead, *bound, "*", *fields))
        if commit.model != self._model or commit.columns != self._columns:
            self._model, self._columns = commit.model, commit.columns
            self._meta = (
                b"*12\r\n$4\r\nHSET\r\n"
                + bulk(keys.meta.encode())
                + b"".join(
                    map(bulk, (b"model", commit.model.encode(), b"columns", commit.columns.encode(), b"format", FORMAT))
                )
            )
        answered = b"%d" % commit.answered
        parts.append(b"%b$8\r\nposition\r\n%b$7\r\nentries\r\n%b" % (self._meta, bulk(commit.position), bulk(answered)))
        commands = len(commit.dead) + 1
        if commit.trim_before_ms is not None:
            # Predictions go with the input they answer; MINID is below the position, so nothing unread is trimmed.
            edge = bytes(min(EntryId(commit.trim_before_ms, 0), EntryId.parse(commit.position)))
            parts += [pack("XTRIM", key, "MINID", "~", edge) for key in (keys.input, keys.predictions)]
            commands += 2
        return commands
