"""Every Redis key name is born here: the keys derived from an input stream, all in one hash slot."""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamlstm.errors import UsageError

# What Redis Cluster hashes instead of the whole key: the text between the first `{` and the first `}` after it,
# unless that is empty (Redis Cluster specification, "Hash tags").
_HASH_TAG = re.compile(r"^[^{]*\{[^}]+\}")


# How the names of the derived keys that are streams themselves go on after the base, so might be taken for input.
_OUTPUT = re.compile(r":(predictions|anomalies|dead|promotions|draft:.*)\Z", re.DOTALL)

# Where processes tell each other that something about leases has changed (PUBLISH); one for all groups.
EVENTS_CHANNEL = "streamlstm:events"


def is_derived(name: str) -> bool:
    """Whether a stream's name is that of a derived key: the base of one, which has a hash tag, and a suffix."""
    found = _OUTPUT.search(name)
    return found is not None and _HASH_TAG.match(name[: found.start()]) is not None


def members_key(group: str) -> str:
    """Sorted set of the processes that share a group's streams; the score is when a member is given up, in ms."""
    return f"streamlstm:{{{group}}}:members"


@dataclass(frozen=True)
class Keys:
    """The keys of one input stream; `Keys("values").predictions == "{values}:predictions"`."""

    input: str

    def __post_init__(self) -> None:
        if not self.input:
            raise UsageError("the name of a stream is empty; give it a name such as `values`")
        if not _HASH_TAG.match(self.input) and ("{" in self.input or "}" in self.input):
            raise UsageError(
                f"the stream name {self.input!r} has a brace but no hash tag, so its keys could not share a slot; "
                "use a name without braces or with a tag such as `values:{7}`"
            )

    @property
    def base(self) -> str:
        """What derived keys begin with: the input's own name if it has a hash tag, else the name as one."""
        return self.input if _HASH_TAG.match(self.input) else "{" + self.input + "}"

    @property
    def predictions(self) -> str:
        """Stream of outputs; an entry has the id of the input entry it answers."""
        return f"{self.base}:predictions"

    @property
    def anomalies(self) -> str:
        """Stream of values that scored as anomalies; ids as those of `predictions`."""
        return f"{self.base}:anomalies"

    @property
    def state(self) -> str:
        """Hash from series name to record."""
        return f"{self.base}:state"

    @property
    def meta(self) -> str:
        """Hash with `position`, `model`, `columns`, `format`, `entries`, `epoch`, and the roles (`store.roles`)."""
        return f"{self.base}:meta"

    @property
    def dead(self) -> str:
        """Stream of dead letters."""
        return f"{self.base}:dead"

    def checkpoints(self, window: int) -> str:
        """Hash from series name to a position and the record it had there; there are two, taken in turn."""
        return f"{self.base}:checkpoints:{window}"

    @property
    def challenger_predictions(self) -> str:
        """Stream of the challenger's predictions; ids as those of `predictions`."""
        return f"{self.base}:challenger:predictions"

    @property
    def challenger_state(self) -> str:
        """Hash from series name to the challenger's record."""
        return f"{self.base}:challenger:state"

    @property
    def challenger_starts(self) -> str:
        """Hash that counts the processes that began to load, or to step, the challenger and have not come through."""
        return f"{self.base}:challenger:starts"

    @property
    def promotions(self) -> str:
        """Stream of promotions; each says after which entry another model took over (`store.roles`)."""
        return f"{self.base}:promotions"

    def model(self, fingerprint: str) -> str:
        """String with a model's file, kept as long as the stream has the model in a role."""
        return f"{self.base}:model:{fingerprint}"

    @property
    def lease(self) -> str:
        """String with the id of who works on the stream just now, with a TTL."""
        return f"{self.base}:lease"

    @property
    def places(self) -> str:
        """Hash from the name of a reader to its place in the predictions; the daemon does not know of it."""
        return f"{self.base}:places"

    def draft(self, token: str) -> str:
        """A key that holds a copy while it is read or written; it has a TTL, and is renamed or deleted at the end."""
        return f"{self.base}:draft:{token}"

    @property
    def types(self) -> dict[str, str]:
        """Every key of the stream with the Redis type it must have."""
        return {self.input: "stream", **self.derived}

    @property
    def derived(self) -> dict[str, str]:
        """Every derived key with the Redis type it must have."""
        return {
            self.predictions: "stream",
            self.anomalies: "stream",
            self.state: "hash",
            self.meta: "hash",
            self.dead: "stream",
            self.lease: "string",
            self.challenger_predictions: "stream",
            self.challenger_state: "hash",
            self.challenger_starts: "hash",
            self.promotions: "stream",
            self.checkpoints(0): "hash",
            self.checkpoints(1): "hash",
        }
