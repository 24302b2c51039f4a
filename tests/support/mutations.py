"""Mistakes that the simulation has to find: each takes out one safeguard of the real code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

import streamlstm.daemon.challengers
import streamlstm.daemon.idle_sweeper
import streamlstm.daemon.replay.making
import streamlstm.store.commit
import streamlstm.store.memory
import streamlstm.store.unfinished_commit
from streamlstm.daemon.challengers import Challengers
from streamlstm.daemon.daemon import Daemon
from streamlstm.daemon.opening import Opening
from streamlstm.daemon.sharing.assignment import Sharing
from streamlstm.daemon.sharing.leases import Roll
from streamlstm.daemon.streams import Status, Stream
from streamlstm.engine.engine import Engine
from streamlstm.engine.series_limit import Admission
from streamlstm.engine.sorted_items import Work
from streamlstm.store.base import Commit, Head
from streamlstm.store.commit import CommitConnection
from streamlstm.store.memory import MemoryStore, MemoryStream
from streamlstm.store.roles import Roles
from streamlstm.store.snapshots.stream_states import Draft, States
from streamlstm.store.stream_meta import Meta
from streamlstm.store.transaction import carry_out_whole
from streamlstm.store.unfinished_commit import Unfinished
from support.correction_mutations import OF_CORRECTIONS
from support.mutations_packed import rounded_as_it_is_stored
from support.mutations_threads import (
    a_few_not_taken_in,
    asked_before_the_batch_before,
    done_twice,
    live_values_moved_by_one,
    live_values_not_taken_in,
    whole_tiles_answered_once,
)
from support.mutations_told import (
    anomalies_of_challengers_told,
    anomalies_told_at_once,
    holes_left_among_anomalies,
    later_anomalies_kept,
    promotions_told_apart,
    warm_to_the_end_of_the_batch,
    warm_values_answered,
    warm_values_at_their_entrys_time,
)

Patch = pytest.MonkeyPatch


def no_fence(patch: Patch) -> None:
    """The store takes a commit whatever position it was computed from."""

    def send_commit(store: Any, commit: Commit) -> None:
        streamlstm.store.memory._apply(store._reach(commit.stream), commit)
        store._pending[commit.stream] = True

    patch.setattr(MemoryStore, "send_commit", send_commit)


def fence_not_heard(patch: Patch) -> None:
    """The daemon takes a commit that was refused for one that holds."""
    receive = MemoryStore.receive_commit
    patch.setattr(MemoryStore, "receive_commit", lambda store, stream: receive(store, stream) or True)


def records_kept_after_a_fence(patch: Patch) -> None:
    """The records in memory outlive the position they belong to."""
    open_ = Engine.open

    def open_again(engine: Any, stream: str, head: Head) -> None:
        forget, engine.forget = engine.forget, lambda _: None
        open_(engine, stream, head)
        engine.forget = forget

    patch.setattr(Engine, "open", open_again)


def sent_again_after_a_lost_reply(patch: Patch) -> None:
    """A commit that was not answered is sent again from wherever the stream stands."""
    lose, start = Daemon._lose_store, Daemon.start

    def lose_store(daemon: Any, error: Any) -> None:
        daemon.unanswered = {stream: stream.pending for stream in daemon._streams.open.values() if stream.pending}
        lose(daemon, error)

    def start_again(daemon: Any) -> None:
        start(daemon)
        for stream, pending in getattr(daemon, "unanswered", {}).items():
            if stream.status is Status.OPEN:
                daemon._store.send_commit(replace(pending.result.commit, base=stream.head.position))
                stream.pending = pending
        daemon.unanswered = {}

    patch.setattr(Daemon, "_lose_store", lose_store)
    patch.setattr(Daemon, "start", start_again)


def read_past_the_position(patch: Patch) -> None:
    """After a lost connection it goes on reading where it had read to, not where it had committed to."""
    lose, open_ = Daemon._lose_store, Opening._open

    def lose_store(daemon: Any, error: Any) -> None:
        daemon._opening.read_to = {stream: stream.cursor for stream in daemon._streams.open.values()}
        lose(daemon, error)

    def open_again(opening: Any, stream: Stream) -> None:
        open_(opening, stream)
        stream.cursor = getattr(opening, "read_to", {}).pop(stream, stream.cursor)

    patch.setattr(Daemon, "_lose_store", lose_store)
    patch.setattr(Opening, "_open", open_again)


def stale_reads_taken(patch: Patch) -> None:
    """Entries asked for before a stream was opened anew are stepped all the same."""
    receive = MemoryStore.receive_read

    def receive_read(store: Any) -> bytes:
        reply = receive(store)
        store.owner._reading._asked.update({name: stream.cursor for name, stream in store.owner._streams.items()})
        return reply

    init = Daemon.__init__

    def made(daemon: Any, **options: Any) -> None:
        init(daemon, **options)
        options["store"]._store.owner = daemon

    patch.setattr(Daemon, "__init__", made)
    patch.setattr(MemoryStore, "receive_read", receive_read)


def resets_not_stored(patch: Patch) -> None:
    """A series that was reset keeps its record in the store."""
    patch.setattr(Work, "removed_by", lambda work, gone: [])


def places_freed_after_the_batch(patch: Patch) -> None:
    """Near the limit the first new series of a batch begin, before any place that a reset in it frees."""

    def admitted(_cls: Any, parsed: Any, model: Any, *, new: Any, series: int, most: int, **_: Any) -> Admission:
        names = [parsed.names[item] for item in range(parsed.items)]
        first = [name for name in dict.fromkeys(names) if name in new][: max(0, most - series)]
        return Admission(first, [item for item, name in enumerate(names) if name in new and name not in first])

    patch.setattr(Admission, "of", classmethod(admitted))


def lost_leases_ignored(patch: Patch) -> None:
    """A stream whose lease is another's is worked on all the same."""
    note = Sharing._note_roll

    def note_roll(sharing: Any, roll: Roll) -> bool:
        roll.lost.clear()
        return note(sharing, roll)

    patch.setattr(Sharing, "_note_roll", note_roll)


