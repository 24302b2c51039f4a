"""Names and texts of others in what commands print: they show and do nothing, on a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import pty
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import onnx
import pytest

from streamlstm.common.escaping import as_column, printable
from streamlstm.store.keys import Keys
from support import forked, models
from support.server import Server
from support.serving import add, run, serve, wait_for_position

CLEAR = "\x1b[2J"  # what a terminal would act on
SERIES = f"a{CLEAR}\r\n2026-01-01T00:00:00.000Z  b  yhat=9\x9b\u202e\\ "
STREAM = "v\x1bc\nw"  # another such, without the signs of a pattern
SHOWN = r"a\x1b[2J\r\n2026-01-01T00:00:00.000Z \x20b \x20yhat=9\x9b\u202e\\" + r"\x20"


def on_a_terminal(*arguments: str, until: str = "\0") -> str:
    """What the program sends to a terminal, stdout and stderr together, to its end or until it has said something."""
    leader, follower = pty.openpty()
    with forked.begin([*arguments], env=os.environ, stdin=follower, stdout=follower, stderr=follower) as process:
        os.close(follower)
        found = b""
        with suppress(OSError):  # EIO: the other side is closed
            while until.encode() not in found and (data := os.read(leader, 65536)):
                found += data
        process.terminate()
    os.close(leader)
    return found.decode()


def harmless(text: str) -> bool:
    """Whether it is printable lines and nothing else; a bar that shows progress goes back to its beginning."""
    return all(line.isprintable() for line in text.replace("\r", "\n").split("\n"))


def hostile_model(directory: Path) -> Path:
    """A step model whose metadata is hostile."""
    path = directory / "model.onnx"
    model = onnx.load_from_string(models.lstm(4))
    for entry in model.metadata_props:
        if entry.key == "streamlstm":
            said = json.loads(entry.value)
            said["layers"] = [{"kind": f"LSTM{CLEAR}\nnext", "units": 4, "parameters": 1}]
            said["training"] = {f"by\n{CLEAR}": f"\x1b]0;title\x07{CLEAR}", "of": {"x": f"{CLEAR}"}}
            entry.value = json.dumps(said)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def served(start_server: Callable[..., Server], tmp_path: Path) -> tuple[str, Path]:
    """A server with a stream, series and dead letters of hostile names, all answered, and the model."""
    server, model = start_server(fsync="no"), hostile_model(tmp_path)
    daemon = serve(tmp_path, model, "--redis", server.url, "--stream", STREAM)
    try:
        daemon.ready()
        made = [("1-0", [SERIES, "1.5", "plain", "2"]), ("2-0", [SERIES, f"{CLEAR}\nx", "plain", "3"])]
        with closing(server.client()) as client:
            add(client, made, STREAM)
            wait_for_position(client, STREAM, "2-0")
            client.hset(Keys("other").meta, "position", "1-0")
            client.set(Keys("other").state, "not a hash")
    finally:
        daemon.stop()
    return server.url, model


def test_every_command_only_shows_them(served: tuple[str, Path], tmp_path: Path) -> None:
    """On a terminal and in a pipe each prints lines of printable signs, what it says in errors too."""
    url, model = served
    for arguments in (
        ("tail", STREAM, "--no-follow"),
        ("tail", STREAM, "--no-follow", "--dead"),
        ("status",),
        ("status", STREAM),
        ("status", STREAM, "--series", SERIES),
        ("status", f"no{STREAM}"),
        ("state", "list", STREAM),
        ("state", "show", STREAM, "--series", SERIES),
        ("state", "show", STREAM, "--series", f"no{SERIES}"),
        ("state", "reset", STREAM, "--series", SERIES),
        ("verify", str(model), STREAM),
        ("verify", str(model), f"no{STREAM}"),
        ("push", STREAM, "--series", CLEAR, "/nowhere/" + CLEAR),
    ):
        texts = [on_a_terminal(*arguments, "--redis", url)]
        if arguments[0] in {"tail", "push"}:
            done = run(tmp_path, *arguments, "--redis", url)
            texts.append(done.stdout + done.stderr)
        for text in texts:
            assert text.strip(), arguments
            assert harmless(text), (arguments, text)
            assert "Traceback" not in text
    for arguments in (("inspect", str(model)), ("serve", CLEAR), ("config", "show", "serve", "--stream", CLEAR)):
        assert harmless(on_a_terminal(*arguments)), arguments


def test_a_pipe_stays_parseable(served: tuple[str, Path], tmp_path: Path) -> None:
    """A name can neither part columns nor begin a line, and reads back; JSON has it as it is."""
    url, _ = served
    lines = run(tmp_path, "tail", STREAM, "--no-follow", "--redis", url).stdout.splitlines()
    assert [line.split("  ")[1] for line in lines] == [SHOWN, "plain", "plain"]
    assert [len(line.split("  ")) for line in lines] == [3, 3, 3]
    assert SHOWN.encode().decode("unicode_escape") == SERIES
    found = [
        json.loads(line)
        for line in run(tmp_path, "tail", STREAM, "--no-follow", "--json", "--redis", url).stdout.splitlines()
    ]
    assert [line["series"] for line in found] == [SERIES, "plain", "plain"]
    assert run(tmp_path, "state", "list", STREAM, "--redis", url).stdout.count("\n") == 2


def test_what_is_printable_stays_as_it_is() -> None:
    """Letters of any language; bytes that are not UTF-8 are shown as bytes."""
    for text in ("pump-7", "Kühlhaus 3", "温度", "температура", "🌡"):
        assert as_column(text) == printable(text) == text
    assert printable("\udcff\udc80") == r"\xff\x80"
    assert [as_column(text) for text in (" a", "a ", "a  b", r"C:\n")] == [r"\x20a", r"a\x20", r"a \x20b", r"C:\\n"]


def test_the_log_on_a_terminal_only_shows(start_server: Callable[..., Server], tmp_path: Path) -> None:
    """What serve says in text of streams and series that are hostile."""
    server = start_server(fsync="no")
    with closing(server.client()) as client:
        client.set(STREAM, "no stream")
    options = ("--redis", server.url, "--stream", STREAM, "--http", "127.0.0.1:0")
    text = on_a_terminal("serve", str(hostile_model(tmp_path)), *options, until="not a stream")
    assert r"v\x1bc\nw" in text
    assert harmless(text)
