"""Training on windows: every kind of stack is exported and checked, the split in time leaks nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import streamlstm
from streamlstm.cli import main
from streamlstm.errors import TableError, UsageError
from streamlstm.models.model import Model
from streamlstm.tables import Series, read_table
from streamlstm.training import over_windows
from streamlstm.training.forecaster import WindowConfig
from streamlstm.training.windowed import WindowOptions, train_windows, tutorial

AIRLINE = Path(streamlstm.__file__).parent / "models" / "airline-passengers.csv"


def waves(count: int = 90) -> list[Series]:
    """Two noisy waves of different size."""
    rng = np.random.default_rng(0)
    steps = np.arange(count)
    values = [10 * np.sin(steps / 3) + rng.standard_normal(count), 100 + np.cos(steps / 4)]
    return [Series(name=f"s{i}", times_ms=None, values=one[:, None]) for i, one in enumerate(values)]


STACKS: list[dict[str, Any]] = [
    {"layer": "lstm", "units": (6,)},
    {"layer": "gru", "units": (6, 5)},
    {"layer": "rnn", "units": (6,), "activation": "relu"},
    {"layer": "lstm", "units": (6, 6, 6), "residual": True, "dropout": 0.2, "recurrent_dropout": 0.2},
    {"layer": "lstm", "units": (4, 3), "bidirectional": True, "merge": "concat"},
    {"layer": "gru", "units": (4,), "bidirectional": True, "merge": "mul", "predict": "level"},
    {"layer": "lstm", "units": (4, 4), "bidirectional": True, "merge": "ave", "residual": True},
    {"layer": "lstm", "units": (4,), "bidirectional": True, "merge": "sum", "scaling": "minmax"},
]


@pytest.mark.parametrize("stack", STACKS, ids=lambda stack: "-".join(map(str, stack.values())))
def test_every_stack_is_trained_and_served(stack: dict[str, Any]) -> None:
    """A step of the model is the network over the last W raw values, computed here window by window."""
    config = WindowConfig(lookback=7, **stack)
    result = train_windows(waves(), WindowOptions(config=config, epochs=2, batch=64))
    assert result.export_difference < 1e-5
    model, values = Model(result.model_bytes), waves()[0].values.astype(np.float32)
    ys, _ = model.run(values[:, None], model.initial_state(1))
    forecaster = result.forecaster.eval()
    with torch.no_grad():
        for end in (7, 30, len(values)):
            window = torch.from_numpy(values[end - 7 : end, None])
            said = forecaster.network(forecaster.scaling(window))
            wanted = forecaster.raw_forecast(window[-1], said)
            np.testing.assert_allclose(ys[end - 1], wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_the_split_in_time_does_not_see_the_test_part() -> None:
    """Other test values, same weights; with the shuffled split they differ."""
    options = WindowOptions(config=WindowConfig(lookback=5, units=(4,)), epochs=2, test_size=20)
    changed = [Series(name=s.name, times_ms=None, values=s.values.copy()) for s in waves()]
    for one in changed:
        one.values[-20:] *= 3

    def weights(series: list[Series], split: str) -> bytes:
        result = train_windows(series, options, split=split)
        return b"".join(p.detach().numpy().tobytes() for p in result.forecaster.parameters())

    assert weights(waves(), "time") == weights(changed, "time")
    assert weights(waves(), "shuffled") != weights(changed, "shuffled")


def test_errors_are_those_of_the_exported_model() -> None:
    """The RMSE told is that of stepping the file over the series."""
    series = read_table(AIRLINE)
    result = train_windows(series, tutorial(features=("y",), test_size=36, season=12, seed=0))
    model, values = Model(result.model_bytes), series[0].values
    ys, _ = model.run(values[:, None].astype(np.float32), model.initial_state(1))
    error = ys[:-1, 0, 0][-36:] - values[-36:, 0]
    assert result.errors["model"].rmse == pytest.approx(float(np.sqrt(np.mean(error**2))), rel=1e-6)
    assert result.errors["naive"].rmse == pytest.approx(50.30, abs=0.01)
    assert result.updates == 30


def test_the_preset_tells_the_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both splits are trained, the honest model is written, the leak is named, the plot is there."""
    output, plot = tmp_path / "m.onnx", tmp_path / "m.png"
    arguments = [
        "train",
        str(AIRLINE),
        "-o",
        str(output),
        "--preset",
        "tutorial",
        "--season",
        "12",
        "--test-size",
        "36",
    ]
    done = CliRunner().invoke(main, [*arguments, "--json", "--plot", str(plot)])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert facts["errors_shuffled"]["model"]["rmse"] < facts["errors"]["model"]["rmse"]
    assert [layer["kind"] for layer in streamlstm.load(output).spec.layers] == ["LSTM", "LSTM", "Dense"]
    # What people read of it needs no whole training.
    monkeypatch.setattr(over_windows, "tutorial", lambda **given: replace(tutorial(**given), epochs=1))
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "Shuffling the windows before they are split" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "tutorial", "--units", "3"], "--units cannot be given here"),
        (["--lookback", "5", "--window", "9"], "--window cannot be given here"),
        (["--lookback", "5", "--no-adapt", "--ensemble", "1"], "--no-adapt, --ensemble cannot be given here"),
        (["--lookback", "5", "--wide-season", "9"], "--wide-season cannot be given here"),
        (["--lookback", "5", "--units", "3,4", "--residual"], "all units must be equal"),
        (["--lookback", "5", "--residual", "--bidirectional"], "--merge sum, ave or mul"),
        (["--lookback", "500"], "use a smaller --lookback"),
        (["--clip-norm", "1", "--clip-value", "1"], "one way at a time"),
        (["--lookback", "5", "--activation", "nonsense"], "nonsense"),
    ],
)
def test_what_makes_no_sense_is_one_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    """Contradictions are named before anything is trained."""
    done = CliRunner().invoke(main, ["train", str(AIRLINE), "-o", str(tmp_path / "m.onnx"), *arguments])
    assert done.exit_code in {1, 2}, done.output
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_gradients_are_clipped_as_asked() -> None:
    """A bound so small that nothing moves shows that each of the three reaches the optimiser."""
    free = WindowOptions(
        config=WindowConfig(lookback=5, units=(3,)), epochs=1, optimizer="rmsprop", global_clipnorm=None
    )
    base = train_windows(waves(), free)
    for name in ("clipvalue", "clipnorm", "global_clipnorm"):
        clipped = train_windows(waves(), WindowOptions(**{**vars(free), name: 1e-12}))
        before = list(base.forecaster.parameters())
        after = list(clipped.forecaster.parameters())
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), name


