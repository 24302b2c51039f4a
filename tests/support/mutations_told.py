"""More of `support.mutations`: of what is told (warm values, promotions, anomalies)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import streamlstm.engine.engine
import streamlstm.store.memory
import streamlstm.store.unfinished_commit
from streamlstm.engine.answers import Answers
from streamlstm.store.base import Commit
from streamlstm.store.memory import MemoryStore, MemoryStream
from streamlstm.store.roles import Roles
from streamlstm.store.snapshots.stream_states import Draft
from streamlstm.store.stream_meta import Meta

Patch = pytest.MonkeyPatch


def warm_values_answered(patch: Patch) -> None:
    """What an entry says is not to be answered is answered all the same."""
    patch.setattr(Answers, "without", lambda answers, _: (answers, 0))


def warm_to_the_end_of_the_batch(patch: Patch) -> None:
    """`!warm` holds for all that is read in one go, and not for its entry."""
    take_warm = streamlstm.engine.engine.take_warm

    def take(parsed: Any) -> None:
        take_warm(parsed)
        if parsed.warm is not None:
            values = parsed.warm.values
            values[int(np.argmax(values)) :] = True

    patch.setattr(streamlstm.engine.engine, "take_warm", take)


def warm_values_at_their_entrys_time(patch: Patch) -> None:
    """The time that `!warm` says is not heeded."""
    take_warm = streamlstm.engine.engine.take_warm

    def take(parsed: Any) -> None:
        take_warm(parsed)
        vars(parsed).pop("item_times_ms", None)

    patch.setattr(streamlstm.engine.engine, "take_warm", take)


def promotions_told_apart(patch: Patch) -> None:
    """A promotion is told in a command of its own, once it is carried out."""
    change = Roles._change

    def change_and_tell(roles: Any, commands: Any) -> Meta:
        markers: list[Any] = []

        def without(meta: Meta) -> Any:
            wanted = commands(meta)
            markers[:] = [one for one in wanted or () if one[0] == "XADD"]
            return wanted and [one for one in wanted if one[0] != "XADD"]

        meta = change(roles, without)
        for marker in markers:
            roles._connection.call(*marker)
        return meta

    patch.setattr(Roles, "_change", change_and_tell)


def later_anomalies_kept(patch: Patch) -> None:
    """An import that goes back leaves the anomalies after its position where they are."""
    init = Draft.__init__

    def made(draft: Any, connection: Any, keys: Any, token: str) -> None:
        init(draft, connection, keys, token)
        del draft._streams[keys.anomalies]

    patch.setattr(Draft, "__init__", made)


def holes_left_among_anomalies(patch: Patch) -> None:
    """Anomalies that others follow already are not put in any more."""
    insert = streamlstm.store.unfinished_commit.insert_late

    def insert_predictions(connection: Any, keys: Any, key: str, *rest: Any) -> Any:
        return key == keys.anomalies or insert(connection, keys, key, *rest)

    patch.setattr(streamlstm.store.unfinished_commit, "insert_late", insert_predictions)


def anomalies_of_challengers_told(patch: Patch) -> None:
    """What the challenger finds odd is told as if the champion had."""
    apply = streamlstm.store.memory._apply

    def apply_both(held: MemoryStream, commit: Commit) -> None:
        beside = commit.challenger
        if beside is not None and beside.anomalies is not None and commit.anomalies is None:
            commit.anomalies = beside.anomalies
        apply(held, commit)

    patch.setattr(streamlstm.store.memory, "_apply", apply_both)


def anomalies_told_at_once(patch: Patch) -> None:
    """Anomalies are written when they are found, and not with what they are of."""
    send = MemoryStore.send_commit

    def send_commit(store: Any, commit: Commit) -> None:
        told = commit.anomalies
        if told is not None:
            held = store._reach(commit.stream)
            held.anomaly_ids.extend(told.ids)
            held.anomalies.extend(streamlstm.store.memory._entries(told))
            commit.anomalies = None
        send(store, commit)

    patch.setattr(MemoryStore, "send_commit", send_commit)
