"""Entries in, commits out: no I/O, no clock."""

from streamlstm.engine.ahead import Ahead, Fed, ForecastPaths, fed_steps, scored_column
from streamlstm.engine.ahead_intervals import bounds_ahead, of_mean, one_step, returned
from streamlstm.engine.anomalies import anomaly_threshold
from streamlstm.engine.checkpoints import WINDOW, Window, epoch_told
from streamlstm.engine.compiled import COMPILED, WITHOUT
from streamlstm.engine.corrected import KeptAgain
from streamlstm.engine.corrections import (
    MOST_TEXT_BYTES,
    Correction,
    Entry,
    Place,
    commands_in,
    correcting_entries,
    corrections_in,
    not_corrected,
    read_correction,
    with_right,
)
from streamlstm.engine.engine import Engine
from streamlstm.engine.forecasts import (
    DEFAULT_STEPS,
    HOLD,
    MOST_STEPS,
    REFUSE,
    Asked,
    Forecast,
    Said,
    forecast_records,
    forecast_rows,
    nothing_said,
    readable_rows,
    written_numbers,
)
from streamlstm.engine.item_counts import ItemCounts
from streamlstm.engine.kernels import calibrate
from streamlstm.engine.known_records import MOST_TOGETHER, Known
from streamlstm.engine.live import LiveRead
from streamlstm.engine.overflow import MOST_REJECTED
from streamlstm.engine.parsing import (
    ALL_SERIES,
    COMMANDS,
    CORRECT,
    CORRECTIONS,
    LATE,
    RESET,
    WARM,
    Parsed,
    name_error,
    parse,
)
from streamlstm.engine.past import Again, Past, SeriesCourse
from streamlstm.engine.rejection import BAD_RECORD, KINDS, MODEL_FAILED, NOT_CORRECTED, Flaw
from streamlstm.engine.response import growth
from streamlstm.engine.results import Result
from streamlstm.engine.rounding import rounding_share
from streamlstm.engine.scoring import (
    ABSOLUTE,
    BUCKETS,
    COVERED,
    FIRST_ABSOLUTE,
    FIRST_NAIVE,
    FIRST_SCORED,
    FIRST_VALUES,
    GIVEN,
    NAIVE,
    SCALED,
    SCALED_ERROR_EDGES,
    SCORED,
    new_tally,
    scored_feature,
)
from streamlstm.engine.values import is_decimal, read_numbers
from streamlstm.engine.warm import OWN_TIME, said_time, take_warm
