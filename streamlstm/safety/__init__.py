"""Guards against what strangers give: files, texts; and files that are written whole or not at all."""

from streamlstm.safety import arguments
from streamlstm.safety.arguments import in_python, options_are_arguments, taken
from streamlstm.safety.atomic_file import save_whole, whole_file, whole_stream, write_whole
from streamlstm.safety.bounded_file import open_bounded, read_bounded
from streamlstm.safety.child_process import MIB, Limits, Result, read_confined
from streamlstm.safety.escaping import as_column, counted, listed, printable
from streamlstm.safety.masking import MASK, remember, without_secrets
from streamlstm.safety.quantities import DURATIONS, SIZES, Units
