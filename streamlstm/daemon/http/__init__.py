"""What a daemon shows over HTTP."""

from streamlstm.daemon.http.forecast import ForecastQuery
from streamlstm.daemon.http.routes import make_pages
from streamlstm.daemon.http.server import HttpServer
