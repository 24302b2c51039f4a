"""The compiled parts against their twins in Python, call by call: the same answers, the same bits, the same errors.

    python -m fuzz.twins [--seconds 30] [--seed 1] [--calls N]

Half of the calls are right; of the others one argument is wrong, or a reply is damaged. A difference prints the seed of
its call, which `--seed S --calls 1` plays again. Under the sanitizers (`make sanitize`) memory is watched as well.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import random
import sys
import time
from typing import Any

import numpy as np

from fuzz import calls, replies
from fuzz.spoil import spoiled
from streamlstm.engine import kernels_python
from streamlstm.store.resp import Texts, codec_python

KEYS = {b"k": 0, b"other": 1}
# Arguments with arrays that name items, places and slots: that no item or row is two series' own is the caller's to see
# to, as looking would take longer than the work; what each twin makes of it lies within its arrays.
TWICE = {"apply_outputs": {3, 4}, "step_tiles": {3, 4}, "apply_live": {3, 5}}
FUNCTIONS = ("scan_read", "scan_live", "find_slots", "skip_replies", "calls", "calls", "calls", "calls", "number")


def twins(name: str) -> tuple[Any, Any]:
    """The compiled function and the one in Python."""
    if hasattr(codec_python, name):
        return getattr(importlib.import_module("streamlstm.store.resp._codec"), name), getattr(codec_python, name)
    return getattr(importlib.import_module("streamlstm.engine._kernels"), name), getattr(kernels_python, name)


def outcome(function: Any, arguments: list[Any]) -> Any:
    """What a call gives and leaves in its arrays, or the kind of its error."""
    with np.errstate(all="ignore"):
        try:
            found = function(*arguments)
        except (ValueError, TypeError):  # bytes that may not be written to are wrong both ways
            return "refused"
        except KeyError:
            return "unknown"
    parts = [part for one in arguments for part in (one if isinstance(one, tuple) else (one,))]
    written = [part.tobytes() for part in parts if isinstance(part, np.ndarray) and part.flags.writeable]
    return _plain(found), written


def _plain(found: Any) -> Any:
    if isinstance(found, (tuple, list)):
        return [_plain(part) for part in found]
    if isinstance(found, np.ndarray):
        return found.tobytes()
    return bytes(found) if isinstance(found, (bytes, bytearray)) else found


def table_of(module: Any) -> Any:
    """A table with some series, of a codec's own kind."""
    made = importlib.import_module(module).Table()
    for slot, series in enumerate(((0, b"known"), (1, b""), (1, b"other")), 4):
        made.put(*series, slot)
    return made


def scan(name: str, choice: random.Random) -> tuple[Any, Any]:
    """What both make of a reply."""
    reply = replies.read(choice)
    if choice.random() < 0.6:
        reply = replies.damaged(reply, choice)
    features, exact, most = choice.choice((1, 1, 2)), choice.choice((0, 0, 1)), choice.choice((1, 3))
    found = []
    for module in ("streamlstm.store.resp._codec", "streamlstm.store.resp.codec_python"):
        arguments: list[Any] = [reply, table_of(module), KEYS]
        if name == "scan_read":
            answer = outcome(importlib.import_module(module).scan_read, [*arguments, features, exact])
        else:
            room = [np.zeros(6 * most, np.int64), np.zeros(most * features * (1 + exact), np.float32), exact]
            answer = outcome(importlib.import_module(module).scan_live, [*arguments, *room])
            answer = None if isinstance(answer, tuple) and answer[0] is None else answer
        found.append(answer)
    return found[0], found[1]


def find(choice: random.Random) -> tuple[Any, Any]:
    """Where both find series, some of which a table has; now and then the pieces are spoiled."""
    names = Texts.of([choice.choice((b"known", b"", b"other", b"unknown")) for _ in range(choice.randrange(40))]).parts
    spoiling = choice.randrange(2**32) if choice.random() < 0.4 else None
    stream, found = choice.choice((0, 1, 2, -1, 2**40)), []
    for module in ("streamlstm.store.resp._codec", "streamlstm.store.resp.codec_python"):
        mine = copy.deepcopy(names)
        mine = mine if spoiling is None else spoiled(mine, random.Random(spoiling))
        found.append(outcome(importlib.import_module(module).find_slots, [table_of(module), stream, mine]))
    return found[0], found[1]


def skip(choice: random.Random) -> tuple[Any, Any]:
    """How far both go over replies, from wherever they are."""
    raw = b"".join(replies.anything(choice) for _ in range(choice.choice((1, 2, 5))))
    if choice.random() < 0.6:
        raw = replies.damaged(raw, choice)
    at = choice.choice((0, 0, 0, choice.randrange(len(raw) + 2), -1))
    left = choice.choice((1, 2, 5, 0, -1, 2**63 - 2, 2**63))
    one, other = (outcome(function, [raw, at, left]) for function in twins("skip_replies"))
    return one, other


def number(choice: random.Random) -> tuple[Any, Any]:
    """What the compiled codec makes of a decimal number, and Python's `float` of it, rounded."""
    text = replies.decimal(choice)
    reply = b"*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$5\r\nknown\r\n$%d\r\n%b\r\n" % (len(text), text)
    room = np.zeros(6, np.int64), np.zeros(1, np.float32)
    key = twins("scan_live")[0](reply, table_of("streamlstm.store.resp._codec"), KEYS, *room, 0)
    wanted = codec_python.read_plain(text, 1)
    found = None if key is None else room[1].tobytes()
    return found, None if wanted is None else np.float32(wanted[0]).tobytes()


def call(seed: int) -> tuple[Any, Any]:
    """What both twins answer to the call that has this seed; and its name."""
    choice, rng = random.Random(seed), np.random.default_rng(seed)
    kind = choice.choice(FUNCTIONS)
    if kind in {"scan_read", "scan_live"}:
        return scan(kind, choice)
    if kind == "find_slots":
        return find(choice)
    if kind == "skip_replies":
        return skip(choice)
    if kind == "number":
        return number(choice)
    name, arguments = calls.choose(rng, choice)
    at, spoiling = choice.randrange(len(arguments)), choice.randrange(2**32)
    wrong = choice.random() < 0.5
    found = []
    for function in twins(name):
        mine = copy.deepcopy(arguments)
        if wrong:
            mine[at] = spoiled(mine[at], random.Random(spoiling))
        found.append((name, at if wrong else None, outcome(function, mine)))
    if wrong and at in TWICE.get(name, ()) and "refused" not in (found[0][2], found[1][2]):
        return None, None
    return found[0], found[1]


def _told(one: Any, other: Any, where: str = "") -> str:
    """Where two outcomes differ."""
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)) and len(one) == len(other):
        pairs = [(f"{where}[{n}]", *pair) for n, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]]
        return "\n".join(_told(mine, theirs, at) for at, mine, theirs in pairs)
    return f"  at {where or 'all'}\n    compiled: {one!r:.1500}\n    python:   {other!r:.1500}"


def main() -> int:
    """Until the time is over, or something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calls", type=int, default=sys.maxsize)
    options = parser.parse_args()
    done, ends = 0, time.monotonic() + options.seconds
    while done < options.calls and time.monotonic() < ends:
        seed = options.seed + done
        one, other = call(seed)
        if one != other:
            print(f"the twins differ: --seed {seed} --calls 1\n{_told(one, other)}")
            return 1
        done += 1
    print(f"{done:,} calls from seed {options.seed} on: the twins agree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
