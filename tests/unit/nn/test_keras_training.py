"""What Keras does in training, held against Keras: penalties, constraints, initialisers, dropout, clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from step_models import values

from streamlstm import nn
from streamlstm.errors import UsageError
from streamlstm.nn import initializers
from streamlstm.nn.cell import Masks
from streamlstm.nn.constraints import constraint
from streamlstm.nn.initializers import initializer
from streamlstm.nn.regularizers import regularizer

PENALTIES: list[tuple[Any, Callable[[], Any]]] = [
    ("l1", keras.regularizers.L1),
    ("l2", keras.regularizers.L2),
    ({"name": "l1", "l1": 0.3}, lambda: keras.regularizers.L1(0.3)),
    ({"name": "l2", "l2": 0.3}, lambda: keras.regularizers.L2(0.3)),
    ("l1_l2", lambda: keras.regularizers.L1L2(0.01, 0.01)),
    ({"name": "l1_l2", "l1": 0.2, "l2": 0.1}, lambda: keras.regularizers.L1L2(0.2, 0.1)),
    ("orthogonal_regularizer", keras.regularizers.OrthogonalRegularizer),
    (
        {"name": "orthogonal_regularizer", "factor": 0.4, "mode": "columns"},
        lambda: keras.regularizers.OrthogonalRegularizer(0.4, "columns"),
    ),
]
LIMITS: list[tuple[Any, Callable[[], Any]]] = [
    ("max_norm", keras.constraints.MaxNorm),
    ({"name": "max_norm", "max_value": 0.5, "axis": 1}, lambda: keras.constraints.MaxNorm(0.5, 1)),
    ("unit_norm", keras.constraints.UnitNorm),
    ("non_neg", keras.constraints.NonNeg),
    ("min_max_norm", keras.constraints.MinMaxNorm),
    (
        {"name": "min_max_norm", "min_value": 0.9, "max_value": 1.1, "rate": 0.3},
        lambda: keras.constraints.MinMaxNorm(0.9, 1.1, 0.3),
    ),
]


@pytest.mark.parametrize(("spec", "theirs"), PENALTIES, ids=[str(spec) for spec, _ in PENALTIES])
def test_regularizer(spec: Any, theirs: Callable[[], Any]) -> None:
    """A penalty on a matrix is Keras' number."""
    w = values(5, 8)
    penalty = regularizer(spec)
    assert penalty is not None
    assert float(penalty(torch.from_numpy(w))) == pytest.approx(float(theirs()(torch.from_numpy(w))), rel=1e-6)


@pytest.mark.parametrize(("spec", "theirs"), LIMITS, ids=[str(spec) for spec, _ in LIMITS])
def test_constraint(spec: Any, theirs: Callable[[], Any]) -> None:
    """A constrained matrix is Keras'."""
    w = values(5, 8)
    limit = constraint(spec)
    assert limit is not None
    expected = keras.ops.convert_to_numpy(theirs()(torch.from_numpy(w)))
    np.testing.assert_allclose(limit(torch.from_numpy(w)).numpy(), expected, atol=1e-6)


def test_regularization_loss_is_the_sum_of_keras_losses() -> None:
    """Weight penalties, and activity penalties divided by the batch size, are what Keras adds to the mean loss."""
    options: dict[str, Any] = {
        "kernel_regularizer": "l2",
        "recurrent_regularizer": "l1",
        "bias_regularizer": "l1",
        "activity_regularizer": "l2",
    }
    theirs = keras.Sequential(
        [
            keras.layers.Input((7, 3)),
            keras.layers.LSTM(4, return_sequences=True, **options),
            keras.layers.GRU(4, **options),
            keras.layers.Dense(2, kernel_regularizer="l2", activity_regularizer="l1"),
        ]
    )
    ours = nn.Stack(
        [
            nn.LSTM(4, return_sequences=True, **options),
            nn.GRU(4, **options),
            nn.Dense(2, kernel_regularizer="l2", activity_regularizer="l1"),
        ],
        input_size=3,
    )
    ours.set_weights(theirs.get_weights())
    x = values(5, 7, 3)
    theirs(x)
    ours(torch.from_numpy(x))
    assert float(nn.regularization_loss(ours).detach()) == pytest.approx(
        float(sum(loss.detach() for loss in theirs.losses)), rel=1e-5
    )


