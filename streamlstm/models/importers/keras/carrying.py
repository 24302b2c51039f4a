"""What the daemon carries from value to value, which follows from what the Keras model would have done.

- Stateful layers carry (h, c) from value to value, as `predict` of one step after another does.
- Stateless layers with windows of a fixed length W forget between windows, so the state holds the last W values and
  every step re-runs them: exactly `predict` of the window that ends there. Until W values have come, the window is
  those that have; or, for layers that look across steps, the first value stands for those that have not.
- Stateless layers without a fixed length see everything since the beginning: that is carried, (h, c) again, and the
  values that a causal convolution looks back at. At steps that Masking takes out, states and outputs are held.
- What runs on after a last output, as a decoder does, is run afresh for every value.

Only stateful layers beside stateless ones, and layers that read backwards or look ahead without a window, have no such
meaning and are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from streamlstm import nn
from streamlstm.errors import ModelError
from streamlstm.models.importers.keras.chain import COPY, COPY_WEIGHTS, MISSING
from streamlstm.models.importers.keras.file import KerasFile
from streamlstm.models.importers.keras.layers import ChainPart

# Which Keras does not pass a mask on through, but for GlobalAveragePooling1D, which heeds it and is not known here.
_UNHEEDING = (nn.AcrossSteps, nn.CausalConv1D, nn.RMSNormalization, nn.RunningPooling1D)


def carried(
    file: KerasFile, parts: Sequence[ChainPart], length: int | None, width: int
) -> tuple[nn.RecurrentLayer, str]:
    """The layer to serve for values of `width` numbers in windows of a length, and in words what its state carries.

    Raises ModelError where nothing can be.
    """
    _refuse_unheeded_masks(parts)
    stateful = any(_is_stateful(part.layer) for part in parts)
    if length is not None and not stateful:
        last = "the last value" if length == 1 else f"the last {length} values"
        across = any(isinstance(part.layer, nn.AcrossSteps) for part in parts)
        whole = nn.Stack([part.layer for part in parts], input_size=width)
        return nn.Window(whole, length, whole=across), f"{last} (stateless, fixed windows)"
    once, after = _once_a_value(parts)
    layers = [part.layer for part in once]
    if length == 1:
        layers = [_of_one_step(layer) for layer in layers]
    _refuse_mixed(file, layers, length)
    if after:
        layers.append(_afresh(after))
    how = "the recurrent state (stateless, all values since the beginning)"
    if stateful:
        how = "the recurrent state (stateful)"
        if any(isinstance(layer, nn.CausalConv1D) and layer.behind for layer in layers):
            how += ", and the values that Conv1D looks back at, as one predict() of all values does"
    return nn.Stack(layers, input_size=width), how


def _is_recurrent(layer: nn.RecurrentLayer) -> bool:
    return isinstance(layer, nn.RNN | nn.Bidirectional)


def _is_stateful(layer: nn.RecurrentLayer) -> bool:
    return isinstance(layer, nn.RNN | nn.Bidirectional) and layer.stateful


def _refuse_unheeded_masks(parts: Sequence[ChainPart]) -> None:
    """Raise ModelError where a mask reaches a layer that ends it before a last output does, or a stateful one."""
    masked = False
    for part in parts:
        if isinstance(part.layer, nn.Masking):
            masked = True
        elif masked and isinstance(part.layer, _UNHEEDING):
            raise part.refuse(
                f"the mask of the Masking before it cannot be carried into it; {COPY}, over windows that lack nothing: "
                f"{MISSING}"
            )
        elif masked and _is_stateful(part.layer):
            raise part.refuse(
                f"it is stateful, behind a Masking; build it with stateful=False and Input((None, F)), {COPY_WEIGHTS}, "
                f"or leave the Masking out: {MISSING}"
            )
        elif not part.layer.gives_sequences:
            masked = False


def _once_a_value(parts: Sequence[ChainPart]) -> tuple[Sequence[ChainPart], Sequence[ChainPart]]:
    """What does one thing for every value, and the rest from where a value has several steps, such as a decoder.

    Layers that only say otherwise what is one step are left out. Raises ModelError for what has no such meaning.
    """
    once: list[ChainPart] = []
    for number, part in enumerate(parts):
        rest = parts[number:]
        if isinstance(part.layer, nn.AcrossSteps):
            made = part.layer.made_shape
            if len(part.shape) > 1 and part.shape[0] != 1:
                raise part.refuse(
                    f"it looks at windows of {part.shape[0]} steps, beside a stateful layer, which is served value by "
                    f"value; build the model with stateful=False, {COPY_WEIGHTS}"
                )
            forgets = any(_is_recurrent(one.layer) and not _is_stateful(one.layer) for one in rest)
            if (len(made) > 1 and made[0] > 1) or (len(part.shape) == 1 and forgets):
                if found := next((one for one in rest if _is_stateful(one.layer)), None):
                    raise found.refuse(
                        f"it is stateful, over steps that are not those of the values; build the model with "
                        f"stateful=False, {COPY_WEIGHTS}"
                    )
                return once, rest
            if part.layer.is_identity:
                continue
        once.append(part)
    return once, []


def _of_one_step(layer: nn.RecurrentLayer) -> nn.RecurrentLayer:
    """A layer of a model whose batches have one step: what is not stateful begins afresh with each."""
    if isinstance(layer, nn.AcrossSteps):
        return nn.Afresh(layer)
    return nn.Window(layer, 1) if _is_recurrent(layer) and not _is_stateful(layer) else layer


def _afresh(parts: Sequence[ChainPart]) -> nn.RecurrentLayer:
    """What runs over several steps for every value, from the beginning each time."""
    shape = parts[0].shape
    layers = [part.layer for part in parts]
    if len(shape) == 1:
        layers.insert(0, nn.Reshape((1, shape[0]), shape))
    return nn.Afresh(nn.Stack(layers, input_size=shape[-1]))


def _refuse_mixed(file: KerasFile, layers: Sequence[nn.RecurrentLayer], length: int | None) -> None:
    """Raise ModelError where layers that step value by value do not all remember, or read backwards."""
    recurrent = [layer for layer in layers if isinstance(layer, nn.RNN | nn.Bidirectional)]
    stateful = [layer.stateful for layer in recurrent]
    backwards = any(isinstance(layer, nn.Bidirectional) or layer.go_backwards for layer in recurrent)
    if any(stateful) and not all(stateful):
        raise ModelError(
            f"{file.path}: some recurrent layers are stateful and others not; make them all one or the other"
        )
    if backwards and any(stateful) and length not in (None, 1):
        raise ModelError(
            f"{file.path}: a stateful layer reads each batch of {length} steps from its newest value, which cannot "
            "be done value by value; save the model with one time step a batch, or with stateful=False"
        )
    if backwards and not any(stateful):
        raise ModelError(
            f"{file.path}: a layer reads windows backwards, but the model does not say how long they are; save it with "
            "a fixed number of time steps, Input((W, F))"
        )
