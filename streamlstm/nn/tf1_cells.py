"""The cells of TensorFlow 1's `tf.nn.rnn_cell`, with the numbers of its `rnn_cell_impl.py`.

TensorFlow keeps one kernel for [x; h]; here it is held as `kernel` and `recurrent_kernel`, gates ordered as Keras does
(i, f, c, o for its i, j, f, o; z, r for its r, u), but drawn as the one matrix. `load` takes TensorFlow's variables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Generator, Tensor

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.activation_function import ActivationFunction
from streamlstm.nn.activations import activation
from streamlstm.nn.cell import Cell, Masks, checked_units
from streamlstm.nn.cells import GRUCell as KerasGRUCell
from streamlstm.nn.cells import SimpleRNNCell, gate_sums
from streamlstm.nn.initializers import Initializer, InitializerSpec, initializer
from streamlstm.nn.operations import State, Value, of
from streamlstm.nn.recurrence import Recurrence
from streamlstm.nn.weights import jsonable


class LSTMStateTuple(NamedTuple):
    """An LSTM's state as TensorFlow orders it."""

    c: Any
    h: Any


_INITIALIZER = "glorot_uniform"  # what tf.get_variable draws from where nothing is given


def _activation(given: str | ActivationFunction | None) -> ActivationFunction:
    """Find an activation; None is tanh in TensorFlow's cells, where it is linear in Keras."""
    return activation("tanh" if given is None else given)


class TF1Cell(Cell):
    """A cell whose caller holds its one state tensor bare, as TensorFlow does."""

    def pack(self, state: Sequence[Any]) -> Any:
        """Give the tensor itself."""
        return state[0]

    def unpack(self, state: Any) -> State:
        """Undo `pack`."""
        return (state,)

    def config(self) -> dict[str, Any]:
        """Give the constructor's arguments; TensorFlow's classes are called `tf1.…`."""
        return {"class": f"tf1.{type(self).__name__}", **jsonable(self.settings)}


def _rows(matrix: Tensor, rows: slice) -> Initializer:
    """Build an initialiser that gives rows of a matrix already drawn."""

    def draw(shape: tuple[int, ...], generator: Generator | None) -> Tensor:
        del generator
        part = matrix[rows].clone()
        assert part.shape == shape
        return part

    return draw


def _reordered(matrix: ArrayLike, order: Sequence[int], blocks: int) -> Tensor:
    parts = np.split(np.asarray(matrix, dtype=np.float32), blocks, axis=-1)
    return torch.from_numpy(np.concatenate([parts[gate] for gate in order], axis=-1))


@torch.no_grad()
def _assign(cell: Cell, name: str, value: Tensor) -> None:
    parameter = cell.get_parameter(name)
    if parameter.shape != value.shape:
        raise UsageError(f"{type(cell).__name__}: {name} must be {tuple(parameter.shape)}, not {tuple(value.shape)}")
    parameter.copy_(value)


