"""How many of the entries that were read are stepped as one, once the corrections they ask for are made.

Where one is refused, those behind it are looked at again, by themselves: so that a read full of such corrections does
not look at all of them once for each, the next look takes half as many, and twice as many again where none is refused.
"""

from __future__ import annotations

from streamlstm.daemon.replay.corrections import Source, cut
from streamlstm.daemon.replay.making import ApartError, Making
from streamlstm.engine import MOST_TOGETHER, Engine, Parsed, correcting_entries


def prepare(engine: Engine, parsed: Parsed, source: Source) -> Parsed:
    """The first of some entries, as many as can be stepped as one; if they ask for corrections, once those are made.

    The engine steps it next. Raises CorrectionError if a correction that was made once cannot be made again.
    """
    first = cut(parsed, among_values=engine.restarts)
    asking = correcting_entries(first)
    if not asking:
        return first
    if asking[-1] and (portion := engine.portion(first)) < first.entries:  # the rest would be read, and made, again
        first = first.first(portion)
        asking = correcting_entries(first)
    known, is_parted = engine.known(parsed.stream), False
    if len(asking) > known.together:
        first, asking = first.first(asking[known.together]), asking[: known.together]
    while correcting_entries(first):
        making = Making(engine, first, source)
        try:
            first = making.run()
            is_parted |= making.is_parted
            break
        except ApartError as found:
            first, is_parted = first.first(max(1, found.entry)), True
    known.together = max(1, len(asking) // 2) if is_parted else min(MOST_TOGETHER, 2 * known.together)
    return first
