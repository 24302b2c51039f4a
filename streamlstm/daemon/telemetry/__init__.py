"""What a daemon says of itself: metrics, logs, systemd."""

from streamlstm.daemon.telemetry.instruments import Laps
from streamlstm.daemon.telemetry.merging import SUPERVISOR, Totals
from streamlstm.daemon.telemetry.metrics import CONTENT_TYPE, STAGES, Described, Metrics
from streamlstm.daemon.telemetry.supervisor_metrics import SupervisorMetrics
from streamlstm.daemon.telemetry.systemd import Notifier
from streamlstm.daemon.telemetry.throttled_log import ThrottledLog
