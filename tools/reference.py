"""Write the generated pages and parts of docs/, or with --check say whether they fit the code.

Commands, settings and metrics come from the program, the Python interface from its docstrings (`reference_python`), the
page about JSON from the schemas beside it (`reference_json`), the picture of the architecture from the table beside it
(`architecture`), the table of errors from what `tools/evaluate_data.py` measured last.

python tools/reference.py [--check]
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import architecture
import click
import evaluate_ahead
import evaluate_data
import reference_json
import reference_python

from streamlstm.cli import main
from streamlstm.daemon.http.live.series_gauges import described_gauges
from streamlstm.daemon.telemetry.metrics import Metrics, described

DOCS = Path(__file__).parent.parent / "docs"
WRITTEN = "<!-- Written by tools/reference.py from the code; change it there. -->\n\n"
TABLE = "| option | default | meaning |\n|---|---|---|"
COMMANDS = """# Commands

Each is `streamlstm COMMAND`; `--help` says the same in a terminal. Exit status: 0 clean, 1 failure, 2 wrong usage.
The first SIGTERM, SIGHUP or Ctrl-C commits what is under way and ends; one that comes later ends at once.

Durations are `500ms`, `3s`, `15m`, `12h`, `30d`; sizes `64MiB`, `4GiB`. Nearly every option is also a variable and a
key of the settings file: [Settings](settings.md)."""
SETTINGS = """# Settings

An option of a command is also a variable `STREAMLSTM_<NAME>` and a key of a TOML file (`./streamlstm.toml`, or
`--config FILE`): top-level keys hold for every command, a table such as `[serve]` for that one. A flag wins over the
variable, the variable over the file, the file over the default. What may be given several times is an array there.

```toml title="streamlstm.toml"
redis = "redis://localhost:6379/0"

[serve]
stream = ["values", "rooms"]
interval = 0.9
retain = "7d"
```

`streamlstm config show serve` lists each option with its value and where it came from, passwords masked.

What overwrites, deletes or starts anew, or leaves out answers, is only ever a flag: {flags}.
"""
METRICS = """# Metrics

`/metrics` is for Prometheus. No metric has a label per series, unless `--series-metrics 'room-*'` asks for gauges of a
few (20 at most, `--series-metrics-max`): value, forecast and interval, for a Grafana panel. Keeping the metrics takes
4 us a micro-batch: 0.01 % of a drain, 1.7 % of answering single values; a scrape of 256 streams takes 12 ms
(`python tools/metrics_cost.py`). Which to look at first: [Watch it](../how-to/watch.md)."""


def commands() -> str:
    """The page of all commands."""
    rows, sections = ["| command | what it does |", "|---|---|"], []
    for name, made, context in _commands():
        rows.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {made.get_short_help_str(limit=200)} |")
        usage = " ".join(part for part in made.collect_usage_pieces(context) if part != "[OPTIONS]")
        sections += [f"## {name}", f"```text\nstreamlstm {name} [OPTIONS] {usage}".rstrip() + "\n```"]
        sections += [_help_text(made.help or ""), "\n".join([TABLE, *map(_option_row, _options(made))])]
    return "\n\n".join([COMMANDS, "\n".join(rows), *(section for section in sections if section)]) + "\n"


def settings() -> str:
    """The page of all settings."""
    known: dict[str, tuple[click.Option, list[str]]] = {}
    flags: set[str] = set()
    for name, made, _ in _commands():
        for option in _options(made):
            if isinstance(option.envvar, str):
                known.setdefault(option.envvar, (option, []))[1].append(name)
            elif not option.is_eager:
                flags.add(_long(option))
    rows = ["| variable | key | of |", "|---|---|---|"]
    for variable, (option, names) in sorted(known.items()):
        key = variable.removeprefix("STREAMLSTM_").lower()
        rows.append(f"| `{variable}` | `{key}` | `{_long(option)}` of {', '.join(f'`{name}`' for name in names)} |")
    serving = "\n".join(
        [TABLE, *map(_option_row, _options(next(made for name, made, _ in _commands() if name == "serve")))]
    )
    page = SETTINGS.format(flags=", ".join(f"`{flag}`" for flag in sorted(flags)))
    return f"{page}\n## Of `serve`\n\n{serving}\n\n## All\n\n" + "\n".join(rows) + "\n"


def metrics() -> str:
    """The page of all metrics."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in (*described(Metrics("0" * 64, "yhat", ["values"])), *described_gauges()):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {_cell(metric.text)} |")
    return METRICS + "\n\n" + "\n".join(rows) + "\n"


