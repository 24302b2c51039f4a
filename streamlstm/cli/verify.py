"""`streamlstm verify`: step again what a stream retains and compare every prediction and record, bit for bit."""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamlstm.cli.loading import max_model_bytes_option, provider_option
from streamlstm.cli.model_argument import MODEL
from streamlstm.cli.options import (
    EXIT_FAILURE,
    command,
    counted,
    data_dir_option,
    json_option,
    note,
    option,
    redis_option,
    say,
    streams_argument,
)
from streamlstm.cli.settings_options import settings_options
from streamlstm.common import EngineSettings
from streamlstm.errors import NoStreamError, StoreError, StoreUnavailableError, UsageError

if TYPE_CHECKING:
    from streamlstm.daemon.replay import Report
    from streamlstm.engine import Engine

DEFAULT_STREAM = "values"
MOST_MEMORY_BYTES = 128 << 20  # of records at once
MOST_LOST = 5  # times that a server may go away while a stream is verified
AWAY_S = 30.0  # how long each time
PAUSE_S = 0.2


@command("verify", short_help="Step a stream's values again and compare predictions and states, bit for bit.")
@click.argument("model", metavar="MODEL.onnx", type=MODEL)
@streams_argument
@option(
    "--from",
    "source",
    setting=False,
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="States of one stream to begin from, written by `streamlstm state export`; without it: from its beginning.",
)
@settings_options("engine", EngineSettings)
@redis_option
@data_dir_option
@max_model_bytes_option
@provider_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    *,
    model: Path,
    streams: tuple[str, ...],
    source: Path | None,
    engine: EngineSettings,
    redis_url: str | None,
    data_dir: Path,
    provider: str,
    as_json: bool,
) -> None:
    """Step again the values that STREAMs (default: values) retain and compare what was answered.

    Every prediction, anomaly and dead letter up to the position of now, and every record, has to be what MODEL.onnx
    gives, to the bit. Exit status 1, and the first difference of each stream, if one is not; or if one of several
    cannot be verified. A daemon may serve meanwhile; a server that goes away for a moment is waited for. Give the
    options of `serve` that change answers as they were given there. values:{0..3} is four streams, of which those
    without a value yet are passed over; with --json each of them is a line.
    """
    from streamlstm.cli.connection import connect, resolve_redis
    from streamlstm.cli.loading import load_model
    from streamlstm.daemon.sharing import expanded
    from streamlstm.engine import Engine
    from streamlstm.store import Keys

    texts = streams or (DEFAULT_STREAM,)
    names = list(dict.fromkeys(name for text in texts for name in expanded(text)))
    for name in names:
        Keys(name)  # what no stream can be called is said before anything is verified
    if source is not None and len(names) > 1:
        raise UsageError("--from has the states of one stream: verify the others by themselves")
    loaded = load_model(model, provider=provider)  # before a server is waited for
    url = resolve_redis(redis_url, data_dir)
    # Answers do not depend on how many records are in memory; what is not goes to a temporary file.
    bounded = replace(engine, max_series_memory_bytes=min(engine.max_series_memory_bytes, MOST_MEMORY_BYTES))
    has_failed, compared = False, 0
    connect(url, names[0]).close()  # a server that is not there is not waited for
    for name in names:
        try:
            report = _insisted(url, name, lambda one: _verified(url, one, source, Engine(loaded, bounded)))
        except StoreUnavailableError:
            raise
        except StoreError as error:
            if len(names) == 1:
                raise
            note(f"{name!r}: {error}")
            # A partition has no value until one of its series has one.
            has_failed |= name in texts or not isinstance(error, NoStreamError)
            continue
        compared += 1
        _show(report, as_json=as_json)
        has_failed |= report.difference is not None
    if has_failed or not compared:
        ctx.exit(EXIT_FAILURE)


