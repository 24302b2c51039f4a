"""Other execution providers: refused where missing, called in one shape, tried, told apart from the CPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest

from streamlstm.engine.engine import Engine
from streamlstm.errors import ModelError
from streamlstm.models import model as models_model
from streamlstm.models.bits import check_bits
from streamlstm.models.model import Model
from streamlstm.models.providers import FIXED_ROWS, PROVIDERS, fingerprint, provider_of, run_by, told_apart
from streamlstm.models.session import open_session
from support import models
from support.answering import serve
from support.compare import assert_predictions_equal, assert_states_equal
from support.oracle import Oracle
from support.traffic import entries

Answer = Callable[[list[Any]], list[Any]]


class Fake:
    """A session on the CPU that calls itself another provider's, and answers as such kernels may."""

    shapes: set[tuple[int, ...]]

    def __init__(self, session: Any, spoil: Callable[[int, list[Any]], list[Any]], shapes: set[Any]) -> None:
        self._session, self._spoil, self.shapes = session, spoil, shapes

    def run(self, names: list[str], feed: dict[str, Any], *options: Any) -> list[Any]:
        """As a session's; the shape is noted."""
        self.shapes.add(feed["x"].shape[:2])
        return self._spoil(feed["x"].shape[1], self._session.run(names, feed, *options))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., set[Any]]:
    """Has sessions of any provider opened on the CPU, spoilt as a function of batch, answers and session's number."""

    def fake(spoil: Callable[[int, list[Any], int], list[Any]]) -> set[Any]:
        shapes: set[Any] = set()
        opened: list[int] = []

        def open_(data: bytes, *, provider: str, **options: Any) -> Any:
            session = open_session(data, **options)
            if provider == "cpu":
                return session
            opened.append(len(opened))
            number = opened[-1]
            return Fake(session, lambda batch, answers: spoil(batch, answers, number), shapes)

        monkeypatch.setattr(models_model, "open_session", open_)
        return shapes

    return fake


def by_batch(batch: int, answers: list[Any], _: int) -> list[Any]:
    """Kernels chosen by the size of the batch: other bits for each."""
    return [answer * np.float32(1 + batch / 2**20) for answer in answers]


def forecasts_by_batch(batch: int, answers: list[Any], _: int) -> list[Any]:
    """The same of the forecasts alone, of a model that rounds its states."""
    y, after = answers
    return [*by_batch(batch, [y], 0), after]


def by_session(_: int, answers: list[Any], number: int) -> list[Any]:
    """Kernels chosen when a session begins."""
    return [answer * np.float32(1 + number / 2**20) for answer in answers]


def by_row(_: int, answers: list[Any], __: int) -> list[Any]:
    """Kernels whose rows differ by where they are."""
    y, after = answers
    return [y * (1 + np.arange(y.shape[1], dtype=np.float32)[None, :, None] / 2**20), after]


def test_every_call_has_one_shape(faked: Callable[..., set[Any]]) -> None:
    """So a provider whose bits depend on the batch gives each row the same ones, alone, among others, in any cut."""
    shapes = faked(by_batch)
    model = Model(models.lstm(8), provider="cuda")
    x = np.random.default_rng(0).standard_normal((7, 150, 1)).astype(np.float32)
    check_bits(model, x, None)
    assert shapes == {(1, FIXED_ROWS)}
    on_cpu = Model(models.lstm(8)).run(x, model.initial_state(150))[0]
    found = model.run(x, model.initial_state(150))[0]
    assert not np.array_equal(found, on_cpu)
    np.testing.assert_allclose(found, on_cpu, atol=1e-3)
    assert model.run(x[:0], model.initial_state(150))[0].shape == (0, 150, 1)


def test_the_engine_gives_its_bits_however_values_are_batched(faked: Callable[..., set[Any]]) -> None:
    """Against the oracle, which steps one value at a time; where the state is float16 too."""
    for data in (models.lstm(6), models.hours(), models.half_lstm(5)):
        faked(forecasts_by_batch if data == models.half_lstm(5) else by_batch)
        model = Model(data, provider="openvino")
        traffic = entries(5, 150, odd=0.2)
        server, oracle = serve(model, {"values": traffic}, seed=3), Oracle(model).feed(traffic)
        held = server.stream("values")
        assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
        assert_states_equal(held.state, oracle, Engine(model).format)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(by_session, "other bits in another session"), (by_row, "other numbers")],
    ids=["session", "row"],
)
def test_what_does_not_hold_is_refused(
    faked: Callable[..., set[Any]], spoil: Callable[..., list[Any]], words: str
) -> None:
    """In one line, when the model is loaded."""
    faked(spoil)
    with pytest.raises(ModelError, match=words) as caught:
        Model(models.lstm(8), provider="cuda")
    assert "\n" not in str(caught.value)


def test_a_provider_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which there are, and what to install; or that its libraries are not found, which onnxruntime only logs."""
    with pytest.raises(ModelError, match=r"has no provider cuda, it has .*cpu.*pip install onnxruntime-gpu"):
        Model(models.lstm(4), provider="cuda")
    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    started = onnxruntime.InferenceSession
    asked: list[Any] = []

    def without_driver(data: bytes, options: Any, *, providers: list[Any], **more: Any) -> Any:
        asked.extend([*providers, options.use_deterministic_compute])
        return started(data, options, providers=["CPUExecutionProvider"], **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", without_driver)
    with pytest.raises(ModelError, match=r"cuda could not be started.*--provider cpu"):
        Model(models.lstm(4), provider="cuda")
    (name, options), deterministic = asked
    assert (name, options["use_tf32"], options["cudnn_conv_algo_search"]) == ("CUDAExecutionProvider", "0", "DEFAULT")
    assert deterministic


def test_a_fingerprint_names_the_provider() -> None:
    """That of the CPU is the file's; two of one file are told apart, those of two files are not taken for it."""
    data = models.lstm(4)
    file = fingerprint(data)
    by_cuda = fingerprint(data, "cuda")
    assert file != by_cuda == run_by(file, "cuda")
    assert [provider_of(data, fingerprint(data, name)) for name in PROVIDERS] == list(PROVIDERS)
    assert provider_of(models.lstm(5), file) is None
    assert told_apart(by_cuda, file).endswith("--provider cuda")
    assert told_apart(file, by_cuda).endswith("--provider cpu")
    assert not told_apart(file, file)
    assert not told_apart(fingerprint(models.lstm(5)), file)


def test_threads_wait_for_each_other(faked: Callable[..., set[Any]]) -> None:
    """A session of another provider was tried by one thread, so one at a time calls it."""
    inside, most = list[int](), list[int]()

    def slow(_batch: int, answers: list[Any], _number: int) -> list[Any]:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return answers

    faked(slow)
    model = Model(models.lstm(4), provider="cuda")
    x, state = np.ones((1, 3, 1), np.float32), model.initial_state(3)
    others = [threading.Thread(target=model.advance, args=(x, state, None)) for _ in range(4)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert max(most) == 1
