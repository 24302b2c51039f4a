"""What a commit left out that was carried out in part, kept until it can be written.

A server gives a transaction up if a command of it is refused before EXEC. Two things can still tear one: rights that
are taken away after a command was queued and before EXEC is reached (Redis looks again then, and goes on to the next
command), and a proxy that refuses a command by itself and passes the others on. Then the position may have moved, and
nobody computes these predictions and records again: whoever sent the commit writes what is missing before it does
anything else, as long as the position is where the torn commit left it. Where predictions behind a missing one were
taken, their stream is written anew (`store.late_insert`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import hiredis

from streamlstm.errors import StoreError, StoreRefusesError, StoreUnavailableError
from streamlstm.store.base import Commit
from streamlstm.store.keys import Keys
from streamlstm.store.late_insert import insert_late
from streamlstm.store.resp import BEGINNING, Connection, checked, listed, pack
from streamlstm.store.transaction import Command, carry_out, name_of, watch

log = logging.getLogger(__name__)


@dataclass
class Unfinished:
    """Commands of one stream's commit that were refused while others were carried out."""

    keys: Keys
    base: bytes  # the positions the commit was to lead from and to
    end: bytes
    epoch: bytes | None
    beside: tuple[bytes, bytes] | None  # likewise of the challenger; None if it has no part in it
    commands: list[Command]

    @classmethod
    def of(
        cls, commit: Commit, keys: Keys, epoch: bytes | None, commands: Sequence[Command], left_out: Collection[int]
    ) -> Unfinished:
        """`left_out` are the numbers of those among a commit's commands that were refused."""
        challenger = commit.challenger
        beside = None if challenger is None else (challenger.base, challenger.position)
        made = cls(keys, commit.base, commit.position, epoch, beside, list(commands))
        made._keep(left_out)
        return made

    @property
    def position(self) -> bytes:
        """Where the stream has been left: the command that moves the position may be among those left out."""
        return self.end if self._has_moved else self.base

    @property
    def _has_moved(self) -> bool:
        meta = self.keys.meta.encode()
        return not any(command[1] == meta and b"position" in command for command in self.commands)

    def __str__(self) -> str:
        return (
            f"{len(self.commands)} commands of a commit to {self.keys.input!r} were left out while the others were "
            "carried out; they are carried out before anything else, unless this process ends before they may be"
        )

    def finish(self, connection: Connection) -> None:
        """Carry out what was left out; raises StoreError if some of it is still refused."""
        for work in (self._insert, self._insert, self._insert, self._write):  # a stream with given ids a turn
            if self.commands and not (self._is_where_it_was_left(connection) and work(connection)):
                self._give_up("another process has gone on meanwhile")
                return
        log.info("what a commit to %r had left out is written", self.keys.input, extra={"stream": self.keys.input})

    def _is_where_it_was_left(self, connection: Connection) -> bool:
        """Watch the stream, and see whether nobody has gone on."""
        watch(connection, self.keys.meta)
        connection.send(pack("HMGET", self.keys.meta, "position", "epoch", "challenger_position"))
        position, epoch, beside = listed(connection.receive(), 3, connection.address, "HMGET")
        is_there = self.beside is None or beside == self.beside[int(self._has_moved)]
        return is_there and (position or BEGINNING, epoch) == (self.position, self.epoch)

    def _insert(self, connection: Connection) -> bool:
        """Put predictions, or anomalies, in that others follow already; False if somebody has gone on meanwhile."""
        for key in (self.keys.predictions, self.keys.anomalies, self.keys.challenger_predictions):
            missing = [command for command in self.commands if command[:2] == (b"XADD", key.encode())]
            try:
                inserted = insert_late(connection, self.keys, key, self.end, [command[2:] for command in missing])
            except StoreRefusesError:
                raise
            except StoreError as error:
                if key != self.keys.challenger_predictions or isinstance(error, StoreUnavailableError):
                    raise
                inserted = self._stop_challenger(missing, error)
            if inserted:  # which has ended the watch; what else is missing is found at the next turn
                self.commands = [command for command in self.commands if command not in missing]
            if inserted is not False:
                return inserted is not None
        return True

    def _stop_challenger(self, missing: Sequence[Command], error: StoreError) -> bool:
        """A challenger whose predictions cannot be written is stepped no more; the champion goes on."""
        log.error("%s; the challenger is not stepped any more", error)
        left = [command for command in self.commands if command not in missing]
        self.commands = [*left, (b"HSET", self.keys.meta.encode(), b"challenger_off", str(error).encode())]
        return False

    def _write(self, connection: Connection) -> bool:
        """Carry out the commands; False if somebody has gone on meanwhile."""
        executed = carry_out(connection, self.commands)
        if executed is None:
            return False
        outcomes = list(zip(self.commands, executed, strict=True))
        self._keep([number for number, reply in enumerate(executed) if isinstance(reply, hiredis.ReplyError)])
        for command, reply in outcomes:
            checked(reply, connection.address, name_of(command))
        return True

    def _keep(self, left_out: Collection[int]) -> None:
        """Forget what was carried out, but for records: what removes them all comes before what writes them."""
        states = {self.keys.state.encode(), self.keys.challenger_state.encode()}
        again = {self.commands[number][1] for number in left_out} & states
        self.commands = [
            command for number, command in enumerate(self.commands) if number in left_out or command[1] in again
        ]

    def _give_up(self, why: str) -> None:
        log.error(
            "%d commands (%s) that a commit to %r left out cannot be carried out any more: %s; `streamlstm verify` "
            "says what is missing",
            len(self.commands),
            ", ".join(sorted({name_of(command) for command in self.commands})),
            self.keys.input,
            why,
            extra={"stream": self.keys.input},
        )
