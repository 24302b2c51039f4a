"""The compiled parts of streamlstm; all else about the package stands in pyproject.toml.

`python setup.py build_ext --inplace` compiles beside the sources, as `pip install -e .` does. Each part is optional: it
has a twin in Python that does the same, slower, so a missing compiler ends in a warning. With STREAMLSTM_STRICT=1 it is
an error, and so is a compiler's warning; with STREAMLSTM_PURE=1 nothing is compiled.
"""

import os
import tempfile
from glob import glob

from setuptools import Extension, setup

# A module, and its source.
COMPILED = {
    "streamlstm.store.resp._codec": "streamlstm/store/resp/_codec.c",
    "streamlstm.engine._kernels": "streamlstm/engine/_kernels.c",
    "streamlstm.models._integer_division": "streamlstm/models/_integer_division.c",
}
STRICT = bool(os.environ.get("STREAMLSTM_STRICT"))
# No contraction: sums have to be the bits of the twins in Python on every processor. No wrapping round either, whatever
# Python was built with: the sanitizers are to see a sum that overflows.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-wrapv", *(["-Wall", "-Wextra", "-Werror"] if STRICT else [])]

extensions = [
    Extension(
        name, [source], depends=glob("streamlstm/**/*.h", recursive=True), extra_compile_args=FLAGS, optional=not STRICT
    )
    for name, source in COMPILED.items()
]
# Built in a folder of its own each time: what an earlier build left in `build` would get into a wheel.
with tempfile.TemporaryDirectory() as folder:
    setup(
        ext_modules=[] if os.environ.get("STREAMLSTM_PURE") else extensions,
        options={"build": {"build_base": folder}},
    )
