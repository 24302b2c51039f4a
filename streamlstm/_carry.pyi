"""Types of the compiled inner parts of stepping: those of `streamlstm.carry_python`."""

from streamlstm.calibration import calibrate as calibrate
from streamlstm.carry_python import absorb as absorb
from streamlstm.carry_python import absorb_one as absorb_one
from streamlstm.carry_python import all_finite as all_finite
from streamlstm.carry_python import lay_out as lay_out
from streamlstm.carry_python import take_one as take_one
from streamlstm.carry_python import take_parts as take_parts
from streamlstm.carry_python import take_steps as take_steps
