"""The peers beside the daemon: which there are, what each is short of, and how many values a second each answers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata, util
from typing import Any

from streamlstm.cli.benchmark.backlog import Shape, make_backlog, push
from streamlstm.cli.benchmark.drain import Bench, Rates, drain
from streamlstm.cli.benchmark.server import run_module
from streamlstm.errors import StoreError
from streamlstm.store import Keys

STREAM = "values"
PEERS_FOLDER = "streamlstm.cli.benchmark.peers"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Something else that is used for such work."""

    name: str
    module: str | None  # that answers the stream; None of what cannot be started from here
    packages: tuple[str, ...] = ()  # all of which have to be there, as they are called when installed and imported
    install: str = ""
    answers: str  # what with
    state: str  # where a series' state is, and what outlives a crash
    exactly_once: str  # whether state, answer and place in the input are moved as one


OURS = Peer(
    name="streamlstm serve",
    module=None,
    answers="the model, in micro-batches",
    state="in Redis, in the commit of its answer",
    exactly_once="yes",
)
PEERS = (
    Peer(
        name="redis-py + onnxruntime loop",
        module="streamlstm.cli.benchmark.naive",
        answers="the model, a call a value",
        state="in Redis, written before the answer",
        exactly_once="no: nothing is written together, and no place in the input is kept",
    ),
    Peer(
        name="Keras stateful",
        module=f"{PEERS_FOLDER}.keras_stateful",
        packages=("keras", "torch"),
        install="pip install keras torch",
        answers="an LSTM of as many units, a call a value",
        state="in the process: lost with it",
        exactly_once="no",
    ),
    Peer(
        name="Bytewax",
        module=f"{PEERS_FOLDER}.bytewax_map",
        packages=("bytewax",),
        install="pip install bytewax",
        answers="the model, a call a value",
        state="in the worker; snapshots if recovery is configured (not here)",
        exactly_once="no: at least once from the last snapshot",
    ),
    Peer(
        name="River SNARIMAX",
        module=f"{PEERS_FOLDER}.river_online",
        packages=("river",),
        install="pip install river",
        answers="an autoregression of 8 lags, learnt online: River carries no recurrent state",
        state="in the process: lost with it",
        exactly_once="no",
    ),
    Peer(
        name="Triton sequence batcher",
        module=None,
        install="NVIDIA's container image of Triton; it is in no package registry, and is not started from here",
        answers="the model, batched over sequences",
        state="in the server: lost with it",
        exactly_once="no",
    ),
)


def steps_of_peers(repeat: int) -> int:
    """How many steps of progress `measure_peers` takes."""
    return 1 + repeat * (1 + sum(_is_there(peer) for peer in PEERS))


def measure_peers(bench: Bench, *, values: int, peer_values: int, series: int, units: int) -> list[dict[str, Any]]:
    """A backlog of single values: `serve` answers all of it, each peer that is installed the first `peer_values`."""
    progress, server = bench.progress, bench.server
    progress.begin("peers: make and push the backlog")
    server.clear()
    backlog = make_backlog(Shape(values=values, series=series))
    push(server.connection, backlog)
    progress.end()
    found = {peer.name: Rates() for peer in (OURS, *filter(_is_there, PEERS))}
    entries = min(peer_values, backlog.shape.entries_per_stream)
    for number in range(1, bench.repeat + 1):
        for peer in (OURS, *PEERS):
            if peer.name not in found:
                continue
            progress.begin(f"peers: {peer.name}, {number} of {bench.repeat}")
            server.clear_results([STREAM])
            rate = drain(bench, backlog) if peer is OURS else _answered(bench, peer, entries, units)
            found[peer.name].runs.append(rate)
            progress.end()
    server.clear()
    return [_row(peer, found.get(peer.name), found[OURS.name]) for peer in (OURS, *PEERS)]


def _is_there(peer: Peer) -> bool:
    return peer.module is not None and all(util.find_spec(package) for package in peer.packages)


def _answered(bench: Bench, peer: Peer, entries: int, units: int) -> float:
    """Values a second; raises StoreError for a peer that has not answered them all."""
    assert peer.module is not None
    told: dict[str, Any] = {"url": bench.server.url, "stream": STREAM, "model": str(bench.model_path)}
    told |= {"core": None} if peer.module.endswith("naive") else {"units": units}
    took: float = run_module(bench.server, peer.module, **told, entries=entries)
    answers = bench.server.connection.call("XLEN", Keys(STREAM).predictions)
    if answers != entries:
        raise StoreError(f"{peer.name} has answered {answers:,} of {entries:,} values")
    return entries / took


def _row(peer: Peer, rates: Rates | None, ours: Rates) -> dict[str, Any]:
    row: dict[str, Any] = {
        "peer": peer.name,
        "versions": {package: metadata.version(package) for package in peer.packages} if rates else {},
        "answers": peer.answers,
        "state": peer.state,
        "exactly_once": peer.exactly_once,
    }
    if rates is None:
        return row | {"install": peer.install}
    return row | {"values_per_s": rates.median, "runs": rates.runs, "serve_is": ours.median / rates.median}
