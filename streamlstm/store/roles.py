"""Give a stream's models their roles: add a challenger, put it in the champion's place and back, take it away.

Each is one transaction, fenced by a WATCH on `base:meta` as a commit is and counted in its field `epoch`: whoever
serves the stream finds its next commit refused, drops what it holds and opens the stream again, in the new roles. So
each value is answered by one champion, and which one that was is in the field `champions`.

A promotion is also an entry of `base:promotions`, written in the same transaction, for who reads predictions as they
come: of those with ids after the one it names, the model it names is the author. It is a stream of its own, for in that
of the predictions there is no place for it. Ids there are those of the input, and between two of these there need not
be one: the next entry of a millisecond has the very next number, and its prediction would be refused. A field more in
the first prediction that follows would be taken for a series by every reader there is. One XREAD of both streams is a
single moment on the server: who reads them together sees a promotion no later than the first prediction it led to.

A model's file is kept beside the stream for as long as it has a role there, so whoever serves the stream has it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from streamlstm.errors import StoreError
from streamlstm.store.keys import Keys
from streamlstm.store.meta_change import MOST_TRIES_S, change_meta
from streamlstm.store.model_files import kept_model
from streamlstm.store.preflight import hold_commands, needed_beside
from streamlstm.store.resp import BEGINNING, HIGHEST, Connection, EntryId
from streamlstm.store.stream_meta import Meta, entries_up_to, fetch_meta
from streamlstm.store.terms import Term, write_terms
from streamlstm.store.transaction import Command

UPLOAD_TTL_S = 600  # of a model's file that has no role yet
STARTS_TTL_S = 86_400  # of the count of processes that ended while they tried a challenger
MOST_PROMOTIONS = 1_000  # about, that are kept, the youngest

_OF_CHALLENGER = ("challenger", "challenger_columns", "challenger_position", "challenger_off")


class Roles:
    """The roles of one stream's models, over one connection."""

    def __init__(self, connection: Connection, keys: Keys, *, sleep: Callable[[float], object] = time.sleep) -> None:
        self._connection, self._keys, self._sleep = connection, keys, sleep

    def meta(self) -> Meta:
        """Read `base:meta`; raises StoreError for a field that nobody of us wrote."""
        return fetch_meta(self._connection, self._keys)

    # Files.

    def file(self, model: str, *, most_bytes: int) -> bytes | None:
        """The file of a model, None if it is not kept.

        Raises StoreError if it is larger than so many bytes, ModelError if it is the file of another model.
        """
        data = kept_model(self._connection, self._keys, model)
        if data is not None and len(data) > most_bytes:
            raise StoreError(f"the file of the model {model[:12]} has {len(data):,} bytes, {most_bytes:,} may be read")
        return data

    def keep_file(self, model: str, data: bytes, *, for_good: bool) -> None:
        """Keep a model's file; if it has no role, only for the time that giving it one takes."""
        expiry = () if for_good else ("EX", UPLOAD_TTL_S)
        self._connection.call("SET", self._keys.model(model), data, "NX", *expiry)

    # Changes.

    def add(self, model: str, data: bytes, *, replay: bool, instead: bool = False) -> Meta:
        """Make a model the challenger, its states begun with what the input retains, or with the next value.

        Raises StoreError if the stream was never served, if the model is its champion, or if it has a challenger that
        is not to be replaced. Returns what `base:meta` said before.
        """

        def commands(meta: Meta) -> list[Command]:
            self._hold_add(meta, model, instead=instead)
            begun, entries = self._first_retained(meta) if replay else (meta.position, meta.answered)
            term = Term(model=model, after=begun.decode(), begun=begun.decode(), entries=entries)
            former = meta.challenger.model if meta.challenger is not None else None
            gone = _of_challenger(self._keys)
            if former not in {None, model, meta.model}:
                gone.append(self._keys.model(str(former)))
            return [
                ("PERSIST", self._keys.model(model)),
                ("UNLINK", *gone),
                ("HDEL", self._keys.meta, *_OF_CHALLENGER),
                self._set(meta, challenger=model, challenger_position=begun, challengers=write_terms([term])),
            ]

        self._hold_add(self.meta(), model, instead=instead)  # before a large file is sent
        self.keep_file(model, data, for_good=False)
        return self._change(commands)

    def promote(self, model: str | None = None) -> Meta:
        """Put the challenger in the champion's place, and the champion in the challenger's.

        Raises StoreError if there is no challenger, or another than `model`; one that has fallen behind is waited for.
        Returns what `base:meta` said before.
        """

        def commands(meta: Meta) -> list[Command] | None:
            found = _challenger(self._keys, meta)
            if model is not None and found.model != model:
                raise StoreError(f"the challenger of {self._keys.input!r} is {found.model[:12]}, not {model[:12]}")
            if found.off is not None:
                raise StoreError(f"the challenger of {self._keys.input!r} is not stepped any more: {found.off}")
            if found.position != meta.position:
                return None
            self._hold_promotions()
            at = meta.position.decode()
            mine = replace(meta.challengers[-1], after=at) if meta.challengers else Term(model=found.model, after=at)
            other = replace(meta.champion_terms[-1], after=at)
            marker = ("after", at, "model", found.model, "former", str(meta.model), "columns", found.columns)
            return [
                *self._swap(),
                ("XADD", self._keys.promotions, "MAXLEN", "~", MOST_PROMOTIONS, "*", *marker),
                self._set(
                    meta,
                    model=found.model,
                    columns=found.columns,
                    challenger=str(meta.model),
                    challenger_columns=meta.columns,
                    champions=write_terms([*meta.champion_terms, mine]),
                    challengers=write_terms([*meta.challengers, other]),
                ),
            ]

        return self._change(commands)

    def remove(self) -> Meta:
        """Take the challenger away, with its states, predictions and file; raises StoreError if there is none."""

        def commands(meta: Meta) -> list[Command]:
            found = _challenger(self._keys, meta)
            keys = self._keys
            return [
                ("UNLINK", *_of_challenger(keys), keys.model(found.model)),
                ("HDEL", keys.meta, *_OF_CHALLENGER, "challengers"),
                self._set(meta),
            ]

        return self._change(commands)

    def stop(self, model: str, why: str) -> None:
        """Have the challenger stepped no more, unless it is another one by now; its states stay as they are."""

        def commands(meta: Meta) -> list[Command]:
            if meta.challenger is None or meta.challenger.model != model or meta.challenger.off is not None:
                return []
            return [self._set(meta, challenger_off=why)]

        self._change(commands)

    def hold_rights(self) -> None:
        """Raise StoreError for the first command of a challenger's that the server refuses; ends the connection."""
        hold_commands(self._connection, self._keys.meta, needed_beside(self._keys))

    def count_start(self, what: str) -> int:
        """Count that a process begins to do something with the challenger that may end it; returns the count."""
        key = self._keys.challenger_starts
        before = self._connection.call("HGET", key, what) or b"0"
        count = int(before) + 1 if before.isdigit() else 1  # nobody else counts: one process serves a stream
        self._connection.call("HSET", key, what, count)
        self._connection.call("EXPIRE", key, STARTS_TTL_S)
        return count

    def take_back(self, what: str) -> None:
        """The process ends, for another reason: one start less, if it is still counted."""
        key = self._keys.challenger_starts
        before = self._connection.call("HGET", key, what) or b"0"
        if before.isdigit() and int(before):
            self._connection.call("HSET", key, what, int(before) - 1)

    def come_through(self, what: str) -> None:
        """The process has come through that."""
        self._connection.call("HDEL", self._keys.challenger_starts, what)

    def _change(self, commands: Callable[[Meta], Sequence[Command] | None]) -> Meta:
        """Carry out commands that `base:meta` leads to, as one; again if it changes meanwhile, or if they are None."""

        def vain(behind: bool) -> str:
            why = (
                "the challenger is behind the champion; `streamlstm model list` shows how far"
                if behind
                else f"values come so fast that there was no moment for it in {MOST_TRIES_S:.0f} s; try again"
            )
            return f"the models of {self._keys.input!r} were not changed: {why}"

        return change_meta(self._connection, self._keys, commands, read=self.meta, vain=vain, sleep=self._sleep)

    def _hold_add(self, meta: Meta, model: str, *, instead: bool) -> None:
        stream = self._keys.input
        if meta.model is None:
            raise StoreError(f"the stream {stream!r} has not been served yet; serve it with the model itself")
        if meta.model == model:
            raise StoreError(f"the model {model[:12]} is the champion of {stream!r} already")
        if meta.challenger is not None and not instead:
            raise StoreError(
                f"the stream {stream!r} has the challenger {meta.challenger.model[:12]} already; take that away first "
                "(`streamlstm model remove`), or say --replace"
            )

    def _set(self, meta: Meta, **fields: Any) -> Command:
        pairs = [part for name, value in fields.items() for part in (name, value)]
        return ("HSET", self._keys.meta, "epoch", meta.epoch + 1, *pairs)

    def _hold_promotions(self) -> None:
        """Raise StoreError if the stream of promotions takes no more: all else would be carried out without it."""
        last = self._connection.call("XREVRANGE", self._keys.promotions, "+", "-", "COUNT", 1)
        if last and last[0][0] == HIGHEST:
            raise StoreError(
                f"somebody else added the last id there is to {self._keys.promotions!r}, so it takes no promotion any "
                "more; delete it (DEL)"
            )

    def _swap(self) -> list[Command]:
        """The commands by which the two roles' records change places."""
        champion, challenger, draft = self._keys.state, self._keys.challenger_state, self._keys.draft("roles")
        has_one, has_other = (self._connection.call("HLEN", key) for key in (champion, challenger))
        moves: list[Command] = []
        if has_one:
            moves.append(("RENAME", champion, draft))
        if has_other:
            moves.append(("RENAME", challenger, champion))
        if has_one:
            moves.append(("RENAME", draft, challenger))
        return moves

    def _first_retained(self, meta: Meta) -> tuple[bytes, int]:
        """The id just before the first entry that the input retains, at most the position; how many came up to it."""
        found = self._connection.call("XRANGE", self._keys.input, "-", "+", "COUNT", 1)
        if not found:
            return meta.position, meta.answered
        begun = bytes(min(EntryId.parse(found[0][0]).before(), EntryId.parse(meta.position)))
        gone = entries_up_to(self._connection, self._keys, begun)
        return (begun, gone) if gone else (BEGINNING, 0)


def end_roles(keys: Keys, meta: Meta) -> list[Command]:
    """The commands that forget a challenger and former champions; none where there are none."""
    if meta.challenger is None and not meta.champions:
        return []
    models = {term.model for term in (*meta.champions, *meta.challengers)} - {meta.model}
    gone = [*_of_challenger(keys), keys.promotions, *map(keys.model, sorted(models))]
    return [("UNLINK", *gone), ("HDEL", keys.meta, *_OF_CHALLENGER, "champions", "challengers")]


def _of_challenger(keys: Keys) -> list[str]:
    """The keys that go with a challenger."""
    return [keys.challenger_state, keys.challenger_predictions, keys.challenger_starts]


def _challenger(keys: Keys, meta: Meta) -> Any:
    if meta.challenger is None:
        raise StoreError(f"the stream {keys.input!r} has no challenger; `streamlstm model add` gives it one")
    return meta.challenger
