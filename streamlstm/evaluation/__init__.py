"""How good forecasts are: one step ahead through a table, beside the classics; needs no torch."""

from streamlstm.engine import Forecast
from streamlstm.evaluation.baselines import BASELINES, in_words, naive_forecasts
from streamlstm.evaluation.breakdown import Breakdown
from streamlstm.evaluation.comparison import Comparison, compare, scorable
from streamlstm.evaluation.evaluating import (
    EvaluateArguments,
    EvaluateSettings,
    evaluate,
    evaluate_with,
    forecast_table,
)
from streamlstm.evaluation.evaluation import Evaluation
from streamlstm.evaluation.first_values import FirstValues, score_first_values
from streamlstm.evaluation.intervals import served_bounds
from streamlstm.evaluation.paired_test import Difference, compare_errors
from streamlstm.evaluation.plot import Plot, draw_ahead, draw_splits, draw_test_part
from streamlstm.evaluation.ridge_regression import ridge
from streamlstm.evaluation.scores import Bounds, Errors, as_written, forecasts_ahead, only_forecast, score
from streamlstm.evaluation.served import serve
from streamlstm.evaluation.split import fill_gaps, from_first_value, training_length, with_gaps
from streamlstm.evaluation.widths import measured_widths
