"""The naive peer: the loop everybody writes first, one redis-py call and one model call for everything.

Read one entry, get the state of each of its series, step, put the state back, add the prediction; no transaction, no
position kept. onnxruntime runs with one thread, which is its faster setting for one step of one series.

python -m streamlstm.cli.benchmark.naive JSON: in a process of its own, as it would be.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import redis

from streamlstm.models import split
from streamlstm.store import Keys


def answer_entries(url: str, stream: str, model: str, entries: int, core: int | None) -> float:
    """Answer the first entries of a stream of single numbers, bound to a core or not; seconds for all of them."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(Path(model).read_bytes(), options, providers=["CPUExecutionProvider"])
    size = session.get_inputs()[1].shape[1]
    exact = session.get_inputs()[0].shape[2] == 2  # numbers are pairs
    keys = Keys(stream)
    client: Any = redis.Redis.from_url(url, protocol=2)  # its own types allow an answer of every kind
    client.ping()
    position: bytes = b"0-0"
    began = time.perf_counter()
    for _ in range(entries):
        position, fields = client.xread({stream: position}, count=1)[0][1][0]
        answers = {}
        for series, value in fields.items():
            stored = client.hget(keys.state, series)
            state = np.zeros((1, size), np.float32) if stored is None else np.frombuffer(stored, np.float32)[None]
            number = np.array([[[float(value)]]])
            x = split(number) if exact else number.astype(np.float32)
            y, state = session.run(["y", "next_state"], {"x": x, "state": state})
            client.hset(keys.state, series, state.tobytes())
            answers[series] = repr(float(y[0, 0, 0]))
        client.xadd(keys.predictions, answers, id=position)
    took = time.perf_counter() - began
    client.close()
    return took


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer_entries(**json.loads(sys.argv[1]))))
