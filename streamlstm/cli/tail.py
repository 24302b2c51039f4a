"""`streamlstm tail`: print predictions from the oldest kept on, then follow them as they come.

The text of a number is printed as it is in the stream, also in JSON, so that equal bits can be seen.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from streamlstm.cli.connection import find_redis, resolve_redis
from streamlstm.cli.options import (
    ParamType,
    command,
    data_dir_option,
    json_option,
    leave_if_unread,
    note,
    option,
    redis_option,
    say,
    stream_argument,
)
from streamlstm.client import ANOMALIES, DEAD, PREDICTIONS, Entry, Promotion, Reader, entry_time
from streamlstm.common import as_column
from streamlstm.errors import UsageError
from streamlstm.store import Keys
from streamlstm.store.resp import BEGINNING, EntryId

Formatter = Callable[[Entry, Sequence[str]], Iterator[str]]


class Id(ParamType):
    """The id of an entry: `ms-sequence`, or `ms`."""

    name = "id"

    def convert(self, value: str | EntryId, param: click.Parameter | None, ctx: click.Context | None) -> EntryId:
        """Read an id; anything else is wrong usage."""
        if isinstance(value, EntryId):
            return value
        match = re.fullmatch(r"([0-9]{1,20})(?:-([0-9]{1,20}))?", value, re.ASCII)
        if match is None or max(found := EntryId(int(match[1]), int(match[2] or 0))) >= 1 << 64:
            self.fail(f"{value!r} is not the id of an entry, such as 1706659200000-0", param, ctx)
        return found


_JSON_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


@command("tail", short_help="Print predictions as they come.")
@stream_argument
@option(
    "--last",
    "-n",
    type=click.IntRange(min=0),
    metavar="N",
    help="Begin with the last N entries, not with all.",
)
@option(
    "--after",
    type=Id(),
    metavar="ID",
    help="Begin after this entry, not with all: an id as --json prints it, or a time in ms since 1970.",
)
@option(
    "--follow/--no-follow",
    default=None,
    help="Wait for more at the end, and for a stream that is yet to come, or stop there. Default: follow a stream that "
    "is there.",
)
@option(
    "--series",
    multiple=True,
    metavar="NAME",
    setting=False,
    help="Print only this series; may be given several times.",
)
@option("--promotions", is_flag=True, help="Say where another model took over (`streamlstm model promote`), in order.")
@option("--dead", is_flag=True, help="Print dead letters instead: values that could not be stepped, and why.")
@option(
    "--anomalies",
    is_flag=True,
    help="Print instead the values that scored as anomalies: what came, what was forecast, and how odd that is.",
)
@redis_option
@data_dir_option
@json_option
def tail(
    *,
    stream: str,
    last: int | None,
    after: EntryId | None,
    follow: bool | None,
    series: tuple[str, ...],
    promotions: bool,
    dead: bool,
    anomalies: bool,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
) -> None:
    """Print the predictions of STREAM (default: values), oldest first, and follow them.

    One line a prediction: the time of the value it answers (UTC), the series, and the forecast of that series' next
    value. With --json one object a line; numbers stand there exactly as in the stream.
    """
    if dead and anomalies:
        raise UsageError("--dead and --anomalies are two streams; give one of them")
    if last is not None and after is not None:
        raise UsageError("--last and --after both say where to begin; give one of them")
    if promotions and (dead or anomalies):
        raise UsageError("--promotions are told among predictions; leave --dead and --anomalies out, which print none")
    keys = Keys(stream)
    wanted = frozenset(series)
    if dead:
        formatter = dead_letter_lines(as_json=as_json, wanted=wanted, after=after)
    else:
        formatter = prediction_lines(as_json=as_json, wanted=wanted)
    resolve_redis(redis_url, data_dir)  # one that is on its way is waited for
    reader = Reader(
        keys,
        what=DEAD if dead else ANOMALIES if anomalies else PREDICTIONS,
        # Dead letters have ids of their own, so they are read from the first on.
        after=BEGINNING if after is None or dead else bytes(after),
        promotions=promotions,
        locate=lambda: find_redis(redis_url, data_dir),
        pause=time.sleep,
        between=leave_if_unread,
        say=note,
    )
    for entries, columns in reader.read(last=last, follow=follow is not False, awaited=follow is True):
        lines = [
            line
            for entry in entries
            for line in (
                [promotion_line(entry, as_json=as_json)] if isinstance(entry, Promotion) else formatter(entry, columns)
            )
        ]
        if lines:
            say(lines)


def promotion_line(found: Promotion, *, as_json: bool) -> str:
    """The line of a promotion."""
    when = entry_time(found.id.encode())
    if as_json:
        return json.dumps({"promoted": when, "after": found.after, "model": found.model, "former": found.former})
    return f"{when}  {found.model[:12]} took over from {found.former[:12]} after {found.after}"


def prediction_lines(*, as_json: bool, wanted: frozenset[str]) -> Formatter:
    """Make the formatter of predictions: one line a series of an entry, only of the series wanted if any are."""

    def lines(entry: Entry, columns: Sequence[str]) -> Iterator[str]:
        entry_id, fields = entry[0].decode(), entry[1]
        when = entry_time(entry[0])
        for name, text in fields:
            series = name.decode("utf-8", "replace")
            if wanted and series not in wanted:
                continue
            numbers = list(zip(columns, text.decode("utf-8", "replace").split(","), strict=False))
            if as_json:
                pairs = "".join(f", {json.dumps(column)}: {_json_literal(number)}" for column, number in numbers)
                yield f'{{"id": "{entry_id}", "time": "{when}", "series": {json.dumps(series)}{pairs}}}'
            else:
                yield f"{when}  {as_column(series)}  " + "  ".join(f"{name}={number}" for name, number in numbers)

    return lines


def dead_letter_lines(*, as_json: bool, wanted: frozenset[str], after: EntryId | None = None) -> Formatter:
    """Make the formatter of dead letters: one line each, with the id of the input entry, series, value and reason.

    With `after` only those of later input entries.
    """

    def lines(entry: Entry, _: Sequence[str]) -> Iterator[str]:
        letter = {name.decode("utf-8", "replace"): text.decode("utf-8", "replace") for name, text in entry[1]}
        series = letter.get("series", "")
        if (wanted and series not in wanted) or (after and EntryId.parse(letter.get("id", "0")) <= after):
            return
        when = entry_time(letter.get("id", entry[0].decode()).encode())
        if as_json:
            head = {"id": letter.get("id"), "time": when, "series": series}
            yield json.dumps(head | {"value": letter.get("value"), "error": letter.get("error")})
        else:
            yield f"{when}  {as_column(series)}  {letter.get('value', '')!r}: {letter.get('error', '')}"

    return lines


def _json_literal(number: str) -> str:
    """Keep the number's own text if JSON has such a number; null for what is missing, else the text as a string."""
    if _JSON_NUMBER.fullmatch(number):
        return number
    return "null" if number in {"", "nan"} else json.dumps(number)
