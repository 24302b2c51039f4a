"""Streams shared by the processes of a group."""

from streamlstm.daemon.sharing.assignment import NEVER_MS, NoLeases, Sharing, all_of
from streamlstm.daemon.sharing.discovery import RedisDiscovery
from streamlstm.daemon.sharing.leases import RedisLeases
from streamlstm.daemon.sharing.process_identity import Process, is_dead_here
from streamlstm.daemon.sharing.stream_selector import Selection, expanded
