"""The HTTP server against hostile clients: slow, many, malformed, gone; and names that others made point here."""

from __future__ import annotations

import contextlib
import http.client
import logging
import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest

from streamlstm.daemon.http import request as http_request
from streamlstm.daemon.http import request_handler as web_module
from streamlstm.daemon.http.address import parse_address
from streamlstm.daemon.http.answer import HttpAnswer
from streamlstm.daemon.http.request import MOST_HEAD_BYTES
from streamlstm.daemon.http.request_handler import MOST_CONNECTIONS, Pages, most_connections
from streamlstm.daemon.http.server import HttpServer
from streamlstm.errors import ResourceError, UsageError
from support.server import Server
from support.serving import Serving, add, eventually, wait_for_position

OK = ("HTTP/1.1 200 OK",)


def endless() -> Iterator[bytes]:
    """Events without end."""
    while True:
        yield b"data: x\n\n" * 1000


PAGES = Pages(
    metrics=lambda: b"up 1\n",
    unhealthy=lambda: None,
    unready=lambda: "it says \x1b[2J 'S3CRET'",
    page=lambda path, _: {
        "/series": HttpAnswer.text(200, "the values"),
        "/events": HttpAnswer(200, "text/event-stream", endless()),
        "/bug": None,
    }[path],
)


@pytest.fixture
def serve_pages() -> Iterator[Callable[..., tuple[str, int]]]:
    """A function that starts a server and says where; all are ended with the test."""
    with ExitStack() as stack:

        def begin(address: str = "127.0.0.1:0", *names: str) -> tuple[str, int]:
            server = HttpServer(address, PAGES, names=names)
            stack.callback(server.stop)
            server.start()
            where = urlsplit(server.url)
            return str(where.hostname), int(where.port or 0)

        yield begin


def tell(place: tuple[str, int], request: bytes) -> bytes:
    """All that is answered to some bytes."""
    with closing(socket.create_connection(place, 30)) as connection:
        connection.sendall(request)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    return answer


def status(answer: bytes) -> int:
    """The status of an answer."""
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer.split(b" ")[1])


def get(place: tuple[str, int], path: str, host: str | None = None) -> int:
    """The status of a page asked for by a name."""
    with closing(http.client.HTTPConnection(*place, timeout=30)) as client:
        client.request("GET", path, headers={} if host is None else {"Host": host})
        return client.getresponse().status


def test_a_name_that_somebody_made_point_here_reads_nothing(serve_pages: Callable[..., tuple[str, int]]) -> None:
    """Page and metrics of a daemon on loopback are for addresses, localhost and names that were allowed."""
    place = serve_pages("127.0.0.1:0", "forecasts.example.com")
    for host in ("evil.example:9478", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "0x7f.1"):
        assert [get(place, path, host) for path in ("/series", "/metrics", "/healthz")] == [421, 421, 200]
    for host in ("localhost:1", "a.localhost", "127.0.0.1", "[::1]:9478", "10.1.2.3:80", "Forecasts.Example.COM.:80"):
        assert [get(place, path, host) for path in ("/series", "/metrics")] == [200, 200]
    # As to a proxy: what stands there counts.
    assert status(tell(place, b"GET http://evil.example/series HTTP/1.1\r\nHost: localhost\r\n\r\n")) == 421
    assert status(tell(place, b"GET /series HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")) == 400
    assert status(tell(place, b"GET /series HTTP/1.1\r\nHost: user@localhost\r\n\r\n")) == 400
    assert status(tell(place, b"GET /series HTTP/1.1\r\n\r\n")) == 400
    assert status(tell(place, b"GET /series HTTP/1.0\r\n\r\n")) == 200  # no browser is so old


def test_what_others_reach_is_scraped_by_any_name(serve_pages: Callable[..., tuple[str, int]]) -> None:
    """Kubernetes and compose scrape by names of theirs; the page is still for addresses and names that were allowed."""
    _, port = serve_pages("0.0.0.0:0", "a.example")
    place = ("127.0.0.1", port)
    for path in ("/metrics", "/healthz"):
        assert get(place, path, "streamlstm:9478") == 200
    assert [get(place, "/series", host) for host in ("streamlstm:9478", "a.example", "10.0.0.7:9478")] == [
        421,
        200,
        200,
    ]
    assert get(serve_pages("127.0.0.1:0", "*"), "/series", "anything.example") == 200
    with pytest.raises(UsageError, match="no name of a host"):
        HttpServer("127.0.0.1:0", names=["http://a.example/"])


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (b"GET /metrics\r\n\r\n", 400),  # HTTP/0.9
        (b"GET /metrics HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET  /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost : localhost\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"GET /" + b"a" * MOST_HEAD_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", 431),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60_000, 405),
        (b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n", 405),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\nx", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n", 200),
        (b"\r\n\r\nGET /metrics HTTP/1.1\nHost: localhost\n\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\nGET /series HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200),
    ],
)
def test_requests_that_are_odd(request_: bytes, expected: int, serve_pages: Callable[..., tuple[str, int]]) -> None:
    """Each has one answer, which arrives whole, and the connection ends."""
    answer = tell(serve_pages(), request_)
    assert status(answer) == expected
    assert answer.count(b"HTTP/1.1 ") == 1 + b"METHOD PATH HTTP/1.1".count(b"HTTP/1.1 ")
    assert b"\r\nConnection: close\r\n" in answer