def busy_series_removed(patch: Patch) -> None:
    """Every series is taken for idle."""
    patch.setattr(streamlstm.daemon.idle_sweeper, "time_of", lambda record, edge: edge - 1)


def replaced_without_a_fence(patch: Patch) -> None:
    """All states are replaced although the position has moved since they were made."""
    meta = States.meta

    def replace_anyhow(states: Any, draft: Any, *, expected: Any, head: Any) -> bool:
        now = meta(states)
        setting = (
            *("HSET", states.keys.meta, "position", head.position, "model", head.model, "columns", head.columns),
            *("entries", head.answered, "epoch", now.epoch + 1),
        )
        return carry_out_whole(states._connection, [*draft.moves(), setting]) is not None

    patch.setattr(States, "replace", replace_anyhow)


def later_predictions_kept(patch: Patch) -> None:
    """An import that goes back leaves the predictions after its position where they are."""
    patch.setattr(Draft, "cut", lambda draft, is_kept: None)


def exported_while_it_moves(patch: Patch) -> None:
    """An export takes records as it finds them, whatever position they belong to."""
    patch.setattr(States, "scan_still", lambda states, meta: states.scan())


def other_models_served(patch: Patch) -> None:
    """A daemon goes on with states that another model has made."""
    open_ = Opening._open

    def open_any(daemon: Any, stream: Stream) -> None:
        daemon._store = _Blind(daemon._store, daemon._own.model.fingerprint)
        try:
            open_(daemon, stream)
        finally:
            daemon._store = daemon._store.store

    patch.setattr(Opening, "_open", open_any)


class _Blind:
    def __init__(self, store: Any, fingerprint: str) -> None:
        self.store, self._fingerprint = store, fingerprint

    def open(self, stream: str) -> Head:
        return replace(self.store.open(stream), model=self._fingerprint)


def not_heard(command: str) -> Callable[[Patch], None]:
    """What is answered to a command that fences the next commit is not looked at."""
    agreed = streamlstm.store.commit.agreed

    def deaf(reply: Any, wanted: bytes, address: Any, name: str) -> None:
        if name != command:
            agreed(reply, wanted, address, name)

    return lambda patch: patch.setattr(streamlstm.store.commit, "agreed", deaf)


def torn_commits_taken(patch: Patch) -> None:
    """A commit of which a command was refused while others were carried out is taken for one that holds."""
    patch.setattr(CommitConnection, "_hold_whole", lambda *_: None)


def torn_commits_left(patch: Patch) -> None:
    """What a commit left out is forgotten."""
    patch.setattr(Unfinished, "finish", lambda *_: None)


def holes_left(patch: Patch) -> None:
    """Predictions that others follow already are not put in any more."""
    patch.setattr(streamlstm.store.unfinished_commit, "insert_late", lambda *_: True)


def challengers_not_guarded(patch: Patch) -> None:
    """Where the challenger stands is no part of what guards a commit."""
    patch.setattr(MemoryStream, "beside", property(lambda _: None))
    send = MemoryStore.send_commit

    def send_commit(store: Any, commit: Commit) -> None:
        if commit.challenger is not None:
            commit.challenger.base = None  # type: ignore[assignment]  # which is what it is compared with then
        send(store, commit)

    patch.setattr(MemoryStore, "send_commit", send_commit)


