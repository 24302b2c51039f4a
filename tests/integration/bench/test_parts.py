"""What the bench is made of: the model it writes, its backlogs, its load, its progress bar."""

from __future__ import annotations

import io

import numpy as np
import onnx
import pytest

from streamlstm.cli.benchmark.backlog import Shape, make_backlog, push
from streamlstm.cli.benchmark.drain import Bench, Case, measure_drain
from streamlstm.cli.benchmark.growth import draw_growth, growth_points, number_rates
from streamlstm.cli.benchmark.latency import WHO, measure_latency
from streamlstm.cli.benchmark.load import Due
from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.cli.benchmark.report import table
from streamlstm.cli.progress import ProgressBar
from streamlstm.errors import UsageError
from streamlstm.models.model import Model


@pytest.mark.parametrize("units", [1, 16, 64])
def test_the_lstm_is_a_step_model(units: int) -> None:
    """onnx finds nothing wrong with it, its state has 2 * units numbers, and T steps equal T single steps."""
    content = lstm_file(units)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    model = Model(content)
    assert model.spec.state_size == 2 * units
    xs = np.random.default_rng(1).standard_normal((7, 3, 1)).astype(np.float32)
    ys, last = model.run(xs, model.initial_state(3))
    state = model.initial_state(3)
    for x, y in zip(xs, ys, strict=True):
        stepped, state = model.step(x, state)
        assert stepped.tobytes() == y.tobytes()
    assert state.tobytes() == last.tobytes()


def test_the_lstm_is_an_lstm() -> None:
    """Its numbers are those of the formula of onnx' operator LSTM, from the weights in the file."""
    model, units = onnx.load_from_string(lstm_file(4)), 4
    weights = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    x, h, c = np.float32([[0.5]]), np.zeros((1, units), np.float32), np.full((1, units), 0.25, np.float32)
    bias = weights["B0"][0, : 4 * units] + weights["B0"][0, 4 * units :]
    i, o, f, g = np.split(x @ weights["W0"][0].T + h @ weights["R0"][0].T + bias, 4, axis=1)

    def sigmoid(gate: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-gate))

    c_next = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h_next = sigmoid(o) * np.tanh(c_next)
    y, state = Model(lstm_file(4)).step(x, np.concatenate([h, c], axis=1))
    np.testing.assert_allclose(state, np.concatenate([h_next, c_next], axis=1), atol=1e-6)
    np.testing.assert_allclose(y, h_next @ weights["dense"], atol=1e-6)


def test_the_same_seed_gives_the_same_file() -> None:
    """Two runs of the bench measure the same model."""
    assert lstm_file(16) == lstm_file(16) != lstm_file(16, seed=1)


def test_a_backlog_has_the_shape_asked_for() -> None:
    """Entries of distinct series, in ascending ids, spread over the streams; the same for the same seed."""
    shape = Shape(values=1200, series=100, values_per_entry=10, streams=4)
    backlog = make_backlog(shape)
    assert list(backlog.streams) == [f"values:{{{number}}}" for number in range(4)]
    assert shape.total_values == 1200
    for entries in backlog.streams.values():
        assert len(entries.ids) == 30
        assert entries.ids == sorted(entries.ids)
        assert all(len(set(fields[0::2])) == 10 for fields in entries.fields)
    series = [{name for fields in entries.fields for name in fields[0::2]} for entries in backlog.streams.values()]
    assert sum(map(len, series)) == len(set.union(*series)) == 100
    assert backlog == make_backlog(shape) != make_backlog(shape, seed=1)


def test_series_come_in_turn_where_each_is_wanted() -> None:
    """As many values as series give each series one, and a second backlog goes on after the first."""
    shape = Shape(values=300, series=300, values_per_entry=100)
    first = make_backlog(shape, in_turn=True)
    second = make_backlog(shape, in_turn=True, prefix=b"meter", after=first)
    names = [name for fields in second.streams["values"].fields for name in fields[0::2]]
    assert names == [b"meter-%d" % index for index in range(300)]
    assert second.streams["values"].ids[0] > first.streams["values"].ids[-1]


def test_an_entry_wider_than_its_stream_is_refused() -> None:
    """An entry cannot have more values than there are series."""
    with pytest.raises(UsageError, match="25 series a stream cannot fill entries of 100 values"):
        make_backlog(Shape(values=1000, series=100, values_per_entry=100, streams=4))


