"""What of a stream is taken in to correct a series, and how a correction is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlstm.engine.corrections import Correction, read_correction
from streamlstm.engine.engine import Engine
from streamlstm.engine.past import Past
from streamlstm.store.resp import encode_read
from support import models


def test_what_is_asked_for_other_series_is_not_taken_in() -> None:
    """A flood of corrections takes no memory in the reading for another series, whatever spaces names have."""
    asked = [b"%b 1-0 2" % name for name in (b"a b", b"b", b"a", b" a", b"a ", b"a b c")]
    flood = (b"2-0", [part for text in [*asked, b"a", b"a 1-0", b""] for part in (b"!correct", text)])
    past = Past(Engine(models.load_lstm(4)), [b"a", b"a b"])
    assert past.take(encode_read({"values": [(b"1-0", [b"a", b"1"]), flood]}), "values") == (2, b"2-0")
    assert past.asked == [(b"2-0", b"!correct", text) for text in (b"a b 1-0 2", b"a 1-0 2")]
    assert past.items == 3


@given(name=st.text(min_size=1, max_size=20), value=st.floats(-1e30, 1e30), spaces=st.integers(0, 3))
def test_names_may_have_spaces(name: str, value: float, spaces: int) -> None:
    """All before the last two words is the name, to the byte."""
    series = f"n{' ' * spaces}{name}".encode()
    found = read_correction((b"9-0", b"!correct", b"%b 7 %b" % (series, repr(value).encode())), 1)
    assert found == Correction(series, b"7-0", repr(value).encode(), is_late=False)
