"""What help pages look like: the options most used first, the others by what they are about, then two examples.

Which option is about what stands here, in one place, since most options are of several commands; a test holds that none
is forgotten, and that the examples are what their commands take. Variables are no part of the pages (`streamlstm config
variables` lists them): nearly every option has one, by the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import click

FEW = 10  # options that need no sections

# The options of a command that are shown first, in this order.
COMMON: Mapping[str, Sequence[str]] = {
    "train": ("--output", "--season", "--test-size", "--horizon", "--window", "--stream", "--plot"),
    "evaluate": ("--test-size", "--interval", "--steps", "--baselines", "--stream", "--plot"),
    "import-onnx": ("--output", "--state", "--window", "--scale", "--standardize", "--layout"),
    "inspect": ("--live", "--series", "--gates", "--plot"),
    "serve": ("--redis", "--stream", "--interval", "--score", "--http", "--retain"),
    "push": ("--wait", "--warm", "--series", "--skip-existing", "--corrections", "--with-late", "--redis"),
    "tail": ("--last", "--follow", "--after", "--series", "--anomalies", "--dead", "--promotions", "--redis"),
    "forecast": ("--steps", "--series", "--all", "--interval", "--plot", "--output", "--redis"),
    "state fork": ("--series", "--as", "--to", "--redis"),
    "state rewind": ("--series", "--to", "--redis"),
    "retrain": ("--promote-if-better", "--after", "--within", "--last", "--cold", "--output", "--redis"),
    "verify": ("--from", "--interval", "--score", "--redis"),
    "bench": ("--only", "--quick", "--peers", "--plot"),
}

SECTIONS: Mapping[str, Sequence[str]] = {
    "The server": (
        *("--redis", "--password-file", "--data-dir", "--socket-timeout", "--retry-for", "--fsync"),
        "--accept-eviction",
    ),
    "Streams and processes": (
        "--stream",
        "--last",
        "--lease-ttl",
        "--group",
        "--workers",
        "--partitions",
        "--log-level",
    ),
    "Page, metrics and forecasts over HTTP": (
        *("--http", "--http-host", "--page", "--forecasts", "--series-metrics", "--series-metrics-max"),
    ),
    "The model": (
        *("--preset", "--layer", "--units", "--activation", "--bidirectional", "--merge", "--residual", "--window"),
        *("--dropout", "--recurrent-dropout", "--ensemble", "--model", "--on-model-change"),
    ),
    "Inputs, outputs, states": (
        *("--x", "--y", "--state", "--layout", "--y-layout", "--state-batch-axis", "--initial", "--newest-first"),
        *("--features", "--outputs", "--target"),
    ),
    "What is forecast, and from what": (
        *("--horizon", "--predict", "--scaling", "--season", "--wide-season", "--adapt", "--blend", "--calendar"),
        *("--lookback", "--scale", "--standardize", "--future"),
    ),
    "Training": (
        *("--test-size", "--epochs", "--patience", "--warm-start", "--seed"),
        *("--clip-norm", "--clip-variable-norm", "--clip-value"),
    ),
    "Columns of the table": (
        *("--id-col", "--time-col", "--target-col", "--feature-col", "--wide", "--duplicates", "--timezone"),
        *("--decimal", "--sort", "--shift-years"),
    ),
    "Values that are missing or late": (
        *("--missing", "--gaps", "--gap-after", "--spacing", "--reset-after", "--idle-after", "--late"),
    ),
    "What is told of odd values": ("--interval", "--score", "--anomaly-above"),
    "What is kept": ("--retain", "--checkpoint-every", "--max-dead-letters"),
    "Speed": (
        *(
            "--threads",
            "--step-threads",
            "--provider",
            "--busy-poll",
            "--batch-values",
            "--growth",
            "--lstm-units",
            "--series-count",
        ),
        *("--backlog-values", "--memory-series", "--repeat"),
    ),
    "Limits": (
        *("--max-series", "--max-series-memory", "--max-entry-values", "--max-model-bytes", "--max-cells"),
        "--max-bytes",
    ),
}

EXAMPLES: Mapping[str, tuple[str, str]] = {
    "demo": ("demo", "demo --train"),
    "train": (
        "train sales.csv -o model.onnx --season 12 --test-size 36",
        "train --stream values --last 30d -o model.onnx",
    ),
    "evaluate": ("evaluate model.onnx sales.csv --test-size 36", "evaluate model.onnx --stream values --steps 12"),
    "import-keras": ("import-keras model.keras -o model.onnx", "import-keras model.h5 -o model.onnx --scale 104,622"),
    "import-onnx": (
        "import-onnx lstm.onnx -o model.onnx --state h=h_out --state c=c_out",
        "import-onnx forest.onnx -o model.onnx --window 24",
    ),
    "compact": ("compact model.onnx -o half.onnx", "compact model.onnx -o half.onnx --entry lstm1.h"),
    "inspect": ("inspect model.onnx", "inspect --live values --series sensor-1"),
    "serve": (
        "serve --redis redis://localhost:6379",
        "serve model.onnx --interval 0.9 --score --retain 30d",
    ),
    "push": ("push values sales.csv --wait 1m", "push values history.csv --warm"),
    "tail": ("tail values --series sensor-1 -n 20", "tail values --anomalies"),
    "forecast": (
        "forecast values --series sensor-1 --steps 24 --interval 0.9",
        "forecast values --all --steps 24 -o next.parquet",
    ),
    "export": ("export values -o values.parquet", "export values -o day.csv --last 1d"),
    "status": ("status", "status 'values:*' --json"),
    "state list": ("state list values", "state list values --match 'sensor-*'"),
    "state show": ("state show values --series sensor-1", "state show values --series sensor-1 --json"),
    "state reset": ("state reset values --series sensor-1", "state reset values --all"),
    "state export": ("state export values -o states.bin", "state export values -o states.bin --json"),
    "state import": ("state import values --from states.bin", "state import values --from states.bin --force"),
    "state rewind": (
        "state rewind values --series sensor-1 --to 1706659200000-0",
        "state rewind values --series sensor-1 --series sensor-2 --to 1706659200000-0",
    ),
    "state fork": (
        "state fork values --series sensor-1 --as what-if",
        "state fork values --series sensor-1 --as what-if --to 1706659200000-0",
    ),
    "model add": ("model add new.onnx", "model add values new.onnx --from fresh"),
    "model list": ("model list", "model list values --json"),
    "model promote": ("model promote values", "model promote --all"),
    "model rollback": ("model rollback values", "model rollback --all"),
    "model remove": ("model remove values", "model remove --all"),
    "retrain": ("retrain values --last 30d", "retrain values --promote-if-better 0.02 --after 10000 --within 6h"),
    "verify": ("verify model.onnx", "verify model.onnx values --interval 0.9 --json"),
    "bench": ("bench --quick", "bench --only peers"),
    "config show": ("config show", "config show serve --retain 7d"),
    "config variables": ("config variables", "config variables train"),
    "completion": ("completion bash", "completion zsh"),
}

OVERVIEW: Mapping[str, Sequence[str]] = {
    "Models": ("demo", "train", "evaluate", "import-keras", "import-onnx", "compact", "inspect"),
    "Serving": ("serve", "push", "tail", "forecast", "status"),
    "The life of models and series": ("model", "retrain", "state", "export", "verify"),
    "Around": ("bench", "config", "completion"),
}


def write_options(ctx: click.Context, formatter: click.HelpFormatter, params: Sequence[click.Parameter]) -> None:
    """Write a command's options: in one section where they are few, else by what they are about."""
    found = {long_name(one): one for one in params if isinstance(one, click.Option) and not one.hidden}
    if len(found) <= FEW:
        _write(ctx, formatter, "Options", found.values())
        return
    common = COMMON.get(command_name(ctx), ())
    _write(ctx, formatter, "Most used", _taken(found, common))
    for title, names in SECTIONS.items():
        _write(ctx, formatter, title, _taken(found, names))
    _write(ctx, formatter, "Others", found.values())


def write_examples(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write a command's examples, and where its variables are."""
    examples = EXAMPLES.get(command_name(ctx))
    if examples is None:
        return
    with formatter.section("Examples"):
        for words in examples:
            formatter.write(f"{'':>{formatter.current_indent}}streamlstm {words}\n")


def command_name(ctx: click.Context) -> str:
    """What a command is called behind the program's name: `serve`, `state show`."""
    return ctx.command_path.partition(" ")[2]


def long_name(option: click.Parameter) -> str:
    """What an option is called in full, of its names."""
    return max(option.opts, key=len)


def _taken(found: dict[str, click.Option], names: Iterable[str]) -> list[click.Option]:
    return [found.pop(name) for name in names if name in found]


def _write(ctx: click.Context, formatter: click.HelpFormatter, title: str, options: Iterable[click.Option]) -> None:
    records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)
