"""Files of exported states."""

from streamlstm.store.snapshots.export_import import export_states, import_states, layout_of
from streamlstm.store.snapshots.file_format import Record, SnapshotHead, SnapshotReader
from streamlstm.store.snapshots.stream_states import PAGE, Draft, States, frozen_challenger
