"""`streamlstm.export`: a module of PyTorch as a step model, without a graph written by hand.

The module is called in every layout that its input may have until one carries its state as a step model does
(`importers.onnx.try_ways`); torch's exporter writes it for any number of series and steps, or for one where its own
loop over time would be unrolled; and `importers.onnx` makes a step model of that. The result is held against the
module itself.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamlstm.common import write_whole
from streamlstm.errors import ModelError, StreamlstmError, UsageError
from streamlstm.models import Model
from streamlstm.models.importers.onnx import (
    Imported,
    Options,
    Reading,
    Roles,
    Wanted,
    check_against,
    convert,
    described,
    source_of,
    try_ways,
    ways,
)
from streamlstm.models.importers.pytorch.calling import Stepped, find_call, runner

OPSET = 17
_SHAPES = {"BTF": 3, "TBF": 3, "BF": 2, "BT": 2, "TB": 2}
_WINDOWED = {"BTF": 3, "BFT": 3, "TBF": 3, "BT": 2}


@dataclass(frozen=True)
class _Read:
    """A module, how it is called and how it is read."""

    stepped: Stepped
    states: tuple[tuple[int, ...], ...]  # their shapes for one series
    reading: Reading
    names: tuple[list[str], list[str]]


def export(
    module: nn.Module,
    path: str | Path,
    *,
    features: int | Sequence[str] = 1,
    outputs: Sequence[str] | None = None,
    window: int | None = None,
    layout: str | None = None,
    state: Sequence[Tensor] | Tensor | None = None,
    **options: Any,
) -> Model:
    """Write a module as a step model, and return it loaded.

    The module is `forward(x, *state) -> (y, *next_state)`, states perhaps nested as those of `torch.nn.LSTM`, or with
    `window` W `forward(window) -> y`. x has float32 values in any layout (T steps, B series, F numbers: `BTF`, `TBF`,
    `BF`, …), which is found out unless `layout` says it. `features` are the numbers of a value, how many or their
    names; `outputs` name the columns of a forecast. `state` is the state of one series before its first value, for
    its shapes; it begins with zeros. `options` are those of `import-onnx`: `scale`, `standardize`, `targets`.

    Raises ModelError if the module cannot be served, or its step model differs from it by more than 1e-5 of its
    forecasts or in bits; UsageError for options that do not fit.
    """
    names = None if isinstance(features, int) else list(features)
    width = features if isinstance(features, int) else len(features)
    own = copy.deepcopy(module).cpu().float().eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: what is baked in is found by trying
        read = _read(own, width, window, layout, state)
        said = Options(
            x=["x"],
            y=["y"],
            states=dict(zip(read.names[0][1:], read.names[1][1:], strict=True)),
            layout="".join(read.reading.fed[0].axes),
            window=window,
            features=names or (None if width == 1 else [f"x{number}" for number in range(1, width + 1)]),
            outputs=outputs,
            **options,
        )
        made = _written(read, said)
        model = Model(made.data)
        check_against(runner(read.stepped, *read.names), read.reading, model, made.scaling)
    write_whole(Path(path), made.data)
    return model


def _read(own: nn.Module, width: int, window: int | None, layout: str | None, state: Any) -> _Read:
    """Call the module in every layout, and take the one that holds best."""
    found: list[_Read] = []
    failed: list[str] = []
    known = _SHAPES if window is None else _WINDOWED
    for rank in dict.fromkeys([len(layout)] if layout else known.values()):
        for x in _examples(rank, width, window, layout):
            stepped = Stepped(own, [], carries=False) if window else find_call(own, x, state)
            if stepped is None:
                continue
            tries = _tries(stepped, x, width, window, layout, failed)
            found += tries
            if tries:
                break
    found.sort(key=lambda read: -(2 * read.reading.batches + read.reading.over_time))
    if not found:
        raise ModelError(
            "the module cannot be called in any layout "
            f"({failed[0] if failed else 'with x of one series and one step'}); forward is to be (x, *state) -> (y, "
            "*next_state), or window -> y with window=W; layout= and state= say what x and the first state are like"
        )
    return found[0]


def _examples(rank: int, width: int, window: int | None, layout: str | None) -> Iterator[Tensor]:
    """Values of one series and one step, or window, with so many axes."""
    sizes = {"T": window or 1, "B": 1, "F": width}
    known = [layout.upper()] if layout else list(_SHAPES if window is None else _WINDOWED)
    shapes = [tuple(sizes.get(one, 1) for one in letters) for letters in known if len(letters) == rank]
    for shape in dict.fromkeys(shapes):
        yield torch.rand(shape)


def _tries(
    stepped: Stepped, x: Tensor, width: int, window: int | None, layout: str | None, failed: list[str]
) -> list[_Read]:
    states = stepped.zeros()
    ins, outs = (["x", *(f"state{n}" for n in range(len(states)))], ["y", *(f"next{n}" for n in range(len(states)))])
    sizes = [tuple(state.shape) for state in states]
    source = described([("x", (None,) * x.ndim), *zip(ins[1:], sizes, strict=True)])
    roles = Roles(["x"], dict(zip(ins[1:], outs[1:], strict=True)), ["y"])
    try:
        possible = ways(source, roles, Wanted(layout=layout, window=window, width=width))
    except UsageError as error:
        failed.append(str(error))
        return []
    tries = try_ways(runner(stepped, ins, outs), possible, ["y"])
    failed += tries.failed
    return [_Read(stepped, tuple(sizes), reading, (ins, outs)) for reading in tries.found]


def _written(read: _Read, said: Options) -> Imported:
    """The step model, of the widest example that can be exported and holds."""
    failed: list[str] = []
    steps = (3, 1) if read.reading.over_time else (1,)
    for count in (read.reading.window,) if read.reading.window else steps:
        for batch in (2, 1) if read.reading.batches else (1,):
            try:
                return convert(source_of(_exported(read, count, batch), "the module"), said)
            except StreamlstmError as error:
                failed.append(str(error))
            except Exception as error:  # noqa: BLE001  (torch's exporter raises anything)
                failed.append(f"torch cannot export it: {error}".splitlines()[0][:300])
    raise ModelError(f"the module cannot be written as a step model: {failed[0]}")


def _exported(read: _Read, steps: int, batch: int) -> bytes:
    """What torch's exporter writes for an example of so many steps and series."""
    axes = read.reading.fed[0].axes
    sizes = {"T": steps, "B": batch, "F": read.reading.width}
    example = [torch.rand(*[_size(axis, sizes) for axis in axes])]
    dynamic: dict[str, dict[int, str]] = {
        "x": {at: axis for at, axis in enumerate(axes) if sizes.get(axis, 1) > 1 and axis in ("B", "T")}
    }
    if read.reading.window:
        dynamic["x"] = {at: axis for at, axis in dynamic["x"].items() if axis == "B"}
    for carried in read.reading.carried:
        at = carried.batch_axis
        shape = carried.shape if at is None else (*carried.shape[:at], batch, *carried.shape[at:])
        example.append(torch.zeros(shape))
        dynamic[carried.name] = {} if at is None or batch == 1 else {at: "B"}
    file = io.BytesIO()
    torch.onnx.export(
        read.stepped,
        tuple(example),
        file,  # type: ignore[arg-type]  # any file object, of which its types do not know
        input_names=read.names[0],
        output_names=read.names[1],
        dynamic_axes=dynamic,
        opset_version=OPSET,
        dynamo=False,
    )
    return file.getvalue()


def _size(axis: str, sizes: Mapping[str, int]) -> int:
    size = 1
    for letter in axis.replace("1", ""):
        size *= sizes[letter]
    return size
