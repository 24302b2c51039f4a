"""The network that corrects the universal model in blends: what is fitted is what is packaged, and what it says."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from streamlstm.models import NETWORK_FILE, UNIVERSAL_FILE, Model, check_bits
from streamlstm.training.blending.correction import FORGOTTEN, SILENT, columns_seen, corrected_universal, network
from support.paths import ROOT

FOLDER = ROOT / "tools" / "universal"
MODULES = ("fit_network", "graph", "made_up_series", "prior", "settings", "tables", "tilts")
Float64 = NDArray[np.float64]


@pytest.fixture(scope="module")
def recipe() -> Iterator[ModuleType]:
    """`tools/universal/fit_network.py` as a module."""
    sys.path.insert(0, str(FOLDER))
    try:
        import fit_network  # type: ignore[import-not-found, unused-ignore]

        yield fit_network
    finally:
        sys.path.remove(str(FOLDER))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def both() -> Model:
    """The universal model with both of its forecasts."""
    return Model(corrected_universal())


def wavy(count: int = 200) -> Float64:
    """A season of 12 with noise (N,)."""
    return 50 + 10 * np.sin(np.arange(count) * np.pi / 6) + np.random.default_rng(0).normal(size=count)


def test_the_first_forecast_is_the_universal_models_to_the_bit(both: Model) -> None:
    """And so is its state; both say the same of the first values, and not of later ones."""
    values = wavy()[:, None, None]
    alone = Model(UNIVERSAL_FILE.read_bytes())
    said, state = alone.run(values, alone.initial_state(1))
    found, carried = both.run(values, both.initial_state(1))
    assert np.array_equal(found[..., :1], said)
    assert np.array_equal(carried, state)
    silent = int(SILENT)
    np.testing.assert_allclose(found[:silent, 0, 1], found[:silent, 0, 0], atol=1e-4)
    assert np.abs(found[silent + 20 :, 0, 1] - found[silent + 20 :, 0, 0]).max() > 0.1


def test_a_series_has_its_bits_alone_and_whatever_comes_it_stays_finite(both: Model) -> None:
    """However calls are cut, beside others, at a level of billions; after spikes and numbers at float32's end."""
    wild = np.concatenate([wavy(80), [1e12, -1e12, 0.0, 3e38, -3e38, 1e-30], wavy(80), np.full(60, 5.0)])
    tame = np.resize(wavy(), len(wild))
    x = np.stack([wild, 2.5e9 + tame, np.zeros(len(wild)), tame], axis=1)
    check_bits(both, both.as_fed(x[..., None]), None)
    said, state = both.run(x[..., None], both.initial_state(4))
    assert np.isfinite(said).all()
    assert np.isfinite(state).all()


def test_what_is_packaged_is_what_the_recipe_writes(recipe: ModuleType) -> None:
    """Names, shapes and kinds of numbers are those of what is fitted; which tilts raise which experts is the same."""
    written = recipe.Net().weights()
    with np.load(NETWORK_FILE) as packaged:
        assert list(packaged) == list(written)
        for name, fitted in written.items():
            assert (packaged[name].shape, packaged[name].dtype) == (fitted.shape, fitted.dtype), name
            assert np.isfinite(packaged[name]).all()
        assert np.array_equal(packaged["raises"], written["raises"])
    assert 1 - recipe.Settings().forget_losses == pytest.approx(FORGOTTEN)


def test_the_network_sees_what_the_autoregression_sees(recipe: ModuleType) -> None:
    """The tensor that is found in the packaged file is the one that its recipe names."""
    from graph import written  # type: ignore[import-not-found, unused-ignore]

    model, name = written(recipe.Settings(), {})
    assert columns_seen(onnx.load_from_string(model)) == name
    assert columns_seen(onnx.load(UNIVERSAL_FILE)) == name


def test_what_is_fitted_says_what_the_graph_says(recipe: ModuleType, both: Model) -> None:
    """The network as torch fits it, with the packaged weights, on what the graph makes for it."""
    values, packaged = wavy(), network()
    seen = recipe.Tapped()([values])[0]
    net = recipe.Net().eval()
    with torch.no_grad():
        for layer, name in ((net.seen.weight, "seen"), (net.seen.bias, "bias"), (net.said.weight, "said")):
            layer.copy_(torch.from_numpy(getattr(packaged, name).T))
        inputs = (torch.from_numpy(one).float() for one in (seen.seen, seen.shares, seen.said))
        change = net(*inputs).numpy() * seen.unit
    said = both.run(values[:, None, None], both.initial_state(1))[0][:-1, 0] - values[:-1, None]
    np.testing.assert_allclose(change[1:], said[1:, 1], atol=0.02)  # what is learnt from is kept in float16
    plain = recipe.mixture(seen) * seen.unit + np.diff(values)
    np.testing.assert_allclose(plain[1:], said[1:, 0], atol=0.02)


def test_fitting_makes_it_better(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a few series with a season, in a few updates, from tables to the file."""
    (tmp_path / "learnt" / "waves").mkdir(parents=True)
    (tmp_path / "chosen").mkdir()
    for place in range(12):
        values = wavy(300) * (1 + place)
        (tmp_path / "learnt" / "waves" / f"{place}.csv").write_text("y\n" + "\n".join(map(repr, values.tolist())))
    for name, value in (("EPOCHS", 12), ("BATCH", 256), ("made_up", list)):
        monkeypatch.setattr(recipe, name, value)
    folders = [str(tmp_path / name) for name in ("learnt", "chosen", "network.npz")]
    monkeypatch.setattr(sys, "argv", ["fit_network.py", *folders])
    told: list[str] = []
    monkeypatch.setattr("builtins.print", lambda line, **_: told.append(line))
    recipe.main()
    with np.load(tmp_path / "network.npz") as found:
        assert found["said"].any()
    assert float(told[-2].split("last fifth ")[1].split()[0]) < 0.99


def test_made_up_series_are_the_same_every_time(recipe: ModuleType) -> None:
    """Of each kind; and all are finite and not still."""
    once, again = (list(recipe.made_up(48)) for _ in range(2))
    assert len({kind for kind, _, _ in once}) == 16
    for (_, name, values), (_, other, same) in zip(once, again, strict=True):
        assert name == other
        assert np.array_equal(values, same)
        assert np.isfinite(values).all()
        assert values.std() > 0
