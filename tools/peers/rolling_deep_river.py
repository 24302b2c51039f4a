"""deep-river's LSTM regressor: `predict_one` per value on a rolling window of 10, one series, nothing stored.

It keeps no recurrent state: each call steps the whole window from zeros. Learning is left out.
"""

from __future__ import annotations

import torch
from common import arguments, rate, tell, values
from deep_river.regression import LSTMRegressor

WINDOW = 10  # its default

if __name__ == "__main__":
    given = arguments()
    torch.set_num_threads(1)
    model = LSTMRegressor(n_features=1, hidden_size=given.units, window_size=WINDOW, append_predict=True)
    found = rate(lambda value: model.predict_one({"value": value}), values(given.values))
    tell({"predict_one": found}, given.values, "deep-river", "river", "torch")
