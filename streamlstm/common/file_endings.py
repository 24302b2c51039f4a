"""How files end: in what format one is written is told by it."""

from __future__ import annotations

from pathlib import Path

TABLE_ENDINGS = (".csv", ".parquet")


def other_ending(path: Path, what: str, endings: tuple[str, ...]) -> str | None:
    """Why a path is no name of such a file, a `table` say: it ends otherwise, case aside; None if it does not."""
    if path.suffix.lower() in endings:
        return None
    neither = f"neither {' nor '.join(endings)}" if endings[1:] else f"not {endings[0]}"
    return f"{path} is {neither}; name the {what} so"
