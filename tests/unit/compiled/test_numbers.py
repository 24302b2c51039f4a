"""Numbers as text and back: `float` decides what a text is, and whoever reads a float32's text has the same float32."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamlstm.store.resp import codec_python
from streamlstm.store.resp.codec import encode_read
from support.compiled import CODECS, carry, codec, needs_compiled
from support.paths import ROOT
from support.rounds import examples

LIMIT = 2.0**128 - 2.0**103  # what is smaller rounds to a finite float32
# The float32 whose shortest text, 7.038531e-26, is another number to whoever reads a double first.
ROUNDED_TWICE = 0x15AE43FD


def test_ci_has_both_compiled_parts() -> None:
    """Where CI runs there is a compiler, so that nothing of this folder is left out unseen."""
    assert (codec is not None and carry is not None) or not os.environ.get("CI")


@needs_compiled
def test_the_sanitizers_watch_what_is_tested_here() -> None:
    """Under `make sanitize` the compiled parts are those built for it, not the checkout's, which nothing watches."""
    watched = [Path(module.__file__).is_relative_to(ROOT / "build" / "sanitized") for module in (codec, carry)]
    assert watched == [bool(os.environ.get("STREAMLSTM_TEST_SANITIZED"))] * 2


def read(module: Any, text: bytes) -> bytes | None:
    """The bits of the number a codec reads; None for what is none in the range of float32."""
    table, found, value = module.Table(), np.zeros(6, np.int64), np.zeros(1, np.float32)
    table.put(0, b"s", 3)
    live = module.scan_live(encode_read({"k": [(b"1-1", [b"s", text])]}), table, {b"k": 0}, found, value, 0)
    [scan] = module.scan_read(encode_read({"k": [(b"1-1", [b"s", text])]}), table, {b"k": 0}, 1, 0)
    assert (live is None) == bool(scan[11][0]), "both ways to scan agree"
    assert live is None or value.tobytes() == scan[10]
    return None if live is None else value.tobytes()


def wanted(text: bytes) -> bytes | None:
    """What it is to Python, rounded."""
    number = float(text)
    return np.float32(number).tobytes() if abs(number) < LIMIT else None


DIGITS = st.text("0123456789", max_size=30)
ZEROS = st.integers(0, 5000).map("0".__mul__) | st.just("") | st.just("0" * 123_455)


@st.composite
def decimals(draw: st.DrawFn) -> bytes:
    """Numbers whose zeros, digits and exponents are of any length, and often make up for each other."""
    whole, part = draw(DIGITS) + draw(ZEROS), draw(ZEROS) + draw(DIGITS) + draw(ZEROS)
    made_up = len(part) - draw(st.integers(-45, 45)), -len(whole) + draw(st.integers(-45, 45))
    written = draw(st.sampled_from(made_up) | st.integers(-400, 400) | st.integers(-(10**30), 10**30) | st.none())
    sign = draw(st.sampled_from(["", "-", "+"]))
    exponent = "" if written is None else f"e{written}"
    return f"{sign}{whole or '0'}.{part}{exponent}".encode()


@pytest.mark.parametrize("module", CODECS)
@settings(max_examples=examples(300))
@given(decimals())
@example(b"0." + b"0" * 123_455 + b"1e1234567")  # infinite: it was 1.0 where exponents were capped
@example(b"0." + b"0" * 1_234_566 + b"1e1234567")
@example(b"1" + b"0" * 1_234_567 + b"e-1234567")
@example(b"-1" + b"0" * 123_455 + b"e-99999999999999999999999999")
@example(b"0e99999999999999999999")
@example(b"0." + b"0" * 400_000)
@example(b"1e" + b"0" * 300 + b"2")
def test_a_decimal_number_is_what_float_makes_of_it(module: Any, text: bytes) -> None:
    """However long it is, and however large what is written of its exponent."""
    assert read(module, text) == wanted(text)


def texts_of(module: Any, bits: list[int]) -> list[bytes]:
    """The texts of float32 patterns."""
    data, at, length = module.write_numbers(np.array(bits, np.uint32).view(np.float32), 1)
    places = zip(np.frombuffer(at, np.int64).tolist(), np.frombuffer(length, np.int64).tolist(), strict=True)
    return [data[first : first + size] for first, size in places]


@pytest.mark.parametrize("module", CODECS)
def test_a_text_survives_both_readings(module: Any) -> None:
    """The one number whose shortest text does not has a digit more; its neighbours do not need it."""
    for sign in (0, 1 << 31):
        bits = [sign | ROUNDED_TWICE + away for away in (-1, 0, 1)]
        texts = texts_of(module, bits)
        assert texts[1].lstrip(b"-") == b"7.0385307e-26"
        assert np.array([float(text) for text in texts], np.float32).view(np.uint32).tolist() == bits
        assert texts_of(module, [bits[1], 0x3F800000]) == [texts[1], b"1"], "among others, too"


@needs_compiled
@settings(max_examples=examples(200))
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=40))
def test_any_number_is_read_back_by_way_of_a_double(bits: list[int]) -> None:
    """As Python and JavaScript read it."""
    numbers = [n for n in bits if n & 0x7F800000 != 0x7F800000]
    if numbers:
        texts = texts_of(codec, numbers)
        assert np.array([float(text) for text in texts], np.float32).view(np.uint32).tolist() == numbers
        assert texts == texts_of(codec_python, numbers)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_sample_of_every_float32_is_read_back(tmp_path: Path) -> None:
    """Every 16,411th pattern, by strtof and by strtod; `make every-float32` tries them all."""
    program = tmp_path / "every_float32"
    source = str(ROOT / "tools" / "fuzz" / "every_float32.c")
    strict = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
    subprocess.run(["cc", *strict, source, "-o", str(program), "-lm"], check=True)
    for first, step in ((5, 16_411), (ROUNDED_TWICE, 1 << 31)):
        ran = subprocess.run([program, str(first), str(step)], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout
        assert "0 wrong" in ran.stdout


@pytest.mark.parametrize("module", CODECS)
@pytest.mark.parametrize("number", [np.inf, -np.inf])
def test_what_is_infinite_has_no_text(module: Any, number: float) -> None:
    """It is refused wherever numbers are written, and never comes out as a finite one."""
    numbers = np.array([[1.0], [number]], np.float32)
    with pytest.raises(ValueError, match="infinite"):
        module.write_numbers(numbers, 1)
    found, rows = np.array([[0, 0], [1, 1], [0, 0], [1, 1], [1, 1], [0, 0]]), np.zeros((1, 4), np.float32)
    with pytest.raises(ValueError, match="infinite"):
        module.pack_live(b"abc", found, rows, numbers, 1, 1, 1, (b"",) * 5)
