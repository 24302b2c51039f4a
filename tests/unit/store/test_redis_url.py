"""URLs of servers: read strictly, and whatever is wrong with one, no part of a password is shown."""

from __future__ import annotations

import itertools
import json
import logging

import pytest
from click.testing import CliRunner

from streamlstm.cli import main
from streamlstm.cli.connection import with_password
from streamlstm.common import masking
from streamlstm.common.masking import without_secrets
from streamlstm.daemon.telemetry.log_format import JsonFormatter, TextFormatter
from streamlstm.errors import UsageError
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.topology import parse_topology
from streamlstm.store.resp.url import SCHEMES as KNOWN_SCHEMES
from streamlstm.store.resp.url import shown

PARTS = ("Tr0ub4", "dor3Xy")
SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+cluster", "redis+cluster", "unix", "redsi", "http", "REDIS")


@pytest.mark.parametrize(("sign", "scheme", "user"), list(itertools.product("/#?@", SCHEMES, ("", "user"))))
def test_a_password_that_is_not_encoded_is_never_shown(sign: str, scheme: str, user: str) -> None:
    """Not a part of it, whatever sign breaks the URL, and it says what to write for that sign."""
    secret = sign.join(PARTS)
    for end in ("h:6379/0", "h", "a:1,b:2/service/0", "", "h:6379/0?socket_timeout=3"):
        url = f"{scheme}://{user}:{secret}@{end}"
        with pytest.raises(UsageError) as refused:
            parse_topology(url)
        said = str(refused.value)
        if scheme in KNOWN_SCHEMES:
            assert "percent-encoded" in said
            assert {"/": "%2F", "#": "%23", "?": "%3F", "@": "%40"}[sign] in said
        for text in (said, shown(url), without_secrets(f"error in {url}")):
            assert PARTS[0] not in text
            assert PARTS[1] not in text


