"""`streamlstm.fit` and `streamlstm.evaluate`: the command line's own work, by the same names."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
from click.testing import CliRunner

import streamlstm
from streamlstm.cli import main
from streamlstm.errors import StreamlstmError, TableError, UsageError
from streamlstm.evaluation.evaluating import KINDS as EVALUATE_KINDS
from streamlstm.evaluation.evaluating import EvaluateArguments, EvaluateSettings
from streamlstm.training.progress import Stage
from streamlstm.training.settings import KINDS as FIT_KINDS
from streamlstm.training.settings import FitArguments, FitSettings

AIRLINE = Path(streamlstm.__file__).parent / "models" / "airline-passengers.csv"
QUICK: dict[str, Any] = {"units": 4, "epochs": 1, "ensemble": 1, "season": 12}
TRAININGS: list[dict[str, Any]] = [
    {},
    {"test_size": 36, "adapt": False, "scaling": "minmax", "clip_value": 0.5, "gap_after": "45d"},
    {"lookback": 8, "residual": True, "units": [4, 4], "dropout": 0},
]


def flags(options: dict[str, Any]) -> list[str]:
    """Python's options as the command line has them."""
    found = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            found += [flag if value else flag.replace("--", "--no-", 1)]
        else:
            found += [flag, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return found


@pytest.mark.parametrize("more", TRAININGS, ids=str)
def test_the_same_table_and_options_give_the_bytes_of_the_command(more: dict[str, Any], tmp_path: Path) -> None:
    """By path and by frame: the model file, what is said of it, and the figures of its evaluation."""
    options = QUICK | more
    if "lookback" in options:
        del options["ensemble"]
    path = tmp_path / "model.onnx"
    done = CliRunner().invoke(main, ["train", str(AIRLINE), "-o", str(path), "--json", *flags(options)])
    assert done.exit_code == 0, done.stderr
    frame = pd.read_csv(AIRLINE, parse_dates=["time"])
    for table in (frame,) if more else (str(AIRLINE), AIRLINE, frame):
        fitted = streamlstm.fit(table, progress=False, **options)
        assert fitted.model_bytes == path.read_bytes()
    facts = json.loads(done.stdout)
    assert {**fitted.facts(), "output": str(path), "seconds": 0} == {**facts, "seconds": 0}
    shown = CliRunner().invoke(main, ["evaluate", str(path), str(AIRLINE), "--json", "--test-size", "36"])
    assert shown.exit_code == 0, shown.stderr
    theirs = json.loads(shown.stdout)
    for model in (fitted, fitted.model, str(path), path):
        ours = streamlstm.evaluate(model, frame, test_size=36).as_json()
        for method, figures in ours.items():
            timed = {"seconds", "values_per_second"}
            assert {name: figure for name, figure in figures.items() if name not in timed} == {
                name: figure for name, figure in theirs[method].items() if name not in timed
            }
        assert list(ours) == list(theirs)


# Where a command finds a table that Python is given.
OF_STREAMS = ("stream", "last", "redis_url", "password_file", "data_dir")


@pytest.mark.parametrize(
    ("command", "settings", "kinds", "typed", "others"),
    [
        ("train", FitSettings, FIT_KINDS, FitArguments, {"output", "plot", "as_json", "table", *OF_STREAMS}),
        (
            "evaluate",
            EvaluateSettings,
            EVALUATE_KINDS,
            EvaluateArguments,
            {"model", "table", "plot", "as_json", "max_model_bytes", *OF_STREAMS},
        ),
    ],
)
def test_python_and_the_command_line_have_the_same_options(
    command: str, settings: type[Any], kinds: dict[str, Any], typed: type[Any], others: set[str]
) -> None:
    """The same names, the same defaults, and what is out of a command's range is refused by Python too."""
    made = main.get_command(click.Context(main), command)
    assert made is not None
    params = {param.name: param for param in made.params if param.name not in others}
    names = {str(name) for name in params}
    assert names == set(kinds) == set(typed.__annotations__ | streamlstm.tables.TableArguments.__annotations__)
    context = made.make_context(command, ["no.onnx", "no.csv"] if command == "evaluate" else ["no.csv", "-o", "m.onnx"])
    for field in dataclasses.fields(settings):
        assert context.params[field.name] == field.default, field.name
    for name, param in params.items():
        if isinstance(param.type, click.IntRange | click.FloatRange):
            kind = int if isinstance(param.type, click.IntRange) else float
            wrong = [
                kind(bound) + step for bound, step in ((param.type.min, -1), (param.type.max, 1)) if bound is not None
            ]
            for value in (*wrong, "x", None if "clip" not in str(name) and name != "lookback" else "y"):
                with pytest.raises(ValueError, match="number"):
                    kinds[str(name)](value)


def test_the_interface_loads_nothing_heavy_until_it_is_used() -> None:
    """`import streamlstm` brings neither numpy nor torch nor frames; `fit`, as a name, no torch."""
    check = (
        "import sys, streamlstm; heavy = {'numpy', 'onnxruntime', 'redis', 'torch', 'pandas', 'polars', 'matplotlib'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); assert 'fit' in dir(streamlstm);"
        "streamlstm.fit, streamlstm.evaluate; found = (heavy - {'numpy', 'onnxruntime', 'redis'}) & set(sys.modules);"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_progress_is_told_each_stage_and_drawn_nowhere_but_on_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """A function is told; without a terminal nothing is written."""
    stages: list[Stage] = []
    streamlstm.fit(AIRLINE, progress=stages.append, **QUICK)
    assert stages
    labels = list(dict.fromkeys(stage.label for stage in stages))
    assert labels == [
        "reading the table",
        "planning: scaling and seasons",
        "fitting the linear part",
        "finding the number of epochs",
        "blending",
        "measuring errors",
        "measuring intervals",
        "checking the export",
    ]
    assert all(stage.epoch <= stage.epochs for stage in stages)
    planned = [stage for stage in stages if stage.unit == "combinations"]
    assert [stage.epoch for stage in planned] == list(range(planned[0].epochs + 1))
    streamlstm.fit(AIRLINE, **QUICK, blend=False)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_a_model_is_shown_and_told(tmp_path: Path) -> None:
    """A line for a prompt, a table for people, a picture for a notebook, notes of the table."""
    fitted = streamlstm.fit(AIRLINE, test_size=36, **QUICK)
    assert repr(fitted).startswith("<Fitted: ")
    assert "RMSE model" in repr(fitted)
    assert fitted.report.splitlines()[-1] == f"{AIRLINE}: times 'time', one series, value 'passengers'"
    assert "one step ahead, on the test part" in fitted._repr_html_()
    assert fitted.plot()._repr_png_().startswith(b"\x89PNG")
    found = fitted.evaluate()
    assert found.test_size == 36
    assert found["model"].errors.rmse == pytest.approx(fitted.errors["model"].rmse, rel=1e-9)
    assert "below the best" in found._repr_html_() or "above the best" in found._repr_html_()
    assert found.plot().save(tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert fitted.save(tmp_path / "m.onnx").read_bytes() == fitted.model_bytes
    assert list(found.forecasts) == ["unique_id", "ds", "y", "yhat", "lo", "hi"]
    assert len(found.forecasts["y"]) == 36


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epoch": 3}, "fit has no option 'epoch'; did you mean 'epochs'?"),
        ({"epochs": "5"}, "epochs is a whole number from 0 up, not '5'"),
        ({"epochs": True}, "epochs is a whole number"),
        ({"test_size": float("nan")}, "test_size is a number from 0 up, not nan"),
        ({"test_size": 1.5}, "the test size is a share below 1 or a whole number"),
        ({"season": "monthly"}, "season is 'auto', 'none', a whole number from 1 up or a list of them"),
        ({"season": [12, 0]}, "season is"),
        ({"layer": "transformer"}, "layer is one of 'lstm', 'gru', 'rnn'"),
        ({"gap_after": "soon"}, "gap_after is a duration"),
        ({"clip_norm": 1.0, "clip_value": 1.0}, "not by clip_norm and clip_value"),
        ({"merge": "sum"}, "merge is for models over windows: add lookback"),
        ({"lookback": 8, "horizon": 2}, "horizon cannot be given here"),
        ({"feature_col": ["a"]}, "feature_col needs target_col beside it"),
        ({"duplicates": "keep"}, "duplicates keep is for `push`"),
        ({"activation": "wavy", "lookback": 4}, "wavy"),
    ],
    ids=str,
)
def test_an_option_that_makes_no_sense_is_named(options: dict[str, Any], said: str) -> None:
    """As Python spells it, with what it may be."""
    with pytest.raises(UsageError) as caught:
        streamlstm.fit(AIRLINE, **options)
    assert said in str(caught.value)
    assert "--" not in str(caught.value)


def test_what_is_wrong_with_a_table_or_a_model_is_one_line(tmp_path: Path) -> None:
    """Tables that are not there or not clear, models that are none, and places that cannot be written to."""
    wide = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    with pytest.raises(TableError, match=r"\(target_col\), or wide: each is a series"):
        streamlstm.fit(wide)
    with pytest.raises(TableError, match=r"nowhere\.csv"):
        streamlstm.fit(tmp_path / "nowhere.csv")
    with pytest.raises(TableError):
        streamlstm.fit([1.0, 2.0])
    with pytest.raises(UsageError, match="a dict is no model"):
        streamlstm.evaluate({}, AIRLINE)  # type: ignore[arg-type]
    with pytest.raises(StreamlstmError, match="there is no model file"):
        streamlstm.evaluate(tmp_path / "no.onnx", AIRLINE)
    with pytest.raises(UsageError, match="the model takes 1 number a value"):
        streamlstm.evaluate(AIRLINE.with_name("airline.onnx"), [[1.0, 2.0]] * 50)
    found = streamlstm.evaluate(AIRLINE.with_name("airline.onnx"), AIRLINE)
    with pytest.raises(UsageError, match="the directory of"):
        found.plot().save(tmp_path / "no" / "p.png")
