"""What a daemon is asked over HTTP: forecasts ahead."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from support.serving import Serving


def asked(daemon: Serving, query: dict[str, Any] | list[tuple[str, str]] | str) -> tuple[int, Any]:
    """Status and JSON of a query."""
    text = query if isinstance(query, str) else urllib.parse.urlencode(query)
    try:
        with urllib.request.urlopen(f"{daemon.ready()['http']}/forecast?{text}", timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        body = error.read()
        assert body.count(b"\n") == 1
        return error.code, json.loads(body)