@pytest.mark.parametrize(
    "url",
    [
        "redis://S3CRET@h",
        "S3CRET",
        "S3CRET&/%x",
        "redis://h/S3CRET%2F",
        "redis://h?username=a&db=S3CRET",
        "redis://h?S3CRET",
        "redis://h:6379/0?S3CRET=1&db=2",
        "S3CRET@h:6379",
        ":S3CRET@h:6379/0",
        "redis:/:S3CRET@h",
        "redis:S3CRET@h",
        "redis//:S3CRET@h",
        "redsi://u:S3CRET@h",
        "redis://u:S3CRET",
        "redis://:S3CRET",
        "redis://u:S3CRET/0",
        "redis://h?Password=S3CRET",
        "redis://h?auth=S3CRET",
        "redis://h?pass%77ord=S3CRET",
        "redis://h?password=S3CRET",
        "redis://h?PASS=S3CRET&db=1",
        "redis+sentinel://:S3CRET@a,b",
        "redis+sentinel://a,b/m?sentinel_password=S3CRET",
        "redis+sentinel://a,b/m?sentinel_pasword=S3CRET",
        "redis+cluster://S3CRET@a,b",
        "redis+cluster://u:S3CRET@a,b:x",
        "rediss://h?ssl_password=S3CRET&ssl_certfile=/c",
        "unix://S3CRET@/run/s",
        "unix:///S3CRET@/run/s",
        "redis://[S3CRET]:1",
        "redis://[S3CRET",
        "redis://:[S3CRET]@h:x",
        "redis+cluster://[S3CRET],[::1]:7000",
        "redis://h/S3CRET",
        "redis+cluster://h:1/S3CRET",
        "redis://u:S3CRET@h\n",
        "  redis://:S3CRET@h:99999  ",
    ],
)
def test_wherever_a_password_stands_it_is_hidden(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In what a command fails with, in what `config show` says, and in anything that quotes the URL as it is."""
    monkeypatch.setenv("STREAMLSTM_REDIS", url + "?socket_timeout=0.1" * ("?" not in url))
    for arguments in (["status"], ["config", "show"], ["config", "show", "--json"], ["status", "--redis", url, "--x"]):
        result = CliRunner().invoke(main, arguments)
        assert "S3CRET" not in result.output + result.stderr
        assert len(result.stderr.splitlines()) <= 1
    assert "S3CRET" not in shown(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rediss://h?ssl_ca_cert=/x", "did you mean ssl_ca_certs?"),
        ("rediss://h?ssl_cert_file=/x", "did you mean ssl_certfile?"),
        ("redis://h?auth=x", "did you mean password?"),
        ("redis://h?nothing=1", "there are username, password"),
        ("redis://h/db3", "did you mean /3?"),
        ("redis://h/1/2", "a database's number"),
        ("redis://h/x", "a database's number"),
        ("redis://h?db=x", "a database's number"),
        ("redis://h/99999999999", "a database's number"),
        ("redis://h?db=1&db=2", "given twice"),
        ("redis://u@h?username=v", "given twice"),
        ("redis://:p@h?password=q", "given twice"),
        ("redis://h?db", "no value"),
        ("redis://h?ssl_ca_certs=/x", "write rediss://"),
        ("redis+sentinel://h/m?ssl_ca_certs=/x", "write rediss+sentinel://"),
        ("redis+sentinel://h", "lacks the service"),
        ("redis+sentinel://h/m/0/1", "service/database"),
        ("redis+sentinel://h,/m", "a host is missing"),
        ("redis+cluster://h/1", "only the database 0"),
        ("redis://a,b", "several servers"),
        ("redis://h:0", "from 1 to 65535"),
        ("redis://a..b:1", "neither a name nor an address"),
        (f"redis://{'a' * 64}", "neither a name nor an address"),
        ("redis+cluster://h,a%00b", "neither a name nor an address"),
        ("redis://a%20b", "neither a name nor an address"),
        ("unix:///run/a%00b", "no file of that name"),
        ("redis://::1:6379", "in brackets"),
        ("redsi://h", "did you mean redis://?"),
        ("redis:/h", "did you mean redis://?"),
        ("h:6379", "did you mean redis://h:6379?"),
        ("/run/redis.sock", "a socket is written as in unix://"),
        ("[::1]:6379", "did you mean redis://[::1]:6379?"),
        ("secret word", "begins with one of redis://"),
        ("unix://run/s", "absolute"),
        ("unix://", "absolute"),
        ("redis://:%ff@h", "not UTF-8"),
        ("rediss://h?ssl_cert_reqs=maybe", "none, optional or required"),
        ("rediss://h?ssl_check_hostname=maybe", "true or false"),
        ("rediss://h?ssl_keyfile=/k", "needs ssl_certfile"),
        ("redis://h?socket_timeout=soon", "a number of seconds above 0"),
    ],
)
def test_what_is_not_understood_is_refused(url: str, words: str) -> None:
    """By its name, with the nearest right one."""
    with pytest.raises(UsageError) as refused:
        parse_topology(url)
    assert words in str(refused.value)


def test_what_a_url_means() -> None:
    """As redis-py has it, where that is clear."""
    made = Address.parse("redis://us%40er:p%2F%23w@[::1]:7000/3?socket_timeout=2")
    assert (made.username, made.password, made.host, made.port) == ("us@er", "p/#w", "::1", 7000)
    assert (made.database, made.socket_timeout_s) == (3, 2.0)
    assert made.url == "redis://us%40er:***@[::1]:7000/3?socket_timeout=2"
    made = Address.parse("unix://:p:q@/run/redis%406379/s?db=2")
    assert (made.path, made.password, made.database) == ("/run/redis@6379/s", "p:q", 2)
    assert Address.parse("redis://").host == "localhost"
    assert Address.parse(" redis://h/2/\n").database == 2


def test_a_newline_at_the_end_of_the_variable_is_not_of_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a secret was read from a file with one; what the URL has itself wins."""
    monkeypatch.setenv("STREAMLSTM_REDIS_PASSWORD", "a b&c=d+e\r\n")
    made = Address.parse(with_password("redis://user@h?db=1"))
    assert (made.username, made.password, made.database) == ("user", "a b&c=d+e", 1)
    assert Address.parse(with_password("redis://:own@h")).password == "own"


@pytest.mark.parametrize("secret", ["s3cret", "with 'both\" quotes\\", "ünïcode-пароль", "50%off/#?@&=+", "long" * 100])
def test_secrets_are_hidden_by_value(secret: str) -> None:
    """In any spelling, in a log's message, fields and traceback, and where a server repeats it, cut or whole."""
    masking.remember(secret)
    record = logging.makeLogRecord({"msg": "said %r", "args": (secret,), "field": f"x {secret}", "all": [secret]})
    try:
        raise ValueError(secret)
    except ValueError as error:
        record.exc_info = (type(error), error, error.__traceback__)
    texts = [TextFormatter().format(record), JsonFormatter().format(record)]
    texts += [without_secrets(f"ERR unknown command 'AUTH', with args beginning with: '{secret[:128]}' ")]
    texts += [without_secrets(json.dumps({"password": secret}))]
    for text in texts:
        assert "***" in text
        assert secret[:32] not in text
        assert json.dumps(secret)[1:-1] not in text


def test_short_secrets_do_not_blot_out_everything() -> None:
    """One of a sign or three is hidden where it stands alone."""
    masking.remember("a1")
    assert without_secrets("password 'a1' of a12") == "password '***' of a12"


def test_where_a_password_lies_is_no_secret() -> None:
    """A message shows the name of the file, which is what has to be looked at."""
    assert without_secrets("at redis://h?password_file=/run/pw") == "at redis://h?password_file=/run/pw"
    assert without_secrets("at redis://h?sentinel_password=x") == "at redis://h?sentinel_password=***"
