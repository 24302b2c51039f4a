"""What all folders rest on: settings; guards against what strangers give; files written whole or not at all."""

from streamlstm.common import arguments
from streamlstm.common.arguments import in_python, options_are_arguments, split_settings, taken
from streamlstm.common.atomic_file import need_directories, save_whole, whole_file, whole_stream, write_whole
from streamlstm.common.bounded_file import open_bounded, read_bounded
from streamlstm.common.child_process import MIB, Limits, Result, read_confined
from streamlstm.common.doors import imported_later
from streamlstm.common.escaping import as_column, counted, listed, printable
from streamlstm.common.file_endings import TABLE_ENDINGS, other_ending
from streamlstm.common.masking import MASK, remember, without_secrets
from streamlstm.common.quantities import DURATIONS, SIZES, Units
from streamlstm.common.settings import (
    LONGEST_LEASE_MS,
    MISSING_POLICIES,
    MOST_ENTRY_VALUES,
    MOST_THREADS,
    DaemonSettings,
    EngineSettings,
    SharingSettings,
    WebSettings,
)
from streamlstm.common.times import EPOCH, iso_time
