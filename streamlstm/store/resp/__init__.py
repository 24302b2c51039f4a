"""Redis' protocol: addresses, connections, topologies, and the codec of entries and predictions."""

from streamlstm.store.resp.address import SOCKET_TIMEOUT_S, Address
from streamlstm.store.resp.array_checks import hold, hold_numbers, hold_tuple
from streamlstm.store.resp.codec import (
    ID_AT,
    ID_LENGTH,
    NAME_AT,
    NAME_LENGTH,
    SLOT,
    TIME,
    Scan,
    Table,
    Texts,
    bulk,
    encode_read,
    find_slots,
    pack_entries,
    pack_live,
    pack_records,
    scan_live,
    scan_read,
    write_numbers,
)
from streamlstm.store.resp.connection import Connection, pack
from streamlstm.store.resp.connection_pool import WRONG_TYPE, Nodes, is_away
from streamlstm.store.resp.decimals import DECIMAL
from streamlstm.store.resp.entry_id import BEGINNING, HIGHEST, EntryId, beyond, is_before
from streamlstm.store.resp.error_replies import advice
from streamlstm.store.resp.poller import Waiting
from streamlstm.store.resp.replies import agreed, checked, listed, odd, paired, parse_replies, stream_info
from streamlstm.store.resp.topology import Topology, at, parse_topology
from streamlstm.store.resp.url import as_cluster, read_url, shown, with_option
