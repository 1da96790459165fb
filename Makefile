# `make train` and `make test` need nothing but make and Python 3.11 or 3.12.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: train test lint lock clean

train: $(VENV)/ready
	$(BIN)/python train.py

test: lint
	$(BIN)/python -m pytest -n 2

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
