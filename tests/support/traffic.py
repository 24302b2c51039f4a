"""Seeded traffic: ragged, with hot series, missing values, resets and rubbish."""

from __future__ import annotations

import random
from collections.abc import Sequence

RUBBISH = ("abc", "inf", "-inf", "1e999", "1_000", "1,2,3,4", "0x10", "true", "[1]", "1 2", "١")


def entries(
    seed: int,
    count: int,
    *,
    series: int = 20,
    features: int = 1,
    odd: float = 0.1,
    step_ms: int = 1000,
    level: int = 0,
    warm: float = 0.0,
    corrected: float = 0.0,
    parted: bool = False,
) -> list[tuple[str, list[str]]]:
    """Entries (id, fields); of items a share is `odd` (missing, rubbish or resets), of entries a share `warm`.

    `corrected` is the share of entries that correct values of others; some that do nothing else come in a row. With
    `parted` one series is silent for fourteen steps at a time.
    """
    rng = random.Random(seed)
    made: list[tuple[str, list[str]]] = []
    alone = 0  # entries to come that hold nothing but corrections
    for number in range(1, count + 1):
        fields: list[str] = []
        if corrected and made and not alone and rng.random() < corrected / 4:
            alone = rng.choice((1, 2, 5))
        if alone:
            alone -= 1
            made.append((f"{number * step_ms}-0", [*_correction(rng, made), *_correction(rng, made)]))
            continue
        fields += _parted(rng, number, step_ms) if parted else []
        for _ in range(rng.choice((1, 1, 1, 2, 5, 12))):
            name = f"s{rng.randrange(series)}" if rng.random() < 0.7 else "hot"
            fields += _item(rng, name, features) if rng.random() < odd else [name, _value(rng, features, level)]
        if warm and rng.random() < warm:
            at = 2 * rng.choice((0, 0, 0, rng.randrange(1 + len(fields) // 2)))
            fields[at:at] = ["!warm", _warm_text(rng, number * step_ms)]
        while corrected and made and rng.random() < corrected:
            at = 2 * rng.randrange(len(fields) // 2)
            fields[at:at] = _correction(rng, made)
        made.append((f"{number * step_ms}-0", fields))
    return made


def _parted(rng: random.Random, number: int, step_ms: int) -> list[str]:
    """The next of three values of a series that is silent then; and one that comes late, in the midst of that."""
    turn = number % 16
    if turn in {1, 2, 3}:
        return ["quiet", _value(rng, 1)]
    late = (number - turn - 6) * step_ms + step_ms // 2
    return ["!late", f"quiet {late}-0 {_value(rng, 1)}"] if turn in {4, 5} and late > 0 else []


def _warm_text(rng: random.Random, own_ms: int) -> str:
    """Mostly the entry's own time; an earlier one, as a number or an id; now and then what says none that can be."""
    kind, earlier = rng.random(), max(0, own_ms - rng.randrange(5000))
    if kind < 0.6:
        return "*"
    if kind < 0.75:
        return str(earlier)
    return (
        f"{earlier}-{rng.randrange(3)}" if kind < 0.9 else rng.choice(("", "yes", f"{own_ms + 1}", "1-", "-1", "1.5"))
    )


def _value(rng: random.Random, features: int, level: int = 0) -> str:
    return ",".join(repr(round(level + rng.gauss(0, 2), 3)) for _ in range(features))


def _correction(rng: random.Random, made: Sequence[tuple[str, list[str]]]) -> list[str]:
    """A command that asks for a correction, mostly of a value that was there, or for a late value."""
    entry, fields = rng.choice(made[-20:])
    name = rng.choice([one for one in fields[0::2] if not one.startswith("!")] or ["hot"])
    kind = rng.random()
    if kind < 0.6:
        which = f"#{rng.choice((1, 2, 2, 3, 4))}" if fields[0::2].count(name) > 1 else rng.choice(("", "", "", "#1"))
        return ["!correct", f"{name} {entry}{which} {_value(rng, 1)}"]
    if kind < 0.8:
        late = rng.choice((entry, f"{entry}9", f"{int(entry.partition('-')[0]) + 500}"))
        return ["!late", f"{rng.choice((name, name, 'hot', 'new'))} {late} {_value(rng, 1)}"]
    text = rng.choice(
        (
            f"{name} {entry} nan",
            f"{name} {entry} {rng.choice(RUBBISH)}",
            f"{name} {entry.partition('-')[0]} 1",
            f"{name} 999999999999-0 1",
            f"{name} {entry}{rng.choice(('#', '#0', '#-1', '#x', '#1#1', '#9999999999', '#٢', '#1'))} 1",
            f"{name} {entry} 2.5",
            f"{name}  {entry} 1",
            f"nobody {entry} 1",
            f"!reset {entry} 1",
            f"{name} {entry}",
            f"{entry} 1",
            f"{name} one 1",
            "1.5",
            "",
        )
    )
    return [rng.choice(("!correct", "!correct", "!late")), text]


def _item(rng: random.Random, name: str, features: int) -> list[str]:
    kind = rng.random()
    if kind < 0.4:
        return [name, ",".join(["", "nan", "NaN"][rng.randrange(3)] for _ in range(features))]
    if kind < 0.6:
        return ["!reset", name]
    if kind < 0.63:
        return ["!reset", "*"]
    if kind < 0.7:
        return ["+" + name, "+" + _value(rng, 1).lstrip("-")] if features == 1 else [name, _value(rng, features)]
    return [name, rng.choice(RUBBISH)]
