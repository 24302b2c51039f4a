"""Types of the compiled inner parts of stepping: those of `engine.kernels_python`."""

from streamlstm.engine.kernels_python import all_finite as all_finite
from streamlstm.engine.kernels_python import apply_live as apply_live
from streamlstm.engine.kernels_python import apply_outputs as apply_outputs
from streamlstm.engine.kernels_python import gather_columns as gather_columns
from streamlstm.engine.kernels_python import gather_live as gather_live
from streamlstm.engine.kernels_python import gather_steps as gather_steps
from streamlstm.engine.kernels_python import lay_out as lay_out
from streamlstm.engine.kernels_python import step_tiles as step_tiles
from streamlstm.store.record.conformal import calibrate as calibrate