def test_wrong_splits_and_short_tables_are_named() -> None:
    """Each has its own error."""
    with pytest.raises(UsageError, match="no split"):
        train_windows(waves(), WindowOptions(), split="random")
    with pytest.raises(TableError, match="at least 11 are needed, one window of 10"):
        train_windows(waves(9), WindowOptions())


def hourly(count: int, *, hole: int = 0) -> Series:
    """A daily wave at every hour, `hole` of them missing in the midst."""
    steps = np.delete(np.arange(count), slice(count // 2, count // 2 + hole))
    values = 10 + np.sin(steps * 2 * np.pi / 24)
    return Series(name=f"s{count}", times_ms=steps.astype(np.int64) * 3_600_000, values=values[:, None])


def test_holes_are_filled_and_said_and_short_series_left_out_by_name() -> None:
    """As without windows: what is missing is no value, and the model is served so."""
    said: list[str] = []
    options = WindowOptions(config=WindowConfig(lookback=24, units=(3,)), epochs=1)
    result = train_windows([hourly(300, hole=30), hourly(20)], options, say=said.append)
    assert [one.name for one in result.series] == ["s300"]
    assert len(result.series[0].values) == 300, "with what is missing"
    assert np.isnan(result.series[0].values[150:180]).all()
    spec = Model(result.model_bytes).spec
    assert (spec.spacing_ms, spec.gap_after_ms) == (3_600_000, 5_400_000)
    assert len(said) == 2
    assert "left out as too short: 's20' (16); at least 25 are needed, one window of 24" in said[0]
    assert "1 hole of 30 values in the times" in said[1]


def test_holes_may_be_left_alone() -> None:
    """With a --gap-after of 0."""
    options = WindowOptions(config=WindowConfig(lookback=24, units=(3,)), epochs=1, gap_after_ms=0)
    result = train_windows([hourly(300, hole=30)], options)
    assert len(result.series[0].values) == 270
    assert Model(result.model_bytes).spec.gap_after_ms is None