def test_apply_constraints_reaches_every_constrained_parameter() -> None:
    """After an update each parameter lies within its own constraint, and the others are left alone."""
    layer = nn.LSTM(4, kernel_constraint="unit_norm", bias_constraint="non_neg", input_size=3)
    layer.set_weights([values(*p.shape) * 3 for p in layer.parameters()])
    before = layer.get_weights()
    nn.apply_constraints(layer)
    kernel, recurrent, bias = layer.get_weights()
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1.0, atol=1e-5)
    assert (recurrent == before[1]).all()
    assert (bias == np.maximum(before[2], 0)).all()


BOUNDS = {
    "glorot_uniform": np.sqrt(6 / (100 + 400)),
    "he_uniform": np.sqrt(6 / 100),
    "lecun_uniform": np.sqrt(3 / 100),
}
DEVIATIONS = {
    "glorot_normal": np.sqrt(2 / (100 + 400)),
    "he_normal": np.sqrt(2 / 100),
    "lecun_normal": np.sqrt(1 / 100),
}


def drawn(spec: Any, shape: tuple[int, ...] = (100, 400)) -> np.ndarray[Any, Any]:
    """One draw, from a fixed seed."""
    return initializer(spec)(shape, torch.Generator().manual_seed(3)).numpy()


@pytest.mark.parametrize("name", BOUNDS)
def test_uniform_initializers(name: str) -> None:
    """They fill their interval evenly and never leave it."""
    w, bound = drawn(name), BOUNDS[name]
    assert np.abs(w).max() <= bound
    assert np.abs(w).max() > 0.999 * bound
    assert w.std() == pytest.approx(bound / np.sqrt(3), rel=0.01)
    assert abs(w.mean()) < 0.02 * bound


@pytest.mark.parametrize("name", DEVIATIONS)
def test_normal_initializers(name: str) -> None:
    """They are cut at two standard deviations of the untruncated normal and keep the deviation asked for."""
    w, deviation = drawn(name), DEVIATIONS[name]
    assert w.std() == pytest.approx(deviation, rel=0.01)
    assert np.abs(w).max() <= 2 * deviation / 0.87962566 + 1e-6
    assert np.abs(w).max() > 1.99 * deviation / 0.87962566


@pytest.mark.parametrize("shape", [(50, 200), (200, 50), (30, 30)])
def test_orthogonal_initializer(shape: tuple[int, int]) -> None:
    """The shorter side's vectors are orthonormal, times the gain; for the LSTM that is the whole u x 4u matrix."""
    w = drawn({"name": "orthogonal", "gain": 2.0}, shape)
    small = w @ w.T if shape[0] <= shape[1] else w.T @ w
    np.testing.assert_allclose(small, 4 * np.eye(min(shape)), atol=1e-4)


def test_plain_initializers() -> None:
    """zeros, ones, constant, identity, random_normal, random_uniform, truncated_normal, variance_scaling."""
    assert (drawn("zeros") == 0).all()
    assert (drawn("ones") == 1).all()
    assert (drawn({"name": "constant", "value": 0.3}) == np.float32(0.3)).all()
    assert (drawn({"name": "identity", "gain": 3.0}, (4, 6)) == 3 * np.eye(4, 6)).all()
    normal = drawn({"name": "random_normal", "mean": 1.0, "stddev": 0.2})
    assert (normal.mean(), normal.std()) == (pytest.approx(1.0, abs=0.01), pytest.approx(0.2, rel=0.01))
    uniform = drawn({"name": "random_uniform", "minval": 2.0, "maxval": 3.0})
    assert uniform.min() >= 2
    assert uniform.max() <= 3
    assert uniform.mean() == pytest.approx(2.5, abs=0.01)
    truncated = drawn({"name": "truncated_normal", "stddev": 0.5})
    assert np.abs(truncated).max() <= 1.0
    assert truncated.std() == pytest.approx(0.5 * 0.87962566, rel=0.01)
    for distribution in ("uniform", "truncated_normal", "untruncated_normal"):
        scaled = drawn({"name": "variance_scaling", "scale": 3.0, "mode": "fan_out", "distribution": distribution})
        assert scaled.std() == pytest.approx(np.sqrt(3 / 400), rel=0.01)