class LSTMCell(TF1Cell):
    """TensorFlow's LSTMCell: peepholes, a clipped cell, a projected and clipped output.

    `c' = σ(f + forget_bias + w_f c) c + σ(i + w_i c) act(j)`, clipped to ±cell_clip and carried so;
    `m = σ(o + w_o c') act(c')`, times the projection (u, num_proj) if there is one, clipped to ±proj_clip.
    `state_is_tuple=False` holds the state as one tensor [c, h].
    """

    def __init__(
        self,
        num_units: int,
        *,
        use_peepholes: bool = False,
        cell_clip: float | None = None,
        initializer: InitializerSpec | None = None,
        num_proj: int | None = None,
        proj_clip: float | None = None,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: str | ActivationFunction | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        self.settings = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        self.num_units = checked_units("LSTMCell", num_units)
        self.output_size = num_units if num_proj is None else checked_units("LSTMCell (num_proj)", num_proj)
        self._configure(activation, forget_bias, state_is_tuple)
        self.peepholes, self.cell_clip, self.proj_clip = use_peepholes, cell_clip, proj_clip
        self.projected, self.initial = num_proj is not None, initializer or _INITIALIZER
        for name, bound in (("cell_clip", cell_clip), ("proj_clip", proj_clip)):
            if bound is not None and not bound > 0:
                raise UsageError(f"LSTMCell: {name} must be positive, not {bound}")

    def _configure(self, function: str | ActivationFunction | None, forget_bias: float, state_is_tuple: bool) -> None:
        self.activation = _activation(function)
        self.forget_bias, self.state_is_tuple = forget_bias, state_is_tuple

    def make(self, input_size: int) -> None:
        """Make the kernels, drawn as one, the bias, the peepholes and the projection."""
        u, out, draw = self.num_units, self.output_size, initializer(self.initial)
        joint = draw((input_size + out, 4 * u), self.generator)
        self.add_weight("kernel", (input_size, 4 * u), _rows(joint, slice(input_size)))
        self.add_weight("recurrent_kernel", (out, 4 * u), _rows(joint, slice(input_size, None)))
        self.add_weight("bias", (4 * u,), "zeros")
        for name in ("w_f_diag", "w_i_diag", "w_o_diag"):
            if self.peepholes:
                self.add_weight(name, (u,), self.initial)
        if self.projected:
            self.add_weight("projection", (u, out), self.initial)

    def load(
        self,
        kernel: ArrayLike,
        bias: ArrayLike,
        *,
        w_f_diag: ArrayLike | None = None,
        w_i_diag: ArrayLike | None = None,
        w_o_diag: ArrayLike | None = None,
        projection: ArrayLike | None = None,
    ) -> None:
        """Take the variables of a TensorFlow checkpoint: kernel (F + out, 4u) and bias (4u), gates i, j, f, o."""
        order = (0, 2, 1, 3)
        joint = _reordered(kernel, order, 4)
        self.build(len(joint) - self.output_size)
        rows = self.input_size
        _assign(self, "kernel", joint[:rows])
        _assign(self, "recurrent_kernel", joint[rows:])
        _assign(self, "bias", _reordered(bias, order, 4))
        extras = {"w_f_diag": w_f_diag, "w_i_diag": w_i_diag, "w_o_diag": w_o_diag, "projection": projection}
        for name, value in extras.items():
            if (value is None) == (name in dict(self.named_parameters())):
                raise UsageError(f"LSTMCell: {name} must be given exactly if the cell was made with it")
            if value is not None:
                _assign(self, name, torch.tensor(np.asarray(value, dtype=np.float32)))

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The output `h`, projected if it is, and the cell `c`."""
        return StateEntry(name="h", shape=(self.output_size,)), StateEntry(name="c", shape=(self.num_units,))

    def pack(self, state: Sequence[Any]) -> Any:
        """Give LSTMStateTuple(c, h), or [c, h] in one tensor."""
        h, c = state
        if self.state_is_tuple:
            return LSTMStateTuple(c, h)
        return c + h if isinstance(c, int) else torch.cat((c, h), dim=1)

    def unpack(self, state: Any) -> State:
        """Undo `pack`."""
        c, h = state if self.state_is_tuple else torch.split(state, [self.num_units, self.output_size], dim=1)
        return h, c

    gate_count = 4
    kernel: Tensor
    recurrent_kernel: Tensor
    w_f_diag: Tensor
    w_i_diag: Tensor
    w_o_diag: Tensor
    projection: Tensor

    def gates(self, x: Value, state: State, masks: Masks | None = None) -> dict[str, Value]:
        """Compute one step and keep all its parts: the gates, the candidate, the new cell and output, each (B, u)."""
        del masks
        h, c = state
        folds = of(x).folds
        bias = self._folded_bias() if folds else self.get_parameter("bias")
        z_i, z_f, z_c, z_o = gate_sums(x, h, None, self, bias).chunk(4, dim=1)
        f = self._peep(z_f if folds else z_f + self.forget_bias, "w_f_diag", c).sigmoid()
        kept = f * c
        i = self._peep(z_i, "w_i_diag", c).sigmoid()
        candidate = self.activation(z_c)
        cell = _clipped(kept + i * candidate, self.cell_clip)
        o = self._peep(z_o, "w_o_diag", cell).sigmoid()
        hidden = o * self.activation(cell)
        if self.projected:
            hidden = _clipped(hidden @ self.projection, self.proj_clip)
        return {"forget": f, "input": i, "output": o, "candidate": candidate, "cell": cell, "hidden": hidden}

    def _peep(self, z: Value, weight: str, cell: Value) -> Value:
        return z + self.get_parameter(weight) * cell if self.peepholes else z

    def step(self, x: Value, state: State, masks: Masks | None = None) -> tuple[Value, State]:
        """Do one step from x (B, F) and (h, c)."""
        parts = self.gates(x, state, masks)
        return parts["hidden"], (parts["hidden"], parts["cell"])

    def _folded_bias(self) -> Tensor:
        bias = self.get_parameter("bias").detach().clone()
        bias[self.num_units : 2 * self.num_units] += self.forget_bias
        return bias

    def scan(
        self, x: Value, state: State, masks: Masks | None = None, live: Value | None = None
    ) -> tuple[Value, State]:
        """Step through x (T, B, F), in a graph by one operator unless it lacks the clipping or the projection."""
        loop = None
        if of(x).folds and self.cell_clip is None and not self.projected:
            loop = of(x).kernel(self._recurrence(), live)
        return super().scan(x, state, masks, live) if loop is None else loop(x, state)

    def _recurrence(self) -> Recurrence:
        """An LSTM."""
        return Recurrence(
            kind="LSTM",
            functions=(activation("sigmoid"), self.activation, self.activation),
            kernel=self.kernel,
            recurrent=self.recurrent_kernel,
            bias=self._folded_bias(),
            peepholes=(self.w_i_diag, self.w_o_diag, self.w_f_diag) if self.peepholes else (),
        )


def _clipped(value: Value, bound: float | None) -> Value:
    return value if bound is None else value.clamp(-bound, bound)


class BasicLSTMCell(LSTMCell):
    """TensorFlow's BasicLSTMCell: `c' = σ(f + forget_bias) c + σ(i) act(j)`, `h' = σ(o) act(c')`."""

    def __init__(
        self,
        num_units: int,
        *,
        forget_bias: float = 1.0,
        state_is_tuple: bool = True,
        activation: str | ActivationFunction | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            num_units, forget_bias=forget_bias, state_is_tuple=state_is_tuple, activation=activation, seed=seed
        )
        named = ("num_units", "forget_bias", "state_is_tuple", "activation", "seed")
        self.settings = {key: self.settings[key] for key in named}


class GRUCell(TF1Cell, KerasGRUCell):
    """TensorFlow's GRUCell: `c̃ = act([x, r h] W + b)`, `h' = u h + (1 - u) c̃`; the gates' bias starts at 1."""

    def __init__(
        self,
        num_units: int,
        *,
        activation: str | ActivationFunction | None = None,
        kernel_initializer: InitializerSpec | None = None,
        bias_initializer: InitializerSpec | None = None,
        seed: int | None = None,
    ) -> None:
        settings = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        KerasGRUCell.__init__(self, num_units, activation=_activation(activation), reset_after=False, seed=seed)
        self.settings = settings

    def make(self, input_size: int) -> None:
        """Make the kernels, drawn as TensorFlow's two, and the bias."""
        u, own = self.units, self.settings
        draw = initializer(own["kernel_initializer"] or _INITIALIZER)
        joint = torch.cat([draw((input_size + u, n * u), self.generator) for n in (2, 1)], dim=1)
        self.add_weight("kernel", (input_size, 3 * u), _rows(joint, slice(input_size)))
        self.add_weight("recurrent_kernel", (u, 3 * u), _rows(joint, slice(input_size, None)))
        given = own["bias_initializer"]
        first, second = ("ones", "zeros") if given is None else (given, given)
        parts = [initializer(spec)((n * u,), self.generator) for spec, n in ((first, 2), (second, 1))]
        self.add_weight("bias", (3 * u,), _rows(torch.cat(parts), slice(None)))

    def load(
        self, gates_kernel: ArrayLike, gates_bias: ArrayLike, candidate_kernel: ArrayLike, candidate_bias: ArrayLike
    ) -> None:
        """Take TensorFlow's variables: gates (F + u, 2u) and (2u), ordered r, u; candidate (F + u, u) and (u)."""
        swap = (1, 0)
        joint = torch.cat([_reordered(gates_kernel, swap, 2), _reordered(candidate_kernel, (0,), 1)], dim=1)
        self.build(len(joint) - self.units)
        _assign(self, "kernel", joint[: self.input_size])
        _assign(self, "recurrent_kernel", joint[self.input_size :])
        _assign(self, "bias", torch.cat([_reordered(gates_bias, swap, 2), _reordered(candidate_bias, (0,), 1)]))


