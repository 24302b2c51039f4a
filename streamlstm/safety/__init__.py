"""Guards against what strangers give: files, texts; and files that are written whole or not at all."""

from streamlstm.safety.atomic_file import whole_file, whole_stream, write_whole
from streamlstm.safety.bounded_file import open_bounded, read_bounded
from streamlstm.safety.child_process import MIB, Limits, Result, read_confined
from streamlstm.safety.escaping import as_column, listed, printable
from streamlstm.safety.masking import MASK, remember, without_secrets