@pytest.mark.parametrize("name", sorted(set(initializers.NAMES) - {"orthogonal", "identity", "constant"}))
def test_initializers_draw_what_keras_draws(name: str) -> None:
    """Mean, deviation and range of a large draw agree with Keras' own, for a matrix and for a bias."""
    for shape in ((100, 400), (40000,)):
        ours = drawn(name, shape)
        theirs = keras.ops.convert_to_numpy(keras.initializers.get(name)(shape))
        spread = theirs.std() + 1e-9
        assert abs(ours.mean() - theirs.mean()) < 0.05 * spread + 1e-6
        assert ours.std() == pytest.approx(theirs.std(), rel=0.02, abs=1e-9)


def test_unit_forget_bias() -> None:
    """[init(u), 1(u), init(2u)]; without it, init(4u)."""
    options: dict[str, Any] = {"bias_initializer": {"name": "constant", "value": 0.5}, "input_size": 1}
    assert nn.LSTM(2, **options).get_weights()[2].tolist() == [0.5, 0.5, 1, 1, 0.5, 0.5, 0.5, 0.5]
    assert nn.LSTM(2, unit_forget_bias=False, **options).get_weights()[2].tolist() == [0.5] * 8


def test_a_seed_makes_the_weights_repeatable() -> None:
    """Two layers of one seed are equal; another seed gives others."""
    first, again, other = (nn.LSTM(4, seed=seed, input_size=3).get_weights() for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not (first[0] == other[0]).all()


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("SimpleRNN", 1)])
@pytest.mark.parametrize("implementation", [1, 2])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("reset_after", [False, True])
def test_dropout_masks_act_as_in_keras(
    kind: str, gates: int, implementation: int, recurrent: bool, reset_after: bool
) -> None:
    """With the same masks a training step gives Keras' numbers: on x, and on h inside the product, never on c."""
    options: dict[str, Any] = {} if kind == "SimpleRNN" else {"implementation": implementation}
    if kind == "GRU":
        options["reset_after"] = reset_after
    rates = {"dropout": 0.4, "recurrent_dropout": 0.3 if recurrent else 0.0}
    theirs = getattr(keras.layers, f"{kind}Cell")(4, **options, **rates)
    theirs.build((5, 3))
    ours = getattr(nn, f"{kind}Cell")(4, **options, **rates)
    ours.build(3)
    ours.set_weights(theirs.get_weights())
    x = torch.from_numpy(values(5, 3))
    states = [torch.from_numpy(values(5, 4, seed=i)) for i in range(2 if kind == "LSTM" else 1)]
    drawn = ours.draw(x)
    assert drawn is not None
    assert len(drawn.input) == (gates if (implementation == 1 and gates > 1) or recurrent else 1)
    assert len(drawn.recurrent) == (gates if recurrent else 0)
    single = kind == "SimpleRNN" or len(drawn.input) == 1
    theirs._dropout_mask = drawn.input[0] if single else list(drawn.input)
    if recurrent:
        theirs._recurrent_dropout_mask = drawn.recurrent[0] if kind == "SimpleRNN" else list(drawn.recurrent)
    expected, _ = theirs(x, states, training=True)
    got, _ = ours.step(x, tuple(states), drawn)
    np.testing.assert_allclose(got.detach().numpy(), keras.ops.convert_to_numpy(expected), atol=1e-6)


