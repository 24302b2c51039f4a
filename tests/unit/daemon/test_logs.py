"""What is logged: one line an event, storms told in digests, nothing a producer wrote breaks a line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlstm.common.masking import remember
from streamlstm.common.settings import DaemonSettings
from streamlstm.daemon.clock import Clock
from streamlstm.daemon.daemon import Daemon
from streamlstm.daemon.telemetry.log_format import JsonFormatter, TextFormatter
from streamlstm.daemon.telemetry.metrics import Metrics
from streamlstm.daemon.telemetry.throttled_log import EVERY_S, ThrottledLog
from streamlstm.engine.engine import Engine
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.memory import MemoryServer, MemoryStore, MemoryStream
from support import models
from support.daemons import run_daemon

HOSTILE = "a\n12:00:00 ERROR the disk is gone"


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, list[logging.LogRecord]]]:
    """A logger of the test's own, and what was logged."""
    logger, records = logging.getLogger("digest-test"), list[logging.LogRecord]()
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    yield logger, records
    logger.removeHandler(handler)


def test_a_storm_is_one_line_a_minute(log: tuple[logging.Logger, list[logging.LogRecord]]) -> None:
    """The first event is told at once, the thousand after it as one line with their number; then silence again."""
    logger, lines = log
    now = 0.0
    digest = ThrottledLog(logger, lambda: now)
    for number in range(1001):
        digest.note(("dead", "values"), f"value {number}", stream="values")
        digest.flush()
    assert [(line.getMessage(), line.times) for line in lines] == [("value 0", 1)]  # type: ignore[attr-defined]
    now = EVERY_S
    digest.flush()
    assert (lines[1].getMessage(), lines[1].times) == ("value 1000", 1000)  # type: ignore[attr-defined]
    now = 2 * EVERY_S
    digest.flush()
    assert len(lines) == 2
    digest.note(("dead", "values"), "again", 3, stream="values")
    assert lines[2].times == 3  # type: ignore[attr-defined]


def test_kinds_are_told_apart(log: tuple[logging.Logger, list[logging.LogRecord]]) -> None:
    """A storm of one kind hides no event of another."""
    logger, lines = log
    digest = ThrottledLog(logger, lambda: 0.0)
    digest.note(("dead", "a"), "one")
    digest.note(("dead", "b"), "other")
    assert [line.getMessage() for line in lines] == ["one", "other"]


def test_dead_letters_are_told_once_with_stream_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    """Two hundred bad values are one line that names stream, reason, series and what was wrong."""
    caplog.set_level(logging.INFO, "streamlstm")
    logging.getLogger("streamlstm").propagate = True
    run_daemon([(f"{n}-0", [HOSTILE, "word"]) for n in range(1, 201)])
    found = [record for record in caplog.records if "cannot be stepped" in record.getMessage()]
    assert len({(record.stream, record.reason) for record in found}) == 1  # type: ignore[attr-defined]
    assert len(found) < 5
    assert "'values'" in found[0].getMessage()
    assert "\n" not in found[0].getMessage()


@pytest.mark.parametrize("name", ["Kühlhaus 3", "q'uote", "a" * 300])
def test_a_bad_values_series_is_named_as_one_would_look_for_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The line has the name itself, or its beginning, and not a Python notation of its bytes."""
    caplog.set_level(logging.INFO, "streamlstm")
    logging.getLogger("streamlstm").propagate = True
    run_daemon([("1-0", [name, "word"])])
    (found,) = [record.getMessage() for record in caplog.records if "cannot be stepped" in record.getMessage()]
    assert f"of series {name[:64]!r}: " in found


def test_an_hour_without_the_store_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    """However often it is tried, that the store is away is said once, and once that it is back."""
    now, tries, engine = [0.0], [0], Engine(models.load_lstm(4))

    class Away(MemoryStore):
        def _reach(self, stream: str, *, connect: bool = False) -> MemoryStream:
            if 60.0 < now[0] < 3660.0:
                tries[0] += 1
                raise StoreUnavailableError("no connection to the Redis server at redis://:***@host")
            if now[0] > 3720.0:
                daemon.health.stop()
            return super()._reach(stream, connect=connect)

        def wait(self, timeout_s: float) -> tuple[bool, list[str]]:
            now[0] += 1.0
            return super().wait(timeout_s)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    daemon = Daemon(
        engine=engine,
        store=Away(MemoryServer()),
        metrics=Metrics(engine.model.fingerprint, engine.columns, ["values"]),
        settings=DaemonSettings(streams=("values",)),
        clock=Clock(monotonic=lambda: now[0], wall=lambda: now[0], processor=lambda: 0.0, sleep=sleep),
    )
    caplog.set_level(logging.INFO, "streamlstm")
    logging.getLogger("streamlstm").propagate = True
    daemon.run(caplog.clear)
    said = [record.getMessage() for record in caplog.records]
    assert tries[0] > 500
    assert said == [
        "no connection to the Redis server at redis://:***@host; trying again",
        "connected again",
        "draining",
        "stopped",
    ]


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_names_of_producers_break_no_line(formatter: logging.Formatter) -> None:
    """A line break in a field is written as such, in text and in JSON."""
    record = logging.makeLogRecord({"msg": "event", "levelno": 30, "levelname": "WARNING", "series": HOSTILE, "n": 3})
    line = formatter.format(record)
    assert len(line.splitlines()) == 1
    assert "n=3" in line or json.loads(line)["series"] == HOSTILE


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_secrets_are_hidden_in_whatever_an_event_carries(formatter: logging.Formatter) -> None:
    """Errors, paths, lists and maps as well as texts."""
    remember("open-sesame-7")
    found = {"error": ValueError("no open-sesame-7"), "of": {"a": ["open-sesame-7"]}, "list": [Path("/open-sesame-7")]}
    line = formatter.format(logging.makeLogRecord({"msg": "event", "levelname": "ERROR", **found}))
    assert "open-sesame-7" not in line
    assert line.count("***") == 3
