# `make demo` and `make test` do all the set-up themselves: they need Python 3.11 or newer with pip, and make.
PYTHON ?= python3
PIP_ARGS ?=
BASE := .venv
DEV := .venv-dev
# Tests run in so many processes; a numerical library's threads beside them would only be in each other's way.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest

.PHONY: demo test chaos fuzz-files check lint types format clean

demo: $(BASE)/installed  ## Serve the packaged airline model and watch it forecast (no torch needed)
	$(BASE)/bin/streamlstm demo

test: $(DEV)/installed  ## Run all tests (installs the training extra)
	$(PYTEST) -n $(WORKERS) --dist loadgroup

chaos: $(DEV)/installed  ## The tests that kill, cut, fill and stop, for some minutes
	CHAOS_ROUNDS=20 $(PYTEST) tests/daemon/test_chaos.py tests/scale

fuzz-files: $(DEV)/installed  ## Damaged and hostile files to every command that reads them, for FUZZ_SECONDS (an hour)
	FUZZ_SECONDS=$${FUZZ_SECONDS:-3600} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} $(PYTEST) tests/hostile/test_files.py

check: lint types test  ## Everything CI runs

lint: $(DEV)/installed
	$(DEV)/bin/ruff check streamlstm tests tools hatch_build.py
	$(DEV)/bin/ruff format --check streamlstm tests tools hatch_build.py

types: $(DEV)/installed
	$(DEV)/bin/mypy

format: $(DEV)/installed  ## Put the code in order
	$(DEV)/bin/ruff check --fix streamlstm tests tools hatch_build.py
	$(DEV)/bin/ruff format streamlstm tests tools hatch_build.py

$(BASE)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BASE)
	$(BASE)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e .
	touch $@

$(DEV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[train,test]'
	touch $@

clean:
	rm -rf $(BASE) $(DEV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
