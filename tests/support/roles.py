"""Hold what a stream's models have answered in each of their roles against the oracle, as its meta hash says it was."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import redis

from streamlstm.common.settings import EngineSettings
from streamlstm.daemon.model_library import ModelLibrary
from streamlstm.engine.engine import Engine
from streamlstm.models.model import Model
from streamlstm.models.providers import fingerprint
from streamlstm.store.keys import Keys
from streamlstm.store.memory import MemoryChallenger, MemoryStream
from streamlstm.store.record.columns import Extras
from streamlstm.store.resp.entry_id import EntryId
from streamlstm.store.roles import Roles
from streamlstm.store.terms import Term, read_terms
from support.chain import Chain, chain_file
from support.compare import assert_anomalies_equal, assert_predictions_equal, assert_states_equal
from support.memory_connection import MemoryConnection
from support.oracle import Oracle
from support.serving import found_entries

Entries = Sequence[tuple[str, list[str]]]


def check_roles(
    held: MemoryStream,
    seen: Entries,
    chains: Sequence[Chain | Model],
    missing: str,
    extras: Extras,
    above: float,
    refused: Collection[tuple[str, str, str]] = (),
) -> None:
    """Predictions and records of champion and challenger are those of the models that are said to have made them.

    Anomalies are told of the champions' predictions alone; `refused` corrections are made by none.
    """
    by_name = {chain.fingerprint: chain for chain in chains}
    champions = read_terms(held.terms.get(b"champions")) or (Term(model=chains[0].fingerprint, after="0-0"),)
    assert held.model in {None, champions[-1].model}, "the last term is that of the champion"
    told = [[marker[name].decode() for name in (b"after", b"model", b"former")] for marker in held.promotions]
    wanted_markers = [[term.after, term.model, former.model] for former, term in pairwise(champions)]
    assert told == wanted_markers, "each promotion is told once, in order"
    beside = held.challenger
    roles: list[tuple[MemoryStream | MemoryChallenger, Sequence[Term]]] = [(held, champions)]
    if beside is not None:
        challengers = read_terms(held.terms.get(b"challengers"))
        assert challengers, "a challenger has a term"
        assert challengers[-1].model == beside.model, "the last is its own"
        assert beside.off is None, f"it was given up: {beside.off}"
        assert beside.position == held.position, "it has not caught up"
        roles.append((beside, challengers))
    for output, terms in roles:
        wanted = Oracle(by_name[terms[-1].model], missing=missing, extras=extras)
        predictions, anomalies = [], []
        for number, term in enumerate(terms):
            end = EntryId.parse(terms[number + 1].after if number + 1 < len(terms) else f"{1 << 62}-0")
            begun, after = EntryId.parse(term.begun), EntryId.parse(term.after)
            options = {"missing": missing, "extras": extras, "above": above, "refused": refused}
            oracle = Oracle(by_name[term.model], begun=begun, **options)
            oracle.feed(entry for entry in seen if begun < EntryId.parse(entry[0]) <= end)
            predictions += [one for one in oracle.predictions if after < EntryId.parse(one[0]) <= end]
            anomalies += [one for one in oracle.anomalies if after < EntryId.parse(one[0]) <= end]
            wanted = oracle
        wanted.predictions, wanted.anomalies = predictions, anomalies
        if output is held:
            assert_anomalies_equal(list(zip(held.anomaly_ids, held.anomalies, strict=True)), wanted)
        assert_predictions_equal(list(zip(output.prediction_ids, output.predictions, strict=True)), wanted)
        layout = Engine(
            wanted.model, EngineSettings(missing=missing, interval=extras.interval, score=extras.score)
        ).format
        assert_states_equal(output.state, wanted, layout)


def held(client: redis.Redis, name: str) -> MemoryStream:
    """What a stream's keys say, as the store in memory has it."""
    keys = Keys(name)
    meta: dict[bytes, bytes] = client.hgetall(keys.meta)

    def answers(key: str) -> tuple[list[bytes], list[list[bytes]]]:
        found = found_entries(client, key)
        return [entry_id for entry_id, _ in found], [fields for _, fields in found]

    ids, predictions = answers(keys.predictions)
    beside = MemoryChallenger(
        model=meta[b"challenger"].decode(),
        position=meta[b"challenger_position"],
        off=meta[b"challenger_off"].decode() if b"challenger_off" in meta else None,
        state=client.hgetall(keys.challenger_state),
    )
    beside.prediction_ids, beside.predictions = answers(keys.challenger_predictions)
    return MemoryStream(
        prediction_ids=ids,
        predictions=predictions,
        state=client.hgetall(keys.state),
        position=meta[b"position"],
        model=meta[b"model"].decode(),
        challenger=beside,
        promotions=[fields for _, fields in client.xrange(keys.promotions)],
        terms={name: meta[name] for name in (b"champions", b"challengers") if name in meta},
    )


def is_behind(held: MemoryStream) -> bool:
    """Whether a stream's challenger has something to catch up with."""
    beside = held.challenger
    return beside is not None and beside.off is None and beside.position != held.position


def library_of(chains: Sequence[Chain], connect: Callable[[str], MemoryConnection]) -> ModelLibrary:
    """The models that a daemon of the first chain can load: those whose files lie beside a stream."""
    by_name = {chain.fingerprint: chain for chain in chains}

    @contextmanager
    def shelf(stream: str) -> Iterator[Roles]:
        yield Roles(connect(stream), Keys(stream))  # type: ignore[arg-type]

    return ModelLibrary(
        chains[0],
        shelf=shelf,
        load=lambda data, *_: by_name[fingerprint(data)],
        own_file=lambda: chain_file(0),
        most_bytes=1_000,
        begin=lambda work: work(),
        most_starts=1_000,  # here processes end for many reasons
        sleep=lambda _: None,
    )
