"""What a decimal number of a value is, as `_decimal.h` reads it: for what is not compiled, and for the odd ones."""

from __future__ import annotations

import re

# No blanks, no digits of other scripts, no `inf`: what `float` takes besides is no number of a value.
DECIMAL = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
