"""Dead letters found by what they are about, each read once."""

from __future__ import annotations

import pytest

from streamlstm.store import dead_letters, letter_places
from streamlstm.store.dead_letters import Beside, Letters
from streamlstm.store.keys import Keys
from streamlstm.store.letter_places import LetterPlaces
from streamlstm.store.redis import RedisStore
from streamlstm.store.resp import EntryId
from support.server import Server

KEYS, NAMES = Keys("values"), frozenset((b"!correct",))
ABOUT = [(b"1-0", b"!correct", b"s %d-0 1" % number) for number in range(500)]


@pytest.mark.parametrize("young", [letter_places.MOST_YOUNG, 90])
def test_letters_are_found_by_what_they_are_about(young: int, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """With their reasons, those that came since too; all that are kept, and of trimmed ones so many as well."""
    monkeypatch.setattr(letter_places, "MOST_YOUNG", young)
    client = server.client()
    client.flushall()
    store = RedisStore(server.url)
    store.open("values")
    for turn in range(2):
        client.xadd(KEYS.dead, {"id": "1-0", "series": "s", "value": "text", "error": "no number"})
        for own, series, value in ABOUT[250 * turn :][:250]:
            letter = {"id": own, "series": series, "value": value, "error": b"because of " + value}
            client.xadd(KEYS.dead, letter)  # type: ignore[arg-type]
        found = store.letters("values", NAMES)
        for number, about in enumerate(ABOUT):
            is_there = number < 250 * (turn + 1)
            assert (about in found) == is_there
            assert found.get(about) == (f"because of {about[2].decode()}" if is_there else None)
        assert (b"1-0", b"s", b"text") not in found
        assert (b"2-0", *ABOUT[0][1:]) not in found
    said = (b"3-0", b"!correct", b"rubbish")
    both = Beside(found, {said: "just now"})
    assert (said in both, ABOUT[7] in both, both.get(said)) == (True, True, "just now")
    assert both.get(ABOUT[7]) == "because of s 7-0 1"
    client.xtrim(KEYS.dead, maxlen=10, approximate=False)
    assert ABOUT[0] in store.letters("values", NAMES)
    assert "not kept any more" in (store.letters("values", NAMES).get(ABOUT[0]) or "")
    monkeypatch.setattr(dead_letters, "MOST_REMEMBERED", 5)
    connection = store.connect("values")
    for letters in (Letters(KEYS, NAMES).read(connection), store.letters("values", NAMES)):
        assert [about in letters for about in ABOUT[-15:]] == [False] * 5 + [True] * 10
    connection.close()
    store.close()
    client.close()


def test_reasons_asked_for_in_order_take_few_questions(server: Server) -> None:
    """Whoever steps all corrections again asks for all reasons: ever more are read at once, each the right one."""
    client = server.client()
    client.flushall()
    for own, series, value in ABOUT:
        client.xadd(KEYS.dead, {"id": own, "series": series, "value": value, "error": b"because of " + value})  # type: ignore[dict-item]
    store = RedisStore(server.url)
    connection = store.connect("values")
    letters = Letters(KEYS, NAMES).read(connection)
    client.config_resetstat()
    for about in (*ABOUT, ABOUT[3], ABOUT[2]):
        assert letters.get(about) == f"because of {about[2].decode()}"
    assert client.info("commandstats")["cmdstat_xrange"]["calls"] <= 12
    connection.close()
    store.close()
    client.close()


def test_many_letters_are_as_many_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is new or long there, of several about the same the last one is found, and none of what was let go."""
    monkeypatch.setattr(letter_places, "MOST_YOUNG", 3)
    places, about = LetterPlaces(), [b"%016d" % (number % 7) for number in range(20)]  # all begin alike
    for number, one in enumerate(about):
        places.put(one, bytes(EntryId(2**63 + number, number)))
        assert places.get(one) == EntryId(2**63 + number, number)
    assert [places.get(one) for one in about[13:]] == [EntryId(2**63 + n, n) for n in range(13, 20)]
    assert places.get(b"%016d" % 7) is None
    places.drop_before(EntryId(2**63 + 15, 16))
    assert [places.get(one) is not None for one in about[13:]] == [False] * 3 + [True] * 4
