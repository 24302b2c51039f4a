"""`streamlstm model`: try a model beside the one that answers, put it in its place, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamlstm.cli.loading import max_model_bytes_option
from streamlstm.cli.model_argument import model_path
from streamlstm.cli.options import (
    command,
    data_dir_option,
    group,
    json_option,
    note,
    option,
    redis_option,
    say,
    shown_model,
    streams_argument,
)
from streamlstm.errors import StoreError, StoreUnavailableError, UsageError

if TYPE_CHECKING:
    from streamlstm.store import Roles
    from streamlstm.store.resp import Connection

MOST_COMPARED = 10_000  # entries

all_option = option("--all", "everywhere", is_flag=True, setting=False, help="Every stream that has a challenger.")


@group("model", short_help="Try a model beside the one that answers, switch to it, and back.")
def model() -> None:
    """Give streams a challenger, compare it with the champion on the same values, promote it, and go back.

    The champion's predictions are a stream's output. A challenger is stepped on the same values, in the same commit,
    and answers to KEY:challenger:predictions. No daemon has to be restarted, and none needs a file: models are kept in
    Redis beside the streams that use them.
    """


@contextmanager
def _opened(stream: str, redis_url: str | None, data_dir: Path) -> Iterator[tuple[Roles, Connection]]:
    """The roles of a stream's models, and the connection to where it is, closed at the end."""
    from streamlstm.cli.connection import opened_stream
    from streamlstm.store import Roles

    with opened_stream(stream, redis_url, data_dir) as (connection, keys):
        yield Roles(connection, keys), connection


def stream_names(streams: Sequence[str], everywhere: bool, redis_url: str | None, data_dir: Path) -> list[str]:
    """The streams that are meant; `values:{0..7}` stands for eight."""
    from streamlstm.cli.connection import connect_all, resolve_redis
    from streamlstm.cli.status import served_streams
    from streamlstm.daemon.sharing import Selection

    if not everywhere:
        selection = Selection.of(streams or ("values",))
        if selection.patterns:
            raise UsageError(f"{selection.patterns[0]!r} is a pattern; name the streams, or say --all")
        return list(selection.names)
    if streams:
        raise UsageError("--all is every stream that has a challenger; name none besides")
    with closing(connect_all(resolve_redis(redis_url, data_dir), ("values",))) as nodes:
        names = sorted(served_streams(nodes))
    found = []
    for name in names:
        with _opened(name, redis_url, data_dir) as (roles, _):
            if roles.meta().challenger is not None:
                found.append(name)
    if not found:
        raise StoreError("no stream has a challenger; `streamlstm model add` gives one")
    return found


def _each(names: Sequence[str], redis_url: str | None, data_dir: Path, change: Any) -> None:
    """Change stream by stream; the others are changed all the same where one cannot be, and that is said."""
    wrong: list[StoreError] = []
    for number, name in enumerate(names, 1):
        try:
            with _opened(name, redis_url, data_dir) as (roles, _):
                text = change(roles, name)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            wrong.append(error)
            continue
        say([f"{name}: {text}" + (f" ({number} of {len(names)})" if len(names) > 1 else "")])
    for one in wrong[:-1]:
        note(str(one))
    if wrong:
        raise wrong[-1]


@command("add", short_help="Give streams a challenger.")
@click.argument("names", metavar="[STREAM]... NEW.onnx", nargs=-1, required=True)
@option(
    "--from",
    "begin",
    setting=False,
    type=click.Choice(["replay", "fresh"]),
    default="replay",
    help="Its states are made from the input that is retained, or begin with the next values.",
)
@option("--replace", "instead", is_flag=True, setting=False, help="Take the challenger that is there away.")
@redis_option
@data_dir_option
@max_model_bytes_option
def add(*, names: tuple[str, ...], begin: str, instead: bool, redis_url: str | None, data_dir: Path) -> None:
    """Give STREAMs (default: values) the challenger NEW.onnx: stepped on the same values, in the same commit.

    Whoever serves the stream begins with it within two seconds, and catches up with what is retained as it has time.
    """
    from streamlstm.cli.loading import load_model, most_model_bytes
    from streamlstm.models import fingerprint, read_model

    path = model_path(names[-1])
    loaded = load_model(path)  # in a process of its own first: what is wrong with it is found out here
    data = read_model(path, most_model_bytes())
    if fingerprint(data) != loaded.fingerprint:
        raise UsageError(f"{path} was written anew while it was read; try again")

    def change(roles: Roles, name: str) -> str:  # noqa: ARG001
        meta = roles.add(loaded.fingerprint, data, replay=begin == "replay", instead=instead)
        where = "what is retained" if begin == "replay" else "the next values"
        return f"{shown_model(loaded.fingerprint)} is tried beside {shown_model(meta.model)}, from {where} on"

    _each(stream_names(names[:-1], False, redis_url, data_dir), redis_url, data_dir, change)


