"""`streamlstm retrain`: learn again from a stream, try the new model beside the champion, promote it if better."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamlstm.cli.history_options import last_option
from streamlstm.cli.loading import max_model_bytes_option
from streamlstm.cli.options import (
    command,
    data_dir_option,
    json_option,
    note,
    option,
    redis_option,
    say,
    shown_model,
    streams_argument,
)
from streamlstm.cli.output_options import output_option
from streamlstm.cli.quantities import DURATION
from streamlstm.cli.table_options import MAX_CELLS
from streamlstm.cli.train import given_flags
from streamlstm.cli.training_options import training_options
from streamlstm.common import need_directories, split_settings, write_whole
from streamlstm.errors import UsageError, require_extra

if TYPE_CHECKING:
    from streamlstm.cli.decision import Decision, Tell
    from streamlstm.cli.trial import Trial
    from streamlstm.models import Model


@command("retrain", short_help="Learn again from a stream, try it beside the champion, promote it if it is better.")
@streams_argument
@last_option
@output_option("Keep the new model as a file too.", required=False)
@option("--cold", is_flag=True, help="Begin without the champion's recurrent weights.")
@option(
    "--promote-if-better",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help="Wait for live figures, and promote if the error is at least so much below the champion's (0.02 is 2 %) and "
    "the difference is clear (p < 0.05); else take it away again.",
)
@option(
    "--after",
    "enough",
    setting=False,
    type=click.IntRange(30),
    default=10_000,
    metavar="N",
    help="Values that both have forecast live before that is decided.",
)
@option(
    "--within",
    type=DURATION,
    metavar="DURATION",
    help="Wait so long at most; what is not decided by then, the next `retrain` goes on with. Default: no limit.",
)
@training_options
@option("--max-cells", type=click.IntRange(min=1), default=MAX_CELLS, metavar="N", help="Numbers to read at most.")
@redis_option
@data_dir_option
@max_model_bytes_option
@json_option
def retrain(
    *,
    streams: tuple[str, ...],
    last: int | None,
    output: Path | None,
    cold: bool,
    promote_if_better: float | None,
    enough: int,
    within: int | None,
    max_cells: int,
    redis_url: str | None,
    data_dir: Path,
    as_json: bool,
    **settings: Any,
) -> None:
    r"""Train on what STREAMs (default: values) retain, compare with the champion on what was not seen, and try it live.

    The new model is of the champion's kind, where `train` made that, and begins with its weights. Unless it is clearly
    worse on the end of the input, which its training has not seen, it becomes the challenger. With --promote-if-better
    the command waits for live figures and decides by them. A challenger that is there already is decided on first, so
    a command that was ended is simply given again. Run it by a timer: deploy/ has a CronJob and a systemd timer.
    """
    require_extra("torch", "onnx")
    need_directories(output)
    from streamlstm.cli.decision import Decision
    from streamlstm.cli.model import stream_names
    from streamlstm.cli.trial import Trial

    if promote_if_better is None and within is not None:
        raise UsageError("--within is how long live figures are waited for; --promote-if-better says what they decide")
    decision = None
    if promote_if_better is not None:
        within_s = math.inf if within is None else within / 1000
        decision = Decision(better=promote_if_better, enough=enough, within_s=within_s)
    trial = Trial(stream_names(streams, False, redis_url, data_dir), redis_url, data_dir)
    found: dict[str, Any] = {"streams": list(trial.streams)}

    def tell(lines: Iterable[str], **facts: Any) -> None:
        found.update(facts)
        if not as_json:
            say(lines)

    _round(trial, decision, tell, settings, last=last, cold=cold, most=max_cells, output=output)
    if as_json:
        click.echo(json.dumps(found))


def _round(
    trial: Trial,
    decision: Decision | None,
    tell: Tell,
    settings: dict[str, Any],
    *,
    last: int | None,
    cold: bool,
    most: int,
    output: Path | None,
) -> None:
    """Decide on a challenger that is there; if there is none then, train one, try it, and decide on that."""
    pair = trial.pair()
    if pair.challenger is not None:
        if decision is None:
            raise UsageError(
                f"{shown_model(pair.challenger)} is tried already; let --promote-if-better decide on it, or take it "
                "away with `streamlstm model remove`"
            )
        if not decision.on(trial, pair.challenger, tell):
            return
    learning = _Learning(trial, *trial.model(pair.champion))
    new, data = learning.train(settings, last=last, cold=cold, most=most, tell=tell)
    if output is not None:
        write_whole(output, data)
    if not learning.is_worth_a_try(new, tell):
        return
    trial.add(new.fingerprint, data)
    tell([f"{shown_model(new.fingerprint)} is tried beside {shown_model(pair.champion)}"], added=True)
    if decision is not None:
        decision.on(trial, new.fingerprint, tell)


class _Learning:
    """From what streams retain to a new model of the champion's kind."""

    def __init__(self, trial: Trial, champion: Model, champion_bytes: bytes) -> None:
        self._trial, self._champion, self._bytes = trial, champion, champion_bytes

    def train(
        self, settings: dict[str, Any], *, last: int | None, cold: bool, most: int, tell: Tell
    ) -> tuple[Model, bytes]:
        """Train, by the champion's settings where none was typed; the model and its file."""
        from streamlstm.cli.loading import load_bytes
        from streamlstm.cli.same_kind import same_kind
        from streamlstm.training import FitSettings, fit_with, showing, with_streams

        self._table = self._trial.history(self._champion.spec, last, most, note)
        given = given_flags()
        chosen, _ = split_settings(FitSettings, settings)
        chosen, of_table = same_kind(self._champion.spec, chosen, given)
        if chosen.warm_start is None and not cold and not chosen.over_windows:
            chosen = dataclasses.replace(chosen, warm_start=self._bytes)
        self._test_size = chosen.test_size
        with showing(True) as show:
            fitted = fit_with(self._table, chosen, of_table, given=given, report=show, say=note)
        data = with_streams(fitted.model_bytes, self._table.last)
        new = load_bytes(data, "the new model")
        tell(fitted.lines("the new model"), **{**fitted.facts(), "fingerprint": new.fingerprint})
        return new, data

    def is_worth_a_try(self, new: Model, tell: Tell) -> bool:
        """Whether it is not clearly worse than the champion on what its training has not seen."""
        from streamlstm.cli.model_list import SURE, figures_of, verdict
        from streamlstm.cli.unseen import compared_unseen

        if not self._test_size:
            return True
        figures = figures_of(compared_unseen(self._champion, new, self._table, self._test_size))
        difference = figures["difference"]
        is_worse = difference is not None and difference["better"] < 0 and difference["p"] < SURE
        lines = ["", f"on what its training has not seen: {verdict(figures)}"]
        tell([*lines, "so it is not tried"] if is_worse else lines, unseen=figures, added=False)
        return not is_worse
