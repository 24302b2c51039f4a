"""`streamlstm bench`: how fast this machine serves, beside what Redis alone needs and the naive loop."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from streamlstm.cli.interrupts import ending_as_interrupt
from streamlstm.cli.loading import provider_option, threads_option
from streamlstm.cli.model_argument import MODEL
from streamlstm.cli.options import FSYNC, command, json_option, note, option, say
from streamlstm.cli.output_options import plot_option
from streamlstm.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class _Sizes:
    """How much is measured."""

    values: int
    naive_values: int
    latency_s: float
    warm_up_s: float
    memory_series: int
    repeat: int


_FULL = _Sizes(values=400_000, naive_values=2000, latency_s=10.0, warm_up_s=1.0, memory_series=100_000, repeat=3)
_QUICK = _Sizes(values=20_000, naive_values=200, latency_s=0.5, warm_up_s=0.3, memory_series=50_000, repeat=1)


@command("bench", short_help="Measure speed here, beside what Redis alone needs and the naive loop.")
@option(
    "--only",
    "parts",
    type=click.Choice(["drain", "latency", "memory", "growth", "peers"]),
    multiple=True,
    help="Measure only this; may be given several times. Default: all but growth and peers.",
)
@option("--growth", is_flag=True, help="Growth curves too: over series, units and values an entry; takes minutes.")
@option(
    "--peers",
    is_flag=True,
    help="Peers too, on the same stream: Keras, Bytewax, River as far as they are installed (pip install "
    "'streamlstm[peers]').",
)
@plot_option("Draw the growth curves; needs the extra `train`.")
@option("--quick", is_flag=True, help="Small sizes, once: shows that it works, in seconds; the figures mean little.")
@option(
    "--model",
    "model_path",
    type=MODEL,
    metavar="MODEL.onnx",
    help="Step model of single numbers. Default: a random LSTM.",
)
@option("--lstm-units", type=click.IntRange(1, 4096), default=64, help="Units of the random LSTM.")
@option("--series-count", type=click.IntRange(100), default=10_000, help="Series of a backlog.")
@option("--backlog-values", type=click.IntRange(10_000), default=None, help="Values of a backlog. Default: 400,000.")
@option(
    "--memory-series",
    type=click.IntRange(1000),
    default=None,
    help="Series whose memory is measured. Default: 100,000.",
)
@option("--repeat", type=click.IntRange(1), default=None, help="Runs of which the median counts. Default: 3.")
@option(
    "--fsync",
    type=click.Choice(FSYNC),
    default=None,
    help="When the private server syncs its append-only file. Default: it has none.",
)
@threads_option
@provider_option
@json_option
def bench(
    *,
    parts: tuple[str, ...],
    growth: bool,
    peers: bool,
    plot: Path | None,
    quick: bool,
    model_path: Path | None,
    lstm_units: int,
    series_count: int,
    backlog_values: int | None,
    memory_series: int | None,
    repeat: int | None,
    fsync: str | None,
    threads: int,
    provider: str,
    as_json: bool,
) -> None:
    """Measure speed here, beside what Redis alone needs and the naive loop.

    A private server is started in a temporary directory, and `serve` on it as a user would start it. The floor is the
    same commands packed beforehand and sent without Python; for latency it is a loop that answers without a model.
    """
    import orjson

    from streamlstm.cli.benchmark.report import render
    from streamlstm.cli.benchmark.run import PARTS, BenchPlan, run_bench

    if plot is not None:
        from streamlstm.errors import require_extra

        require_extra("matplotlib")
    asked = {"growth": growth or plot is not None, "peers": peers}
    chosen = tuple(dict.fromkeys((*(parts or PARTS), *(part for part in asked if asked[part]))))
    if model_path is not None and "peers" in chosen:
        raise UsageError("peers are measured with the random LSTM, of which Keras has one too: leave --model out")
    sizes = _QUICK if quick else _FULL
    values = backlog_values or sizes.values
    plan = BenchPlan(
        parts=chosen,
        model_path=model_path,
        units=lstm_units,
        series=series_count,
        values=values,
        naive_values=sizes.naive_values,
        latency_s=sizes.latency_s,
        warm_up_s=sizes.warm_up_s,
        memory_series=memory_series or sizes.memory_series,
        growth_values=values,
        repeat=repeat or sizes.repeat,
        fsync=fsync or "off",
        threads=threads,
        provider=provider,
    )
    with ending_as_interrupt():
        report = run_bench(plan)
    if plot is not None:
        _draw(plot, report)
    say(render(report)) if not as_json else click.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2))


def _draw(path: Path, report: dict[str, Any]) -> None:
    from streamlstm.cli.benchmark.growth import draw_growth
    from streamlstm.cli.benchmark.report import caption

    path.write_bytes(draw_growth(report["growth"], caption(report)))
    note(f"the growth curves are drawn in {path}")
