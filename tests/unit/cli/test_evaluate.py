"""The command `evaluate`: errors of a model file on a table, beside the baselines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import streamlstm
from streamlstm.cli import main
from streamlstm.client.record_facts import facts
from streamlstm.common.settings import EngineSettings
from streamlstm.engine.engine import Engine
from streamlstm.engine.scoring import ABSOLUTE, COVERED, GIVEN, NAIVE, SCORED
from streamlstm.evaluation.intervals import served_bounds
from streamlstm.evaluation.scores import forecasts_ahead
from streamlstm.evaluation.served import serve
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.stream_meta import Meta
from streamlstm.tables import Series
from support import odd_models
from support.pump import pump

FOLDER = Path(streamlstm.__file__).parent / "models"
MODEL, TABLE = FOLDER / "airline.onnx", FOLDER / "airline-passengers.csv"
KEYS = {"rmse", "mae", "mase", "coverage", "width", "seconds", "values_per_second"}
FIRST_KEYS = {f"first_50_{name}" for name in ("scored", "mae", "naive_mae", "skill", "warm_mae")}


def evaluated(*arguments: str) -> Result:
    """The command's result."""
    return CliRunner().invoke(main, ["evaluate", *arguments], prog_name="streamlstm")


def errors(*arguments: str) -> dict[str, dict[str, float | None]]:
    """What the command says with --json."""
    result = evaluated(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found: dict[str, dict[str, float | None]] = json.loads(result.stdout)
    return found


def test_a_model_that_answers_nothing_to_test_is_told_from_a_table_without_values(tmp_path: Path) -> None:
    """A larger test part would not help: what the model answers overflows before it, and begins anew after it."""
    (tmp_path / "m.onnx").write_bytes(odd_models.growing())
    (tmp_path / "short.csv").write_text("".join(TABLE.read_text().splitlines(keepends=True)[:29]))
    result = evaluated(str(tmp_path / "m.onnx"), str(tmp_path / "short.csv"), "--test-size", "9")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()[-1:]
    assert "none of the values to test on has a forecast: what the model answers before them is not finite" in line
    assert "--test-size" not in line


def test_the_figures_are_those_the_training_wrote_down() -> None:
    """One object a method with the promised keys; the model's and the naive errors are the file's own."""
    found = errors(str(MODEL), str(TABLE), "--test-size", "36")
    assert list(found) == ["model", "naive", "seasonal_naive_12", "ar"]
    written = streamlstm.load(MODEL).spec.training["errors"]
    for name in ("model", "naive", "seasonal_naive_12"):
        served = {"served_mae", "served_skill", "served_coverage"} if name == "model" else set()
        assert set(found[name]) == KEYS | (served | FIRST_KEYS if name == "model" else served)
        for figure in ("rmse", "mae", "mase"):
            assert found[name][figure] == pytest.approx(written[name][figure], rel=1e-6)
    assert found["ar"]["rmse"] == pytest.approx(16.2, abs=0.1)
    assert found["model"]["rmse"] < found["ar"]["rmse"]
    assert 0.6 < found["model"]["coverage"] <= 1.0


def test_people_get_a_table_and_a_picture(tmp_path: Path) -> None:
    """Without --json a line a method, and --plot writes a PNG."""
    pytest.importorskip("matplotlib")
    picture = tmp_path / "test.png"
    result = evaluated(str(MODEL), str(TABLE), "--test-size", "36", "--plot", str(picture))
    assert result.exit_code == 0
    for word in ("RMSE", "MASE", "values/s", "model", "seasonal naive, 12", "ar", "below the best"):
        assert word in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_several_series_are_pooled(tmp_path: Path) -> None:
    """The errors over two series are those of all their test values together, each stepped from its own beginning."""
    values = np.loadtxt(TABLE, delimiter=",", skiprows=1, usecols=1)
    lines = ["unique_id,ds,y"]
    series = {"a": values, "b": 10 * values[:100]}
    for name, column in series.items():
        lines += [f"{name},{1000 + t},{value}" for t, value in enumerate(column)]
    path = tmp_path / "two.csv"
    path.write_text("\n".join(lines))
    found = errors(str(MODEL), str(path), "--baselines", "naive")
    assert list(found) == ["model", "naive"]
    wrong = np.concatenate([np.diff(column)[-int(len(column) * 0.2) :] for column in series.values()])
    assert found["naive"]["rmse"] == pytest.approx(float(np.sqrt(np.mean(wrong**2))))
    model, own = streamlstm.load(MODEL), []
    for column in series.values():
        y, _ = model.run(column[:, None, None], model.initial_state(1))
        own.append((y[:-1, 0, 0] - column[1:])[-int(len(column) * 0.2) :])
    assert found["model"]["rmse"] == pytest.approx(float(np.sqrt(np.mean(np.concatenate(own) ** 2))))


def test_intervals_are_scored_and_shown() -> None:
    """Coverage and width stand in the JSON and in the table, and a higher share has wider intervals."""
    found = errors(str(MODEL), str(TABLE), "--test-size", "100", "--interval", "0.8")
    wider = errors(str(MODEL), str(TABLE), "--test-size", "100", "--interval", "0.95")
    assert 0.7 < found["model"]["coverage"] < wider["model"]["coverage"] <= 1.0
    assert 0 < found["model"]["width"] < wider["model"]["width"]
    text = evaluated(str(MODEL), str(TABLE), "--test-size", "100", "--interval", "0.8").stdout
    assert "in 80%" in text
    assert f"{found['model']['coverage']:.1%}" in text


def test_a_series_too_short_takes_no_interval_from_others(tmp_path: Path) -> None:
    """The coverage is that of the others."""
    rows = "".join(f"a,{n},{(n * 7) % 11}\n" for n in range(80))
    for name, text in (("one", rows), ("two", rows + "b,0,1\n")):
        (tmp_path / name).write_text("unique_id,ds,y\n" + text)
    one, two = (errors(str(MODEL), str(tmp_path / name), "--season", "none") for name in ("one", "two"))
    assert one["model"]["coverage"] is not None
    for key in ("coverage", "width", "served_coverage"):
        assert two["model"][key] == one["model"][key]


def test_it_says_what_serving_says() -> None:
    """Served by the engine, the same values have the same intervals to the bit, and the same error and coverage."""
    model = streamlstm.load(MODEL)
    values = np.loadtxt(TABLE, delimiter=",", skiprows=1, usecols=1)
    server, engine = MemoryServer(), Engine(model, EngineSettings(interval=0.9))
    for number, value in enumerate(values.tolist(), 1):
        server.add("values", f"{number}-0", "s", repr(value))
    tally = pump(engine, MemoryStore(server), ["values"])
    said = [text.split(b",") for _, text in server.stream("values").predictions]
    one = Series("s", None, values[:, None])
    bounds = served_bounds(one, forecasts_ahead(model, serve(model, [one]).outputs)[0], 0.9, exact=False)
    assert bounds is not None
    for column, wanted in ((1, bounds.low), (2, bounds.high)):
        served = np.array([np.float32(parts[column]) for parts in said[:-1]])
        np.testing.assert_array_equal(served, wanted[:, 0].astype(np.float32))
    found = errors(str(MODEL), str(TABLE), "--test-size", str(len(values) - 1))["model"]
    assert found["served_mae"] == pytest.approx(tally[ABSOLUTE] / tally[SCORED], rel=1e-12)
    assert found["mae"] == pytest.approx(found["served_mae"], rel=1e-6)  # of the texts, not of float32
    assert found["served_coverage"] == tally[COVERED] / tally[GIVEN]
    meta = Meta(position=b"1-0", model=model.fingerprint, columns="yhat,lo,hi")
    shown = facts(b"s", server.stream("values").state[b"s"], meta)  # what `status --series` and `state show` say
    assert shown["mae"] == pytest.approx(found["served_mae"], rel=1e-12)
    assert shown["coverage"] == found["served_coverage"]
    assert shown["skill"] == pytest.approx(1 - tally[ABSOLUTE] / tally[NAIVE], rel=1e-12)


@pytest.mark.parametrize("value", [21.3, 0.1, 1e12])
def test_a_flat_series_lies_in_its_intervals(tmp_path: Path, value: float) -> None:
    """Their ends are the numbers that are read in the daemon's texts: 21.3, not the float32 next to it."""
    table = tmp_path / "flat.csv"
    table.write_text("y\n" + f"{value!r}\n" * 60)
    found = errors(str(MODEL), str(table), "--test-size", "20", "--season", "none")
    assert (found["naive"]["width"], found["naive"]["coverage"]) == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([str(MODEL), "nothing.csv"], 1, "nothing.csv"),
        (["nothing.onnx", str(TABLE)], 1, "no model file"),
        ([str(MODEL), str(TABLE), "--test-size", "144"], 1, "airline-passengers.csv"),
        ([str(MODEL), str(TABLE), "--test-size", "0"], 2, "test-size"),
        ([str(MODEL), str(TABLE), "--baselines", "prophet"], 2, "'prophet'"),
        ([str(MODEL), str(TABLE), "--target-col", "passengers", "--target-col", "time"], 1, "time"),
        ([str(MODEL), str(TABLE), "--plot", "no/where.png"], 2, "does not exist"),
        ([str(MODEL), str(TABLE), "--plot", str(MODEL)], 2, "is not .png; name the picture so"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], status: int, message: str) -> None:
    """A wrong file, column or option ends with one line on stderr and exit 1 or 2."""
    result = evaluated(*arguments)
    assert result.exit_code == status
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert message in result.stderr