@command("promote", short_help="Put the challenger in the champion's place.")
@streams_argument
@all_option
@redis_option
@data_dir_option
def promote(*, streams: tuple[str, ...], everywhere: bool, redis_url: str | None, data_dir: Path) -> None:
    """Put the challenger of STREAMs (default: values) in the champion's place, in one transaction a stream.

    From the next value on its predictions are the output. The champion that was is the challenger then, and goes on
    from its states, so `rollback` is the same once more. Who follows predictions is told of both in KEY:promotions
    (`tail --promotions`).
    """

    def change(roles: Roles, name: str) -> str:  # noqa: ARG001
        meta = roles.promote()
        new = meta.challenger.model if meta.challenger else ""
        return f"{shown_model(new)} answers after {meta.position.decode()}; {shown_model(meta.model)} is the challenger"

    _each(stream_names(streams, everywhere, redis_url, data_dir), redis_url, data_dir, change)


@command("rollback", short_help="Go back to the champion before.")
@streams_argument
@all_option
@redis_option
@data_dir_option
def rollback(*, streams: tuple[str, ...], everywhere: bool, redis_url: str | None, data_dir: Path) -> None:
    """Put the champion that was before back in its place, for STREAMs (default: values)."""

    def change(roles: Roles, name: str) -> str:
        former = roles.meta().champions[-2:-1]
        if not former:
            raise StoreError(f"the stream {name!r} has had no other champion, so there is none to go back to")
        meta = roles.promote(former[0].model)
        return f"{shown_model(former[0].model)} answers again after {meta.position.decode()}"

    _each(stream_names(streams, everywhere, redis_url, data_dir), redis_url, data_dir, change)


@command("remove", short_help="Take the challenger away.")
@streams_argument
@all_option
@redis_option
@data_dir_option
def remove(*, streams: tuple[str, ...], everywhere: bool, redis_url: str | None, data_dir: Path) -> None:
    """Take the challenger of STREAMs (default: values) away, with its states, its predictions and its file."""

    def change(roles: Roles, name: str) -> str:  # noqa: ARG001
        meta = roles.remove()
        return f"{shown_model(meta.challenger.model if meta.challenger else None)} is no longer tried"

    _each(stream_names(streams, everywhere, redis_url, data_dir), redis_url, data_dir, change)


@command("list", short_help="Show the models of streams and how they compare.")
@streams_argument
@all_option
@option("--entries", type=click.IntRange(100), default=MOST_COMPARED, help="Entries to compare on, the youngest.")
@redis_option
@data_dir_option
@max_model_bytes_option
@json_option
def list_models(
    *, streams: tuple[str, ...], everywhere: bool, entries: int, redis_url: str | None, data_dir: Path, as_json: bool
) -> None:
    """Show champion and challenger of STREAMs (default: values), compared on the values that both have forecast.

    The figure is the mean absolute error, each series in units of what a naive forecast errs; how sure the difference
    is, a test for dependent errors says (Diebold and Mariano).
    """
    from streamlstm.cli.model_list import description, standing

    found = []
    for name in stream_names(streams, everywhere, redis_url, data_dir):
        with _opened(name, redis_url, data_dir) as (roles, connection):
            found.append(standing(roles, connection, name, entries))
    if as_json:
        click.echo(json.dumps(found))
    else:
        say([line for one in found for line in (*description(one), "")][:-1])


for _command in (list_models, add, promote, rollback, remove):
    model.add_command(_command)
