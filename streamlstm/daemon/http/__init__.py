"""What a daemon shows over HTTP."""

from streamlstm.daemon.http.answer import HttpAnswer
from streamlstm.daemon.http.forecast import ForecastQuery
from streamlstm.daemon.http.live.figures import ProcessFigures, Shown
from streamlstm.daemon.http.request_handler import Pages, RequestHandler
from streamlstm.daemon.http.routes import make_pages
from streamlstm.daemon.http.server import HttpServer
