"""Write the generated parts of README.md (commands, settings, metrics, errors), or with --check say whether they fit.

python tools/readme.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
import evaluate_data

from streamlstm.cli import main
from streamlstm.daemon.telemetry.metrics import Metrics, described

README = Path(__file__).parent.parent / "README.md"


def commands() -> str:
    """A table of all commands."""
    context = click.Context(main, info_name="streamlstm")
    rows = ["| command | what it does |", "|---|---|"]
    for name in main.list_commands(context):
        made = main.get_command(context, name)
        assert made is not None, name
        parts = {name: made}
        if isinstance(made, click.Group):
            parts = {f"{name} {part}": made.commands[part] for part in made.commands}
        rows += [_command_row(name, part, context) for name, part in parts.items()]
    return "\n".join(rows)


def _command_row(name: str, made: click.Command, context: click.Context) -> str:
    """One command's row."""
    usage = " ".join(made.collect_usage_pieces(click.Context(made, parent=context, info_name=name)))
    usage = usage.replace("[OPTIONS]", "").strip()
    usage = f" {usage}" if usage else ""
    return f"| `{name}{usage}` | {made.get_short_help_str(limit=200)} |".replace("|-", "\\|-")


def settings(command: str) -> str:
    """A table of a command's options."""
    context = click.Context(main, info_name="streamlstm")
    made = main.get_command(context, command)
    assert made is not None, command
    rows = ["| option | variable | default | meaning |", "|---|---|---|---|"]
    options = [parameter for parameter in made.params if isinstance(parameter, click.Option)]
    rows += [f"| `{made.opts[0]}` | {_variable(made)} | {_default(made)} | {made.help} |" for made in options]
    return "\n".join(rows)


def _variable(option: click.Option) -> str:
    return f"`{option.envvar}`" if option.envvar else "only a flag"


def _default(option: click.Option) -> str:
    if option.is_flag or option.default is None or not isinstance(option.default, str | int | float | list | Path):
        return ""
    shown = ", ".join(map(str, option.default)) if isinstance(option.default, list) else str(option.default)
    return f"`{shown}`"


def metrics() -> str:
    """A table of all metrics."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in described(Metrics("0" * 64, "yhat", ["values"])):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.text} |".replace("|error|", "\\|error\\|"))
    return "\n".join(rows)


def data() -> str:
    """The table of errors that `tools/evaluate_data.py` measured last."""
    return evaluate_data.table(json.loads(evaluate_data.RESULTS.read_text(encoding="utf-8")))


def rendered(text: str) -> str:
    """The README with its generated parts made anew."""
    parts = {"commands": commands(), "settings": settings("serve"), "metrics": metrics(), "data": data()}
    for name, part in parts.items():
        begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
        before, rest = text.split(begin)
        text = before + begin + part + "\n" + end + rest.split(end)[1]
    return text


if __name__ == "__main__":
    current = README.read_text(encoding="utf-8")
    made = rendered(current)
    if "--check" in sys.argv[1:]:
        sys.exit(0 if made == current else "README.md is not current; run `python tools/readme.py`")
    README.write_text(made, encoding="utf-8")