class BasicRNNCell(TF1Cell, SimpleRNNCell):
    """TensorFlow's BasicRNNCell: `h' = act([x, h] W + b)`."""

    def __init__(
        self, num_units: int, *, activation: str | ActivationFunction | None = None, seed: int | None = None
    ) -> None:
        SimpleRNNCell.__init__(self, num_units, activation=_activation(activation), seed=seed)
        self.settings = {"num_units": num_units, "activation": activation, "seed": seed}

    def make(self, input_size: int) -> None:
        """Make the kernels, drawn as one, and the bias."""
        u = self.units
        joint = initializer(_INITIALIZER)((input_size + u, u), self.generator)
        self.add_weight("kernel", (input_size, u), _rows(joint, slice(input_size)))
        self.add_weight("recurrent_kernel", (u, u), _rows(joint, slice(input_size, None)))
        self.add_weight("bias", (u,), "zeros")

    def load(self, kernel: ArrayLike, bias: ArrayLike) -> None:
        """Take TensorFlow's variables: kernel (F + u, u) and bias (u)."""
        joint = _reordered(kernel, (0,), 1)
        self.build(len(joint) - self.units)
        _assign(self, "kernel", joint[: self.input_size])
        _assign(self, "recurrent_kernel", joint[self.input_size :])
        _assign(self, "bias", _reordered(bias, (0,), 1))
