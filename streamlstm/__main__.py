"""`python -m streamlstm`: the command line."""

from __future__ import annotations

from streamlstm.cli import main

if __name__ == "__main__":
    main(prog_name="streamlstm")
