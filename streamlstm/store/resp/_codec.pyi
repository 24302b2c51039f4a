"""Types of the compiled codec: those of `store.resp.codec_python`."""

from streamlstm.store.resp.codec_python import NO_SLOT as NO_SLOT
from streamlstm.store.resp.codec_python import Table as Table
from streamlstm.store.resp.codec_python import find_slots as find_slots
from streamlstm.store.resp.codec_python import pack_entries as pack_entries
from streamlstm.store.resp.codec_python import pack_live as pack_live
from streamlstm.store.resp.codec_python import pack_records as pack_records
from streamlstm.store.resp.codec_python import scan_live as scan_live
from streamlstm.store.resp.codec_python import scan_read as scan_read
from streamlstm.store.resp.codec_python import skip_replies as skip_replies
from streamlstm.store.resp.codec_python import write_numbers as write_numbers
