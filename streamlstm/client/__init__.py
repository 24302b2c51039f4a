"""Values into streams, predictions out of them: what `push` and `tail` do, and `streamlstm.Client`."""

from typing import TYPE_CHECKING

from streamlstm.client.client import Client
from streamlstm.client.connection import connect, connect_all, find_redis, resolve_redis, with_password
from streamlstm.client.exporting import FORECASTS_OF, NEXT, write_joined
from streamlstm.client.following import Anomaly, Prediction, Predictions
from streamlstm.client.forecasting import StreamForecaster, asked_of, opened_path, pages
from streamlstm.client.history import joined_histories, read_history, stream_spec
from streamlstm.client.producer.answered import Wait
from streamlstm.client.producer.corrections import read_corrections, together_by
from streamlstm.client.producer.packing import partition_of, streams_of
from streamlstm.client.producer.piped import send_pipe
from streamlstm.client.producer.row_format import Format, Row
from streamlstm.client.producer.run import Push, connected, now_ms, packer_of
from streamlstm.client.producer.sending import Sender
from streamlstm.client.producer.sources import read_file
from streamlstm.client.promotions import Entry, Promotion
from streamlstm.client.pushing import NOT_BOTH, Pushed
from streamlstm.client.reading import ANOMALIES, DEAD, PREDICTIONS, Reader
from streamlstm.client.record_facts import Facts, facts
from streamlstm.client.times import entry_time
from streamlstm.client.trials import Compared, compared, facts_of, weights_of
from streamlstm.common import imported_later
from streamlstm.engine import Forecast

if TYPE_CHECKING:
    from streamlstm.client.aio import AsyncClient, AsyncPredictions

# What loads asyncio is imported when it is asked for: no command needs it.
__getattr__ = imported_later(__name__, {"AsyncClient": "aio", "AsyncPredictions": "aio"})
