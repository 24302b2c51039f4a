"""River's online autoregression, one a series: it learns from each value and forecasts the next.

River has no recurrent network that carries its state (deep-river steps a window of ten from zeros at each call), so
this is no LSTM: eight lags, learnt by stochastic gradients.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from streamlstm.cli.benchmark.peers.common import PeerStream, tell

LAGS = 8


def answer_entries(url: str, stream: str, entries: int, **_: object) -> float:
    """Answer the first entries of a stream; the seconds for all of them."""
    time_series: Any = import_module("river.time_series")
    models: dict[str, Any] = {}

    def forecast(series: str, number: float) -> float:
        model = models.get(series)
        if model is None:
            model = models[series] = time_series.SNARIMAX(p=LAGS, d=0, q=0)
        model.learn_one(number)
        return float(model.forecast(horizon=1)[0])

    forecast("warm-up", 0.0)
    return PeerStream(url, stream).answer_each(entries, forecast)


if __name__ == "__main__":
    tell(answer_entries)
