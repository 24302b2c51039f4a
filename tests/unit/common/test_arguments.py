"""Messages of the command line as they are said to Python."""

from __future__ import annotations

import pytest

from streamlstm.common.arguments import in_python


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("--skip-existing leaves out what is there", "skip_existing leaves out what is there"),
        ("leave --no-blend out", "leave blend out"),
        ("`streamlstm tail STREAM --dead` shows all", "`streamlstm tail STREAM --dead` shows all"),
        ("`serve --retain` says how many; --last is less", "`serve --retain` says how many; last is less"),
        ("an entry ` of --id-col", "an entry ` of id_col"),
    ],
)
def test_options_are_spelt_as_arguments_but_not_those_of_commands(said: str, meant: str) -> None:
    """Who is told to type a command in a shell has to be able to type it."""
    assert in_python(said) == meant
