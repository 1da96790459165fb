# `make train` and `make test` need nothing but make and Python 3.11 or 3.12.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: train test quick processors lint lock clean

train: $(VENV)/ready
	$(BIN)/python train.py

# Each worker begins with half of the files, and takes over what the other has left.
PYTEST = $(BIN)/python -m pytest -n 2 --dist worksteal

test: lint
	$(PYTEST)

# While editing: every room, without the tests that compile or train for seconds.
quick: lint
	$(PYTEST) -m "not slow and not thorough" --durations=0 --durations-min=3

# Results must not depend on the processor: the same tests on the kernels that BLAS, NumPy and XLA
# choose on others. X86 only; a kernel of newer instructions than this machine has cannot run.
CORES = Prescott Haswell Zen SkylakeX
PORTABLE = tests/collect tests/acting tests/play tests/envs tests/evaluation
OLD = NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR" XLA_FLAGS=--xla_cpu_max_isa=AVX2

processors: $(VENV)/ready
	set -e; for core in $(CORES); do echo "OpenBLAS as on $$core"; \
		OPENBLAS_CORETYPE=$$core $(PYTEST) $(PORTABLE); done
	@echo "without AVX-512"
	$(OLD) OPENBLAS_CORETYPE=Haswell $(PYTEST) $(PORTABLE)

lint: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Made again when the pinned versions or the package's own needs change.
$(VENV)/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or 3.12 found; name one: make PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

lock:
	uv pip compile --universal --python-version 3.11 --no-header --no-annotate --quiet \
		--extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .jax_cache .pytest_cache .mypy_cache .ruff_cache
