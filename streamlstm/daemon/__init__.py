"""What `serve` runs: the loop, and what it does besides."""

from streamlstm.daemon.clock import Clock
from streamlstm.daemon.daemon import Daemon
from streamlstm.daemon.forecasts import Forecasts
from streamlstm.daemon.health import Health
from streamlstm.daemon.model_change import ModelChange, Rebuild, refuse
from streamlstm.daemon.model_library import ModelLibrary
from streamlstm.daemon.others import Others
from streamlstm.daemon.rehearsal import Rehearsal
from streamlstm.daemon.standby import Standby
from streamlstm.daemon.workers.channel import Channel
from streamlstm.daemon.workers.supervisor import Supervisor
from streamlstm.daemon.workers.together import Together
from streamlstm.daemon.workers.worker import Worker
