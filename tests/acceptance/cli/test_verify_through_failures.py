"""`verify` where its server goes away meanwhile: it is waited for, with one stream as with several."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from streamlstm.cli import main
from streamlstm.daemon.replay import Verification
from streamlstm.engine import Engine
from streamlstm.store import RedisStore
from support import models
from support.pump import pump

COMMAND = importlib.import_module("streamlstm.cli.verify")  # the package may have the command by that name
NAMES = ["values:{0}", "values:{1}", "values:{2}"]


@pytest.fixture
def model(tmp_path: Path, client: redis.Redis, redis_url: str) -> str:
    """The file of a model by which three streams are answered."""
    (tmp_path / "model.onnx").write_bytes(models.lstm(4))
    for name in NAMES:
        client.execute_command("XADD", name, "1-0", "a", "1")
    store = RedisStore(redis_url, block_ms=1)
    pump(Engine(models.load_lstm(4)), store, NAMES)
    store.close()
    return str(tmp_path / "model.onnx")


def cut(monkeypatch: pytest.MonkeyPatch, client: redis.Redis, times: int) -> list[str]:
    """Have the server cut all connections at the beginning of each stream's first so many verifications; which."""
    begun, run = list[str](), Verification.run

    def cut_first(verification: Any, *arguments: Any) -> Any:
        begun.append(verification._stream)
        if begun.count(verification._stream) <= times:
            client.client_kill_filter(_type="normal", skipme=True)
        return run(verification, *arguments)

    monkeypatch.setattr(Verification, "run", cut_first)
    monkeypatch.setattr(COMMAND, "PAUSE_S", 0.01)
    return begun


@pytest.mark.parametrize("streams", [NAMES[:1], ["values:{0..2}"]])
def test_a_stream_is_verified_anew_where_its_server_went_away(
    model: str, redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, streams: list[str]
) -> None:
    """Each of them is compared to its end; why it took longer is said once each time."""
    begun = cut(monkeypatch, client, 2)
    done = CliRunner().invoke(main, ["verify", model, *streams, "--redis", redis_url, "--json"])
    each = [json.loads(line) for line in done.stdout.splitlines()]
    names = NAMES if len(streams[0]) > len(NAMES[0]) else streams
    found = [(one["stream"], one["predictions"], one["difference"]) for one in each]
    assert found == [(name, 1, None) for name in names]
    assert done.exit_code == 0
    assert begun == [name for name in names for _ in range(3)]
    assert done.stderr.count("is verified anew once it answers") == 2 * len(names)


@pytest.mark.parametrize("streams", [NAMES[:1], ["values:{0..2}"]])
def test_a_server_that_goes_away_again_and_again_is_not_waited_for_without_end(
    model: str, redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch, streams: list[str]
) -> None:
    """That is one line at last, and no stream behind it is begun."""
    begun = cut(monkeypatch, client, 100)
    done = CliRunner().invoke(main, ["verify", model, *streams, "--redis", redis_url])
    assert begun == NAMES[:1] * (COMMAND.MOST_LOST + 1)
    assert done.exit_code != 0
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == ""