def _insisted(url: str, stream: str, verified: Callable[[str], Report]) -> Report:
    """What comes of one stream, begun anew if its server goes away meanwhile; raises its error if it stays away."""
    from streamlstm.cli.connection import connect
    from streamlstm.store import Keys, check_stream

    for lost in itertools.count(1):
        try:
            return verified(stream)
        except StoreUnavailableError as error:
            if lost > MOST_LOST:
                raise
            note(f"{error}; {stream!r} is verified anew once it answers, for which {AWAY_S:g} s are waited")
        began_s = time.monotonic()
        while True:
            try:
                with contextlib.closing(connect(url, stream)) as connection:
                    check_stream(connection, Keys(stream))
                break
            except StoreUnavailableError:
                if time.monotonic() - began_s >= AWAY_S:
                    raise
            time.sleep(PAUSE_S)
    raise AssertionError("it is counted without end")


def _verified(url: str, stream: str, source: Path | None, engine: Engine) -> Report:
    """What comes of one stream; raises StoreError if it cannot be verified."""
    from streamlstm.cli.connection import connect
    from streamlstm.cli.loading import most_model_bytes
    from streamlstm.cli.opened_file import opened_file
    from streamlstm.cli.progress import ticking
    from streamlstm.daemon.replay import Verification
    from streamlstm.errors import ModelError
    from streamlstm.models import CPU, Model, provider_of
    from streamlstm.store import Keys, Roles, check_stream
    from streamlstm.store.snapshots import SnapshotReader, States

    with contextlib.ExitStack() as stack:
        snapshot = None
        if source is not None:
            snapshot = SnapshotReader(stack.enter_context(opened_file(source)), repr(str(source)))
        for_states, connection = (stack.enter_context(contextlib.closing(connect(url, stream))) for _ in range(2))
        check_stream(connection, Keys(stream))
        states = States(for_states, Keys(stream), token=secrets.token_hex(8))
        total = connection.call("XLEN", states.keys.input)
        tick = stack.enter_context(ticking(total, "entries"))
        made: dict[str, Engine | None] = {}

        def engine_of(other: str) -> Engine | None:
            """Of a model that the stream has in a role, by the file that is kept there."""
            if other not in made:
                try:
                    data = Roles(for_states, states.keys).file(other, most_bytes=most_model_bytes())
                except ModelError:  # another file is there
                    data = None
                by = None if data is None else provider_of(data, other)
                said = f"model {other[:12]}"
                found = None if data is None else Model(data, source=said, provider=by or CPU)
                made[other] = None if found is None else type(engine)(found, engine.settings)
            return made[other]

        return Verification(states, connection, engine, tick, engine_of).run(snapshot)


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(report)))
    elif report.difference is None:
        line = (
            f"{counted(report.entries, 'entry', 'entries')} of {report.stream}, {report.begin} to {report.position}: "
            f"{counted(report.predictions, 'prediction')}, "
            + (f"{counted(report.anomalies, 'anomaly', 'anomalies')}, " if report.anomalies else "")
            + f"{counted(report.dead_letters, 'dead letter')} and "
            f"{counted(report.records, 'record')} are, to the bit, what stepping them again gives"
        )
        say([line])
        if len(report.models) > 1:
            answers = counted(report.challenger_predictions, "prediction")
            say([f"of {len(report.models)} models, and so are {answers} of challengers"])
    if report.models_gone:
        note(
            f"not compared: what {', '.join(model[:12] for model in report.models_gone)} answered, whose file is not "
            "kept any more; give it in the place of MODEL.onnx"
        )
    if report.forgotten is not None:
        note(
            f"not compared: what was answered up to {report.forgotten}: of more champions than are remembered who "
            "answered it is forgotten"
        )
    if report.difference is None and (report.predictions_gone or report.dead_letters_trimmed or report.input_gone):
        trimmed, letters = report.dead_letters_trimmed, counted(report.dead_letters_gone, "dead letter")
        note(
            f"not compared: {counted(report.predictions_gone, 'prediction')} and {counted(trimmed, 'dead letter')} "
            f"trimmed; not in the input any more: {counted(report.input_gone, 'entry', 'entries')} with {letters}"
        )
    if report.difference is not None:
        note(f"{report.stream} differs: {report.difference}")
        if report.replaced:
            note(
                f"its states were replaced {counted(report.replaced, 'time')}, by an import or those of another model; "
                "what was answered before cannot come out again: verify from states exported since, --from FILE"
            )