def test_dropout_masks_are_scaled_and_shared_over_the_steps() -> None:
    """A mask holds 0 and 1/(1-p), is drawn per row, once a call, and only in training."""
    layer = nn.LSTM(2000, dropout=0.25, recurrent_dropout=0.5, seed=5, input_size=1000)
    masks = layer.cell.draw(torch.zeros(3, 1000))
    assert masks is not None
    assert sorted(masks.input[0].unique().tolist()) == pytest.approx([0.0, 1 / 0.75])
    assert sorted(masks.recurrent[0].unique().tolist()) == pytest.approx([0.0, 2.0])
    assert float((masks.input[0] == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(masks.input[0][0], masks.input[0][1])
    assert not torch.equal(masks.input[0], masks.input[1])
    assert layer.eval().cell.draw(torch.zeros(3, 1000)) is None


def test_the_steps_of_a_call_share_one_mask() -> None:
    """With nothing recurrent, equal inputs at two steps of a training call give equal outputs."""
    layer = nn.SimpleRNN(50, dropout=0.5, recurrent_initializer="zeros", return_sequences=True, seed=1, input_size=50)
    x = torch.ones(1, 2, 50)
    first, second = layer(x), layer(x)
    torch.testing.assert_close(first[:, 0], first[:, 1], atol=1e-6, rtol=0)  # a matrix product is not a row's
    assert float((first - second).detach().abs().max()) > 0.1


def test_fused_and_stepped_dropout_agree() -> None:
    """torch's fused kernel with a masked input gives what single steps with the mask give."""
    layer = nn.LSTM(4, dropout=0.5, seed=2, input_size=3)
    x, state = torch.from_numpy(values(6, 5, 3)), layer.initial_state(5)
    masks = Masks(input=(torch.tensor([[0.0, 2.0, 2.0]]).expand(5, 3),))
    fused, _ = layer.cell.scan(x, state, masks)
    stepped = []
    for now in x:
        y, state = layer.cell.step(now, state, masks)
        stepped.append(y)
    torch.testing.assert_close(fused, torch.stack(stepped), atol=1e-6, rtol=0)


def test_dropout_layer() -> None:
    """Dropout scales what it keeps, in training only."""
    layer, x = nn.Dropout(0.5, seed=1), torch.ones(4, 1000)
    assert set(layer(x).unique().tolist()) == {0.0, 2.0}
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"clipvalue": 0.02}, {"clipvalue": 0.02}),
        ({"clipnorm": 0.5}, {"clipnorm": 0.5}),
        ({"global_clipnorm": 0.5}, {"global_clipnorm": 0.5}),
        ({"clipnorm": 1e9}, {"clipnorm": 1e9}),
    ],
)
def test_clipped_gradients_are_those_of_keras(ours: dict[str, float], theirs: dict[str, float]) -> None:
    """clipvalue, clipnorm per variable and global_clipnorm bound the gradients as Keras' optimisers do."""
    layer = nn.LSTM(4, activation="relu", input_size=3)
    layer(torch.from_numpy(values(5, 7, 3))).square().sum().backward()
    gradients = [parameter.grad.clone() for parameter in layer.parameters() if parameter.grad is not None]
    expected = keras.optimizers.SGD(**theirs)._clip_gradients(gradients)
    nn.clip_gradients(layer.parameters(), **ours)
    for parameter, wanted in zip(layer.parameters(), expected, strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad.numpy(), keras.ops.convert_to_numpy(wanted), atol=1e-6)


def test_a_whole_update_is_that_of_keras() -> None:
    """One update of an LSTM with a penalty, clipping and a constraint gives Keras' weights."""
    options: dict[str, Any] = {"kernel_regularizer": "l2", "recurrent_constraint": "unit_norm"}
    theirs = keras.Sequential([keras.layers.Input((7, 3)), keras.layers.LSTM(4, **options), keras.layers.Dense(1)])
    ours = nn.Stack([nn.LSTM(4, **options), nn.Dense(1)], input_size=3)
    ours.set_weights(theirs.get_weights())
    theirs.compile(loss="mse", optimizer=keras.optimizers.SGD(0.1, clipnorm=0.1))
    x, y = values(8, 7, 3), values(8, 1)
    theirs.train_on_batch(x, y)
    optimizer = torch.optim.SGD(ours.parameters(), 0.1)
    loss = (ours(torch.from_numpy(x)) - torch.from_numpy(y)).square().mean() + nn.regularization_loss(ours)
    loss.backward()
    nn.clip_gradients(ours.parameters(), clipnorm=0.1)
    optimizer.step()
    nn.apply_constraints(ours)
    for got, wanted in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-6)


def test_wrong_settings_are_named() -> None:
    """An unknown name or argument, or a bound that makes no sense, is refused in one line."""
    for wrong in (
        lambda: initializer("glorot"),
        lambda: initializer({"name": "constant", "valu": 1.0}),
        lambda: regularizer("l3"),
        lambda: regularizer({"name": "l2", "l2": -1.0}),
        lambda: constraint("max"),
        lambda: nn.LSTM(2, dropout=1.5),
        lambda: nn.LSTM(2, implementation=3),
        lambda: nn.clip_gradients([], clipvalue=1.0, clipnorm=1.0),
        lambda: nn.clip_gradients([], clipvalue=-1.0),
        lambda: nn.LSTM(2, input_size=3).set_weights([np.zeros(3)]),
    ):
        with pytest.raises(UsageError):
            wrong()