def records_not_swapped(patch: Patch) -> None:
    """A promotion leaves each role the other model's records."""
    patch.setattr(Roles, "_swap", lambda _: [])


def promoted_while_behind(patch: Patch) -> None:
    """A challenger is promoted wherever it stands."""
    meta = Roles.meta

    def told(roles: Any) -> Meta:
        found = meta(roles)
        beside = found.challenger
        return found if beside is None else replace(found, challenger=replace(beside, position=found.position))

    patch.setattr(Roles, "meta", told)


def roles_changed_unseen(patch: Patch) -> None:
    """A change of roles does not count as one of all states, nor is it watched for."""
    patch.setattr(Roles, "_set", lambda roles, _, **fields: ("HSET", roles._keys.meta, "epoch", 0, *_flat(fields)))


def _flat(fields: Mapping[str, Any]) -> list[Any]:
    return [part for pair in fields.items() for part in pair]


def trials_go_on_after_a_fence(patch: Patch) -> None:
    """A challenger's records in memory outlive the position they belong to."""
    patch.setattr(Challengers, "forget", lambda *_: None)
    open_ = Challengers.open

    def open_again(challengers: Any, stream: Stream, head: Head) -> None:
        former = stream.challenger
        open_(challengers, stream, head)
        if former is not None and stream.challenger is not None:
            stream.challenger.position = former.position

    patch.setattr(Challengers, "open", open_again)


def adopted_with_the_champions_places(patch: Patch) -> None:
    """What was parsed for the champion is stepped where its records are, not where the challenger's are."""
    patch.setattr(Engine, "adopt", lambda _, parsed: parsed.elsewhere(parsed.slots) if parsed.is_bare else None)


# What it is -> the kind of simulation that finds it.
MUTATIONS: Mapping[str, tuple[str, Callable[[Patch], None]]] = {
    "no fence": ("everything", no_fence),
    "a fence not heard": ("everything", fence_not_heard),
    "records kept after a fence": ("everything", records_kept_after_a_fence),
    "sent again after a lost reply": ("everything", sent_again_after_a_lost_reply),
    "read past the position": ("everything", read_past_the_position),
    "stale reads taken": ("stalls", stale_reads_taken),
    "resets not stored": ("everything", resets_not_stored),
    "places freed after the batch": ("too many series", places_freed_after_the_batch),
    "lost leases ignored": ("leases and stalls", lost_leases_ignored),
    "busy series removed": ("idle series", busy_series_removed),
    "replaced without a fence": ("another model", replaced_without_a_fence),
    "a part done twice": ("threads", done_twice),
    "a few not taken in": ("everything", a_few_not_taken_in),
    "live values not taken in": ("everything", live_values_not_taken_in),
    "live values moved by one": ("everything", live_values_moved_by_one),
    "asked before the batch before": ("threads", asked_before_the_batch_before),
    "whole tiles answered once": ("an LSTM", whole_tiles_answered_once),
    "later predictions kept": ("imports", later_predictions_kept),
    "exported while it moves": ("imports", exported_while_it_moves),
    "imported without a fence": ("imports", replaced_without_a_fence),
    "WATCH not heard": ("refused commands", not_heard("WATCH")),
    "MULTI not heard": ("refused commands", not_heard("MULTI")),
    "torn commits taken for whole": ("torn commits", torn_commits_taken),
    "torn commits left as they are": ("torn commits", torn_commits_left),
    "holes left in commits": ("commits with holes", holes_left),
    "other models served": ("another model", other_models_served),
    "adopted with the champion's places": ("models in roles", adopted_with_the_champions_places),
    "challengers not guarded": ("models in roles", challengers_not_guarded),
    "warm values answered": ("warm starts", warm_values_answered),
    "warm to the end of the batch": ("warm starts", warm_to_the_end_of_the_batch),
    "warm values at their entry's time": ("warm starts, scored", warm_values_at_their_entrys_time),
    "promotions told apart": ("models in roles", promotions_told_apart),
    "records not swapped": ("models in roles", records_not_swapped),
    "promoted while behind": ("torn commits of two models", promoted_while_behind),
    "roles changed unseen": ("models in roles", roles_changed_unseen),
    "trials go on after a fence": ("models in roles", trials_go_on_after_a_fence),
    "later anomalies kept": ("anomalies, imports", later_anomalies_kept),
    "holes left among anomalies": ("anomalies, commits with holes", holes_left_among_anomalies),
    "anomalies of challengers told": ("anomalies of models in roles", anomalies_of_challengers_told),
    "anomalies told at once": ("anomalies", anomalies_told_at_once),
    "rounded as it is stored": ("an LSTM in float16", rounded_as_it_is_stored),
    **OF_CORRECTIONS,
}