def test_the_load_is_fixed_beforehand() -> None:
    """Values are due at equal distances from the start, whatever the answers do; ids carry their number."""
    due = Due.of("values", rate=200.0, seconds=0.5, series=10, first_ms=5)
    np.testing.assert_allclose(due.at, np.arange(100) / 200)
    assert len(due.commands) == 100
    assert b"5-1\r\n" in due.commands[0]
    assert b"5-100\r\n" in due.commands[-1]


def test_every_value_of_the_load_is_answered(bench: Bench) -> None:
    """The daemon, busy or not, and both floors answer each value after the warm-up, and percentiles are in order."""
    rows = measure_latency(bench, series=200, seconds=0.2, warm_up_s=0.1)
    assert [row["values_per_s"] for row in rows] == [100, 1000, 10_000]
    for row in rows:
        for who in WHO:
            (run,) = row[who]["runs"]
            assert run["values"] == row["values_per_s"] // 5
            assert 0 < run["p50"] <= run["p99"] <= run["p999"]


def test_a_drain_has_its_runs_and_ratios(bench: Bench) -> None:
    """Every rate has as many runs as asked for, and the ratios are those of the medians."""
    found = measure_drain(bench, Case("small", Shape(values=20_000, series=100)), naive_values=50).as_json()
    assert all(len(found[who]["runs"]) == 1 for who in ("ours", "floor", "naive"))
    for who in ("floor", "naive"):
        assert found[f"of_{who}"] == found["ours"]["values_per_s"] / found[who]["values_per_s"]
    assert bench.server.connection.call("DBSIZE") == 0


def test_the_server_has_the_persistence_it_is_asked_for(bench: Bench) -> None:
    """`off` is no append-only file at all, and nothing is freed behind the measurement's back."""
    call = bench.server.connection.call
    assert call("CONFIG", "GET", "appendonly")[1] == b"no"
    assert call("CONFIG", "GET", "lazyfree-lazy-user-del")[1] == b"no"
    push(bench.server.connection, make_backlog(Shape(values=10, series=5)))
    bench.server.clear_results(["values"])
    assert call("XLEN", "values") == 10


def test_the_curves_cover_the_orders_of_magnitude() -> None:
    """Series 10^2 to 10^6, units 16 to 256, values an entry 1 to 1,000; each series has a value."""
    points = growth_points(400_000)
    assert [point.shape.series for point in points if point.curve == "series"] == [10**n for n in range(2, 7)]
    assert [point.units for point in points if point.curve == "units"] == [16, 32, 64, 128, 256]
    assert [p.shape.values_per_entry for p in points if p.curve == "values per entry"] == [1, 10, 100, 1000]
    assert all(point.shape.total_values >= point.shape.series for point in points)


def test_the_curves_are_drawn() -> None:
    """The picture is a PNG."""
    rate = {"values_per_s": 1000.0}
    rows = [
        {"curve": p.curve, "units": p.units, "series": p.shape.series, "values_per_entry": p.shape.values_per_entry}
        | {"ours": rate, "floor": rate}
        for p in growth_points(400_000)
    ]
    assert draw_growth(rows, "a machine").startswith(b"\x89PNG")


def test_rates_within_a_power_of_ten_have_numbers_beside_them() -> None:
    """The usual ticks of a logarithmic axis would be none."""
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    axes.plot([1, 2], [115_000, 812_000])
    axes.set_yscale("log")
    number_rates(axes)
    low, high = axes.get_ylim()
    shown = [tick.get_text() for tick in axes.get_yticklabels() if low <= tick.get_position()[1] <= high]
    assert shown == ["200,000", "500,000"]


class Terminal(io.StringIO):
    """A stream somebody watches."""

    def isatty(self) -> bool:
        """It is a terminal."""
        return True


def test_progress_is_shown_on_a_terminal_only() -> None:
    """A bar, a count and what is being done; nothing at all into a file."""
    watched, file = Terminal(), io.StringIO()
    for stream in (watched, file):
        progress = ProgressBar(4, stream)
        progress.end()
        progress.begin("floor, 1 of 3")
        progress.close()
    assert f"[{'#' * 6}{'.' * 18}] 1/4 floor, 1 of 3" in watched.getvalue()
    assert file.getvalue() == ""


def test_a_table_lines_its_columns_up() -> None:
    """Names to the left, figures to the right."""
    assert list(table([["", "a"], ["long name", "1"], ["b", "1,000"]])) == [
        "                 a",
        "  long name      1",
        "  b          1,000",
    ]