def test_a_head_that_comes_drop_by_drop_has_an_end(
    serve_pages: Callable[..., tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that go on coming do not prolong the time a request may take."""
    monkeypatch.setattr(http_request, "REQUEST_S", 0.3)
    with closing(socket.create_connection(serve_pages(), 30)) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n")
        connection.settimeout(0.02)
        answer, sent = b"", 0
        while not answer and sent < 10_000:
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(4096)
            if not answer:
                connection.sendall(b"X: y\r\n")
                sent += 1
    assert status(answer) == 408


def test_who_holds_connections_keeps_nobody_out(
    serve_pages: Callable[..., tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound the oldest gives way, those that watch last; a probe is answered all the while."""
    monkeypatch.setattr(web_module, "most_connections", lambda: 10)
    place = serve_pages()
    with ExitStack() as stack:

        def connect(request: bytes) -> socket.socket:
            made = stack.enter_context(closing(socket.create_connection(place, 30)))
            made.sendall(request)
            return made

        watching = connect(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert watching.recv(9) == b"HTTP/1.1 "
        slow = [connect(b"GET /metrics HTTP/1.1\r\n") for _ in range(50)]
        assert get(place, "/healthz") == 200
        assert slow[0].recv(100) == b""
        assert sum(thread.name == "http-visit" for thread in threading.enumerate()) <= 10
        assert watching.recv(1 << 20)


def test_most_descriptors_are_left_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections take a quarter of what the process may open, and no more than they need."""
    for limit, most in ((256, 64), (1024, MOST_CONNECTIONS), (resource.RLIM_INFINITY, MOST_CONNECTIONS), (16, 8)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=limit: (limit, limit))
        assert most_connections() == most


def test_a_reset_connection_is_no_news(
    serve_pages: Callable[..., tuple[str, int]], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Clients that reset before, in or after their request, or while they are answered: not a word."""
    caplog.set_level(logging.DEBUG)
    place = serve_pages()
    for request in (b"", b"GET /metr", b"GET /metrics HTTP/1.0\r\n\r\n", b"GET /events HTTP/1.0\r\n\r\n"):
        connection = socket.create_connection(place, 30)
        connection.sendall(request)
        if b"events" in request:
            assert connection.recv(4096)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    assert eventually(lambda: not any(thread.name == "http-visit" for thread in threading.enumerate()))
    assert get(place, "/healthz") == 200
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_bug_in_a_page_is_logged_and_costs_one_request(
    serve_pages: Callable[..., tuple[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    """The next one is answered."""
    logging.getLogger("streamlstm").propagate = True
    place = serve_pages()
    assert status(tell(place, b"GET /no-such-key HTTP/1.0\r\n\r\n")) == 500
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert get(place, "/healthz") == 200


def test_nothing_a_store_says_acts_on_a_terminal(serve_pages: Callable[..., tuple[str, int]]) -> None:
    """What /readyz repeats is one line, escaped."""
    assert tell(serve_pages(), b"GET /readyz HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nit says \\x1b[2J 'S3CRET'\n")


def test_addresses_of_both_kinds(serve_pages: Callable[..., tuple[str, int]]) -> None:
    """IPv6 in brackets; `::` is everything, IPv4 too."""
    assert get(serve_pages("[::1]:0"), "/metrics") == 200
    _, port = serve_pages("[::]:0")
    assert [get((host, port), "/metrics") for host in ("::1", "127.0.0.1")] == [200, 200]
    assert get(serve_pages("localhost:0"), "/metrics") == 200
    assert parse_address("[fe80::1%lo]:80") == ("fe80::1%lo", 80)
    assert parse_address(":80") == ("127.0.0.1", 80)
    for wrong in (
        "9478",
        "::1:9478",
        "h:",
        "h:99999",
        "h:٣",
        "http://h:80",
        "[::1]",
        "h:80/x",
        "[h]:80",
        "[127.0.0.1]:80",
    ):
        with pytest.raises(UsageError, match="HOST:PORT"):
            parse_address(wrong)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        for address in (
            f"127.0.0.1:{taken.getsockname()[1]}",
            "192.0.2.1:0",
            "no.such.name.invalid:0",
            f"{'x' * 70}:0",
        ):
            with pytest.raises(ResourceError, match=r"cannot listen on .*--http HOST:PORT"):
                HttpServer(address)


def test_serve_answers_on_ipv6(start_server: Callable[..., Server], start: Callable[..., Serving]) -> None:
    """`--http [::1]:PORT`: the URL it says has brackets, and leads there."""
    daemon = start("--redis", start_server().url, "--http", "[::1]:0")
    assert daemon.ready()["http"].startswith("http://[::1]:")
    assert [daemon.get(path)[0] for path in ("/", "/readyz")] == [200, 200]
    assert daemon.stop() == 0


def test_a_crowd_of_slow_clients_keeps_redis_from_nothing(
    start_server: Callable[..., Server], start: Callable[..., Serving]
) -> None:
    """With 256 descriptors and 249 connections that drip, /healthz answers, and a server that comes back is found."""
    server = start_server()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))  # as `ulimit -n 256`, for what is started now
    try:
        daemon = start("--redis", server.url)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    where = urlsplit(daemon.ready()["http"])
    place = (str(where.hostname), int(where.port or 0))
    made = [(f"{number}-0", ["a", str(number)]) for number in range(1, 101)]
    with ExitStack() as stack:
        for _ in range(249):
            slow = stack.enter_context(closing(socket.create_connection(place, 30)))
            slow.sendall(b"GET / HTTP/1.1\r\nX:")
        assert get(place, "/healthz") == 200
        server.kill()
        server.start()
        with closing(server.client()) as client:
            add(client, made)
            wait_for_position(client, "values", made[-1][0])
        assert get(place, "/readyz") == 200
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log_path.read_text()
