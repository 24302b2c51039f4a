"""What commands let choose, where they name it themselves so that help need not load what reads tables."""

from __future__ import annotations

import click

from streamlstm.cli import main, table_options
from streamlstm.client import FORECASTS_OF
from streamlstm.tables import options


def choices(command: str, name: str) -> tuple[str, ...]:
    """What an option of a command may be."""
    found = main.get_command(click.Context(main), command)
    assert found is not None
    (kind,) = [param.type for param in found.params if param.name == name]
    assert isinstance(kind, click.Choice)
    return tuple(kind.choices)


def test_what_a_command_lets_choose_is_what_python_takes() -> None:
    """The same words, in the same order."""
    assert choices("export", "forecast_of") == FORECASTS_OF
    assert choices("push", "duplicates") == (*options.DUPLICATES, "keep")
    assert choices("push", "decimal") == options.DECIMALS
    assert table_options.MAX_CELLS == options.MAX_CELLS
