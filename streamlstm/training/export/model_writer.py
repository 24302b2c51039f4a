"""Export: a forecaster as the bytes of a step model, checked against torch on the spot."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlstm.errors import ModelError
from streamlstm.models import Model, ModelSpec, check_bits, join, split, step_by_step
from streamlstm.models.graph import Graph
from streamlstm.nn import OnnxOperations, Value

# torch and onnxruntime round differently; a forecast may differ by this share of itself, of the value it was made after
# or of the median absolute forecast of the sequence checked, whichever is largest. A number of the state may differ by
# ten times that share of itself or of one: among them are errors of forecasts that are nearly right, which cancel.
TOLERANCE = 1e-5
STATE_TOLERANCE = 1e-4
# Cells that have learnt for long may carry on, and enlarge, what was rounded hundreds of steps ago. Where forecasts
# drift apart by no more than this, it is one step after the same state that has to agree so closely.
MOST_DRIFT = 1e-3
CHECK_SERIES = 7
EXACT_LEVEL = 1e8  # mean changes: where exact models are checked
FLAT = 1e-4  # what series move that hardly do: the order of a sum shows in its bits where its terms are far apart
CHECK_STEPS_AFTER_HISTORY = 40  # the check runs on until every branch of the graph has been taken


class Exportable(Protocol):
    """What can be exported: `streamlstm.training.forecaster.Forecaster` and `WindowForecaster` can."""

    scaling: Any
    config: Any

    @property
    def history(self) -> int:
        """How many values it takes until every branch of the graph is in use."""

    def eval(self) -> Any:
        """Turn dropout off."""

    def initial_state(self, batch: int) -> Tensor:
        """The packed state of series without history, (batch, D)."""

    def __call__(self, x: Value, state: Value, time: Value | None = None) -> Any:
        """Step through raw x (T, B, F) at `time` (T, B): forecasts (T, B, O) and the state after the last step.

        Tensors of torch, or symbols of a graph, and then the nodes are added that do the same.
        """

    def spec(self, training: dict[str, Any] | None = None) -> ModelSpec:
        """The metadata."""


def export_model(forecaster: Exportable, *, training: dict[str, Any] | None = None) -> bytes:
    """Write the step model: the bytes of one file, deterministic for equal weights and facts.

    Raises ModelError if the graph does not do what the forecaster does (see `check_export`).
    """
    model_bytes = write_model(forecaster, training)
    check_export(forecaster, model_bytes)
    return model_bytes


def write_model(forecaster: Exportable, training: dict[str, Any] | None = None) -> bytes:
    """As `export_model`, unchecked."""
    side, spec = OnnxOperations(Graph()), forecaster.eval().spec(training)
    x, state, time = side.symbol("x"), side.symbol("state"), side.symbol("time", torch.int64)
    with torch.no_grad():
        y, after = forecaster(x, state, time) if spec.uses_time else forecaster(x, state)
    model = side.graph.model(spec, y.name, after.name)
    model_bytes: bytes = model.SerializeToString(deterministic=True)
    return model_bytes


def check_export(
    forecaster: Exportable,
    model_bytes: bytes,
    x: NDArray[np.floating[Any]] | None = None,
    time: NDArray[np.int64] | None = None,
) -> float:
    """Hold a step model against the forecaster it was made from, on x (T, B, F) at `time` (T, B), or on made-up ones.

    Three checks, each a ModelError where it fails: forecasts and state of torch over the whole sequence equal
    stepping through onnxruntime to `TOLERANCE` (relative, see there); T steps in one call equal T calls bit for bit,
    cut in several places; a row has the same bits alone as among others, on series that hardly move
    too. Returns the largest relative difference.
    """
    model = Model(model_bytes, source="the exported model")
    x = model.as_fed(_made_up_series(forecaster, model.spec.exact) if x is None else x)
    steps, batch = x.shape[:2]
    if not model.spec.uses_time:
        time = None
    elif time is None:
        time = _made_up_times(steps, batch)
    forecaster.eval()
    with torch.no_grad():
        known = (torch.from_numpy(split(x) if model.spec.exact else x), forecaster.initial_state(batch))
        given, wanted_state = forecaster(*known) if time is None else forecaster(*known, torch.from_numpy(time))
    wanted = join(given.numpy()) if model.spec.exact else given.numpy()
    stepped, state = step_by_step(model, x, time)
    level = x[:1].mean() if model.spec.exact else 0.0  # what an exact model is held to is what lies above it
    size = np.maximum(_sizes(x - level), np.median(np.abs(wanted - level)))
    apart = _relative(stepped - level, wanted - level, size)
    worst = max(apart, _relative(state, wanted_state.numpy(), 1.0) * TOLERANCE / STATE_TOLERANCE)
    if worst > TOLERANCE and apart <= MOST_DRIFT:
        worst = _apart_after_a_step(forecaster, model, x, time, level)
    if not worst <= TOLERANCE:  # written so that NaN fails
        raise ModelError(
            f"the exported model differs from the trained one by {worst:.1e} of a typical forecast, "
            f"more than {TOLERANCE:.0e}; the export of one of its layers is broken"
        )
    check_bits(model, x, time)
    check_bits(model, x[:1] * (1 + FLAT * (x / np.abs(x).max(axis=0, initial=1e-30))), time)
    return worst


@torch.no_grad()
def _apart_after_a_step(
    forecaster: Exportable,
    model: Model,
    x: NDArray[np.floating[Any]],
    time: NDArray[np.int64] | None,
    level: NDArray[np.floating[Any]] | float,
) -> float:
    """As `worst` in `check_export`, but of one step after the same state, the largest over all steps of x (T, B, F)."""
    state, forecasts, wanted, worst = model.initial_state(x.shape[1]), [], [], 0.0
    for step, values in enumerate(x):
        known = (torch.from_numpy(split(x[step : step + 1]) if model.spec.exact else x[step : step + 1]),)
        times = () if time is None else (torch.from_numpy(time[step : step + 1]),)
        given, after = forecaster(*known, torch.from_numpy(state), *times)
        y, state = model.step(values, state, None if time is None else time[step])
        worst = max(worst, _relative(state, after.numpy(), 1.0) * TOLERANCE / STATE_TOLERANCE)
        wanted.append(join(given.numpy())[0] if model.spec.exact else given.numpy()[0])
        forecasts.append(y)
    torchs, ours = np.stack(wanted), np.stack(forecasts)
    size = np.maximum(_sizes(x - level), np.median(np.abs(torchs - level)))
    return max(worst, _relative(ours - level, torchs - level, size))


def _sizes(x: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The size of each value (T, B, F), as (T, B, 1): of a zero the usual one of its series, which it is rounded from.

    Counts are most often zero, and so are a median of theirs and what is forecast of them.
    """
    sizes: NDArray[np.floating[Any]] = np.abs(x).max(axis=2, keepdims=True)
    for column in np.moveaxis(sizes, 1, 0):
        column[column == 0] = np.median(column[column > 0]) if column.any() else 0
    return sizes


