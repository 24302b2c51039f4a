"""Torch's own exporters: a module called as `calling.Stepped` calls it, as an ONNX file."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from streamlstm.models.importers.onnx import Reading
from streamlstm.models.importers.pytorch.calling import Stepped

OPSET = 17


@contextlib.contextmanager
def exporting() -> Iterator[None]:
    """Quiet, and with operators that have a form in ONNX; as before afterwards."""
    fast, level = torch.backends.mha.get_fastpath_enabled(), logging.root.manager.disable
    torch.backends.mha.set_fastpath_enabled(False)
    logging.disable(logging.ERROR)
    # Graphs that cannot be written are printed by torch's compiled part, which nothing public silences.
    says = getattr(torch._C, "_jit_set_onnx_log_enabled", lambda _: None)
    said = getattr(torch._C, "_jit_is_onnx_log_enabled", lambda: True)()
    says(False)
    try:
        # Warnings of tracing say what is baked in, which is found by trying; errors are printed with whole graphs.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        says(said)
        logging.disable(level)
        torch.backends.mha.set_fastpath_enabled(fast)


def exported(
    stepped: Stepped, reading: Reading, names: tuple[list[str], list[str]], *, steps: int, batch: int, newer: bool
) -> bytes:
    """What torch's exporter, or its newer one, writes for an example of so many steps and series."""
    axes = reading.fed[0].axes
    sizes = {"T": steps, "B": batch, "F": reading.width}
    example = [torch.rand(*[math.prod(sizes[one] for one in axis if one != "1") for axis in axes])]
    kept = ("B",) if reading.window else ("B", "T")
    dynamic: dict[str, dict[int, str]] = {
        "x": {at: axis for at, axis in enumerate(axes) if sizes.get(axis, 1) > 1 and axis in kept}
    }
    for carried in reading.carried:
        at = carried.batch_axis
        shape = carried.shape if at is None else (*carried.shape[:at], batch, *carried.shape[at:])
        example.append(torch.zeros(shape))
        dynamic[carried.name] = {} if at is None or batch == 1 else {at: "B"}
    file = io.BytesIO()
    how: dict[str, Any] = {"dynamic_axes": dynamic, "dynamo": False}
    if newer:
        shapes = [dict.fromkeys(found, torch.export.Dim.AUTO) for found in dynamic.values()]
        how = {"dynamic_shapes": (shapes[0], tuple(shapes[1:])), "dynamo": True, "verbose": False}
    torch.onnx.export(
        stepped,
        tuple(example),
        file,  # type: ignore[arg-type]  # any file object, of which its types do not know
        input_names=names[0],
        output_names=names[1],
        opset_version=OPSET + newer,  # the newer one writes 18 and up
        **how,
    )
    return file.getvalue()
