"""What a stream's `base:meta` holds, read in one place: a field that nobody of us wrote is refused by its name.

Anybody who may write to the server may write there. What cannot be what the field says is an error about this one
stream, which whoever serves it leaves alone, and never a fault of the process that reads it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from streamlstm.errors import StoreError
from streamlstm.store.keys import Keys
from streamlstm.store.record import outputs_of
from streamlstm.store.resp import BEGINNING, Connection, EntryId, beyond, pack, stream_info
from streamlstm.store.terms import FINGERPRINT, Challenger, Term, read_terms

FORMAT = b"1"  # of the derived keys
CALIBRATED_FORMAT = b"2"  # of those with calibrations, so that a version that knows an older kind refuses them
# In the order in which `read_meta` takes them.
FIELDS = (
    *("position", "model", "columns", "entries", "epoch", "format"),
    *("challenger", "challenger_columns", "challenger_position", "challenger_off", "champions", "challengers"),
)
MOST_SHOWN_BYTES = 60  # of a field that is refused
PAGE = 1_000  # entries of one command

_WHOLE = re.compile(rb"[0-9]{1,18}")  # below 2^63, as what a commit counts


@dataclass(frozen=True, kw_only=True)
class Meta:
    """The fields of the hash."""

    position: bytes = BEGINNING
    model: str | None = None  # fingerprint; None before the first commit
    columns: str = ""
    answered: int = 0  # entries up to the position
    epoch: int = 0  # times all states were replaced at once, or models in their roles
    challenger: Challenger | None = None
    champions: tuple[Term, ...] = ()  # which model's predictions are the output since when; none if there was but one
    challengers: tuple[Term, ...] = ()  # the same of the challenger's

    @property
    def champion_terms(self) -> tuple[Term, ...]:
        """The terms of all champions, that of the only one too; none of a stream that was never served."""
        return self.champions or (() if self.model is None else (Term(model=self.model, after="0-0"),))


def format_of(columns: str) -> bytes:
    """The format of the derived keys of a stream with these columns."""
    return CALIBRATED_FORMAT if outputs_of(columns.split(","))[1] else FORMAT


def fetch_meta(connection: Connection, keys: Keys) -> Meta:
    """Ask for the hash and read it; raises StoreError as `read_meta`."""
    return read_meta(connection, keys, connection.call("HMGET", keys.meta, *FIELDS))


def read_meta(connection: Connection, keys: Keys, found: Sequence[bytes | None]) -> Meta:
    """The answer to an HMGET of FIELDS; raises StoreError, with what to do, for one that cannot be what it says."""
    position, model, columns, entries, epoch, written_format, *roles = found
    if written_format not in {None, FORMAT, CALIBRATED_FORMAT}:
        raise StoreError(
            f"the keys of stream {keys.input!r} have format {_shown(written_format)}, this version reads "
            f"{FORMAT.decode()!r} and {CALIBRATED_FORMAT.decode()!r}; install the version that wrote them, or put the "
            f"field 'format' of the hash {keys.meta!r} right"
        )
    place = read_position(keys, position)
    if entries is None and position is not None:  # deleted by somebody
        answered = entries_up_to(connection, keys, place)
    else:
        answered = read_count(keys, "entries", entries, "delete the field (HDEL): what was answered is counted anew")
    return Meta(
        position=place,
        model=read_model(keys, model),
        columns=(columns or b"").decode("utf-8", "backslashreplace"),  # compared and shown, nothing rests on it
        answered=answered,
        epoch=read_count(keys, "epoch", epoch, "set it to 0"),
        **_roles(keys, roles),
    )


class _Roles(TypedDict):
    """What the fields of the roles say."""

    challenger: Challenger | None
    champions: tuple[Term, ...]
    challengers: tuple[Term, ...]


def _roles(keys: Keys, found: Sequence[bytes | None]) -> _Roles:
    model, columns, position, off, champions, challengers = found
    challenger = None
    fingerprint = read_model(keys, model, "challenger")
    if fingerprint is not None:
        challenger = Challenger(
            model=fingerprint,
            columns=(columns or b"").decode("utf-8", "backslashreplace"),
            position=read_position(keys, position, "challenger_position"),
            off=None if off is None else off.decode("utf-8", "backslashreplace"),
        )
    terms = []
    for field, text in (("champions", champions), ("challengers", challengers)):
        known = read_terms(text)
        if known is None:
            raise _odd(keys, field, text or b"", "a list of models and ids; delete the field (HDEL)")
        terms.append(known)
    return {"challenger": challenger, "champions": terms[0], "challengers": terms[1]}


def read_model(keys: Keys, model: bytes | None, field: str = "model") -> str | None:
    """The field `model`, or another one; raises StoreError for what is no fingerprint."""
    if model is not None and not FINGERPRINT.fullmatch(model):
        raise _odd(keys, field, model, "a model's fingerprint; set it to that of the model that made the states")
    return None if model is None else model.decode()


def read_position(keys: Keys, position: bytes | None, field: str = "position") -> bytes:
    """The field `position`, or another one; raises StoreError for what is no entry's id."""
    try:
        EntryId.parse(BEGINNING if position is None else position)
    except StoreError:
        what = f"an entry's id; set it to that of the last entry answered, as {keys.predictions!r} has it"
        raise _odd(keys, field, position or b"", what) from None
    return BEGINNING if position is None else position


def entries_up_to(connection: Connection, keys: Keys, position: bytes) -> int:
    """How many entries the input has had up to an id, as far as the server counts those that are gone (Redis 7)."""
    connection.send(pack("XINFO", "STREAM", keys.input))
    info = stream_info(connection.receive(), connection.address)
    if not info:
        return 0
    later, after = 0, position
    while page := connection.call("XRANGE", keys.input, *beyond(after), "COUNT", PAGE):
        later, after = later + len(page), page[-1][0]
    return max(0, int(info.get(b"entries-added", info[b"length"])) - later)


def read_count(keys: Keys, field: str, text: bytes | None, cure: str) -> int:
    """A field that counts, 0 if it is not there; raises StoreError, with the cure, for what is no count."""
    if text is None:
        return 0
    if not _WHOLE.fullmatch(text):
        raise _odd(keys, field, text, f"a whole number; {cure}")
    return int(text)


def _odd(keys: Keys, field: str, text: bytes, wanted: str) -> StoreError:
    return StoreError(
        f"the field {field!r} of the hash {keys.meta!r} holds {_shown(text)}, which somebody else wrote: it is not "
        f"{wanted}"
    )


def _shown(text: bytes | None) -> str:
    text = text or b""
    more = f"… ({len(text):,} bytes)" if len(text) > MOST_SHOWN_BYTES else ""
    return repr(text[:MOST_SHOWN_BYTES].decode("ascii", "backslashreplace")) + more
