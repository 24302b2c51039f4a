"""Step models: what a file says of itself, and how it is run (`streamlstm.load` opens one); the packaged one."""

from typing import TYPE_CHECKING

from streamlstm.common import imported_later
from streamlstm.models.gap_policy import (
    MISSING_POLICIES,
    MOST_FILLED,
    NEVER,
    NO_GAPS,
    TRAINED_MISSING,
    Gaps,
    filled_time,
    missing_policy,
)
from streamlstm.models.model_file import MAX_FILE_BYTES, ExternalWeightsError, check_model, read_model
from streamlstm.models.packaged import (
    ARIMA,
    BLEND,
    CORRECTED,
    NETWORK_FILE,
    PARTS_IN_WORDS,
    TRAINED,
    UNIVERSAL,
    UNIVERSAL_FILE,
)
from streamlstm.models.providers import CPU, FIXED_ROWS, PROVIDERS, fingerprint, provider_of, told_apart
from streamlstm.models.spec import FLOAT16, MAX_STATE_SIZE, METADATA_KEY, OVERFLOW, ModelSpec, StateEntry

if TYPE_CHECKING:
    from streamlstm.models._integer_division import answer_overflow
    from streamlstm.models.bits import check_bits, step_by_step
    from streamlstm.models.interface import SmallCall, StepModel
    from streamlstm.models.mixing import (
        FIRST_PARTS,
        LEAST_SHARE,
        LEAST_SUM,
        SHARPNESS,
        Candidate,
        candidate_shares,
        candidates_of,
    )
    from streamlstm.models.model import Model, load
    from streamlstm.models.packing import LARGEST_HALF, Packing, as_stored
    from streamlstm.models.pairs import MOST_ROUNDED, as_told, join, split
    from streamlstm.models.session import (
        Pace,
        Watch,
        bound_memory,
        check_functions,
        open_session,
        said_by_runtime,
        thread_clock,
    )
    from streamlstm.models.step_widths import OLDER_STEP_WIDTHS, STEP_WIDTHS, StepWidths

# What loads numpy or onnxruntime is imported when it is asked for: a command's help does without.
__getattr__ = imported_later(
    __name__,
    {
        "answer_overflow": "_integer_division",
        "check_bits": "bits",
        "step_by_step": "bits",
        "SmallCall": "interface",
        "StepModel": "interface",
        "FIRST_PARTS": "mixing",
        "LEAST_SHARE": "mixing",
        "LEAST_SUM": "mixing",
        "SHARPNESS": "mixing",
        "Candidate": "mixing",
        "candidate_shares": "mixing",
        "candidates_of": "mixing",
        "Model": "model",
        "load": "model",
        "LARGEST_HALF": "packing",
        "Packing": "packing",
        "as_stored": "packing",
        "MOST_ROUNDED": "pairs",
        "as_told": "pairs",
        "join": "pairs",
        "split": "pairs",
        "Pace": "session",
        "Watch": "session",
        "bound_memory": "session",
        "check_functions": "session",
        "open_session": "session",
        "said_by_runtime": "session",
        "thread_clock": "session",
        "STEP_WIDTHS": "step_widths",
        "StepWidths": "step_widths",
        "OLDER_STEP_WIDTHS": "step_widths",
    },
)
