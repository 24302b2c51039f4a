"""Why a value cannot be stepped: a kind, for metrics, and a text, for whoever reads the dead letter."""

from __future__ import annotations

from typing import NamedTuple

NOT_A_NUMBER = "not_a_number"
WRONG_COUNT = "wrong_count"
OUT_OF_RANGE = "out_of_range"
BAD_NAME = "bad_name"
UNKNOWN_COMMAND = "unknown_command"
TOO_MANY_SERIES = "too_many_series"
NO_PAST = "no_past"
NOT_FINITE = "not_finite"
MODEL_FAILED = "model_failed"
BAD_RECORD = "bad_record"
TOO_MANY_VALUES = "too_many_values"
NOT_CORRECTED = "not_corrected"

KINDS = (
    NOT_A_NUMBER,
    WRONG_COUNT,
    OUT_OF_RANGE,
    BAD_NAME,
    UNKNOWN_COMMAND,
    TOO_MANY_SERIES,
    NO_PAST,
    NOT_FINITE,
    MODEL_FAILED,
    BAD_RECORD,
    TOO_MANY_VALUES,
    NOT_CORRECTED,
)


class Flaw(NamedTuple):
    """What is wrong with an item of an entry."""

    kind: str  # one of KINDS
    text: str
    values: int = 1  # it stands for
