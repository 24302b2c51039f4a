"""`streamlstm demo`: a table through a real server and daemon, actual against forecast, and everything cleaned up.

The commands it runs are the ones a user would type, each as a process of its own; only the live part talks to the
server itself, to wait for each answer.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.chart import chart, signs_for
from streamlstm.cli.connection import connect
from streamlstm.cli.interrupts import ending_as_interrupt
from streamlstm.cli.options import command, option
from streamlstm.cli.settings_file import environment_without_settings
from streamlstm.errors import StoreError
from streamlstm.store import Keys, end_process, number_at
from streamlstm.store.resp import Connection

STREAM = "values"
MODEL, TABLE = "airline.onnx", "airline-passengers.csv"
SEASON = 12
LIVE_MONTHS = 24  # pushed one by one, each answer awaited; those before them go in bulk
TEST_MONTHS = 36  # the model has never seen these
CHART_ROWS = 13
PAUSE_S = 0.12  # between two live months on a terminal, so that one can watch
READY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02


@command("demo", short_help="Forecast a table through a real server, in half a minute.")
@option("--train", is_flag=True, help="Train the model first, in front of you; needs the extra `train`.")
@option("--fast", is_flag=True, help="Do not pause between the live months.")
@option("--files", is_flag=True, help="Only print where the table and the model lie, a path a line.")
def demo(*, train: bool, fast: bool, files: bool) -> None:
    """Forecast 144 months of airline passengers through a real server, in a temporary directory.

    A daemon is started with an embedded server, ten years of history are pushed in bulk and two more month by month;
    then come the forecasts next to what came, their error next to the naive forecasts', and what to try next.
    Everything started is stopped and removed at the end, also at Ctrl-C.
    """
    models = resources.files("streamlstm") / "models"
    if files:
        click.echo(f"{models / TABLE}\n{models / MODEL}")
        return
    if train:
        from streamlstm.errors import require_extra

        require_extra("torch", "onnx")
    pause_s = PAUSE_S if sys.stdout.isatty() and not fast else 0.0
    with (
        resources.as_file(models / MODEL) as packaged,
        resources.as_file(models / TABLE) as table,
        ending_as_interrupt(),
        tempfile.TemporaryDirectory(prefix="streamlstm-demo-") as temporary,
    ):
        directory = Path(temporary)
        model, months = packaged, read_months(table)
        if train:
            model = directory / MODEL
            _run(
                ["train", str(table), "-o", str(model), "--test-size", str(TEST_MONTHS), "--season", str(SEASON)],
                directory,
            )
            click.echo()
        with _serving(model, directory) as daemon:
            forecasts, waits_ms = _push_months(daemon, months, directory, pause_s)
        _show_results(months, forecasts, waits_ms)
    _show_what_next(packaged)


@dataclass(frozen=True)
class Month:
    """One row of the table, as text."""

    name: str  # 1949-01
    passengers: str


@dataclass(frozen=True)
class Endpoint:
    """Where the daemon that was started answers, and its process."""

    redis: str
    http: str
    process: subprocess.Popen[bytes]


def read_months(table: Path) -> list[Month]:
    """Read the packaged table: a header, then a month and its passengers a line."""
    lines = table.read_text(encoding="utf-8").split()[1:]
    return [Month(*line.split(",")) for line in lines]


def errors(months: Sequence[Month], forecasts: Sequence[float]) -> dict[str, float]:
    """RMSE on the last 36 months of the model, the naive forecast (last month) and the seasonal one (last year).

    `forecasts[t]` is the forecast made at month t, for month t + 1.
    """
    came = [float(month.passengers) for month in months]
    last = range(len(came) - TEST_MONTHS, len(came))

    def rmse(expected: Callable[[int], float]) -> float:
        return float(statistics.fmean([(expected(t) - came[t]) ** 2 for t in last]) ** 0.5)

    return {
        "this model": rmse(lambda t: forecasts[t - 1]),
        "naive: as last month": rmse(lambda t: came[t - 1]),
        "seasonal naive: as last year": rmse(lambda t: came[t - SEASON]),
    }


def _push_months(
    daemon: Endpoint, months: Sequence[Month], directory: Path, pause_s: float
) -> tuple[list[float], list[float]]:
    """Push history in bulk and the rest month by month; forecasts of all months, and the waits of the live ones."""
    history, live = months[:-LIVE_MONTHS], months[-LIVE_MONTHS:]
    file = directory / "history.csv"
    file.write_text("time,passengers\n" + "".join(f"{month.name},{month.passengers}\n" for month in history))
    _run(["push", STREAM, str(file), "--redis", daemon.redis], directory)
    keys = Keys(STREAM)
    with closing(connect(daemon.redis)) as connection:
        forecasts = [_yhat(fields) for _, fields in _await_predictions(daemon, connection, b"0-0", len(history))]
        last_id = connection.call("XREVRANGE", keys.predictions, "+", "-", "COUNT", 1)[0][0]
        click.echo(f"\nNow month by month, as it would come:\n\n{'month':<10}{'forecast':>10}{'came':>8}{'error':>9}")
        waits_ms = []
        for month in live:
            sent = time.perf_counter()
            connection.call("XADD", keys.input, _month_after(last_id), "passengers", month.passengers)
            last_id, fields = _await_predictions(daemon, connection, last_id, 1)[0]
            waits_ms.append((time.perf_counter() - sent) * 1000)
            error = forecasts[-1] - float(month.passengers)
            click.echo(f"{month.name:<10}{forecasts[-1]:>10.1f}{month.passengers:>8}{error:>+9.1f}")
            forecasts.append(_yhat(fields))
            time.sleep(pause_s)
    return forecasts, waits_ms


def _month_after(entry_id: bytes) -> bytes:
    """Give the id of the next month's first instant: `push` moved the calendar by whole years, months stay months."""
    import numpy as np

    month = np.datetime64(int(entry_id.partition(b"-")[0]), "ms").astype("datetime64[M]") + 1
    return b"%d-0" % int(month.astype("datetime64[ms]").astype(np.int64))


