"""Streams, records and positions in Redis, or in memory; the commit that moves all of them in one step."""

from streamlstm.store.base import (
    BEFORE_ANYTHING,
    TOO_MUCH,
    Anomalies,
    ChallengerHead,
    Commit,
    DeadLetter,
    Head,
    Kept,
    KeptRecord,
    LiveCommit,
    Store,
    Tail,
)
from streamlstm.store.commit_commands import FlightPacker
from streamlstm.store.consumer_groups import making, read_groups
from streamlstm.store.dead_letters import About, Beside, Letters, Refused, letters_about, read_letters
from streamlstm.store.embedded_server import HOST, EmbeddedServer, end_process
from streamlstm.store.key_types import check_stream, check_types, no_stream
from streamlstm.store.keys import EVENTS_CHANNEL, Keys, is_derived, members_key
from streamlstm.store.meta_change import change_meta
from streamlstm.store.model_files import MOST_KEPT_BYTES, ModelFiles, kept_model
from streamlstm.store.preflight import Preflight
from streamlstm.store.recent import BACK_FIELDS, Answered, Recent
from streamlstm.store.redis import BLOCK_MS, RedisStore
from streamlstm.store.roles import Roles, end_roles
from streamlstm.store.server_check import warnings
from streamlstm.store.stream_ends import NO_ENTRIES, begun_again_text, read_range, read_tail
from streamlstm.store.stream_meta import (
    FIELDS,
    Meta,
    entries_up_to,
    fetch_meta,
    format_of,
    read_meta,
    read_model,
    read_position,
)
from streamlstm.store.terms import ROLE_FIELDS, Challenger, Term, models_of
from streamlstm.store.transaction import Command, carry_out_whole, watch
from streamlstm.store.written_numbers import as_number, finite, number_at