def test_a_silence_that_serving_begins_anew_after_is_said(tmp_path: Path) -> None:
    """Beyond what is filled a daemon begins the series anew; here it is gone on with, and that is said."""
    hours = [*range(40), *range(40 + 6_000, 80 + 6_000)]
    path = tmp_path / "long.csv"
    path.write_text("ds,y\n" + "\n".join(f"{3600 * hour},{hour % 7}" for hour in hours))
    result = evaluated(str(MODEL), str(path), "--gap-after", "1000h", "--season", "none")
    assert "serve` begins it anew" not in result.stderr, "the model is one of months"
    path.write_text("ds,y\n" + "\n".join(f"{2_629_800 * hour},{hour % 7}" for hour in hours))
    result = evaluated(str(MODEL), str(path), "--gap-after", "1000h")
    assert result.exit_code == 0, result.stderr
    assert "y is silent for 5,892 steps" in result.stderr
    assert "`serve` begins it anew" in result.stderr


def test_a_model_of_more_numbers_than_the_table_is_refused(tmp_path: Path) -> None:
    """A table of one column cannot be scored by a model of two features, and the message names both."""
    path = tmp_path / "two.csv"
    path.write_text("time,a,b\n" + "\n".join(f"{1000 + t},{t},{t}" for t in range(50)))
    result = evaluated(str(MODEL), str(path), "--target-col", "a", "--target-col", "b")
    assert result.exit_code == 2
    assert "the model takes 1 number a value (y)" in result.stderr


def test_evaluating_needs_neither_torch_nor_onnx() -> None:
    """The command runs without importing what only training needs."""
    script = (
        "import sys\nfrom streamlstm.cli import main\n"
        f"main(['evaluate', {str(MODEL)!r}, {str(TABLE)!r}], standalone_mode=False)\n"
        "print(sorted({'torch', 'onnx', 'statsmodels'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
