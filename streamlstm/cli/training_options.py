"""The options of a training, which `train` and `retrain` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from streamlstm.cli.options import option
from streamlstm.cli.quantities import DURATION
from streamlstm.cli.whole_numbers import Automatic, SeasonsOption, WholeNumbers

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    option(
        "--test-size",
        type=click.FloatRange(min=0),
        default=0.2,
        help="The end of each series that training never sees: below 1 a share, from 1 up a number of values.",
    ),
    option(
        "--season",
        type=SeasonsOption(),
        default="auto",
        metavar="N[,N]",
        help="Steps in one season, or in several (48,336 for half-hours); `none`; `auto` looks for them.",
    ),
    option(
        "--wide-season",
        type=WholeNumbers(),
        metavar="N[,N]",
        help="Seasons seen through wide windows, for long and noisy ones (a year of days); `--season auto` tries both.",
    ),
    option(
        "--adapt/--no-adapt",
        default=True,
        help="Whether each series, in its own state, weighs the model against simple forecasts by their recent errors.",
    ),
    option(
        "--blend/--no-blend",
        default=True,
        help="Whether the forecast may be a mean with the universal model's and ARIMAs', where that "
        "is better: a value then costs three to five times the time, and one of a series whose values wait 75 times.",
    ),
    option(
        "--seed", type=click.IntRange(0, 2**63 - 1), default=0, help="Same seed, same table, same options: same model."
    ),
    option(
        "--units",
        type=Automatic(),
        default="auto",
        metavar="N[,N]",
        help="Units of each recurrent layer; `auto`: 16, and 32 from 500 training values on (with --lookback 64).",
    ),
    option(
        "--ensemble",
        type=click.IntRange(min=1),
        default=3,
        metavar="N",
        help="Recurrent stacks, each trained from its own beginning and averaged inside the model.",
    ),
    option("--layer", type=click.Choice(["lstm", "gru", "rnn"]), default="lstm", help="Kind of the recurrent layers."),
    option(
        "--dropout",
        type=click.FloatRange(min=0, max=1, max_open=True),
        default=0.1,
        help="Share of each layer's outputs dropped in training.",
    ),
    option(
        "--scaling",
        type=click.Choice(["auto", "standard", "minmax", "log", "series"]),
        default="auto",
        help="How values are scaled inside the model; `series` gives each series a unit of its own, carried in its "
        "state; `auto` chooses by validation.",
    ),
    option(
        "--predict",
        type=click.Choice(["change", "level"]),
        default="change",
        help="Whether the model predicts the change from the last value or the value itself.",
    ),
    option(
        "--window",
        type=click.IntRange(min=2),
        default=32,
        help="Steps the gradient goes back; the state is carried on beyond.",
    ),
    option("--epochs", type=click.IntRange(min=0), default=60, help="Passes over the training part at most."),
    option("--patience", type=click.IntRange(min=1), default=8, help="Epochs without improvement before it stops."),
    option(
        "--clip-norm",
        type=click.FloatRange(min=0, min_open=True),
        help="Largest norm of the whole gradient (Keras' global_clipnorm); 1 unless another way to clip is given.",
    ),
    option(
        "--clip-variable-norm",
        type=click.FloatRange(min=0, min_open=True),
        help="Largest norm of each variable's gradient (Keras' clipnorm).",
    ),
    option(
        "--clip-value",
        type=click.FloatRange(min=0, min_open=True),
        help="Largest element of a gradient (Keras' clipvalue).",
    ),
    option(
        "--lookback",
        type=click.IntRange(min=1),
        metavar="W",
        help="Train on windows of W values, each on its own, instead of carrying the state on; served with the last W "
        "values in the state.",
    ),
    option("--bidirectional", is_flag=True, help="Read each window both ways; with --lookback."),
    option(
        "--merge",
        type=click.Choice(["concat", "sum", "ave", "mul"]),
        default="concat",
        help="How --bidirectional joins the two directions.",
    ),
    option(
        "--residual", is_flag=True, help="Add each layer's input to its output, from the second on; with --lookback."
    ),
    option(
        "--activation", default="tanh", metavar="NAME", help="Activation of the layers, as in Keras; with --lookback."
    ),
    option(
        "--recurrent-dropout",
        type=click.FloatRange(min=0, max=1, max_open=True),
        default=0.0,
        help="Share of h dropped on its way to the next step; with --lookback.",
    ),
    option(
        "--preset",
        type=click.Choice(["tutorial"]),
        help="The airline recipe of LSTM tutorials: windows of 10, min-max, LSTM 50, LSTM 100, Dense, RMSprop, 30 "
        "epochs; trained with the split of the tutorials and with an honest one.",
    ),
    option(
        "--feature-col",
        multiple=True,
        metavar="NAME",
        help="Column of a number the model sees but does not forecast; several times for several.",
    ),
    option("--horizon", type=click.IntRange(min=1), default=1, metavar="K", help="Steps ahead, all forecast at once."),
    option(
        "--calendar",
        is_flag=True,
        help="Let the model see where in the day, the week and the year a value lies, by its time.",
    ),
    option("--gaps", is_flag=True, help="Let the model see how long after the one before a value came."),
    option(
        "--gap-after",
        type=DURATION,
        metavar="DURATION",
        help="Take a longer time between two values (such as 45m, for half-hours) for missing values, in training and, "
        "unless told otherwise, by `serve` and `evaluate` too; 0: never. Default: found where regular times have "
        "holes.",
    ),
    option(
        "--warm-start",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="MODEL.onnx",
        help="Begin with the recurrent weights of a model trained before, where its layers have the same shape.",
    ),
)


def training_options(function: Function) -> Function:
    """Declare them; the command gives them, by their names, to `training.FitSettings`."""
    for declare in reversed(_OPTIONS):
        function = declare(function)
    return function
