"""What a value takes in its input stream and its prediction in the output: memory of the server, bytes on the wire.

python tools/stream_cost.py

Names of fourteen bytes, values of four digits, predictions of nine. Printed is one JSON object per size of entry.
"""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path

from streamlstm.cli.benchmark.server import PrivateServer, private_server
from streamlstm.store.resp.connection import pack

VALUES = 200_000
FIRST_MS = 1_700_000_000_000
SERIES = 10_000_000


def cost(server: PrivateServer, per_entry: int, digits: int) -> tuple[float, float]:
    """Bytes of memory and bytes on the wire of one value."""
    rng, key, connection = random.Random(1), "cost", server.connection
    commands = []
    for entry in range(VALUES // per_entry):
        names = (f"sensor-{(entry * per_entry + n) % SERIES:07d}" for n in range(per_entry))
        fields = [part for name in names for part in (name, f"{rng.uniform(10, 99):.{digits - 2}f}")]
        commands.append(pack("XADD", key, f"{FIRST_MS + entry}-0", *fields))
    data = b"".join(commands)
    connection.send(data)
    for _ in commands:
        connection.receive()
    memory = connection.call("MEMORY", "USAGE", key, "SAMPLES", 0)
    connection.call("DEL", key)
    return memory / VALUES, len(data) / VALUES


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as place, private_server(Path(place), "off") as server:
        for per_entry in (1, 100, 1000):
            found: dict[str, float] = {"values_per_entry": per_entry}
            for name, digits in (("input", 4), ("prediction", 9)):
                memory, wire = cost(server, per_entry, digits)
                found |= {f"{name}_memory_bytes": round(memory, 1), f"{name}_wire_bytes": round(wire, 1)}
            print(json.dumps(found))


if __name__ == "__main__":
    main()
