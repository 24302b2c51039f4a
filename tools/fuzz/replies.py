"""Random replies of a server: right ones, ones that are nearly right, cut anywhere; and decimal numbers as text."""

from __future__ import annotations

import random

NAMES = (b"known", b"other", b"", b"x" * 40, b"$3\r\nabc\r\n")
LENGTHS = (b"+1", b"-0", b"-2", b"01", b"1 ", b"", b"-1", b"99", b"999999999999999999", b"9223372036854775808", b"1_0")


def decimal(rng: random.Random) -> bytes:
    """A number as text: as `repr` has it, or long, with zeros, points and exponents that fit each other or do not."""
    if rng.random() < 0.3:
        return repr(rng.choice((rng.uniform(-1e3, 1e3), 10.0 ** rng.uniform(-50, 40), 5e-324))).encode()

    def digits(most: int) -> str:
        zeros = "0" * rng.choice((0, 0, 0, 1, 30, rng.randrange(400)))
        return zeros + "".join(rng.choice("0123456789") for _ in range(rng.randrange(most))) + rng.choice(("", zeros))

    before, after = digits(24), digits(24)
    exponent = rng.choice(
        (0, rng.randrange(-60, 60), len(after), -len(before), rng.randrange(-500, 500), 10**17, -(10**30))
    )
    text = rng.choice(("", "", "-", "+")) + before + rng.choice(("", ".")) + after
    return (text + rng.choice(("", f"e{exponent}", f"E{exponent:+d}", "e", "e+"))).encode()


def value(rng: random.Random) -> bytes:
    """What a producer may send."""
    if rng.random() < 0.8:
        return b",".join(decimal(rng) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    return rng.choice((b"", b"nan", b"inf", b"0x10", b"1_0", b" 1", b"1,", rng.randbytes(6)))


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def entry_id(rng: random.Random) -> bytes:
    """Mostly one that Redis would give."""
    number = rng.choice((0, 5, 10**13, 2**63 - 1, 2**63, 2**64 - 1, 10**20))
    text = b"%d" % number
    if rng.random() < 0.9:
        return text + b"-1"
    return rng.choice((text, text + b"-", b"-1", b"", b"+" + text, text + b"-x", b"1_0-1", text + b"-" + text * 2))


def read(rng: random.Random) -> bytes:
    """The reply of an XREAD."""
    streams = rng.sample((b"k", b"other", b"unknown"), rng.choice((1, 1, 1, 2)))
    parts = [b"*%d\r\n" % len(streams)]
    for stream in streams:
        entries = rng.choice((0, 1, 1, 1, 2, 3))
        parts += (b"*2\r\n", _bulk(stream), b"*%d\r\n" % entries)
        for _ in range(entries):
            items = rng.choice((1, 1, 1, 0, 2, 4))
            parts += (b"*2\r\n", _bulk(entry_id(rng)), b"*%d\r\n" % (2 * items))
            for _ in range(items):
                parts += (_bulk(rng.choice(NAMES)), _bulk(value(rng)))
    return b"*-1\r\n" if rng.random() < 0.02 else b"".join(parts)


def anything(rng: random.Random, depth: int = 0) -> bytes:
    """A reply of any kind."""
    kind = rng.choice(("+", "-", ":", "$", "*", "nil"))
    if kind == "*" and depth < 4:
        parts = [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
        return b"*%d\r\n%b" % (len(parts), b"".join(parts))
    if kind in "+-":
        return kind.encode() + rng.choice((b"OK", b"QUEUED", b"", b"ERR no such thing")) + b"\r\n"
    if kind == ":":
        return b":%b\r\n" % rng.choice((b"0", b"-5", b"+7", b"9223372036854775807", b"x", b"", b"1" * 20))
    return b"$-1\r\n" if kind == "nil" else _bulk(rng.randbytes(rng.randrange(9)))


def damaged(reply: bytes, rng: random.Random) -> bytes:
    """Cut, with bytes changed, put in or taken out, or with another length."""
    broken = bytearray(reply)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        at = rng.randrange(len(broken) + 1)
        match rng.randrange(6):
            case 0:
                broken = broken[:at]
            case 1:
                broken[at : at + 1] = bytes([rng.choice(b"*$-+:0123456789\r\nx\x00")])
            case 2:
                broken[at:at] = bytes([rng.choice(b"*$-+:0123456789\r\nx ")])
            case 3:
                del broken[at : at + rng.choice((1, 2))]
            case 4:
                heads = [i for i, byte in enumerate(broken) if byte in b"$*"]
                if heads:
                    begin = rng.choice(heads) + 1
                    end = broken.find(b"\r", begin)
                    broken[begin : max(begin, end)] = rng.choice(LENGTHS)
            case _:
                broken += rng.choice((b"\r\n", b"+OK\r\n", b"*", b"*999999999999999999\r\n" * 12))
    return bytes(broken)