def _await_predictions(daemon: Endpoint, connection: Connection, after: bytes, count: int) -> list[Any]:
    """Read `count` predictions after an id, waiting for them."""
    found: list[Any] = []
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while len(found) < count:
        if daemon.process.poll() is not None:
            raise StoreError(f"the daemon ended with status {daemon.process.returncode} while it was asked")
        if time.monotonic() > deadline:
            raise StoreError(f"no prediction came within {ANSWER_TIMEOUT_S:.0f} s; look at the daemon's messages above")
        reply = connection.call("XREAD", "COUNT", count, "BLOCK", 500, "STREAMS", Keys(STREAM).predictions, after)
        if reply:
            found += reply[0][1]
            after = found[-1][0]
    return found


def _yhat(fields: Sequence[bytes]) -> float:
    """Read the first column of the prediction of an entry's one series."""
    return number_at(fields[1], 0)


def _show_results(months: Sequence[Month], forecasts: Sequence[float], waits_ms: Sequence[float]) -> None:
    click.echo(f"\nEach answer took {statistics.median(waits_ms):.1f} ms (median), from XADD to the prediction.\n")
    signs = signs_for(sys.stdout.encoding)
    shown = months[-TEST_MONTHS:]
    lines = chart(
        [float(month.passengers) for month in shown],
        list(forecasts[-TEST_MONTHS - 1 : -1]),
        first=shown[0].name,
        last=shown[-1].name,
        height=CHART_ROWS,
        signs=signs,
    )
    click.echo(
        f"Passengers in thousands: {signs.actual} came  {signs.forecast} forecast a month before  {signs.both} both"
    )
    for line in lines:
        click.echo(line.replace(signs.forecast, click.style(signs.forecast, fg="cyan", bold=True)))
    click.echo(f"\nRMSE on these {TEST_MONTHS} months, which the model never saw in training:")
    for name, value in errors(months, forecasts).items():
        click.echo(f"  {name:<30}{value:6.1f}")


def _shown(path: Path) -> str:
    """A path for a shell: from here where it lies below, else whole, so that it holds wherever it is pasted."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith("..") else relative)


def _show_what_next(model: Path) -> None:
    activate = Path(sys.executable).parent / "activate"
    first = f"  . {_shown(activate)}\n" if shutil.which("streamlstm") is None and activate.exists() else ""
    click.echo(
        "\nEverything was stopped and removed. To go on with values of your own:\n"
        f"{first}  streamlstm serve {_shown(model)}\n"
        "and in another terminal, while it runs:\n"
        f"{first}"
        "  seq 1 1000 | streamlstm push values --series s1\n"
        "  streamlstm tail values\n"
        "  streamlstm status\n"
        "  curl http://127.0.0.1:9478/metrics\n"
        "  streamlstm train your.csv -o your.onnx        (pip install 'streamlstm[train]')"
    )


def _run(arguments: Sequence[str], directory: Path) -> None:
    """Run one of our own commands as a user would; if it fails it has said why, and its status is ours."""
    click.echo(f"$ streamlstm {shlex.join(arguments)}")
    done = subprocess.run(_command(arguments, directory), env=environment_without_settings(), check=False)
    if done.returncode:
        raise click.exceptions.Exit(done.returncode)


@contextmanager
def _serving(model: Path, directory: Path) -> Iterator[Endpoint]:
    """Start the daemon and wait until it is ready; afterwards stop it and check that it ended cleanly."""
    data_dir = directory / "data"
    arguments = ["serve", str(model), "--data-dir", str(data_dir), "--http", "127.0.0.1:0", "--log-level", "WARNING"]
    click.echo(f"$ streamlstm {shlex.join(arguments)} &")
    started = time.perf_counter()
    # A session of its own, so that Ctrl-C reaches this process only, which then ends the daemon in order.
    process = subprocess.Popen(
        _command(arguments, directory),
        env=environment_without_settings(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        found = _await_ready(process, data_dir / "serve.json")
        click.echo(
            f"ready in {time.perf_counter() - started:.1f} s: {found['redis']}, metrics at {found['http']}/metrics"
        )
        yield Endpoint(redis=found["redis"], http=found["http"], process=process)
    finally:
        end_process(process, STOP_TIMEOUT_S)
    if process.returncode:
        raise StoreError(f"the daemon ended with status {process.returncode}, not cleanly; its messages are above")


def _await_ready(process: subprocess.Popen[bytes], endpoint: Path) -> dict[str, Any]:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not endpoint.exists():
        if process.poll() is not None:
            raise StoreError(
                f"the daemon ended with status {process.returncode} before it was ready; see its message above"
            )
        if time.monotonic() > deadline:
            raise StoreError(f"the daemon was not ready within {READY_TIMEOUT_S:.0f} s; see its messages above")
        time.sleep(POLL_S)
    found: dict[str, Any] = json.loads(endpoint.read_text())
    return found


def _command(arguments: Sequence[str], directory: Path) -> list[str]:
    """Give the command line of one of our own commands, with settings of its own: none."""
    settings = directory / "settings.toml"
    settings.touch()
    return [sys.executable, "-m", "streamlstm", "--config", str(settings), *arguments]
