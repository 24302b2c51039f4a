"""Whether this process could take over what others serve: its model has to be that of the states, and it needs rights.

A process that stands by is not asked for anything, and would find out only when its turn comes: it would be called
ready, and a rolling update would end those that serve. So it looks, as long as it lives, which model each stream it
does not hold belongs to. A stream of another model is none that it takes, and it is not ready while there is one that
it was told to serve, or that somebody else serves now. While it holds no stream at all it also asks the server whether
it would take every command of this process: rights may be taken away, or be another's, as those of a new user are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from itertools import islice

from streamlstm.daemon.sharing import Selection
from streamlstm.errors import ModelChangedError, StoreError, StoreForbidsError, StoreUnavailableError
from streamlstm.models import told_apart
from streamlstm.store import ROLE_FIELDS, Keys, Preflight, models_of, read_model
from streamlstm.store.resp import WRONG_TYPE, Nodes, is_away

log = logging.getLogger(__name__)

EVERY_S = 2.0  # between two looks
MOST = 1_000  # streams of a look; where there are more they take turns
MOST_ASKED = 16  # of them, whose server is asked about every command


def says_other_model(stream: str, made_by: str, served: str) -> str:
    """What is wrong, and what to do about it."""
    if said := told_apart(made_by, served):
        return (
            f"the states of stream {stream!r} were not made by this provider, and are not mixed with its: {said}, or "
            "say what is to become of them: --on-model-change reset or replay"
        )
    return (
        f"the states of stream {stream!r} were made by another model ({made_by[:12]}, this one is {served[:12]}); "
        "serve that model, try this one beside it (`streamlstm model add`), serve a stream of another name with it, or "
        "say what is to become of the states: --on-model-change reset or replay"
    )


class Standby:
    """The streams that others serve, held against this process's model and rights."""

    def __init__(self, nodes: Nodes, preflight: Preflight, model: str | None, monotonic: Callable[[], float]) -> None:
        """`nodes` has connections of its own; `model` is the fingerprint of what is served, None if it takes any."""
        self._nodes, self._preflight, self._model, self._monotonic = nodes, preflight, model, monotonic
        self.foreign: dict[str, str] = {}  # stream -> why it cannot be served
        self.refusal: str | None = None  # of a command that this process would need
        self._unready: str | None = None
        self._next_look = 0.0
        self._next = self._next_asked = 0  # where the next look begins

    def look(self, selection: Selection, held: Collection[str]) -> None:
        """See which model made the streams that are not held, and what rights there are; when it is time again."""
        now = self._monotonic()
        if now < self._next_look:
            return
        self._next_look = now + EVERY_S
        self._look_at_rights(selection, held)
        self.look_at_models(selection, held)

    def _look_at_rights(self, selection: Selection, held: Collection[str]) -> None:
        if held:  # whoever serves finds out
            self.refusal = None
            return
        streams = selection.streams
        self._next_asked = self._next_asked if self._next_asked < len(streams) else 0
        chosen = streams[self._next_asked : self._next_asked + MOST_ASKED]
        self._next_asked += MOST_ASKED
        try:
            self._preflight.ask(chosen)
        except StoreUnavailableError:  # the loop meets it too, and says it
            return
        except StoreError as error:
            self.refusal = str(error)
        else:
            self.refusal = None

    def look_at_models(self, selection: Selection, held: Collection[str]) -> None:
        """See which model made the streams that are not held, where any other is refused."""
        if not self.refuses_models:
            return
        others = [stream for stream in selection.streams if stream not in held]
        for gone in self.foreign.keys() - set(others):
            del self.foreign[gone]
        first = self._next if self._next < len(others) else 0
        asked = list(islice(others, first, first + MOST))
        self._next = first + MOST
        served_by_others = self._ask(asked)
        wanted = [stream for stream in self.foreign if stream in selection.names or stream in served_by_others]
        if not held and len(self.foreign) == len(others):
            wanted = list(self.foreign)
        self._unready = "; ".join(self.foreign[stream] for stream in wanted[:3]) or None

    @property
    def refuses_models(self) -> bool:
        """Whether states of another model are none that this process takes."""
        return self._model is not None

    def unready(self) -> str | None:
        """Why this process could not take over, or None; asked by other threads."""
        return self.refusal or self._unready

    def hold_rights(self, selection: Selection) -> None:
        """Raise StoreForbidsError if the server would refuse a command of this process, of any stream."""
        try:
            self._preflight.ask(selection.streams[:MOST_ASKED])
        except StoreForbidsError:
            raise
        except StoreError as error:  # a server is away, or it is about one stream: the loop meets it too, and says it
            log.debug("%s", error)

    def hold(self, selection: Selection) -> None:
        """Raise ModelChangedError if a stream that was asked for by its name is of another model."""
        for stream, why in self.foreign.items():
            if stream in selection.names:
                raise ModelChangedError(why)

    def close(self) -> None:
        """Let go of the connections."""
        self._nodes.close()

    def _ask(self, streams: list[str]) -> set[str]:
        """Note which of some streams are of another model; returns those that somebody has a lease of."""
        keys = [Keys(stream) for stream in streams]
        models = {key.meta: (key.meta, ("HGET", key.meta, "model")) for key in keys}
        leases = {key.lease: (key.lease, ("GET", key.lease)) for key in keys}
        try:
            replies = self._nodes.batch_by({**models, **leases})
        except StoreError:  # the loop meets it too, and says it
            return set()
        leased, others = set(), dict[str, tuple[Keys, str]]()
        for key in keys:
            raw = replies[key.meta]
            if isinstance(replies[key.lease], bytes):
                leased.add(key.input)
            if is_away(raw):
                continue
            try:
                model = None if raw is WRONG_TYPE else read_model(key, raw)
            except StoreError:
                model = None  # no model at all: whoever opens the stream says what is wrong with its keys
            if model in {None, self._model}:
                self.foreign.pop(key.input, None)
            else:
                others[key.input] = key, says_other_model(key.input, model or "", self._model or "")
        self._note_foreign(others)
        return leased

    def _note_foreign(self, others: dict[str, tuple[Keys, str]]) -> None:
        """Note streams of other models, but for those where what is served was a champion, or is the challenger.

        There the champion's file is kept, and is loaded (`daemon.opening`).
        """
        if not others:
            return
        asked = {stream: (keys.meta, ("HMGET", keys.meta, *ROLE_FIELDS)) for stream, (keys, _) in others.items()}
        try:
            replies = self._nodes.batch_by(asked)
        except StoreError:  # as above
            return
        for stream, (_, why) in others.items():
            reply = replies[stream]
            if is_away(reply):
                continue
            if isinstance(reply, list) and self._model in models_of(*reply):
                self.foreign.pop(stream, None)
            else:
                self.foreign[stream] = why
