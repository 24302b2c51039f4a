"""`streamlstm.export`: a module of PyTorch as a step model, without a graph written by hand.

The module is called in every layout that its input may have until one carries its state as a step model does
(`importers.onnx.try_ways`); torch's exporter writes it for any number of series and steps, or for one where its own
loop over time would be unrolled; and `importers.onnx` makes a step model of that. The result is held against the
module itself.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from streamlstm.common import options_are_arguments, taken, write_whole
from streamlstm.errors import ModelError, StreamlstmError, UsageError
from streamlstm.models import Model
from streamlstm.models.importers.onnx import (
    Imported,
    Options,
    Reading,
    TensorRoles,
    Wanted,
    check_against,
    convert,
    described,
    source_of,
    try_ways,
    ways,
)
from streamlstm.models.importers.pytorch.calling import Stepped, check_repeats, find_call, runner, said_of
from streamlstm.models.importers.pytorch.copying import own_copy
from streamlstm.models.importers.pytorch.options import KINDS, CheckedOptions, ModuleOptions
from streamlstm.models.importers.pytorch.own_layers import Scanned, build
from streamlstm.models.importers.pytorch.tracing import exported, exporting
from streamlstm.nn import RecurrentLayer


@dataclass(frozen=True)
class _Read:
    """A module, how it is called and how it is read."""

    stepped: Stepped
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
    state: Any = None,
    **options: Unpack[ModuleOptions],
) -> Model:
    """Write a module as a step model, and return it loaded.

    The module is `forward(x, *state) -> (y, *next_state)`, states perhaps nested (tuples, lists, dicts) as those of
    `torch.nn.LSTM`, y perhaps several tensors, whose numbers are columns; or with `window` W `forward(window) -> y`. A
    layer of `streamlstm.nn` carries the state of its `scan`. x has float32 values in any layout (T steps, B series, F
    numbers: `BTF`, `TBF`, `BF`, …), which is found out unless `layout` says it. `features` are the numbers of a value,
    how many or their names; `outputs` name the columns of a forecast. `state` is the state of one series before its
    first value; without it, that is what the module begins with if it is called without, else zeros of shapes that are
    found out. For `options` see `ModuleOptions`.

    Raises ModelError if the module cannot be served, or its step model differs from it by more than 1e-5 of its
    forecasts or in bits; UsageError for options that do not fit.
    """
    with options_are_arguments():
        asked = CheckedOptions.of(features, outputs, window, layout, state, taken("export", KINDS, options))
        build(module, asked.width)
        with torch.no_grad(), exporting():
            data = _made(own_copy(module), asked)
    write_whole(Path(path), data)
    return Model(data)


def _made(own: nn.Module, asked: CheckedOptions) -> bytes:
    """The step model of a module."""
    if asked.window is None and isinstance(own, RecurrentLayer):
        own, asked = Scanned(own), dataclasses.replace(asked, layout="TBF")
    read = _read(own, asked)
    width, given = asked.width, read.reading.given
    said = Options(
        x=["x"],
        y=read.names[1][: len(given)],
        states=dict(zip(read.names[0][1:], read.names[1][len(given) :], strict=True)),
        layout="".join(read.reading.fed[0].axes),
        y_layout=_y_layout(read.reading),
        window=asked.window,
        newest_first=asked.newest_first,
        initial={one.name: one.initial for one in read.reading.carried},
        features=asked.names or (None if width == 1 else [f"x{number}" for number in range(1, width + 1)]),
        outputs=asked.outputs,
        **asked.others,
    )
    made = _written(read, said)
    check_against(runner(read.stepped, *read.names), read.reading, Model(made.data), made.scaling)
    return made.data


def _read(own: nn.Module, asked: CheckedOptions) -> _Read:
    """Call the module in every layout, and take the one that holds best."""
    found: list[_Read] = []
    failed: list[str] = []
    known = asked.layouts
    for rank in dict.fromkeys([len(asked.layout)] if asked.layout else known.values()):
        for x in _examples(rank, asked):
            stepped = _stepped(own, x, asked, failed)
            tries = [] if stepped is None else _tries(stepped, x, asked, failed)
            found += tries
            if tries:
                break
    found.sort(key=lambda read: -(2 * read.reading.batches + read.reading.over_time))
    if not found:
        told = {one.partition(": ")[2] or one: one for one in reversed(failed)}  # each once, the first of its kind
        why = "; ".join([*told.values()][::-1][:2]) or "with x of one series and one step"
        raise ModelError(
            f"the module cannot be called in any layout ({why}); forward is to be (x, *state) -> (y, *next_state), or "
            "window -> y with window=W, x all numbers of a value side by side (features=F); layout= and state= say "
            "what x and the first state are like"
        )
    best = found[0]
    if asked.window and not best.reading.batches and not asked.layout and failed:
        raise ModelError(
            f"the module takes windows of {asked.window} values of one series only, and none of several ({failed[0]}); "
            "if that is how it is meant, say layout=, else window= as the module was made for"
        )
    return best


def _stepped(own: nn.Module, x: Tensor, asked: CheckedOptions, failed: list[str]) -> Stepped | None:
    """The module as it is called with such values; None if it is not."""
    if asked.window is None:
        if isinstance(own, Scanned):
            return Stepped(own, [own.initial()], carries=True)
        stepped = find_call(own, x, asked.state, failed)
    else:
        stepped = Stepped(own, [], carries=False)
        try:
            stepped(x)
        except Exception as error:  # noqa: BLE001  (whatever somebody's module raises)
            failed.append(said_of(error, x))
            return None
    if stepped is not None:
        check_repeats(lambda: stepped(x, *stepped.states()), x)
    return stepped


def _examples(rank: int, asked: CheckedOptions) -> Iterator[Tensor]:
    """Values of one series and one step, or window, with so many axes."""
    sizes = {"T": asked.window or 1, "B": 1, "F": asked.width}
    known = [asked.layout.upper()] if asked.layout else list(asked.layouts)
    shapes = [tuple(sizes.get(one, 1) for one in letters) for letters in known if len(letters) == rank]
    for shape in dict.fromkeys(shapes):
        yield torch.rand(shape)


def _tries(stepped: Stepped, x: Tensor, asked: CheckedOptions, failed: list[str]) -> list[_Read]:
    states = stepped.states()
    answers = len(stepped(x, *states)) - len(states)
    ins = ["x", *(f"state{n}" for n in range(len(states)))]
    outs = ["y", *(f"y{n}" for n in range(2, answers + 1)), *(f"next{n}" for n in range(len(states)))]
    source = described(
        [("x", (None,) * x.ndim), *((name, tuple(one.shape)) for name, one in zip(ins[1:], states, strict=True))]
    )
    wanted = Wanted(
        layout=asked.layout,
        window=asked.window,
        newest_first=asked.newest_first,
        initial={name: _initial(one) for name, one in zip(ins[1:], states, strict=True)},
        width=asked.width,
        y_layout=asked.y_layout,
    )
    roles = TensorRoles(["x"], dict(zip(ins[1:], outs[answers:], strict=True)), outs[:answers])
    try:
        possible = ways(source, roles, wanted)
    except UsageError as error:
        failed.append(str(error))
        return []
    tries = try_ways(runner(stepped, ins, outs), possible, roles.answers)
    failed += tries.failed
    return [_Read(stepped, reading, (ins, outs)) for reading in tries.found]


def _initial(state: Tensor) -> float | tuple[float, ...]:
    """One number where all are the same, as in a state of zeros."""
    numbers = tuple(state.detach().float().reshape(-1).tolist())
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _y_layout(reading: Reading) -> str | None:
    """The axes of the answers to a window, as the module gives them."""
    if reading.window is None or not any("T" in one.axes for one in reading.given):
        return None
    return "".join(next(one.axes for one in reading.given if "T" in one.axes))


def _written(read: _Read, said: Options) -> Imported:
    """The step model, of the widest example that can be exported and holds."""
    module, failed = read.stepped.module, list[str]()
    if isinstance(module, Scanned):
        begins = {"state": read.reading.carried[0].initial}
        said = dataclasses.replace(said, states={"state": "next_state"}, initial=begins)
        return convert(source_of(module.written(), "the layer"), said)
    counts = (read.reading.window,) if read.reading.window else (3, 1) if read.reading.over_time else (1,)
    # Torch's newer exporter needs the package onnxscript and some seconds more; it knows what the other lacks.
    kinds = (False, True) if importlib.util.find_spec("onnxscript") else (False,)
    for newer, count, batch in itertools.product(kinds, counts, (2, 1) if read.reading.batches else (1,)):
        try:
            data = exported(read.stepped, read.reading, read.names, steps=count, batch=batch, newer=newer)
            return convert(source_of(data, "the module"), said)
        except UsageError:
            raise
        except StreamlstmError as error:
            failed.append(str(error))
        except Exception as error:  # noqa: BLE001  (torch's exporter raises anything)
            failed.append(f"torch cannot export it: {error}".splitlines()[0][:300])
    raise ModelError(f"the module cannot be written as a step model: {failed[0]}")
