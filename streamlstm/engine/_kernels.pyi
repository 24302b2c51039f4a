"""Types of the compiled inner parts of stepping: those of `engine.kernels_python`."""

from streamlstm.engine.kernels_python import absorb as absorb
from streamlstm.engine.kernels_python import absorb_one as absorb_one
from streamlstm.engine.kernels_python import all_finite as all_finite
from streamlstm.engine.kernels_python import lay_out as lay_out
from streamlstm.engine.kernels_python import take_one as take_one
from streamlstm.engine.kernels_python import take_parts as take_parts
from streamlstm.engine.kernels_python import take_steps as take_steps
from streamlstm.store.record.conformal import calibrate as calibrate
