"""Somebody in the simulation who gives streams challengers, promotes them, goes back, and takes them away again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from streamlstm.errors import StoreError
from streamlstm.store.keys import Keys
from streamlstm.store.memory import MemoryServer
from streamlstm.store.roles import Roles
from support.chain import Chain, chain_file
from support.faults import CrashError
from support.memory_connection import MemoryConnection

MOST_WAITS = 4


class Promoter:
    """Changes the roles of models as `streamlstm model` does, over connections that may break at every call."""

    def __init__(
        self,
        server: MemoryServer,
        connect: Callable[[str], MemoryConnection],
        models: Sequence[Chain],
        rng: random.Random,
        happened: Counter[str],
        meanwhile: Callable[[], None],
    ) -> None:
        """`meanwhile` lets others work while something is waited for."""
        self._server, self._connect, self._models = server, connect, models
        self._rng, self._happened, self._meanwhile = rng, happened, meanwhile

    def work(self, stream: str) -> None:
        """One change of the stream's models; it may come to nothing."""
        what = self._rng.choice(("add", "add", "promote", "promote", "remove"))
        waits = 0

        def wait(_: float) -> None:
            nonlocal waits
            waits += 1
            if waits > MOST_WAITS:
                raise StoreError("the promoter has waited for long enough")
            self._meanwhile()

        roles = Roles(self._connect(stream), Keys(stream), sleep=wait)  # type: ignore[arg-type]
        try:
            if what == "add":
                key = self._rng.randrange(len(self._models))
                replay = self._rng.random() < 0.6
                roles.add(
                    self._models[key].fingerprint,
                    chain_file(key),
                    replay=replay,
                    instead=self._rng.random() < 0.3,
                )
                self._happened["added, replayed" if replay else "added, fresh"] += 1
            elif what == "promote":
                before = roles.promote()
                again = before.challenger is not None and any(
                    term.model == before.challenger.model for term in before.champions
                )
                self._happened["rolled back" if again else "promoted"] += 1
            else:
                roles.remove()
                self._happened["removed"] += 1
        except (CrashError, StoreError):
            self._happened["gave up a change of models"] += 1
