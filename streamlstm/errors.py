"""The one tree of errors a user can meet: each says what was wrong, where, and what to do.

No redis, onnxruntime or torch exception leaves the module that can name it better.
"""

from __future__ import annotations

import importlib.util


class StreamlstmError(Exception):
    """Base of every error raised on purpose; its text is one line fit for a terminal."""


class UsageError(StreamlstmError):
    """An argument, option or setting is wrong; the command line exits with 2."""


class ResourceError(StreamlstmError):
    """Something outside is not to be had just now, a port, a file, a directory; to start again may do."""


class ModelError(StreamlstmError):
    """A model file is missing, broken or not a step model."""


class StepError(ModelError):
    """A model that can be stepped failed on some value of a call, or answered it with arrays of another shape."""


class NodeStepError(StepError):
    """A node of a model failed; `node` is its name, as the runtime has it, empty if it has none."""

    def __init__(self, message: str, node: str = "") -> None:
        super().__init__(message)
        self.node = node


class EndlessStepError(StepError):
    """A step was given up because it took too long."""


class MemoryStepError(StepError):
    """A step asked for more memory than it may have."""


class TableError(StreamlstmError):
    """A table (CSV, Parquet) lacks a column, or holds a cell that cannot be read."""


class MissingExtraError(StreamlstmError):
    """A command needs a package of an extra that is not installed."""


class RecordError(StreamlstmError):
    """A stored record is of an unknown format, the wrong length, another model, or holds what cannot be."""


class SnapshotError(StreamlstmError):
    """A file of exported states is broken, cut short, or not to be imported into this stream."""


class StoreError(StreamlstmError):
    """The store answered something that no retry mends (wrong type, no permission, bad settings)."""


class NoStreamError(StoreError):
    """There is nothing of a stream: no value, no answer, no state."""


class NoSeriesError(StoreError):
    """The stream has no series of this name."""


class CorrectionError(StoreError):
    """A correction that was made once cannot be made again."""


class StoreForbidsError(StoreError):
    """The store will not do what every stream needs: no right to a command, a command that is not there."""


class NoAnswersError(StoreError):
    """A challenger has not answered anything yet."""


class ChallengerStoppedError(StoreError):
    """A challenger is not stepped any more."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached or refuses writes just now; worth a retry."""


class StoreHandshakeError(StoreUnavailableError):
    """Server and client do not come to terms: a certificate or a password file of one of them has to be mended."""


class StoreNotNowError(StoreUnavailableError):
    """The store answers, but not this just now: it is loading, or a slot is on its way to another node."""

    def __init__(self, message: str, refusal: str = "") -> None:
        super().__init__(message)
        self.refusal = refusal or message  # who said what, the same for each command that is refused


class StoreRefusesError(StoreNotNowError):
    """The store takes no writes until somebody does something: it is full, its disk is, it is a replica."""


class ModelChangedError(StoreError):
    """The stream's states were made by a model with another fingerprint."""


class ArrayError(StreamlstmError, ValueError):
    """An array handed to a model has the wrong shape or holds a value that is not finite."""


def require_extra(*packages: str) -> None:
    """Raise MissingExtraError, with what to do, unless all packages of `train` are installed; imports none of them."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingExtraError(
            f"training needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'streamlstm[train]'"
        )
