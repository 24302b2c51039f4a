"""The floor of a latency: a loop that answers every entry with its own fields, without a model or a state.

It has the daemon's shape: a connection for a blocking read of all that is there, another for what is written, the next
read sent before the answers to the writes are waited for. What it takes is what Redis, Python and the way there and
back take.

python -m streamlstm.bench.echo JSON: until it is ended.
"""

from __future__ import annotations

import json
import select
import sys
from typing import NoReturn

from streamlstm.entry_id import BEGINNING
from streamlstm.keys import Keys
from streamlstm.wire import Address, Connection, checked, pack

COUNT = 16_384  # entries a read at most, as the daemon


def echo(url: str, stream: str) -> NoReturn:
    """Answer a stream from its beginning, for ever."""
    address, predictions = Address.parse(url), Keys(stream).predictions
    reader, writer = Connection(address, name="streamlstm-bench"), Connection(address, name="streamlstm-bench")
    position, unanswered = BEGINNING, 0
    poller = select.poll()
    poller.register(reader.fileno(), select.POLLIN)
    poller.register(writer.fileno(), select.POLLIN)
    reader.send(pack("XREAD", "COUNT", COUNT, "BLOCK", 1000, "STREAMS", stream, position))
    while True:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if writer.fileno() in ready:
            while unanswered:
                checked(writer.receive(), address)
                unanswered -= 1
        if reader.fileno() in ready:
            reply = checked(reader.receive(), address)
            entries = reply[0][1] if reply else []
            if entries:
                writer.send(b"".join([pack("XADD", predictions, entry_id, *fields) for entry_id, fields in entries]))
                position, unanswered = entries[-1][0], unanswered + len(entries)
            reader.send(pack("XREAD", "COUNT", COUNT, "BLOCK", 1000, "STREAMS", stream, position))


if __name__ == "__main__":
    echo(**json.loads(sys.argv[1]))
