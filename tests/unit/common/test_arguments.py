"""Arguments of Python, and messages of the command line as they are said to it."""

from __future__ import annotations

from typing import Any

import pytest

from streamlstm.common.arguments import in_python, series_names, taken
from streamlstm.errors import UsageError


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


@pytest.mark.parametrize("given", [None, 5, b"a", "", [], (), ["a", ""], ["a", 5], {"a"}, "\ud800"])
def test_what_names_no_series_is_refused(given: Any) -> None:
    """An empty list would else choose all of them, or end in an error of numpy's."""
    with pytest.raises(UsageError, match="series is the name of a series or a list of names, not "):
        taken("forecast", {"series": series_names}, {"series": given})


@pytest.mark.parametrize(("given", "names"), [("a", ("a",)), (["a", "b c"], ("a", "b c")), (("\udcff",), ("\udcff",))])
def test_series_are_named_by_a_text_or_several(given: Any, names: tuple[str, ...]) -> None:
    """Names that are no UTF-8 too, as Python has them."""
    assert series_names(given) == names