def _relative(
    found: NDArray[np.floating[Any]], wanted: NDArray[np.floating[Any]], size: NDArray[np.floating[Any]] | float
) -> float:
    """Largest |found - wanted| as a share of |wanted| or of `size`, whichever is larger."""
    share = np.abs(found.astype(np.float64) - wanted) / np.maximum(np.abs(wanted), np.maximum(size, 1e-30))
    return float(share.max(initial=0.0))


def _made_up_times(steps: int, batch: int) -> NDArray[np.int64]:
    """Make times with gaps of a second to a month, before 1970 and after, (T, B) in ms."""
    random = np.random.default_rng(0)
    gaps = np.exp(random.uniform(np.log(1e3), np.log(3e9), (steps, batch))).astype(np.int64)
    return random.integers(-(10**12), 2 * 10**12, batch) + np.cumsum(gaps, axis=0)


def _made_up_series(forecaster: Exportable, exact: bool) -> NDArray[np.floating[Any]]:
    """Make walks with a few outliers in the units the forecaster was fitted on, longer than its history: (T, B, F).

    Where numbers are `exact`, they lie around levels that float32 cannot hold them at.
    """
    random = np.random.default_rng(0)
    steps, features = forecaster.history + CHECK_STEPS_AFTER_HISTORY, len(forecaster.config.features)
    z = 0.3 * random.standard_normal((steps, CHECK_SERIES, features))
    z = z + np.cumsum(0.02 * z, axis=0)
    z[random.random(z.shape) < 0.01] *= 10
    with torch.no_grad():
        raw: NDArray[np.float32] = forecaster.scaling.inverse(torch.from_numpy(z.astype(np.float32))).numpy()
    if not exact:
        return raw
    level = EXACT_LEVEL * float(np.abs(np.diff(raw, axis=0)).mean())
    return np.asarray(raw + level * np.arange(1, CHECK_SERIES + 1)[:, None])
