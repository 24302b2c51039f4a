"""What a stored record says, as a dictionary."""

from __future__ import annotations

import json
import math
from typing import Any

from streamlstm.client.times import entry_time
from streamlstm.errors import RecordError
from streamlstm.models import ModelSpec, join
from streamlstm.store import Meta, finite
from streamlstm.store.record import LEAST_SEEN, RecordFormat
from streamlstm.store.snapshots import layout_of

Facts = dict[str, Any]
Served = tuple[ModelSpec, str]  # a model's spec and its fingerprint


def facts(name: bytes, record: bytes, meta: Meta, model: Served | None = None) -> Facts:
    """All that a record says, the parts of its state too if the model is known; `damaged` if it cannot be read."""
    found: Facts = {"series": name.decode("utf-8", "surrogateescape")}
    try:
        layout = layout_of(record, columns=meta.columns, model=meta.model or "00" * 32)
        if model is not None:
            layout = _layout_of_model(model)
        row = layout.decode_one(record)[None]
    except RecordError as error:
        return found | {"damaged": str(error), "bytes": len(record)}
    head = layout.header(row)[0]
    found |= {
        "time": entry_time(str(int(head["time_ms"])).encode()),
        "steps": int(head["steps"]),
        **_errors(head),
        "coverage": _coverage(layout.calibration(row)[0]) if layout.calibration_at else None,
        "last_value": _numbers(layout.last_value(row)[0], exact=layout.exact),
        "last_prediction": dict(
            zip(meta.columns.split(","), _numbers(layout.last_output(row)[0], exact=layout.exact), strict=False)
        ),
        "bytes": len(record),
    }
    if model is not None:
        found["state"] = _parts(model[0], layout.numbers(row)[0])
    else:
        found["state_size"] = layout.state_size  # in words of four bytes: what is in them, only the model says
    return found


def _errors(head: Any) -> Facts:
    """What the values that came say of the predictions before them; skill above 0 is better than naive."""
    scored = int(head["scored"])
    if not scored:
        return {"scored": 0} | dict.fromkeys(("mae", "rmse", "naive_mae", "naive_rmse", "scaled_error", "skill"))
    absolute, naive = float(head["absolute_error"]), float(head["naive_absolute_error"])
    scaled = _ratio(absolute, naive)
    return {
        "scored": scored,
        "mae": absolute / scored,
        "rmse": math.sqrt(float(head["squared_error"]) / scored),
        "naive_mae": naive / scored,
        "naive_rmse": math.sqrt(float(head["naive_squared_error"]) / scored),
        "scaled_error": scaled,
        "skill": None if scaled is None else 1 - scaled,
    }


def _ratio(error: float, other: float) -> float | None:
    """None where it is no number: JSON has none without end."""
    return finite(error / other) if other else None


def _coverage(kept: Any) -> float | None:
    """The share of values inside the interval that was given for them; None before the first."""
    given = float(kept["seen"]) - LEAST_SEEN
    return float(kept["covered"]) / given if given > 0 else None


def _layout_of_model(model: Served) -> RecordFormat:
    import numpy as np

    spec, fingerprint = model
    return RecordFormat.of(spec, initial_state=np.zeros(spec.state_size, np.float32), fingerprint=fingerprint)


def _parts(spec: ModelSpec, state: Any) -> Facts:
    """The state's tensors by name, as nested lists."""
    parts, first = {}, 0
    for entry in spec.state:
        parts[entry.name] = json.loads(_array(state[first : first + entry.size].reshape(entry.shape)))
        first += entry.size
    return parts


def _array(values: Any) -> str:
    import orjson

    return orjson.dumps(values[()], option=orjson.OPT_SERIALIZE_NUMPY).decode()  # it takes no array without axes


def _numbers(values: Any, *, exact: bool) -> list[float]:
    """Float32 as the shortest decimal numbers that parse back to them; of pairs, the digits that 48 bits hold."""
    if exact:
        return [float(f"{number:.15g}") for number in join(values).tolist()]
    numbers: list[float] = json.loads(_array(values.copy()))
    return numbers
