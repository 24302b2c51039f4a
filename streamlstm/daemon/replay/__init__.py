"""Stepping a stream's entries once more: to verify, and for another model."""

from streamlstm.daemon.replay.corrections import Source, cut
from streamlstm.daemon.replay.past_records import PastRecords
from streamlstm.daemon.replay.preparing import prepare
from streamlstm.daemon.replay.replay import Replay
from streamlstm.daemon.replay.verify import Report, Verification
