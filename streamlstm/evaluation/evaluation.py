"""What an evaluation came to: figures by method, the forecasts, a table for people, a picture."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from streamlstm.evaluation.baselines import INSTALL_STATSMODELS, NEEDS_STATSMODELS, has_statsmodels, in_words
from streamlstm.evaluation.breakdown import Breakdown
from streamlstm.evaluation.comparison import Comparison
from streamlstm.evaluation.plot import Plot, draw_test_part
from streamlstm.evaluation.split import training_length
from streamlstm.evaluation.steps_ahead import step_lines
from streamlstm.models import ModelSpec
from streamlstm.tables import Likeness, Series

MODEL = "model"


class Evaluation(Mapping[str, Comparison]):
    """A mapping from methods (`model`, `naive`, `seasonal_naive_12`, …) to what each forecast and what it is worth.

    `found["model"].errors.rmse` is in the values' own unit; `coverage` is a share, `width` in the values' unit.
    """

    def __init__(
        self,
        found: Mapping[str, Comparison],
        *,
        series: tuple[Series, ...],
        spec: ModelSpec,
        test_size: float,
        seasons: Sequence[int],
        level: float,
        notes: tuple[str, ...],
        likeness: Likeness,
    ) -> None:
        self._found, self._series, self._spec, self._likeness = found, series, spec, likeness
        self._seasons, self.level, self.test_size = seasons, level, test_size
        self.notes = notes

    def __getitem__(self, method: str) -> Comparison:
        return self._found[method]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def as_json(self) -> dict[str, dict[str, Any]]:
        """The figures by method and name: rmse, mae, mase, coverage, width, seconds, values_per_second, served_…."""
        return {name: one.as_json() for name, one in self._found.items()}

    @property
    def scores(self) -> Any:
        """The figures as a frame of the kind that was given (columns by name if it was none), a row a method."""
        rows = [{"method": name, **one.as_json()} for name, one in self._found.items()]
        names = dict.fromkeys(name for row in rows for name in row)
        numbers = {
            name: np.array([np.nan if row.get(name) is None else row[name] for row in rows], np.float64)
            for name in names
            if name not in {"method", "ahead"}
        }
        return self._likeness.frame({"method": [row["method"] for row in rows], **numbers})

    @property
    def forecasts(self) -> Any:
        """The model's forecasts of the test part, a row a value, as a frame of the kind that was given.

        Columns: `unique_id`, `ds` (UTC, if the table has times), each number of the value (`y`, or its name), the
        forecast made of it one step before (the model's name for it, `yhat` mostly), `lo` and `hi`.
        """
        ours, spec = self._found[MODEL], self._spec
        parts: dict[str, list[Any]] = {}
        names = ("y",) if len(spec.features) == 1 else spec.features
        for place, one in enumerate(self._series):
            first = training_length(len(one.values), self.test_size)
            parts.setdefault("unique_id", []).append(np.full(len(one.values) - first, one.name, object))
            if one.times_ms is not None:
                parts.setdefault("ds", []).append(one.times_ms[first:].astype("datetime64[ms]"))
            said = ours.forecasts[place][first - 1 :]
            for feature, name in enumerate(names):
                parts.setdefault(name, []).append(one.values[first:, feature])
            for feature, target in enumerate(spec.targets):
                if target is not None:
                    parts.setdefault(spec.outputs[target], []).append(said[:, feature])
            if ours.bounds is not None:
                bound, feature = ours.bounds[place], next(i for i, t in enumerate(spec.targets) if t is not None)
                parts.setdefault("lo", []).append(bound.low[first - 1 :, feature])
                parts.setdefault("hi", []).append(bound.high[first - 1 :, feature])
        columns = {name: np.concatenate(part) for name, part in parts.items()}
        return self._likeness.frame({**columns, "unique_id": columns["unique_id"].tolist()})

    def plot(self) -> Plot:
        """The model's forecasts and intervals against what came, on the test part; raises MissingExtraError."""
        ours, errors = self._found[MODEL], {name: one.errors for name, one in self._found.items()}
        names = self._spec.features
        return draw_test_part(self._series, ours.forecasts, errors, self.test_size, names=names, bounds=ours.bounds)

    @cached_property
    def breakdown(self) -> Breakdown | None:
        """The model's errors series by series and number by number, beside the naive ones; None without any."""
        return Breakdown.of(self._series, self._found[MODEL].forecasts, self.test_size, self._spec.features)

    @property
    def report(self) -> str:
        """The table for people, and what is worth a word."""
        return "\n".join([*self.lines(), *self.notes])

    def __repr__(self) -> str:
        ours = self._found[MODEL].errors
        return f"<Evaluation: {len(self._series)} series, RMSE {ours.rmse:.5g}; methods {', '.join(self._found)}>"

    def __str__(self) -> str:
        return self.report

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.report)}</pre>"

    def lines(self) -> Iterator[str]:
        """The table for people, line by line."""
        many = f"{len(self._series)} series" if len(self._series) > 1 else f"series {self._series[0].name}"
        horizons: dict[int, dict[str, Comparison]] = {}
        for name, one in self._found.items():
            method, _, ahead = name.partition("_ahead_")
            horizons.setdefault(int(ahead or 1), {})[method] = one
        yield from self._table(f"one step ahead, {many}", horizons.pop(1))
        if self.breakdown is not None:
            yield from self.breakdown.lines()
        yield from self._remarks()
        for step, found in horizons.items():
            yield ""
            yield from self._table(f"{step} steps ahead", found)
        steps = {name: one.ahead for name, one in self._found.items() if one.ahead}
        if steps:
            yield ""
            yield from step_lines(steps, self.level)

    def _table(self, head: str, found: Mapping[str, Comparison]) -> Iterator[str]:
        """The figures of forecasts so many steps ahead, a row a method."""
        with_interval = any(one.coverage is not None for one in found.values())
        head = f"{head:<34}{'RMSE':>12}{'MAE':>12}{'MASE':>9}"
        head += f"{f'in {self.level:.0%}':>9}{'width':>12}" if with_interval else ""
        yield head + f"{'values/s':>12}"
        for name, one in found.items():
            mase = "–" if one.errors.mase is None else f"{one.errors.mase:.3f}"
            line = f"{in_words(name):<34}{one.errors.rmse:>12.5g}{one.errors.mae:>12.5g}{mase:>9}"
            if with_interval:
                line += "" if one.coverage is None else f"{one.coverage:>9.1%}{one.width:>12.5g}"
            yield line + f"{one.as_json()['values_per_second']:>12,.0f}"

    def _remarks(self) -> Iterator[str]:
        """What the figures mean beside each other."""
        found = self._found
        others = [one for name, one in found.items() if name != MODEL and "_ahead_" not in name]
        best = min((other.errors.rmse for other in others), default=None)
        if best:
            ours = found[MODEL].errors.rmse
            side = "below" if ours < best else "above"
            yield f"the model's RMSE is {abs(1 - ours / best):.1%} {side} the best of the others"
        served = found[MODEL].served
        if served is not None:
            skill = "" if served.skill is None else f", skill {served.skill:.9g}"
            covered = "" if served.coverage is None else f", {served.coverage:.9g} in the interval"
            yield f"served, these values show error {served.mae:.9g}{skill}{covered}"
        first = found[MODEL].first
        if first is not None:
            yield first.line()
        left_out = [name for name in NEEDS_STATSMODELS if name not in found]
        if left_out:
            extra = "" if has_statsmodels() else f" (they need: {INSTALL_STATSMODELS})"
            yield f"not compared: {' and '.join(left_out)}; --baselines all does{extra}"
        if not self._seasons:
            yield "no season is known; --season N adds the seasonal naive forecast"
