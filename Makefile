# Two commands for a machine that has Python (3.10 or newer) and make:
#   make demo   installs into .venv, then sorts a generated recording and says how well that went
#   make test   installs into .venv, then runs the tests
#   make docs   installs into .venv, then builds the documentation in docs/_build/html
# Variables: PYTHON (the interpreter), VENV (the environment), TORCH_ARGS (for pip, such as an --index-url of CPU builds).

PYTHON ?= python3
VENV ?= .venv
TORCH_ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
INSTALLATION := pyproject.toml constraints.txt $(wildcard hook/*)

.PHONY: demo test test-all lint docs clean

demo: $(VENV)/.installed
	$(BIN)/huidurep demo --output huidurep_demo --overwrite

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.installed-test
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# PyTorch first: resolved by itself, pip takes a small CPU build where the machine offers one.
$(VENV)/.installed: $(INSTALLATION)
	@echo "Installing into $(VENV): a few minutes, PyTorch is large."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_ARGS) torch
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable ".[test]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) huidurep_demo docs/_build docs/auto_examples docs/api/generated docs/sg_execution_times.rst .pytest_cache .mypy_cache .ruff_cache
