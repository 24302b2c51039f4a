"""The record of one series: its layout, what calibrates its intervals, the columns that come of it."""

from streamlstm.store.record.columns import ANOMALY_COLUMNS, DEFAULT_LEVEL, NO_EXTRAS, Extras, outputs_of
from streamlstm.store.record.conformal import (
    CALIBRATION,
    CONSTANTS,
    LABELLED,
    LEAST_SEEN,
    Constants,
    Events,
    calibrate,
    ends_around,
    intervals_around,
    is_level,
    tail_at,
)
from streamlstm.store.record.layout import (
    HEADER,
    HEADER_WORDS,
    LATEST_MS,
    NO_RECORDS,
    SUMS,
    RecordFormat,
    Records,
    Rows,
    calibration_size_of,
    count_on,
    idle_edge,
    kind_of,
    steps_of,
    time_of,
)
