"""Which streams are meant: names, expansions such as `values:{0..7}`, and patterns such as `values:*`."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamlstm.errors import UsageError
from streamlstm.store import Keys, is_derived

log = logging.getLogger(__name__)

MAX_EXPANDED = 16_384  # more streams than a Cluster has slots are a slip of the pen
_RANGE = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}")
_PATTERN = re.compile(r"(?<!\\)[*?\[]")
_PLAIN_GROUP = re.compile(r"[A-Za-z0-9_.,:*-]{1,64}")


@dataclass
class Selection:
    """The streams of a process: those named, and those found by patterns."""

    names: tuple[str, ...]
    patterns: tuple[str, ...]
    _found: dict[str, None] = field(default_factory=dict)  # in order of discovery
    _missed: set[str] = field(default_factory=set)  # found before, not in the last search
    _odd: set[str] = field(default_factory=set)  # names said to be unusable

    @classmethod
    def of(cls, wanted: Iterable[str]) -> Selection:
        """Read what `--stream` says; raises UsageError for a name that cannot be one, or two that share their keys."""
        names: dict[str, str] = {}  # base -> name
        patterns: dict[str, None] = {}
        for text in wanted:
            if _PATTERN.search(text):
                patterns[text] = None
                continue
            for name in expanded(text):
                other = names.setdefault(Keys(name).base, name)
                if other != name:
                    raise UsageError(
                        f"the streams {other!r} and {name!r} would share their keys; serve only one of them"
                    )
        return cls(tuple(names.values()), tuple(patterns))

    @property
    def group(self) -> str:
        """A name for all processes with this selection."""
        text = ",".join(sorted({*self.names, *self.patterns}))
        if _PLAIN_GROUP.fullmatch(text):
            return text
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def streams(self) -> list[str]:
        """All streams of just now."""
        return [*self.names, *self._found]

    def take(self, found: Iterable[str]) -> set[str]:
        """Take the outcome of a search; returns the streams that are new.

        Derived keys are never input. A stream that is missing twice in a row is let go of: it may have been missing
        once because a failover was under way.
        """
        bases = {Keys(name).base: name for name in self.streams}
        present, new = set(), set()
        for name in sorted(found):
            if name in self.names or is_derived(name):
                continue
            present.add(name)
            if name not in self._found and self._usable(name, bases):
                bases[Keys(name).base] = name
                new.add(name)
        missed = {name for name in self._found if name not in present}
        for name in missed & self._missed:
            del self._found[name]
        self._missed = missed - self._missed
        self._found.update(dict.fromkeys(sorted(new)))
        return new

    def _usable(self, name: str, bases: dict[str, str]) -> bool:
        try:
            other = bases.get(Keys(name).base)
            reason = f"it would share its keys with {other!r}" if other is not None else ""
        except UsageError as error:
            reason = str(error)
        if reason and name not in self._odd:
            self._odd.add(name)
            log.warning("the stream %r matches but is not served: %s", name, reason)
        return not reason


def expanded(text: str) -> list[str]:
    """`values:{0..2}` is `values:{0}`, `values:{1}`, `values:{2}`: what `push --partitions 3` writes to.

    Raises UsageError for a range that is none.
    """
    match = _RANGE.search(text)
    if match is None:
        return [text]
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < MAX_EXPANDED:
        raise UsageError(f"{text!r}: a range goes from the lower to the higher, over at most {MAX_EXPANDED:,} numbers")
    return [f"{text[: match.start()]}{{{n}}}{text[match.end() :]}" for n in range(first, last + 1)]
