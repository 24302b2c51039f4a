"""Sessions of onnxruntime: opened with bounds, watched while they run, and what their errors say, in one clear line.

A model file comes from anywhere, and its graph may ask for any memory and for any time. What a graph computes
beforehand, how far its functions unfold and how much memory it may have are bounded where a session is opened. A run
without an end is given up by a `Watch`: onnxruntime looks at a flag between nodes and between the turns of a loop. A
single node that does not end looks at nothing, and then it is the process that ends.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

# Wheels of onnxruntime have a telemetry client that starts with the import and writes to the temporary folder; it
# has to be told before. Who wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema as operators

from streamlstm.common import printable
from streamlstm.errors import EndlessStepError, MemoryStepError, ModelError, NodeStepError, StepError
from streamlstm.models.providers import CPU, PROVIDERS

MIB = 1 << 20
# What the graph may compute from constants while it is loaded, or 1 x the file if that is more: transposed weights are
# as large as the weights, and all else is small.
FOLDED_BYTES = 64 * MIB
# What a process that serves, or scores, one model lets it have: a call of MAX_ROWS rows takes up to 300 MB, and its
# weights are held up to four times (as read, as unpacked, as packed for products, and while one becomes the other).
# Small ones are held by a second session too, within the rest.
RUN_BYTES, RUN_FILES = 640 * MIB, 4
# Functions unfold in each other; see `model_file.MAX_NODES`, which says it for those of the file itself.
UNFOLDED_NODES, UNFOLDED_BYTES = 20_000, 256 * MIB

# Of processor time, for one call; more by the rows of a call, of which each may take ROW_PATIENCE times what one took
# when the model was tried. A step takes some microseconds, one of the largest models a tenth of a second.
STEP_LIMIT_S = 1.0
ROW_PATIENCE = 4.0
POLL_S = 0.25
# Given to a run that was told to end: the largest products that memory allows take some seconds, one node each.
STUCK_LIMIT_S = 20.0

log = logging.getLogger(__name__)

MOST_SAID = 300  # letters of an error
_NO_MEMORY = re.compile(
    r"bad_alloc|smaller than requested bytes|Failed to allocate memory|bad allocation", re.IGNORECASE
)
_WHERE = re.compile(r"running (\w+) node\. Name:'(.*?)' Status Message: ")
MOST_NAMED = 80  # characters of a node's name
_SOURCE = re.compile(r"^\S*onnxruntime\S*:\d+ .*?\)(?: \[[^\]]*\])? ")

_bounded = False  # whether sessions of this process share memory with a bound


def bound_memory(file_bytes: int) -> None:
    """Bound what the sessions of this process may allocate, all together: for a process that loads one model."""
    global _bounded  # noqa: PLW0603  (onnxruntime's own allocators are the process's too)
    if _bounded:
        return
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    arena = onnxruntime.OrtArenaCfg({"max_mem": RUN_BYTES + RUN_FILES * file_bytes})
    onnxruntime.create_and_register_allocator(info, arena)
    _bounded = True


def check_functions(names: set[str], source: str) -> None:
    """Raise ModelError if a function of the file is called like an operator of ONNX.

    onnxruntime's optimizer looks at some nodes by their name alone: where it takes a function for the operator, it
    reads inputs that are not there, which ends the process, or simplifies what is not the same.
    """
    if not names:
        return
    if taken := sorted(names & {schema.name for schema in operators()}):
        raise ModelError(
            f"{source} has a function '{printable(taken[0])}', which is the name of an operator of ONNX; export the "
            "model without functions of such names"
        )


def check_provider(name: str) -> None:
    """Raise ModelError, which says what there is and what to install, if onnxruntime here lacks a provider."""
    there = set(onnxruntime.get_available_providers())
    if PROVIDERS[name].known_as not in there:
        found = ", ".join(known for known, provider in PROVIDERS.items() if provider.known_as in there)
        raise ModelError(
            f"onnxruntime {onnxruntime.__version__} here has no provider {name}, it has {found}; {name} comes with: "
            f"{PROVIDERS[name].install}"
        )


def open_session(
    model_bytes: bytes, *, threads: int, source: str, provider: str = CPU, lone: bool = False
) -> onnxruntime.InferenceSession:
    """A session; raises ModelError, which names `source`, for what onnxruntime does not load.

    What a provider other than the CPU does not know of a graph, the CPU runs. One for `lone` rows gives each tensor a
    place of its own: to use one's place for another takes onnxruntime up to 0.07 us of a node's 0.3, and saves memory
    that one row does not ask for. The results are the same.
    """
    check_provider(provider)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_mem_reuse = not lone
    options.log_severity_level = 4  # fatal only: what goes wrong is raised, and said once
    entries = {
        # Weights are not read from other files, wherever a model says they are: nothing is in this folder.
        "session.model_external_initializers_file_folder_path": os.devnull,
        "optimization.constant_folding_max_output_size_in_bytes": str(max(FOLDED_BYTES, len(model_bytes))),
        "session.function_expansion_node_limit": str(UNFOLDED_NODES),
        "session.function_expansion_byte_limit": str(UNFOLDED_BYTES),
        "session.use_env_allocators": str(int(_bounded and provider == CPU)),
    }
    options.use_deterministic_compute = provider != CPU
    chosen = PROVIDERS[provider]
    for name, value in entries.items():
        options.add_session_config_entry(name, value)
    try:
        # Without its fallback: that prints to stdout, and tries the same provider again.
        session = onnxruntime.InferenceSession(
            model_bytes, options, providers=[(chosen.known_as, dict(chosen.options))], enable_fallback=0
        )
    except Exception as error:  # noqa: BLE001  (onnxruntime has no common base class for its errors)
        raise ModelError(f"{source} is not a model onnxruntime can load: {first_line(error)}") from None
    if chosen.known_as not in session.get_providers():  # its libraries were not found, which is only logged
        raise ModelError(
            f"the provider {provider} could not be started: onnxruntime has it, and does not find its driver or "
            f"libraries ({chosen.install}); without it: --provider {CPU}"
        )
    return session


def run_of(session: onnxruntime.InferenceSession) -> Callable[..., Any]:
    """`session.run` without onnxruntime's Python part, which looks at every call whether its inputs are there.

    That takes 5 us of a call of some hundred series, whose results are the same.
    """
    run: Callable[..., Any] = getattr(session, "_sess", session).run
    return run


def bound_run_of(session: onnxruntime.InferenceSession, binding: onnxruntime.IOBinding) -> Callable[..., Any]:
    """`session.run_with_iobinding` of a binding, likewise; takes the options of a run."""
    inner, bound = getattr(session, "_sess", None), getattr(binding, "_iobinding", None)
    if inner is None or bound is None:
        return partial(session.run_with_iobinding, binding)
    return partial(inner.run_with_iobinding, bound)


@dataclass
class Pace:
    """How long a step of a model has taken, by which a run without an end is told."""

    row_s: float = 0.0  # processor time that a step of one series takes


class Watch:
    """The runs of one session in one thread, of which one without an end is given up."""

    def __init__(self, pace: Pace) -> None:
        """For the thread that makes it."""
        self.options = onnxruntime.RunOptions()
        # Without it onnxruntime's Python part looks for this entry in vain at every run, which takes 45 us.
        self.options.add_run_config_entry("gpu_graph_id", "-1")
        self._pace = pace
        self._clock = thread_clock()
        self._rows = self._number = 0  # of the run under way; no rows: none is
        self._seen, self._since_s = 0, 0.0
        self._given_up = 0  # number of the last run that was told to end
        self._lock = threading.Lock()
        _watch(self)

    def run(self, rows: int, call: Callable[..., Any], *arguments: Any) -> Any:
        """What `call` gives for these arguments and the options of a run of so many rows; raises StepError."""
        failed: StepError | None
        while True:
            self._number += 1
            self._rows = rows
            try:
                return call(*arguments, self.options)
            except Exception as error:  # noqa: BLE001  (onnxruntime has no common base class for its errors)
                failed = self.judge(error)
            finally:
                self._rows = 0
            if failed is not None:
                raise failed

    def judge(self, error: Exception) -> StepError | None:
        """What a run ended with; None if it is to be run again: it met the end that was meant for the one before."""
        with self._lock:
            told, self.options.terminate = self.options.terminate, False
            mine = self._given_up == self._number
        if not told:
            return said_by_runtime(error)
        return EndlessStepError(f"a step takes more than {STEP_LIMIT_S:g} s of processor time") if mine else None

    def look(self) -> None:
        """Give the run under way up if it takes too long; called now and then, from another thread."""
        number, rows = self._number, self._rows
        if not rows:
            return
        if number != self._seen:
            self._seen, self._since_s = number, self._clock()
            return
        over_s = self._clock() - self._since_s - STEP_LIMIT_S - ROW_PATIENCE * rows * self._pace.row_s
        if over_s <= 0:
            return
        with self._lock:
            is_running = self._number == number and self._rows
            if is_running:
                self._given_up, self.options.terminate = number, True
        if is_running and over_s > STUCK_LIMIT_S:
            _end_process()


def _end_process() -> None:
    """Nothing else ends the thread that is in such a node; whatever was to be committed is stepped again."""
    log.error(
        "a node of the model takes more than %g s of processor time for one call, and cannot be given up; the process "
        "ends: mend the model, or delete the entry behind the stream's position",
        STUCK_LIMIT_S,
    )
    logging.shutdown()
    os._exit(1)


def thread_clock() -> Callable[[], float]:
    """Processor time of the calling thread: a machine that stands still, or is busy, is no reason to give a step up."""
    try:
        clock = time.pthread_getcpuclockid(threading.get_ident())
        time.clock_gettime(clock)
    except (AttributeError, OSError):
        return time.monotonic
    return lambda: time.clock_gettime(clock)


_watches: weakref.WeakSet[Watch] = weakref.WeakSet()
_starting = threading.Lock()


def _watch(watch: Watch) -> None:
    """Have a watch looked at; the thread that does is started with the first one."""
    with _starting:
        _watches.add(watch)
        if not any(thread.name == _patrol.__name__ for thread in threading.enumerate()):
            threading.Thread(target=_patrol, name=_patrol.__name__, daemon=True).start()


def _patrol() -> None:
    while True:
        time.sleep(POLL_S)
        with _starting:
            watches = list(_watches)
        for watch in watches:
            try:
                watch.look()
            except OSError:  # its thread has ended
                _watches.discard(watch)


def said_by_runtime(error: Exception) -> StepError:
    """What a run failed with, without onnxruntime's own source files and codes."""
    if _NO_MEMORY.search(str(error)):
        return MemoryStepError("a step asks for more memory than it may have")
    said = first_line(error)
    *_, (where, node) = [("", ""), *_WHERE.findall(said)]
    cause = _SOURCE.sub("", said[max(0, said.rfind("Status Message: ")) :].removeprefix("Status Message: "))
    if not where:
        return StepError(said)
    shown = f"{where} {printable(node[:MOST_NAMED])!r}" if node else where
    return NodeStepError(f"{shown}: {cause}", node)


def first_line(error: Exception) -> str:
    """What an error says, in one line without control characters: it may quote names out of the file."""
    return printable((str(error).splitlines() or [type(error).__name__])[0][:MOST_SAID])