def _commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Each command, those of groups one by one."""
    root = click.Context(main, info_name="streamlstm")
    for name in main.list_commands(root):
        made = main.get_command(root, name)
        assert made is not None, name
        inside = made.commands if isinstance(made, click.Group) else {}
        parts = {f"{name} {part}": inside[part] for part in inside} or {name: made}
        for full, command in parts.items():
            yield full, command, click.Context(command, parent=root, info_name=full)


def _options(made: click.Command) -> list[click.Option]:
    return [parameter for parameter in made.params if isinstance(parameter, click.Option)]


def _long(option: click.Option) -> str:
    return next(name for name in option.opts if name.startswith("--"))


def _help_text(text: str) -> str:
    """A command's help as Markdown: what click is told not to wrap stands as it is."""
    parts = inspect.cleandoc(text).replace("\f", "").split("\n\n")
    return "\n\n".join(
        "```text\n" + part.removeprefix("\b\n").rstrip() + "\n```" if part.startswith("\b\n") else _prose(part)
        for part in parts
        if part.strip()
    )


def _prose(text: str) -> str:
    return text.strip().replace("<", "\\<").replace("*", "\\*")


def _option_row(option: click.Option) -> str:
    names = ", ".join(sorted(option.opts, key=len, reverse=True))
    names += "".join(f" / {name}" for name in option.secondary_opts)
    return f"| `{names}` | {_default(option)} | {_cell(option.help or '')} |"


def _default(option: click.Option) -> str:
    if option.secondary_opts and isinstance(option.default, bool):
        return f"`{(option.opts if option.default else option.secondary_opts)[0]}`"
    if option.is_flag or not isinstance(option.default, str | int | float | list | Path):
        return ""
    shown = ", ".join(map(str, option.default)) if isinstance(option.default, list) else str(option.default)
    return f"`{shown}`" if shown else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("\n", " ")


def pages() -> dict[Path, str]:
    """Every generated file, and every page with a generated part, as it should be."""
    made = {
        "reference/commands.md": WRITTEN + commands(),
        "reference/settings.md": WRITTEN + settings(),
        "reference/metrics.md": WRITTEN + metrics(),
        "reference/python.md": WRITTEN + reference_python.page(),
        "reference/json.md": WRITTEN.replace("the code; change it there", "the schemas beside it; change it there")
        + reference_json.page(),
        "explanation/architecture.svg": architecture.picture(),
    }
    quality = "explanation/quality.md"
    text = (DOCS / quality).read_text(encoding="utf-8")
    for name, tool in (("data", evaluate_data), ("ahead", evaluate_ahead)):
        text = _filled(text, name, tool.table(json.loads(tool.RESULTS.read_text(encoding="utf-8"))))
    made[quality] = text
    return {DOCS / name: text for name, text in made.items()}


def _filled(page: str, name: str, made: str) -> str:
    """A page with what stands between the marks of this name made anew."""
    before, rest = page.split(f"<!-- {name}:begin -->\n")
    after = rest.split(f"<!-- {name}:end -->")[1]
    return f"{before}<!-- {name}:begin -->\n{made}\n<!-- {name}:end -->{after}"


if __name__ == "__main__":
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text}
    if "--check" in sys.argv[1:]:
        names = ", ".join(str(path.relative_to(DOCS.parent)) for path in stale)
        sys.exit(f"{names}: not current; run `python tools/reference.py`" if stale else 0)
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
