"""`streamlstm completion`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from streamlstm.cli.options import command

PROGRAM = "streamlstm"
VARIABLE = "_STREAMLSTM_COMPLETE"  # click's own name for it, from the program's


@command("completion", short_help="Print the script that completes commands and options in a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options and their values.

    bash: `eval "$(streamlstm completion bash)"` in ~/.bashrc; zsh: the same in ~/.zshrc; fish:
    `streamlstm completion fish > ~/.config/fish/completions/streamlstm.fish`.
    """
    found = get_completion_class(shell)
    assert found is not None, "click completes these three"
    click.echo(found(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
