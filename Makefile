# `make demo` and `make test` do all the set-up themselves: they need Python 3.11 or newer with pip, and make.
PYTHON ?= python3
PIP_ARGS ?=
BASE := .venv
DEV := .venv-dev
# Tests run in so many processes: two more than there are cores (of at most eight), as tests with daemons spend two thirds
# of their time waiting. Each takes up to 1.2 GB. A numerical library's threads would only be in each other's way.
CORES := $(shell $(PYTHON) -c 'import os; print(min(8, os.cpu_count() or 1))')
WORKERS ?= $(shell expr $(CORES) + 2)
PYTEST := OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest
# As images and sandboxes set it. Tests start thousands of processes, each of which would compile all that it imports
# once more: 0.2 s of the 0.5 s in which a command starts, and a minute for the one that imports each module first.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo check-install test docs pictures container chaos simulate examples fuzz fuzz-files sanitize every-float32 check aside \
	lint generated strict types format clean

demo: $(BASE)/installed  ## Serve the packaged airline model and watch it forecast (no torch needed)
	$(BASE)/bin/streamlstm demo

check-install: $(BASE)/installed  ## Whether it works on this machine, in a minute once it is installed
	tools/check_install.sh $(BASE)/bin/streamlstm

test: $(DEV)/compiled  ## Run all tests (installs the training extra)
	$(PYTEST) -n $(WORKERS) --dist loadgroup $(TEST_ARGS)

docs: $(DEV)/installed  ## Build the documentation into build/site, and check every link
	NO_MKDOCS_2_WARNING=1 $(DEV)/bin/mkdocs build --quiet
	@echo "Read it: $(DEV)/bin/python -m http.server --directory build/site --bind 127.0.0.1 8000"

pictures: $(DEV)/installed  ## Take the pictures of the live page again (needs Chromium)
	$(DEV)/bin/python tools/live_picture.py

container:  ## Build the image without Docker, by buildah, into build/container (root on Linux)
	$(PYTHON) tools/container.py

chaos: $(DEV)/installed  ## The tests that kill, cut, fill and stop, for some minutes
	CHAOS_ROUNDS=20 $(PYTEST) tests/acceptance/daemon/test_chaos.py tests/acceptance/sharing

examples: $(DEV)/installed  ## The engine against the oracle with EXAMPLES (20) times as much traffic made up (half an hour)
	EXAMPLES=$${EXAMPLES:-20} $(PYTEST) tests/unit/engine

simulate: $(DEV)/installed  ## The simulation that crashes everything everywhere, SEEDS (1,000) of each kind (half an hour)
	SEEDS=$${SEEDS:-1000} $(PYTEST) tests/unit/daemon/test_simulation.py

fuzz-files: $(DEV)/installed  ## Damaged and hostile files to every command that reads them, for FUZZ_SECONDS (an hour)
	FUZZ_SECONDS=$${FUZZ_SECONDS:-3600} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} $(PYTEST) tests/acceptance/hostile/test_files.py

# What is compiled, and what is read from strangers.
WATCHED := tests/unit/compiled tests/unit/store/test_codec.py tests/unit/engine/test_carry.py tests/unit/engine/test_live.py \
	tests/unit/engine/test_few.py tests/unit/engine/test_entries.py tests/unit/engine/test_threads.py \
	tests/unit/engine/test_whole_tiles.py
SANITIZED := tools/fuzz/sanitized.sh $(DEV)/bin/python

sanitize: $(DEV)/installed  ## The compiled parts under the sanitizers: their tests, and ten seconds of random calls
	$(SANITIZED) -m pytest -p no:cacheprovider -n $(CORES) $(WATCHED)
	PYTHONPATH=tools $(SANITIZED) -m fuzz.twins --seed $${FUZZ_SEED:-1} --seconds 10

fuzz: $(DEV)/installed  ## Random calls of the compiled parts, sanitized, and of their twins, for FUZZ_SECONDS (an hour)
	PYTHONPATH=tools $(SANITIZED) -m fuzz.twins --seed $${FUZZ_SEED:-$$(date +%s)} --seconds $${FUZZ_SECONDS:-3600}

every-float32:  ## Whether each of the 2^32 float32 has a text that is read back as itself (about 20 minutes)
	mkdir -p build
	$(CC) -std=c11 -O2 -Wall -Wextra -Werror tools/fuzz/every_float32.c -o build/every_float32 -lm
	build/every_float32

check: $(DEV)/installed  ## Everything CI runs
	$(MAKE) --no-print-directory -j 2 lint strict
	$(MAKE) --no-print-directory -j 2 aside test  # of which one asks what `generated` does

# Beside the tests, which wait for a fifth of their time. What it says is shown where it fails.
aside: $(DEV)/installed
	mkdir -p build && $(MAKE) --no-print-directory CORES=1 types sanitize > build/aside.log 2>&1 || \
		{ cat build/aside.log; exit 1; }

strict: $(DEV)/installed  ## Compile beside the sources what is compiled, with warnings as errors
	STREAMLSTM_STRICT=1 $(DEV)/bin/python setup.py --quiet build_ext --inplace --force

lint: $(DEV)/installed
	$(DEV)/bin/ruff check streamlstm tests tools setup.py
	$(DEV)/bin/ruff format --check streamlstm tests tools setup.py

generated: $(DEV)/installed  ## Whether the pages that are written from the code are current
	$(DEV)/bin/python tools/reference.py --check

types: $(DEV)/installed
	$(DEV)/bin/mypy

format: $(DEV)/installed  ## Put the code in order
	$(DEV)/bin/ruff check --fix streamlstm tests tools setup.py
	$(DEV)/bin/ruff format streamlstm tests tools setup.py

$(BASE)/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(BASE)
	$(BASE)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e .
	touch $@

$(DEV)/installed: pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile $(PIP_ARGS) \
		-c constraints.txt -e '.[train,test,docs]'
	touch $@

# Of 17,000 modules that are installed tests import 5,000: pip would compile all, on one core, and each process of the tests
# those, at the same time.
$(DEV)/compiled: $(DEV)/installed
	$(PYTEST) --collect-only --quiet > /dev/null || true
	touch $@

clean:
	rm -rf $(BASE) $(DEV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
