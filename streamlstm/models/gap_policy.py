"""Long silences of a series stand for missing values: how many, at which times; it depends on nothing but the input.

A value whose entry's id lies more than `--gap-after` behind that of its series' last stepped value is stepped as if an
empty value had been sent for every step left out (with `--missing impute` the model is fed its own forecasts, with
`hold` the last value), so that a season stays in phase and the forecast that the value is scored against is that of
its own time. Nothing is answered for what was filled in, and a value that is refused leaves nothing filled in.

It is done outside of the graph, so that it holds for any model, imported ones too: a gap costs a step for each missing
value, and only then. Beyond `MOST_FILLED` steps the state would be the model's own invention, and the series begins
anew as after `--reset-after`.
"""

from __future__ import annotations

from typing import NamedTuple

from streamlstm.common import MISSING_POLICIES
from streamlstm.errors import UsageError
from streamlstm.models.spec import ModelSpec

TRAINED_MISSING = "missing"  # of what a file says of its training: the policy that it does best with
NEVER = 1 << 62  # ms; longer than any time between two ids that occur
MOST_FILLED = 5_000  # steps of one silence: a fortnight of five minutes, seven months of hours


def missing_policy(spec: ModelSpec, asked: str | None) -> str:
    """What stands in for missing values: as asked for, else as the model was trained, else its own forecasts.

    UsageError for a policy that there is none of.
    """
    if asked is not None and asked not in MISSING_POLICIES:
        raise UsageError(f"there is no way {asked!r} to treat missing values; there are {', '.join(MISSING_POLICIES)}")
    trained = spec.training.get(TRAINED_MISSING)
    return asked or (trained if trained in MISSING_POLICIES else MISSING_POLICIES[0])


class Gaps(NamedTuple):
    """Which silences are gaps."""

    after_ms: int  # longer ones are
    spacing_ms: int  # between one value and the next

    @classmethod
    def of(cls, spec: ModelSpec, after_ms: int | None, spacing_ms: int | None, missing: str) -> Gaps:
        """As asked for, else as the model was trained; `after_ms` 0 is never. UsageError for what makes no sense."""
        after = spec.gap_after_ms if after_ms is None else after_ms
        if not after:
            return NO_GAPS
        if missing == "skip":
            if after_ms is None:
                return NO_GAPS
            raise UsageError("--gap-after steps through missing values, which --missing skip does not; use one of them")
        spacing = spacing_ms or spec.spacing_ms
        if not spacing:
            raise UsageError(
                "the model does not say how far apart its values are, so nobody knows how many are missing in a gap; "
                "say it with --spacing (such as 30m)"
            )
        return cls(after, spacing)

    @property
    def longest_ms(self) -> int:
        """A silence beyond this begins the series anew."""
        return NEVER if self.after_ms == NEVER else (MOST_FILLED + 1) * self.spacing_ms

    def missing(self, silence_ms: int) -> int:
        """How many values are missing in a silence."""
        if silence_ms <= self.after_ms:
            return 0
        return min(max((silence_ms + self.spacing_ms // 2) // self.spacing_ms - 1, 0), MOST_FILLED)

    def most_missing(self, span_ms: int) -> int:
        """How many values of a series are missing in gaps of so much time, at most."""
        return 0 if self.after_ms == NEVER else max(span_ms, 0) // self.spacing_ms


NO_GAPS = Gaps(NEVER, 1)


def filled_time(begin_ms: int, end_ms: int, missing: int, number: int) -> int:
    """When the missing value of this number (from 1) would have come, all spread evenly over the silence."""
    return begin_ms + (end_ms - begin_ms) * number // (missing + 1)
